"""Which rivals there are for a model, and how each is opened: a dict literal, name -> opener."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bench.foreign import OnnxRunner
from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.options import Options
from benchmarks.bench.runner import Runner
from benchmarks.rivals import openvino_ways, torch_trt, trtexec
from benchmarks.rivals.torch_ways import TorchRunner
from sdk.errors import InputError

Open = Callable[[ModelFile, Options], Runner]
SMALL = 8  # batch up to which slow rivals are measured


@dataclass(frozen=True)
class Rival:
    """One way to run the model, opened by calling it. Raises what the library wants, as our errors."""

    name: str
    open: Callable[[], Runner]
    by_turns: bool = True  # can it run in this process, interleaved with ours?
    most: int = SMALL

    def __call__(self) -> Runner:
        return self.open()


def _torch(way: str, span: str) -> Open:
    return lambda file, options: TorchRunner(file, way, precision="fp32", span=span, threads=options.threads)


def _torch_on_gpu(way: str) -> Open:
    def opened(file: ModelFile, options: Options) -> Runner:
        return TorchRunner(file, way, precision="fp16", span="engine", threads=options.threads, cuda=True)

    return opened


def _provider(provider: str) -> Open:
    def opened(file: ModelFile, options: Options) -> Runner:
        return OnnxRunner(file, provider=provider, way=f"onnxruntime-{provider}", threads=options.threads)

    return opened


OPENERS: dict[str, tuple[Open, bool]] = {  # name -> opener, in this process?
    "torch-eager": (_torch("torch-eager", "end-to-end"), True),
    "torch-eager-engine": (_torch("torch-eager", "engine"), True),
    "torch-channels-last": (_torch("torch-channels-last", "engine"), True),
    "torch-compile": (_torch("torch-compile", "engine"), True),
    "openvino": (lambda file, options: openvino_ways.OpenVinoRunner(file, threads=options.threads), True),
    "onnxruntime-cuda": (_provider("cuda"), True),
    "onnxruntime-tensorrt": (_provider("tensorrt"), True),
    "torch-cuda-channels-last": (_torch_on_gpu("torch-channels-last"), True),
    "torch-cuda-compile": (_torch_on_gpu("torch-compile"), True),
    "torch-tensorrt": (lambda file, options: torch_trt.TorchTensorRtRunner(file), True),
    "trtexec": (lambda file, options: trtexec.TrtexecRunner(file), False),
}


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of rivals, "auto" and "none" resolved. Raises InputError for an unknown one."""
    if names == ("none",):
        return ()
    unknown = [name for name in names if name not in OPENERS and name != "auto"]
    if unknown:
        raise InputError(f"--rivals auto, none, or of {', '.join(OPENERS)}", ", ".join(unknown), "correct the name")
    return tuple(OPENERS) if "auto" in names else names


def rivals_of(file: ModelFile, options: Options, *, lacks: Callable[[str, object], None]) -> Iterator[Rival]:
    """The rivals that were asked for. Models that are not ours have none: their inputs are unknown to the ways here."""
    names = check_names(options.rivals)
    if file.spec is None:
        if names:
            lacks(f"rivals of {file.name}", "not one of our files")
        return
    for name in names:
        opener, by_turns = OPENERS[name]
        yield Rival(name, lambda opener=opener: opener(file, options), by_turns)
