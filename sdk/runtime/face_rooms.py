"""Memory for the faces of one frame or of one batch: named arrays on the GPU and pinned ones on the host, that grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sdk.runtime.device import Buffer, Device, PinnedBuffer, Stream
from sdk.runtime.interop import DeviceArray

__all__ = ["Packed", "Rooms", "rows_of"]

ALIGNMENT_BYTES = 256  # where cudaMalloc begins; kernels read vectors of 16
AnyBuffer = TypeVar("AnyBuffer", Buffer, PinnedBuffer)


class Rooms:
    """Arrays for work on one stream. A name's memory is used anew by every array() of it; it grows in powers of two.

    What was replaced is freed by settle(), to be called after the stream was waited for.
    """

    def __init__(self, device: Device, *, moved: Callable[[], None] | None = None) -> None:
        """moved: called when memory was replaced by more, so that nobody keeps its old address."""
        self.device = device
        self._moved = moved
        self._buffers: dict[str, Buffer] = {}
        self._pinned: dict[str, PinnedBuffer] = {}
        self._retired: list[Buffer | PinnedBuffer] = []

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, *, stream: Stream) -> DeviceArray:
        """Memory on the GPU, not set to anything. Raises BackendError when there is not enough."""
        size_bytes = _bytes(shape, dtype)
        held = self._buffers.get(name)
        if held is None or held.size_bytes < size_bytes:
            larger = self._buffers[name] = Buffer(self.device, _room(size_bytes), name)
            held = self._replace(held, larger)
        return DeviceArray(self.device, held.pointer, shape, dtype, owner=held, stream=stream)

    def host(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:  # [*shape]
        """Pinned memory on the host, not set to anything; a view that the next call for this name overwrites."""
        size_bytes = _bytes(shape, dtype)
        held = self._pinned.get(name)
        if held is None or held.size_bytes < size_bytes:
            larger = self._pinned[name] = PinnedBuffer(self.device, _room(size_bytes), name)
            held = self._replace(held, larger)
        return held.array(shape, dtype)

    def put(
        self,
        name: str,
        values: npt.NDArray[Any],  # [...], C order
        *,
        stream: Stream,
    ) -> DeviceArray:
        """A copy on the GPU, made on the stream. One a name and settle()."""
        staged = self.host(name, values.shape, values.dtype)
        np.copyto(staged, values)
        array = self.array(name, values.shape, values.dtype, stream=stream)
        if values.size:
            self.device.copy_in(array.pointer, staged.ctypes.data, array.size_bytes, stream)
        return array

    def fetch(self, name: str, array: DeviceArray, *, stream: Stream) -> npt.NDArray[Any]:  # of the array's shape
        """Pinned memory that holds the array once the stream has passed."""
        found = self.host(name, array.shape, array.dtype)
        if found.size:
            self.device.copy_out(found.ctypes.data, array.pointer, array.size_bytes, stream)
        return found

    def _replace(self, held: Buffer | PinnedBuffer | None, larger: AnyBuffer) -> AnyBuffer:
        if held is not None:
            self._retired.append(held)
            if self._moved is not None:
                self._moved()
        return larger

    def settle(self) -> None:
        """Free what was replaced."""
        retired, self._retired = self._retired, []
        for one in retired:
            one.close()

    def close(self) -> None:
        """Free everything; twice is harmless."""
        self._retired += [*self._buffers.values(), *self._pinned.values()]
        self._buffers, self._pinned = {}, {}
        self.settle()


class Packed:
    """Several arrays in one piece of memory on the GPU and one, pinned, on the host: one copy moves them all."""

    def __init__(
        self,
        rooms: Rooms,
        name: str,
        fields: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]],  # name -> shape, type
        *,
        stream: Stream,
    ) -> None:
        """What is there keeps its content and its place until more is asked for under this name."""
        starts: dict[str, int] = {}
        size_bytes = 0
        for field, (shape, dtype) in fields.items():
            starts[field] = size_bytes
            size_bytes += -(-_bytes(shape, dtype) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._device, self._stream = rooms.device, stream
        self._all = rooms.array(name, (size_bytes,), np.uint8, stream=stream)
        self._pinned = rooms.host(name, (size_bytes,), np.uint8)
        base = self._all.pointer
        self.there = {  # on the GPU
            field: DeviceArray(rooms.device, base + starts[field], shape, dtype, owner=self._all, stream=stream)
            for field, (shape, dtype) in fields.items()
        }
        self.here: dict[str, npt.NDArray[Any]] = {  # on the host
            field: self._pinned[starts[field] : starts[field] + _bytes(shape, dtype)].view(dtype).reshape(shape)
            for field, (shape, dtype) in fields.items()
        }

    def copy_in(self) -> None:
        """Host to GPU, on the stream."""
        self._device.copy_in(self._all.pointer, self._pinned.ctypes.data, self._all.size_bytes, self._stream)

    def copy_out(self) -> None:
        """GPU to host, on the stream."""
        self._device.copy_out(self._pinned.ctypes.data, self._all.pointer, self._all.size_bytes, self._stream)


def rows_of(array: DeviceArray, start: int, count: int) -> DeviceArray:
    """array[start : start + count]"""
    step = _bytes(array.shape[1:], array.dtype)
    shape = (count, *array.shape[1:])
    pointer = array.pointer + start * step
    return DeviceArray(array.device, pointer, shape, array.dtype, owner=array, stream=array.stream)


def _bytes(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _room(size_bytes: int) -> int:
    return 1 << max(size_bytes - 1, 1).bit_length()
