"""From ONNX to a plan with whichever TensorRT is here: the builder's half of sdk.runtime.trt_api, used by trt-build.

One path for all of them. TensorRT 10, 11 and RTX build strongly typed: the graph says the precision of every tensor.
8.5 and 8.6 take it from builder flags and layer precisions, which they are told to obey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from sdk.errors import BuildError, ModelError
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_layers import set_layer_precisions, use_dla
from sdk.runtime.trt_log import Sink

__all__ = ["NO_GPU", "TACTIC_SOURCES", "Built", "Cancelled", "Monitor", "Profile", "Settings", "build"]

TACTIC_SOURCES = {  # word of the command line -> (member of trt.TacticSource, key of trt_api.FEATURES)
    "cublas": ("CUBLAS", "tactic_cublas"),
    "cublas_lt": ("CUBLAS_LT", "tactic_cublas_lt"),
    "cudnn": ("CUDNN", "tactic_cudnn"),
    "edge_mask_convolutions": ("EDGE_MASK_CONVOLUTIONS", "tactic_sources"),
    "jit_convolutions": ("JIT_CONVOLUTIONS", "tactic_sources"),
}
HARDWARE_LEVELS = {  # word of the manifest -> (member of trt.HardwareCompatibilityLevel, key of trt_api.FEATURES)
    "ampere_plus": ("AMPERE_PLUS", "hardware_compatible"),
    "same_compute_capability": ("SAME_COMPUTE_CAPABILITY", "same_capability"),
}

Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]  # input -> smallest, best, largest


class Monitor(Protocol):
    """Hears about the build from TensorRT's threads; must not raise. Needs a TensorRT with a progress monitor."""

    def start(self, phase: str, parent: str | None, steps: int) -> None: ...

    def step(self, phase: str, step: int) -> bool:
        """False ends the build."""
        ...

    def finish(self, phase: str) -> None: ...


class Cancelled(Exception):  # noqa: N818 - no error: what the user wanted
    """The monitor ended the build."""


@dataclass(frozen=True)
class Settings:
    """What a builder is told besides the graph. Words and numbers were checked by export.options."""

    profiles: Sequence[Profile]
    targets: Sequence[str] = ()  # RTX: "sm_86", ...; empty: the GPU that is here
    workspace_mib: int | None = None
    optimization_level: int | None = None
    hardware_compatibility: str = "none"  # or a key of HARDWARE_LEVELS
    version_compatible: bool = False
    refit: bool = False
    strip: bool = False
    dla_core: int | None = None
    gpu_fallback: bool = False
    tactic_sources: Sequence[str] | None = None  # keys of TACTIC_SOURCES
    tf32: bool = False
    flags: Sequence[str] = ()  # 8.x: "fp16", "int8"
    layer_precisions: Mapping[str, str] = field(default_factory=dict[str, str])  # 8.x: layer -> fp16 or fp32
    fp32_from: str = ""  # 8.x: how the name of a layer begins from which on all are fp32
    timing_cache: bytes | None = None  # b"": start one; None: none


@dataclass(frozen=True)
class Built:
    """A plan and what came with it."""

    plan: bytes
    timing_cache: bytes | None
    fell_back_to_gpu: tuple[str, ...]  # layers that the DLA does not take


def build(
    trt: TensorRT,
    onnx: bytes,
    *,
    settings: Settings,
    nodes: Sequence[str],  # what to call the ONNX nodes in errors, in the graph's order
    sink: Sink,
    monitor: Monitor | None = None,
) -> Built:
    """Parse and build; the log goes to `sink` in all its detail.

    Raises:
        ModelError: TensorRT's parser does not take a node; it is named.
        BuildError: a setting that this TensorRT or this machine lacks, or the build failed; quotes the log.
        Cancelled: the monitor said so.
    """
    problem = "" if trt.portable and settings.targets else trt.no_gpu()
    if problem:
        raise BuildError(f"a GPU for {trt.title} to build on", problem, NO_GPU)
    with trt.listening(sink):
        trt.forget_errors()
        builder, network, parser = _parsed(trt, onnx, nodes=nodes)
        config = builder.create_builder_config()
        _configure(trt, config, settings=settings)
        fell_back: tuple[str, ...] = ()
        if settings.dla_core is not None:
            core, fallback = settings.dla_core, settings.gpu_fallback
            fell_back = use_dla(trt, builder, network=network, config=config, core=core, gpu_fallback=fallback)
        if not trt.typed:
            flags, precisions, behind = settings.flags, settings.layer_precisions, settings.fp32_from
            set_layer_precisions(trt, network, config=config, flags=flags, precisions=precisions, fp32_from=behind)
        for shapes in settings.profiles:
            _add_profile(trt, builder, config=config, shapes=shapes)
        cache = _timing_cache(trt, config, content=settings.timing_cache)
        watched = _watch(trt, monitor) if monitor is not None and trt.has("progress") else None
        if watched is not None:
            config.progress_monitor = watched
        plan = builder.build_serialized_network(network, config)
        del parser  # it owns the weights until here
    if plan is None:
        if watched is not None and watched.cancelled:
            raise Cancelled
        raise BuildError(f"{trt.title} to build the engine", trt.last_errors() or "no reason in its log", SEE_LOG)
    return Built(bytes(plan), bytes(cache.serialize()) if cache is not None else None, fell_back)


NO_GPU = "build on the machine that runs it, or for desktop GPUs with --flavour tensorrt_rtx --targets sm_86,sm_89"
SHOWN = 5  # errors of the parser that are quoted
SEE_DOCTOR = "see what is missing with: trt-build --doctor"
SEE_LOG = "see the whole log with --verbose"


def _bits(owner: Any, names: Sequence[str]) -> int:
    """Flags by name: their numbers differ between releases."""
    return sum(1 << int(getattr(owner, name)) for name in names)


def _parsed(
    trt: TensorRT,
    onnx: bytes,
    *,
    nodes: Sequence[str],
) -> tuple[Any, Any, Any]:
    """trt.Builder, trt.INetworkDefinition, trt.OnnxParser."""
    try:
        builder = trt.module.Builder(trt.logger)
    except TypeError as error:  # how 8.x's bindings tell that the library returned nothing
        raise BuildError(f"a builder of {trt.title}", trt.last_errors() or str(error), SEE_DOCTOR) from error
    flags = trt.module.NetworkDefinitionCreationFlag
    network = builder.create_network(_bits(flags, ["STRONGLY_TYPED"] if trt.typed else ["EXPLICIT_BATCH"]))
    parser = trt.module.OnnxParser(network, trt.logger)
    if not parser.parse(onnx):
        _refused_by_parser(trt, parser, nodes=nodes)
    return builder, network, parser


def _refused_by_parser(
    trt: TensorRT,
    parser: Any,  # trt.OnnxParser
    *,
    nodes: Sequence[str],
) -> NoReturn:
    reasons: list[str] = []
    for index in range(min(parser.num_errors, SHOWN)):
        error = parser.get_error(index)
        place = int(error.node())
        if trt.has("parser_names") and error.node_name():
            where = f"node {error.node_name()} ({error.node_operator()}): "
        else:
            where = f"node {nodes[place]}: " if 0 <= place < len(nodes) else ""
        reasons.append(where + str(error.desc()).strip())
    remedy = "replace the node by standard operators and export again, or use a newer TensorRT"
    raise ModelError(f"a graph that {trt.title} can parse", "; ".join(reasons) or trt.last_errors(), remedy)


def _configure(
    trt: TensorRT,
    config: Any,  # trt.IBuilderConfig
    *,
    settings: Settings,
) -> None:
    module = trt.module
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # or no layer tells its precision
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.optimization_level is not None:
        trt.need("optimization_level")
        config.builder_optimization_level = settings.optimization_level
    if settings.hardware_compatibility != "none":
        member, feature = HARDWARE_LEVELS[settings.hardware_compatibility]
        trt.need(feature)
        config.hardware_compatibility_level = getattr(module.HardwareCompatibilityLevel, member)
    if settings.tactic_sources is not None:
        trt.need("tactic_sources")
        for word in settings.tactic_sources:
            trt.need(TACTIC_SOURCES[word][1])
        members = [TACTIC_SOURCES[word][0] for word in settings.tactic_sources]
        if not config.set_tactic_sources(_bits(module.TacticSource, members)):
            raise BuildError(f"tactic sources {members}", f"{trt.title} refused them", "leave out --tactic-sources")
    wanted = (("version_compatible", "VERSION_COMPATIBLE"), ("refit", "REFIT"), ("strip", "STRIP_PLAN"))
    for feature, member in wanted:
        if getattr(settings, feature):
            trt.need(feature)
            config.set_flag(getattr(module.BuilderFlag, member))
    if not settings.tf32:
        config.clear_flag(module.BuilderFlag.TF32)
    if settings.targets:
        _set_targets(trt, config, targets=settings.targets)


def _set_targets(
    trt: TensorRT,
    config: Any,  # trt.IBuilderConfig
    *,
    targets: Sequence[str],  # "sm_86", ...
) -> None:
    trt.need("portable")
    capabilities = trt.module.ComputeCapability
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        member = target.upper().replace("_", "")
        if not hasattr(capabilities, member) or not config.set_compute_capability(getattr(capabilities, member), index):
            known = ", ".join(trt.targets())
            raise BuildError(f"targets that {trt.title} builds for: {known}", target, NOT_RTX)


NOT_RTX = "leave it out of --targets; for such a GPU build with TensorRT on the device itself"


def _add_profile(
    trt: TensorRT,
    builder: Any,  # trt.Builder
    *,
    config: Any,  # trt.IBuilderConfig
    shapes: Profile,
) -> None:
    profile = builder.create_optimization_profile()
    for name, (smallest, best, largest) in shapes.items():
        profile.set_shape(name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        got = f"{dict(shapes)}: {trt.last_errors()}"
        raise BuildError(f"a profile that {trt.title} takes", got, "correct --min-shapes, --opt-shapes, --max-shapes")


def _timing_cache(
    trt: TensorRT,
    config: Any,  # trt.IBuilderConfig
    *,
    content: bytes | None,
) -> Any:
    """The cache in use, or None; content that does not fit this machine is replaced by an empty one."""
    if content is None or not trt.has("timing_cache"):
        return None
    for start in dict.fromkeys((content, b"")):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _watch(trt: TensorRT, monitor: Monitor) -> Any:
    """TensorRT's own kind of monitor around ours."""
    base = trt.module.IProgressMonitor

    class Watch(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.cancelled = False

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            monitor.start(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            self.cancelled = self.cancelled or not monitor.step(phase, step)
            return not self.cancelled

        def phase_finish(self, phase: str) -> None:
            monitor.finish(phase)

    return Watch()
