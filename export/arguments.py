"""trt-build's command line: our words, trtexec's as aliases, and for every word that is neither, the nearest one."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from export.options import TARGETS, Options, nearest
from sdk.errors import InputError
from sdk.runtime.manifest import HARDWARE_COMPATIBILITY, PRECISIONS
from sdk.runtime.trt_api import FLAVOURS
from sdk.runtime.trt_builder import TACTIC_SOURCES

__all__ = ["make_parser", "parse"]

T = TypeVar("T")
REFUSED = {  # words of trtexec that we know and do not take -> (why, what instead)
    "--best": ("it lets TensorRT mix precisions that nobody checks", "name one: --precision fp16 or int8"),
    "--bf16": ("bf16 keeps 8 bits of the mantissa, too few for pictures", "use --precision fp16"),
    "--int4": ("int4 is for the weights of language models", "use --precision int8"),
    "--precisionConstraints": ("precision is written into the graph", "use --precision and --keep-fp16"),
    "--layerPrecisions": ("precision is written into the graph", "use --precision and --keep-fp16"),
    "--layerOutputTypes": ("precision is written into the graph", "use --precision and --keep-fp16"),
    "--sparsity": ("our networks have no structured zeros", "leave it out"),
    "--profilingVerbosity": ("it is always detailed, or precisions could not be read back", "leave it out"),
    "--loadEngine": ("trt-build builds engines", "time one with trt-bench"),
    "--iterations": ("trt-build builds engines", "time one with trt-bench"),
    "--duration": ("trt-build builds engines", "time one with trt-bench"),
    "--warmUp": ("trt-build builds engines", "time one with trt-bench"),
    "--useCudaGraph": ("that is up to who runs the engine; the SDK does", "leave it out"),
    "--plugins": ("our engines are plain ones", "leave it out"),
    "--saveProfile": ("trt-build builds engines", "time one with trt-bench"),
    "--exportLayerInfo": ("the manifest holds what was found", "use --explain for the table of layers"),
    "--calibrationCache": ("INT8 ranges are written into the graph", "use --calib FOLDER"),
}
NO_EFFECT = (
    "--explicitBatch",
    "--stronglyTyped",
    "--noTF32",
    "--skipInference",
    "--buildOnly",
)  # what trt-build does anyway
HARDWARE_WORDS = {  # trtexec's words -> ours
    "ampere+": "ampere_plus",
    "sameComputeCapability": "same_compute_capability",
    **{word: word for word in HARDWARE_COMPATIBILITY},
}
EPILOG = """exit codes: 0 done, 1 the build failed, 2 wrong use or input, 3 the gate refused the engine, 130 Ctrl-C.
An engine that did not pass is never saved, unless --allow-loss says so; a file that is there stays until the new one
is verified."""


class Parser(argparse.ArgumentParser):
    """Errors as InputError, with the nearest word."""

    def error(self, message: str) -> NoReturn:
        raise InputError("a command that trt-build knows", message, "see trt-build --help")


def make_parser() -> Parser:
    """Everything stays text or a list of texts here; options_of() gives it its type."""
    parser = Parser(prog="trt-build", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    parser.description = "From an ONNX file to a verified FP16 or INT8 engine, with any TensorRT from 8.5 on."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    about = "a shipped model (picoface_x8, picoface_x4), a paper's by name (jasrnet) or an .onnx file"
    add("model", nargs="?", metavar="MODEL", help=about)
    add("--onnx", metavar="FILE", help="the same as MODEL")
    add("-o", "--out", "--saveEngine", metavar="FILE", help="default: NAME-PRECISION.engine in this folder")
    _precision_words(parser.add_argument_group("precision and its proof"))
    _device_words(parser.add_argument_group("device"))
    _shape_words(parser.add_argument_group("shapes"))
    _builder_words(parser.add_argument_group("builder"))
    more = parser.add_argument_group("output").add_argument
    more("--quiet", action="store_true", help="say nothing but errors")
    more("--verbose", action="store_true", help="TensorRT's own log on stderr (with --json as notes)")
    more(
        "--json",
        action="store_true",
        help="one JSON object a line on stdout: stage, progress, note, layers, done, error",
    )
    more("--doctor", action="store_true", help="what this machine can build and run, and what is missing")
    for word in NO_EFFECT:
        add(word, action="store_true", help=argparse.SUPPRESS)
    return parser


def _precision_words(group: Any) -> None:
    add = group.add_argument
    add("--precision", metavar="|".join(PRECISIONS), help="default: fp16; for --target cpu int8")
    for word in ("fp16", "int8", "fp8"):
        add(f"--{word}", dest="words", action="append_const", const=word, help=argparse.SUPPRESS)
    add("--calib", metavar="DIR|ARCHIVE|builtin", help="faces to calibrate on and to judge by (default: builtin)")
    add("--calib-count", metavar="N", help="how many of them, 64 to 512 (default: 128)")
    add("--quantizer", "--quantiser", metavar="onnxruntime|modelopt", help="default: onnxruntime")
    add("--keep-fp16", action="append", metavar="NODE,...", help="nodes of an int8 engine that stay in fp16")
    add("--auto-mixed", action="store_true", help="keep the most sensitive layers in fp16 until the gate holds")
    add("--explain", action="store_true", help="what each layer alone costs, and what it runs in")
    add("--allow-loss", action="store_true", help="save the engine even if the gate refuses it")


def _device_words(group: Any) -> None:
    add = group.add_argument
    add("--target", metavar="|".join(TARGETS), help="choose what suits a device, and say why")
    add("--targets", metavar="sm_86,...", help="TensorRT-RTX: build for these GPUs, none of which need be here")
    add("--flavour", metavar="|".join(FLAVOURS), help="which TensorRT; default: $FACETRT_TENSORRT or the first found")
    add("--device", metavar="N", help="GPU that builds and runs the engine (default: 0)")
    add("--dla-core", "--useDLACore", metavar="N", help="put what fits on this accelerator (Orin NX, AGX Orin)")
    add("--gpu-fallback", "--allowGPUFallback", action="store_true", help="and the rest on the GPU")


def _shape_words(group: Any) -> None:
    add = group.add_argument
    add("--batches", metavar="1,8,64", help="largest batch of each optimisation profile (default: 1,8,64)")
    add("--max-batch", metavar="N", help="the default batches up to N")
    add("--sizes", metavar="32,64", help="sides in px, for networks that take any; default: the SDK's")
    add("--shapes", action="append", metavar="lr:8x3x16x16", help="a profile of one shape")
    for word in ("min", "opt", "max"):
        add(f"--{word}-shapes", f"--{word}Shapes", action="append", metavar="lr:1x3x16x16", help="once a profile")


def _builder_words(group: Any) -> None:
    add = group.add_argument
    add("--workspace", metavar="MIB", help="memory that one layer may use")
    add("--memPoolSize", metavar="workspace:MIB", help=argparse.SUPPRESS)
    add("--timing-cache", "--timingCacheFile", metavar="FILE", help="default: one per GPU in ~/.cache/facetrt/timing")
    add("--no-timing-cache", "--disableTimingCache", action="store_true", help="time every tactic anew")
    add("--optimization-level", "--builderOptimizationLevel", metavar="0..5", help="more is slower to build")
    levels = "|".join(HARDWARE_COMPATIBILITY)
    add("--hardware-compatibility", "--hardwareCompatibilityLevel", metavar=levels, help="other GPUs that may run it")
    add("--version-compatible", "--versionCompatible", action="store_true", help="runs on later TensorRTs too")
    add("--strip-weights", "--stripWeights", action="store_true", help="leave the weights out of the engine")
    add("--refit", action="store_true", help="weights can be replaced")
    sources = ",".join(word.replace("_", "-") for word in TACTIC_SOURCES)
    add("--tactic-sources", "--tacticSources", metavar="NAME,...", help=f"libraries to use alone, of {sources}")
    add("--tf32", action="store_true", help="let fp32 layers round to 10 bits")


def parse(arguments: Sequence[str]) -> Options:
    """Options of a command line. Raises InputError for everything that is wrong with it."""
    parser = make_parser()
    known = [word for action in parser._actions for word in action.option_strings if word.startswith("--")]
    _refuse_strangers(arguments, known=known)
    values = vars(parser.parse_args(list(arguments)))
    if values["model"] and values["onnx"]:
        raise InputError("one model", f"MODEL {values['model']} and --onnx {values['onnx']}", "leave one of them out")
    model = values["model"] or values["onnx"] or ""
    if not model and not values["doctor"]:
        raise InputError("a MODEL", "none", "name a shipped model or an .onnx file: trt-build picoface_x8")
    command = shlex.join(["trt-build", *arguments])
    narrowest = next((word for word in ("fp8", "int8", "fp16") if word in (values["words"] or ())), None)
    precision = values["precision"] or narrowest or ("int8" if values["target"] == "cpu" else "fp16")
    plain = ("target", "flavour", "calib", "quantizer", "auto_mixed", "explain", "allow_loss", "version_compatible")
    more = ("strip_weights", "refit", "gpu_fallback", "no_timing_cache", "tf32", "quiet", "verbose", "json", "doctor")
    given = {name: values[name] for name in (*plain, *more) if values[name] is not None}
    return Options(model=model, precision=precision, command=command, **given, **_typed(values))


def _refuse_strangers(arguments: Sequence[str], *, known: Sequence[str]) -> None:
    empty = next((argument for argument in arguments if argument.startswith("-") and argument.endswith("=--")), None)
    if empty is not None:  # argparse before Python 3.13 takes it for a list without anything in it
        raise InputError(f"a value for {empty.partition('=')[0]}", "'--'", "see trt-build --help")
    words = [argument.partition("=")[0] for argument in arguments if argument.startswith("--") and len(argument) > 2]
    for word in words:
        if word in REFUSED:
            why, instead = REFUSED[word]
            raise InputError("an option of trt-build", f"{word}: {why}", instead)
        if word not in known and word != "--help":
            raise InputError("an option of trt-build", f"{word}, which is none", nearest(word, known))


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not plain texts or switches."""
    typed: dict[str, Any] = {}

    def put(name: str, convert: Callable[[str], Any], *, option: str | None = None) -> None:
        text = values[option or name]
        if text is not None:
            typed[name] = convert(text)

    put("out", Path)
    put("timing_cache", Path)
    put("device", lambda text: _number(text.removeprefix("cuda:"), "--device"))
    put("dla_core", lambda text: _number(text, "--dla-core"))
    put("calib_count", lambda text: _number(text, "--calib-count"))
    put("optimization_level", lambda text: _number(text, "--optimization-level"))
    put("workspace_mib", _pool, option="memPoolSize")
    put("workspace_mib", lambda text: _number(text, "--workspace"), option="workspace")
    put("targets", lambda text: tuple(dict.fromkeys(_target(word) for word in _words(text))))
    put("keep_fp16", lambda texts: tuple(word for text in texts for word in _words(text)))
    put("batches", lambda text: tuple(_number(word, "--batches") for word in _words(text)))
    put("sizes", lambda text: tuple(_number(word, "--sizes") for word in _words(text)))
    put("tactic_sources", lambda text: tuple(_tactic(word) for word in _words(text)))
    put("hardware_compatibility", lambda text: HARDWARE_WORDS.get(text, text))
    for word in ("min", "opt", "max"):
        put(f"{word}_shapes", lambda texts, word=word: tuple(_shapes(text, f"--{word}-shapes") for text in texts))
    for text in values["shapes"] or ():
        for word in ("min", "opt", "max"):
            typed[f"{word}_shapes"] = (*typed.get(f"{word}_shapes", ()), _shapes(text, "--shapes"))
    if values["max_batch"] is not None:
        largest = _number(values["max_batch"], "--max-batch")
        typed["batches"] = (*(n for n in Options.batches if n < largest), largest)
    elif values["dla_core"] is not None:
        typed.setdefault("batches", (1,))  # a DLA takes fixed shapes only: no buckets unless asked for
    return typed


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option} as a whole number", repr(text), "leave it out for the default") from None


def _pool(text: str) -> int:
    """trtexec's workspace:MiB, with its suffixes."""
    match = re.fullmatch(r"workspace:(\d+)([KMG]?)", text)
    if match is None:
        raise InputError("--memPoolSize=workspace:MIB", repr(text), "for example --workspace 1024")
    return int(int(match[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024}[match[2]])


def _target(text: str) -> str:
    """sm_86, sm86, 86 and 8.6 are the same."""
    match = re.fullmatch(r"(?:sm_?)?(\d+)(?:\.(\d+))?", text.lower())
    if match is None:
        raise InputError("--targets as compute capabilities", repr(text), "for example --targets sm_86,sm_89,sm_120")
    return f"sm_{match[1]}{match[2] or ''}"


def _tactic(text: str) -> str:
    """trtexec's +CUDNN and -CUBLAS change a default that we do not know, so only plain names are taken."""
    if text.startswith("-"):
        raise InputError("--tactic-sources to use", f"{text}, one not to use", "name those to use alone")
    word = text.lstrip("+").lower().replace("-", "_")
    return {"edge_mask": "edge_mask_convolutions", "jit": "jit_convolutions"}.get(word, word)


def _shapes(text: str, option: str) -> dict[str, tuple[int, ...]]:
    """ "lr:8x3x16x16" (trtexec's form) as {"lr": (8, 3, 16, 16)}."""
    shapes: dict[str, tuple[int, ...]] = {}
    for word in _words(text):
        name, colon, sizes = word.rpartition(":")
        parts = sizes.lower().split("x")
        if not colon or not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise InputError(f"{option} as NAME:AxBxCxD", repr(word), f"for example {option} lr:1x3x16x16")
        shapes[name.strip("'\"")] = tuple(int(part) for part in parts)
    return shapes
