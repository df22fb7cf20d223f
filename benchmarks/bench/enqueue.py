"""An engine alone: the inference put on the stream, without copies, and a wait at the end. Not yet run on a GPU.

It is what trtexec times, by our own loop and on the engine that the SDK has open: same contexts, same CUDA graph.
Inputs lie on the GPU already (whatever the memory of the lane holds: times do not depend on it).
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from sdk.errors import BackendError
from sdk.runtime.lane import Lane
from sdk.runtime.profiles import Part, split

IN_A_ROW = 20  # inferences between two CUDA events
TIMING = 0  # flags of an event that keeps the time


def enqueued(network: Any, shape: tuple[int, int, int, int]) -> Callable[[], None]:
    """A call that runs a batch [N, C, h, w] of a TrtBackend. Raises BackendError for a shape no profile takes."""
    parts = split(shape, network.profiles)

    def run() -> None:
        with network.lease() as lane:
            _put(lane, parts, shape)
            lane.settle()

    return run


def device_ms(network: Any, shape: tuple[int, int, int, int]) -> float:
    """Milliseconds of an inference between CUDA events, IN_A_ROW of them behind each other after one to warm up."""
    parts = split(shape, network.profiles)
    with network.lease() as lane, contextlib.ExitStack() as stack:
        for _ in range(3):  # plain, then captured, then the graph
            _put(lane, parts, shape)
        lane.settle()
        driver, stream = lane.engine.device.driver, lane.stream.handle
        events: list[Any] = []
        for _ in range(2):
            event = driver("cuEventCreate", TIMING)
            stack.callback(driver, "cuEventDestroy", event)
            events.append(event)
        driver("cuEventRecord", events[0], stream)
        for _ in range(IN_A_ROW):
            _put(lane, parts, shape)
        driver("cuEventRecord", events[1], stream)
        driver("cuEventSynchronize", events[1])
        elapsed = driver("cuEventElapsedTime", events[0], events[1])
        lane.settle()
    if elapsed is None or not float(elapsed) >= 0:
        raise BackendError("cuEventElapsedTime to give a time", repr(elapsed), "measure by the wall clock alone")
    return float(elapsed) / IN_A_ROW


def _put(lane: Lane, parts: Sequence[Part], shape: tuple[int, int, int, int]) -> None:
    """All parts of a batch on the lane's stream."""
    for part in parts:
        bucket = lane.bucket(part, shape[1:])
        tensors = (lane.engine.source, *lane.engine.outputs)
        bucket.enqueue({one.name: lane.room(bucket, one) for one in tensors}, fixed=True)
