"""All that trt-build can be told, as one frozen dataclass; export.arguments fills it from a command line."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from export.faces import MAX_FACES, MIN_FACES
from sdk.errors import InputError
from sdk.runtime.manifest import HARDWARE_COMPATIBILITY, PRECISIONS
from sdk.runtime.trt_api import FLAVOURS
from sdk.runtime.trt_builder import TACTIC_SOURCES

__all__ = ["BATCHES", "ENGINE_SUFFIXES", "QUANTIZERS", "TARGETS", "Options", "nearest"]

TARGETS = ("jetson-orin-nano", "orin-nx", "agx-orin", "thor", "desktop", "datacenter", "cpu")
QUANTIZERS = ("onnxruntime", "modelopt")
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
BATCHES = (1, 8, 64)  # faces; one optimisation profile each
MAX_BATCH = 4096  # of the exported graphs
CALIB_COUNTS = (MIN_FACES, MAX_FACES)
LEVELS = (0, 5)  # of the builder's optimisation
MAX_PROFILES = 16
TENSORRT_ONLY = (  # fields of Options that --target cpu could not heed
    *("targets", "flavour", "quantizer", "keep_fp16", "auto_mixed", "sizes", "min_shapes", "opt_shapes", "max_shapes"),
    *("workspace_mib", "timing_cache", "no_timing_cache", "optimization_level", "hardware_compatibility"),
    *("version_compatible", "strip_weights", "refit", "dla_core", "gpu_fallback", "tactic_sources", "tf32"),
)
MOST_LISTED = 10  # words that an error lists

Shape = tuple[int, ...]
Clash = tuple[bool, str, str, str]  # is there one; expected, got, remedy


@dataclass(frozen=True)
class Options:
    """What to build and how. Raises InputError for a value that no build could heed."""

    model: str  # name of a shipped model, or the path of an .onnx file
    out: Path | None = None  # None: NAME-PRECISION.engine in the current folder
    precision: str = "fp16"  # one of PRECISIONS
    target: str | None = None  # one of TARGETS: sets what is None below to what suits the device
    targets: tuple[str, ...] = ()  # "sm_86", ...: TensorRT-RTX builds for these without having them
    flavour: str | None = None  # one of FLAVOURS; None: $FACETRT_TENSORRT, else the first that imports
    device: int = 0  # number of the GPU that builds and runs the engine
    calib: str = "builtin"  # faces to calibrate on and to judge by: "builtin", a folder or an archive
    calib_count: int = 128  # within CALIB_COUNTS
    quantizer: str = "onnxruntime"  # one of QUANTIZERS
    keep_fp16: tuple[str, ...] = ()  # nodes of an int8 or fp8 engine that stay in fp16
    auto_mixed: bool = False  # add the most sensitive layers to keep_fp16 until the gate holds
    explain: bool = False  # loss of every layer alone, and the precision it ended up in
    allow_loss: bool = False  # save the engine although the gate refused it
    batches: tuple[int, ...] = BATCHES  # largest batch of each profile
    sizes: tuple[int, ...] = ()  # sides in px that a network of any size shall take; (): the SDK's own
    min_shapes: tuple[Mapping[str, Shape], ...] = ()  # one entry a profile, in place of batches and sizes
    opt_shapes: tuple[Mapping[str, Shape], ...] = ()
    max_shapes: tuple[Mapping[str, Shape], ...] = ()
    workspace_mib: int | None = None  # memory that a tactic may use; None: the target's, else TensorRT's default
    timing_cache: Path | None = None  # file; None: one for this GPU and TensorRT in ~/.cache/facetrt/timing
    no_timing_cache: bool = False
    optimization_level: int | None = None  # within LEVELS; None: TensorRT's default
    hardware_compatibility: str = "none"  # one of HARDWARE_COMPATIBILITY
    version_compatible: bool = False  # also runs on later TensorRT releases
    strip_weights: bool = False  # a small engine that gets its weights when it is loaded
    refit: bool = False  # weights can be replaced
    dla_core: int | None = None
    gpu_fallback: bool = False  # layers that the DLA does not take run on the GPU
    tactic_sources: tuple[str, ...] | None = None  # keys of TACTIC_SOURCES; None: TensorRT's default
    tf32: bool = False  # fp32 layers may round their inputs to 10 bits
    quiet: bool = False
    verbose: bool = False
    json: bool = False
    doctor: bool = False
    command: str = field(default="", compare=False)  # the line that was typed, for the manifest

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--precision", self.precision, PRECISIONS),
            ("--target", self.target, (None, *TARGETS)),
            ("--flavour", self.flavour, (None, *FLAVOURS)),
            ("--quantizer", self.quantizer, QUANTIZERS),
            ("--hardware-compatibility", self.hardware_compatibility, HARDWARE_COMPATIBILITY),
        ):
            if value not in known:
                words = [word for word in known if word is not None]
                raise InputError(f"{option} among {', '.join(words)}", repr(value), nearest(str(value), words))
        for source in self.tactic_sources or ():
            if source not in TACTIC_SOURCES:
                words = tuple(TACTIC_SOURCES)
                raise InputError(f"--tactic-sources among {', '.join(words)}", repr(source), nearest(source, words))
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        one_profile = 1 <= len(self.batches) <= MAX_PROFILES
        for holds, expected, got, remedy in (
            (
                one_profile and all(1 <= n <= MAX_BATCH for n in self.batches),
                f"1 to {MAX_PROFILES} --batches within 1..{MAX_BATCH}",
                self.batches,
                "for example --batches 1,8,64",
            ),
            (len(set(self.batches)) == len(self.batches), "different --batches", self.batches, "name each once"),
            (all(n >= 1 for n in self.sizes), "--sizes in px, 1 or more", self.sizes, "for example --sizes 32,64"),
            (
                CALIB_COUNTS[0] <= self.calib_count <= CALIB_COUNTS[1],
                f"--calib-count within {CALIB_COUNTS[0]}..{CALIB_COUNTS[1]}",
                self.calib_count,
                "leave it out for the default",
            ),
            (
                self.workspace_mib is None or self.workspace_mib >= 1,
                "--workspace of 1 MiB or more",
                self.workspace_mib,
                "leave it out for the default",
            ),
            (
                self.optimization_level is None or LEVELS[0] <= self.optimization_level <= LEVELS[1],
                f"--optimization-level within {LEVELS[0]}..{LEVELS[1]}",
                self.optimization_level,
                "leave it out for the default",
            ),
            (self.device >= 0, "--device as the number of a GPU", self.device, "see trt-build --doctor"),
            (self.dla_core is None or self.dla_core >= 0, "--dla-core of 0 or more", self.dla_core, "try 0"),
        ):
            if not holds:
                raise InputError(expected, str(got), remedy)

    def _check_together(self) -> None:
        for clash, expected, got, remedy in (*self._precision_clashes(), *self._device_clashes()):
            if clash:
                raise InputError(expected, got, remedy)

    def _precision_clashes(self) -> Iterator[Clash]:
        lossy = self.precision in ("int8", "fp8")
        drop = "leave it out"
        yield bool(self.keep_fp16) and not lossy, "--keep-fp16 with --precision int8 or fp8", self.precision, drop
        yield self.auto_mixed and not lossy, "--auto-mixed with --precision int8 or fp8", self.precision, drop
        on_dla = self.dla_core is not None and self.precision not in ("fp16", "int8")
        yield on_dla, "fp16 or int8 on a DLA", self.precision, "add --precision fp16"
        wide = self.target == "cpu" and self.precision != "int8"
        remedy = "in fp32 onnxruntime runs the model file itself; nothing needs to be built for that"
        yield wide, "--precision int8 for --target cpu", self.precision, remedy

    def _device_clashes(self) -> Iterator[Clash]:
        given = [len(shapes) for shapes in (self.min_shapes, self.opt_shapes, self.max_shapes)]
        expected, got = "as many --min-shapes as --opt-shapes and --max-shapes", "{}, {} and {}".format(*given)
        yield len(set(given)) > 1, expected, got, "give all three for every profile"
        alone = self.gpu_fallback and self.dla_core is None
        yield alone, "--gpu-fallback with --dla-core", "it alone", "add --dla-core 0"
        clash = bool(self.targets) and self.flavour == "tensorrt"
        remedy = "TensorRT builds for the GPU that is there; leave one of them out"
        yield clash, "--targets with TensorRT-RTX", "--flavour tensorrt", remedy
        beside = ", ".join(self._of_tensorrt()) if self.target == "cpu" else ""
        yield bool(beside), "no options of TensorRT beside --target cpu", beside, f"leave out {beside}"
        yield self.quiet and self.verbose, "--quiet or --verbose", "both", "leave one of them out"
        yield self.quiet and self.json, "--quiet or --json", "both", "leave one of them out"

    def _of_tensorrt(self) -> list[str]:
        """Words of the options that were given and mean nothing to onnxruntime on a CPU."""
        defaults = {one.name: one.default for one in dataclasses.fields(self)}
        given = [name for name in TENSORRT_ONLY if getattr(self, name) != defaults[name]]
        return [f"--{name.removesuffix('_mib').replace('_', '-')}" for name in given]


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy: the known word that looks most like this one, or all of them."""
    plain = {one.strip("-").lower(): one for one in known}
    word = word.strip("-").lower()
    holding = [one for one in plain if len(word) >= 3 and word in one]
    close = holding if len(holding) == 1 else difflib.get_close_matches(word, list(plain), n=1, cutoff=0.6)
    if close:
        return f"did you mean {plain[close[0]]}?"
    return f"use one of: {', '.join(plain.values())}" if len(plain) <= MOST_LISTED else "see trt-build --help"
