"""A typed graph to a verified plan: settings from options, the build in its own thread, precisions read back.

The build runs beside the main thread, which reports progress and hears Ctrl-C at once: TensorRT with a progress monitor
then stops by itself; one without is left behind, nothing of it is kept.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from export.layers import Readback, compare, found_layers
from export.options import Options
from export.precision import Typed
from export.shapes import profiles_for
from export.timing import TimingCache
from sdk.errors import BuildError, EngineError
from sdk.runtime.gpu import Gpu
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_builder import Built, Cancelled, Profile, Settings, build
from sdk.spec import ModelSpec

__all__ = ["Engine", "build_engine", "settings_for"]

POLL_S = 0.1
STOPS_WITHIN_S = 10.0  # after Ctrl-C, a build that can be cancelled
DIALECT_FLAGS = {"fp32": (), "fp16": ("fp16",), "int8": ("fp16", "int8"), "fp8": ()}
COSTS = "Computing costs for"  # one line of the log for every layer that TensorRT times


@dataclass(frozen=True, eq=False)
class Engine:
    """A plan whose layers run in the precision asked for."""

    plan: bytes
    profiles: list[Profile]
    readback: Readback
    fell_back_to_gpu: tuple[str, ...]
    targets: tuple[str, ...]  # TensorRT-RTX: compute capabilities it was built for
    build_s: float


def build_engine(
    typed: Typed,
    spec: ModelSpec,
    *,
    options: Options,
    trt: TensorRT,
    gpu: Gpu | None,  # that builds; None: TensorRT-RTX without one
    on_progress: Callable[[float], None],  # fraction 0 to 1, from the calling thread
    on_log: Callable[[str, str], None] | None = None,  # severity, text; from the calling thread too
) -> Engine:
    """Build and read back.

    Raises:
        InputError: shapes that do not fit the graph. ModelError: a node that TensorRT cannot parse; it is named.
        BuildError: a feature that this TensorRT lacks, a failed build, or layers in another precision than asked.
        KeyboardInterrupt: Ctrl-C.
    """
    profiles = profiles_for(typed.graph, spec, options=options)
    cache = TimingCache.open(options, trt, gpu=gpu)
    settings = settings_for(typed, options, trt=trt, gpu=gpu, profiles=profiles, timing_cache=cache.content)
    watch = _Watch(len(typed.graph.graph.node) * len(profiles))
    lines: list[tuple[str, str]] = []
    told = 0

    def sink(severity: str, text: str) -> None:  # called by TensorRT's threads: must not raise
        lines.append((severity, text))
        watch.heard(text)

    def tell() -> None:
        nonlocal told
        on_progress(watch.fraction)
        fresh, told = lines[told:], len(lines)
        for severity, text in fresh if on_log is not None else ():
            on_log(severity, text)

    started_s = time.monotonic()
    nodes = [f"{node.name or node.output[0]} ({node.op_type})" for node in typed.graph.graph.node]
    proto = typed.graph.SerializeToString()

    def run() -> Built:
        return build(trt, proto, settings=settings, nodes=nodes, sink=sink, monitor=watch)

    try:
        built = _beside(run, watch, device=gpu, on_poll=tell)
    finally:
        tell()
    build_s = time.monotonic() - started_s
    if built.timing_cache is not None:
        cache.save(built.timing_cache)
    table = "\n".join(text for _, text in lines) if trt.portable else _inspected(trt, built.plan, gpu=gpu)
    readback = compare(typed.asked, found_layers(table))
    return Engine(built.plan, profiles, readback, built.fell_back_to_gpu, tuple(settings.targets), build_s)


def settings_for(
    typed: Typed,
    options: Options,
    *,
    trt: TensorRT,
    gpu: Gpu | None,
    profiles: list[Profile],
    timing_cache: bytes | None,
) -> Settings:
    """What the builder is told; export.targets.refuse_impossible() has looked at it before."""
    targets = options.targets or ((gpu.sm,) if trt.portable and gpu is not None else ())
    weak = not trt.typed and options.precision != "fp32"
    return Settings(
        profiles=profiles,
        targets=targets,
        workspace_mib=options.workspace_mib,
        optimization_level=options.optimization_level,
        hardware_compatibility=options.hardware_compatibility,
        version_compatible=options.version_compatible,
        refit=options.refit,
        strip=options.strip_weights,
        dla_core=options.dla_core,
        gpu_fallback=options.gpu_fallback,
        tactic_sources=options.tactic_sources,
        tf32=options.tf32,
        flags=DIALECT_FLAGS[options.precision] if weak else (),
        layer_precisions=typed.asked if weak else {},
        timing_cache=timing_cache,
    )


def _current(gpu: Gpu | None) -> contextlib.AbstractContextManager[None]:
    """Inside, TensorRT uses this GPU; the first one needs no telling, and no cuda-python."""
    if gpu is None or gpu.index == 0:
        return contextlib.nullcontext()
    from sdk.runtime.device import Device  # late: imports cuda-python

    return Device(gpu.index).current()


def _inspected(trt: TensorRT, plan: bytes, *, gpu: Gpu | None) -> str:
    try:
        with _current(gpu):
            return trt.layer_information(trt.open_engine(plan))
    except EngineError as error:
        raise BuildError("an engine that loads where it was built", error.got, error.remedy) from error


def _beside(
    run: Callable[[], Built],
    watch: _Watch,
    *,
    device: Gpu | None,
    on_poll: Callable[[], None],
) -> Built:
    """run() in a thread of its own, which stays behind when Ctrl-C comes and TensorRT cannot be stopped."""
    results: list[Built | BaseException] = []

    def work() -> None:
        try:
            with _current(device):
                results.append(run())
        except BaseException as error:  # handed to the caller below
            results.append(error)

    thread = threading.Thread(target=work, name="trt-build", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            on_poll()
    except KeyboardInterrupt:
        watch.cancel()
        thread.join(STOPS_WITHIN_S if watch.monitored else 0.0)
        raise
    result = results[0]
    if isinstance(result, Cancelled):
        raise KeyboardInterrupt from result
    if isinstance(result, BaseException):
        raise result
    return result


class _Watch:
    """TensorRT's nested phases, or the lines of its log, as one fraction; any thread may call it, none may raise."""

    def __init__(self, layers: int) -> None:
        self.monitored = False  # TensorRT reports, so it can be cancelled
        self._phases: dict[str, tuple[str | None, int]] = {}  # open phases: parent, steps
        self._done: dict[str, int] = {}
        self._layers, self._timed = max(layers, 1), 0
        self._cancelled = False
        self._lock = threading.Lock()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self.monitored = True
            self._phases[phase], self._done[phase] = (parent, max(steps, 1)), 0

    def step(self, phase: str, step: int) -> bool:
        with self._lock:
            self._done[phase] = max(self._done.get(phase, 0), step)
        return not self._cancelled

    def finish(self, phase: str) -> None:
        with self._lock:
            self._phases.pop(phase, None)

    def heard(self, text: str) -> None:
        if COSTS in text:
            self._timed += 1

    def cancel(self) -> None:
        self._cancelled = True

    @property
    def fraction(self) -> float:
        """Of the outermost phase with all that is inside; without phases a guess from the layers timed so far."""
        with self._lock:
            if not self.monitored:
                return 1 - math.exp(-2 * self._timed / self._layers)
            roots = [phase for phase, (parent, _) in self._phases.items() if parent not in self._phases]
            return self._inside(roots[0]) if roots else 1.0

    def _inside(self, phase: str) -> float:
        steps = self._phases[phase][1]
        children = [one for one, (parent, _) in self._phases.items() if parent == phase]
        within = max((self._inside(child) for child in children), default=0.0)
        return min(1.0, (min(self._done.get(phase, 0), steps - 1) + within) / steps)
