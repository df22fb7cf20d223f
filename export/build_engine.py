"""A typed graph to a verified plan: settings from options, the build in its own thread, precisions read back.

The build runs beside the main thread, which reports progress and hears Ctrl-C at once: TensorRT with a progress monitor
then stops by itself; one without is left behind, nothing of it is kept.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from export.layers import Readback, check_fp32, compare, found_layers
from export.options import Options
from export.precision import Typed
from export.shapes import profiles_for
from export.tail_nodes import PREFIX
from export.timing import TimingCache
from export.watch import Watch
from sdk.errors import BuildError, EngineError
from sdk.runtime.gpu import Gpu
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_builder import Built, Cancelled, Profile, Settings, build
from sdk.spec import ModelSpec

__all__ = ["Engine", "build_engine", "settings_for"]

POLL_S = 0.1
THREAD = "trt-build"  # name of the building thread: export.cli looks whether one was left behind
STOPS_WITHIN_S = 10.0  # after Ctrl-C, a build that can be cancelled
DIALECT_FLAGS = {"fp32": (), "fp16": ("fp16",), "int8": ("fp16", "int8"), "fp8": ()}


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
    watch = Watch(
        len(typed.graph.graph.node) * len(profiles), keep=trt.portable, on_progress=on_progress, on_log=on_log
    )
    started_s = time.monotonic()
    nodes = [f"{node.name or node.output[0]} ({node.op_type})" for node in typed.graph.graph.node]
    proto = typed.graph.SerializeToString()

    def run() -> Built:
        return build(trt, proto, settings=settings, nodes=nodes, sink=watch.hear, monitor=watch)

    try:
        built = _beside(run, watch, device=gpu)
    finally:
        watch.tell()
    build_s = time.monotonic() - started_s
    if built.timing_cache is not None:
        cache.save(built.timing_cache)
    table = watch.text() if trt.portable else _inspected(trt, built.plan, options=options, gpu=gpu)
    layers = found_layers(table)
    readback = compare(typed.asked, layers)
    check_fp32(layers, PREFIX)
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
        fp32_from=PREFIX if weak else "",
        timing_cache=timing_cache,
    )


def _current(gpu: Gpu | None) -> contextlib.AbstractContextManager[None]:
    """Inside, TensorRT uses this GPU; the first one needs no telling, and no cuda-python."""
    if gpu is None or gpu.index == 0:
        return contextlib.nullcontext()
    from sdk.runtime.device import Device  # late: imports cuda-python

    return Device(gpu.index).current()


def _inspected(trt: TensorRT, plan: bytes, *, options: Options, gpu: Gpu | None) -> str:
    try:
        with _current(gpu):
            return trt.layer_information(trt.open_engine(plan, host_code=options.version_compatible))
    except EngineError as error:
        raise BuildError("an engine that loads where it was built", error.got, error.remedy) from error


def _beside(
    run: Callable[[], Built],
    watch: Watch,
    *,
    device: Gpu | None,
) -> Built:
    """run() in a thread of its own, which stays behind when Ctrl-C comes and TensorRT cannot be stopped.

    Waits for an event, not with join() or is_alive(): Ctrl-C inside those makes Python, up to 3.12, take the thread for
    ended while it still runs, and TensorRT then aborts the process when Python goes away under it.
    """
    results: list[Built | BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            with _current(device):
                results.append(run())
        except BaseException as error:  # handed to the caller below
            results.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name=THREAD, daemon=True).start()
    try:
        while not ended.wait(POLL_S):
            watch.tell()
    except BaseException:  # Ctrl-C, or nobody reads what tell() writes any more
        watch.cancel()
        ended.wait(STOPS_WITHIN_S if watch.monitored else 0.0)
        raise
    result = results[0]
    if isinstance(result, Cancelled):
        raise KeyboardInterrupt from result
    if isinstance(result, BaseException):
        raise result
    return result
