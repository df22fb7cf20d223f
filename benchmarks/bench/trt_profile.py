"""Time of every layer of an engine by TensorRT's IProfiler: in a run of its own, for it changes what it measures.

A lane of its own, without CUDA graphs: the profiler reports only what is enqueued plainly. Not yet run on a GPU; the
tests run it against a fake TensorRT.
"""

import contextlib
import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.bench.ort_profile import LayerTime
from sdk.errors import BackendError, InputError
from sdk.runtime.lane import Lane
from sdk.runtime.profiles import split
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["engine_layer_times"]


def engine_layer_times(
    backend: TrtBackend,
    batch: npt.NDArray[np.float32],  # [N, C, h, w]
    *,
    runs: int = 20,
) -> tuple[LayerTime, ...]:
    """Layers in the order they run, of a batch that fits one profile.

    Raises InputError for no runs or a batch that is run in parts, BackendError when no layer is reported.
    """
    with backend.lease() as leased:
        engine = dataclasses.replace(leased.engine, graphs=False)
    parts = split(batch.shape, engine.profiles)
    if runs < 1 or len(parts) != 1:
        got = f"{runs} runs of a batch in {len(parts)} parts"
        raise InputError("1 run or more of a batch that fits one profile", got, "profile a smaller batch")
    spent: dict[str, list[float]] = defaultdict(list)
    profiler_type: Any = engine.api.module.IProfiler

    class Profiler(profiler_type):
        def __init__(self) -> None:
            profiler_type.__init__(self)  # as TensorRT's bindings demand, not super()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            spent[layer_name].append(ms)

    profiler = Profiler()  # kept alive until the lane is closed
    with engine.device.current(), contextlib.closing(Lane(engine)) as lane:
        lane.run(batch)  # settles what TensorRT puts off
        lane.bucket(parts[0], batch.shape[1:]).context.profiler = profiler
        for _ in range(runs):
            lane.run(batch)
    found: list[LayerTime] = []
    at_ms = 0.0
    for name, times in spent.items():
        ms = float(np.median(times))
        found.append(LayerTime(name, "", ms, at_ms))
        at_ms += ms
    if not found:
        got = f"{engine.api.title}, which reported none"
        raise BackendError("times of layers", got, "build with detailed profiling, as trt-build does")
    return tuple(found)
