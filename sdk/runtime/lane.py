"""A lane: one CUDA stream with its contexts, buffers and graphs. One thread uses it at a time; see lane_pool.

    Arena   device memory for the tensors of one inference at a time, pinned host memory for those of a whole batch
    Bucket  an execution context fixed to one profile and one input shape, and the CUDA graph captured from it
    Lane    both, and what runs a batch through them

Memory grows and never shrinks: a lane that has seen its largest batch allocates nothing any more. What is replaced
while the GPU may still use it is retired, and freed after the next synchronisation: none is added in the middle.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.runtime import trt_context
from sdk.runtime.device import Buffer, Device, Event, Graph, PinnedBuffer, Stream
from sdk.runtime.profiles import Part, Profile, split
from sdk.runtime.trt_api import IoTensor, TensorRT

__all__ = ["Bucket", "Lane", "LoadedEngine"]

MAX_BUCKETS = 8  # batch sizes with a context and a graph of their own; the least recently used one makes room
WARM_UP_RUNS = 1  # plain enqueues of a shape before its graph: the first one settles what TensorRT had put off

log = logging.getLogger("facetrt")


@dataclass(frozen=True)
class LoadedEngine:
    """What all lanes share."""

    name: str  # the file's, for messages
    api: TensorRT
    device: Device
    native: Any  # TensorRT's engine
    plan: bytes | None  # set where contexts cannot share profiles: every lane then loads an engine of its own
    source: IoTensor
    outputs: tuple[IoTensor, ...]
    wanted: tuple[str, ...]  # outputs that are read
    profiles: tuple[Profile, ...]
    graphs: bool  # capture CUDA graphs
    making_context: threading.Lock  # TensorRT promises threads only that contexts run side by side


class _Growing:
    """A buffer that is replaced by a larger one when needed, in powers of two."""

    def __init__(self, kind: type[Buffer] | type[PinnedBuffer], device: Device, what: str) -> None:
        self._kind, self._device, self._what = kind, device, what
        self.buffer: Any = None

    def reserve(self, size_bytes: int) -> Any:
        """Makes room; the buffer this replaced, to be retired, or None. After an error all is as it was."""
        old = self.buffer
        if old is not None and old.size_bytes >= size_bytes:
            return None
        room = size_bytes if old is None else 1 << (size_bytes - 1).bit_length()
        self.buffer = self._kind(self._device, room, self._what)
        return old


class Bucket:
    """A context for one input shape. Tensors lie where the last enqueue() said."""

    def __init__(self, engine: LoadedEngine, context: Any, stream: Stream, *, profile: Profile, shape: tuple[int, ...]):
        self.profile, self.shape, self.context = profile, shape, context
        self._engine, self._stream = engine, stream
        engine.api.select_profile(context, profile.index, stream.handle)
        engine.api.set_shape(context, engine.source.name, shape)
        self.output_shapes = {one.name: trt_context.output_shape(context, one.name) for one in engine.outputs}
        self.graph: Graph | None = None
        self.longer: dict[object, Graph] = {}  # graphs of more than the inference, by whoever recorded them
        self._graphs = engine.graphs
        self._addresses: dict[str, int] = {}
        self._plain_runs = 0

    def size_bytes(self, tensor: IoTensor) -> int:
        """Bytes of an input or output at this bucket's batch size."""
        return math.prod(self.shape if tensor.is_input else self.output_shapes[tensor.name]) * tensor.dtype.itemsize

    def row_bytes(self, tensor: IoTensor) -> int:
        """Bytes of one face in an input or output."""
        return self.size_bytes(tensor) // self.shape[0]

    def enqueue(self, addresses: Mapping[str, int], *, fixed: bool) -> None:
        """Put one inference on the stream. `fixed`: these addresses come again, so a graph may hold them."""
        if fixed and self.graph is not None:
            self.graph.launch()
            return
        if fixed and self.recordable:
            self._address(addresses)
            self.graph = self.record(lambda: self._engine.api.enqueue(self.context, self._stream.handle))
            if self.graph is not None:
                self.graph.launch()
                return
        self.enqueue_plain(addresses)

    def enqueue_plain(self, addresses: Mapping[str, int]) -> None:
        """The same without a graph of its own: what a longer graph records."""
        self._address(addresses)
        self._engine.api.enqueue(self.context, self._stream.handle)
        self._plain_runs += 1

    @property
    def recordable(self) -> bool:
        """May a graph with this inference be recorded now? Not before it has run once, nor after a failure."""
        return self._graphs and self._plain_runs >= WARM_UP_RUNS

    def record(self, work: Callable[[], None], *, editable: bool = False) -> Graph | None:
        """A graph of `work`, which holds this inference; None, for good, when it cannot be recorded."""
        try:
            return Graph(self._stream, work, editable=editable)
        except BackendError as error:
            self._graphs = False
            log.warning("%s runs without a CUDA graph for %s: %s", self._engine.name, self.shape, str(error))
            return None

    def moved(self) -> list[Graph]:
        """Its buffers were replaced: forget the graphs, which know the old addresses, and return them to be retired."""
        gone = [*self.longer.values(), *([] if self.graph is None else [self.graph])]
        self.graph, self.longer = None, {}
        return gone

    def _address(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._engine.api.set_address(self.context, name, address)
                self._addresses[name] = address


class Lane:
    """Runs batches on one stream. Make it, and call everything but close(), with the device current."""

    def __init__(self, engine: LoadedEngine) -> None:
        self.engine = engine
        self.stream = Stream(engine.device)
        self._native: Any = engine.native if engine.plan is None else engine.api.open_engine(engine.plan)
        self._scratch_bytes = trt_context.scratch_bytes(self._native)
        self._scratch = Buffer(engine.device, self._scratch_bytes, f"scratch memory of {engine.name}")
        tensors = (engine.source, *engine.outputs)
        self._arena = {one.name: _Growing(Buffer, engine.device, f"{one.name} of {engine.name}") for one in tensors}
        self._staging = {one.name: _Growing(PinnedBuffer, engine.device, one.name) for one in tensors}
        self._buckets: collections.OrderedDict[tuple[int, tuple[int, ...]], Bucket] = collections.OrderedDict()
        self._retired: list[Buffer | PinnedBuffer | Graph] = []
        self._under_way: collections.deque[tuple[Event, tuple[object, ...]]] = collections.deque()

    def run(
        self,
        batch: npt.NDArray[np.float32],  # [N, C, h, w], N >= 1
    ) -> dict[str, npt.NDArray[np.float32]]:
        """New arrays of the wanted outputs, after the one synchronisation at the end. Raises BackendError."""
        source, faces = self.engine.source, len(batch)
        staged = self._stage(source, batch.size * source.dtype.itemsize).array(batch.shape, source.dtype)
        np.copyto(staged, batch, casting="same_kind")
        results: dict[str, npt.NDArray[Any]] = {}
        for part in split(batch.shape, self.engine.profiles):
            bucket = self.bucket(part, batch.shape[1:])
            addresses = {one.name: self.room(bucket, one) for one in (source, *self.engine.outputs)}
            if not results:
                results = self._results(bucket, faces)
            self._copy_in(part, bucket, staged, addresses[source.name])
            bucket.enqueue(addresses, fixed=True)
            self._copy_out(part, bucket, results, addresses)
        self.settle()
        # Copies: the lane keeps its own.
        return {name: one.astype(np.float32 if one.dtype.kind == "f" else one.dtype) for name, one in results.items()}

    def bucket(self, part: Part, face: tuple[int, ...]) -> Bucket:
        """The context for a part of a batch of faces [C, h, w], made on first use."""
        key = (part.profile.index, (part.rows, *face))
        bucket = self._buckets.get(key)
        if bucket is None:
            with self.engine.making_context:
                context = self._context_for(part.profile)
                bucket = Bucket(self.engine, context, self.stream, profile=part.profile, shape=key[1])
            self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        return bucket

    def room(self, bucket: Bucket, tensor: IoTensor) -> int:
        """Address of arena memory for a tensor; when it has to move, every graph is forgotten."""
        growing = self._arena[tensor.name]
        old = growing.reserve(bucket.size_bytes(tensor))
        if old is not None:
            self._retired.append(old)
            self.forget_graphs()
        return growing.buffer.pointer

    def forget_graphs(self) -> None:
        """Memory that graphs know of has moved: record them anew."""
        for one in self._buckets.values():
            self._retired += one.moved()

    def settle(self) -> None:
        """Wait for all work so far, then free what was retired."""
        self.stream.synchronize()
        self._under_way.clear()
        retired, self._retired = self._retired, []
        for one in retired:
            one.close()

    def keep(self, *objects: object) -> None:
        """Hold on to something until the work enqueued so far is done."""
        self._under_way.append((Event(self.engine.device, self.stream.handle), objects))

    def let_go(self, most: int) -> None:
        """Drop what was kept for work that is done; wait for the oldest when more than `most` are under way."""
        while self._under_way:
            event = self._under_way[0][0]
            if len(self._under_way) > most:
                event.synchronize()
            elif not event.passed():
                return
            self._under_way.popleft()

    def close(self) -> None:
        """Wait for the GPU and free everything; also after an error of CUDA."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.engine.device.current())
                self.settle()
            except BackendError as error:
                log.debug("closing a lane of %s: %s", self.engine.name, str(error))
            self._free()

    def _free(self) -> None:
        for bucket in self._buckets.values():
            self._retired += bucket.moved()
        self._buckets.clear()  # the last references to the contexts
        self._native = None
        self._under_way.clear()
        buffers = [one.buffer for one in (*self._arena.values(), *self._staging.values()) if one.buffer is not None]
        for one in (*self._retired, *buffers, self._scratch, self.stream):
            one.close()

    def _context_for(self, profile: Profile) -> Any:
        """A context for a new bucket: a new one, or that of a bucket which has to go for it."""
        alone = self.engine.plan is not None  # a profile may be in one context only
        same = [key for key in self._buckets if key[0] == profile.index]
        if not (alone and same) and len(self._buckets) < MAX_BUCKETS:
            scratch, size_bytes = self._scratch.pointer, self._scratch_bytes
            return trt_context.new_context(self.engine.api, self._native, scratch=scratch, size_bytes=size_bytes)
        gone = self._buckets.pop(same[0] if same else next(iter(self._buckets)))
        self._retired += gone.moved()
        return gone.context

    def _stage(self, tensor: IoTensor, size_bytes: int) -> PinnedBuffer:
        """Pinned memory for a tensor of the whole batch."""
        growing = self._staging[tensor.name]
        old = growing.reserve(size_bytes)
        if old is not None:
            self._retired.append(old)
        return growing.buffer

    def _results(self, bucket: Bucket, faces: int) -> dict[str, npt.NDArray[Any]]:
        """Pinned arrays for the wanted outputs of all faces."""
        found: dict[str, npt.NDArray[Any]] = {}
        for tensor in self.engine.outputs:
            if tensor.name in self.engine.wanted:
                shape = (faces, *bucket.output_shapes[tensor.name][1:])
                found[tensor.name] = self._stage(tensor, faces * bucket.row_bytes(tensor)).array(shape, tensor.dtype)
        return found

    def _copy_in(
        self,
        part: Part,
        bucket: Bucket,
        staged: npt.NDArray[Any],  # [N, C, h, w], pinned
        target: int,
    ) -> None:
        device, row_bytes = self.engine.device, bucket.row_bytes(self.engine.source)
        device.copy_in(target, staged[part.start :].ctypes.data, part.count * row_bytes, self.stream)
        if part.rows > part.count:
            device.fill_zero(target + part.count * row_bytes, (part.rows - part.count) * row_bytes, self.stream)

    def _copy_out(
        self,
        part: Part,
        bucket: Bucket,
        results: Mapping[str, npt.NDArray[Any]],  # each [N, ...], pinned
        addresses: Mapping[str, int],
    ) -> None:
        for tensor in self.engine.outputs:
            if tensor.name in results:
                start = results[tensor.name][part.start :].ctypes.data
                size_bytes = part.count * bucket.row_bytes(tensor)
                self.engine.device.copy_out(start, addresses[tensor.name], size_bytes, self.stream)
