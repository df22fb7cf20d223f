"""Arrays on the GPU that enter and leave without a copy: pycuda, cupy, torch, numba and whoever speaks their protocols.

In: from_device() reads `__cuda_array_interface__` (versions 2 and 3) or takes a DLPack capsule. The array is borrowed:
a DeviceArray made from it keeps the lender alive. Out: DeviceArray offers both protocols, so that
`torch.from_dlpack(array)`, `cupy.asarray(array)` and `pycuda.gpuarray.GPUArray(..., gpudata=array.pointer)` share its
memory. Who writes on one stream and reads on another must order the two; the protocols do it:
    in   the stream in the interface (3), DLPack's handshake, or, where an array names none (2), the default stream
    out  the stream in our interface; DLPack's handshake makes the reader's stream wait
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.runtime import dlpack
from sdk.runtime.device import LEGACY_STREAM, Buffer, Device, Event, Resource, Stream

__all__ = ["DeviceArray", "from_device", "stream_handle"]


class DeviceArray:
    """A C-contiguous array in the memory of a GPU. It lives until the last reference to it is gone."""

    def __init__(
        self,
        device: Device,
        pointer: int,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        *,
        owner: object,  # what keeps the memory: a Buffer, a foreign array, a DLPack capsule
        stream: Stream | int | None = None,  # where it is written; None: already complete
        readonly: bool = False,
    ) -> None:
        self.device = device
        self.pointer = pointer
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.readonly = readonly
        self._owner = owner
        self._stream = stream

    @classmethod
    def empty(cls, device: Device, shape: tuple[int, ...], dtype: npt.DTypeLike, *, stream: Stream) -> DeviceArray:
        """New memory, to be written on `stream`. Raises BackendError when there is not enough."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        buffer = Buffer(device, size_bytes, f"an array {shape}")
        return cls(device, buffer.pointer, shape, dtype, owner=buffer, stream=stream)

    def written_on(self, stream: Stream) -> DeviceArray:
        """The same memory, now to be written on that stream."""
        return DeviceArray(self.device, self.pointer, self.shape, self.dtype, owner=self, stream=stream)

    def first(self, count: int) -> DeviceArray:
        """array[:count]"""
        shape = (count, *self.shape[1:])
        return DeviceArray(self.device, self.pointer, shape, self.dtype, owner=self, stream=self._stream)

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def freed(self) -> bool:
        """Has the memory been given back, by closing the buffer that held it?"""
        owner = self._owner
        return owner.freed if isinstance(owner, DeviceArray) else isinstance(owner, Resource) and owner.closed

    @property
    def stream(self) -> int | None:
        """CUDA handle of the stream that writes this array; None when it is complete."""
        if isinstance(self._stream, Stream):
            return None if self._stream.closed else self._stream.handle  # closing a stream waited for its work
        return self._stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, self.readonly),
            "version": 3,
            "strides": None,
            "stream": self.stream,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device.index

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule. `stream`: the reader's, made to wait for ours; None: the default stream, -1: no waiting."""
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(
                "this array is lent as it is, on the GPU where it lies; copy it with the reader's library"
            )
        if self.readonly:
            raise BufferError("this array may not be written to, which a DLPack capsule of this version cannot say")
        ours, reader = self.stream, LEGACY_STREAM if stream is None else stream
        if ours is not None and reader not in (-1, ours):
            with self.device.current():
                event = Event(self.device, ours)
                self.device.driver("cuStreamWaitEvent", reader, event.handle, 0)
                event.close()
        return dlpack.make_capsule(self, self.pointer, self.shape, self.dtype, device=self.device.index)

    def copy_to_host(self) -> npt.NDArray[Any]:  # [*shape]
        """A copy on the host; waits for the array to be complete. Raises BackendError."""
        found = np.empty(self.shape, self.dtype)
        with self.device.current():
            stream = LEGACY_STREAM if self.stream is None else self.stream
            self.device.driver("cuMemcpyDtoHAsync", found.ctypes.data, self.pointer, self.size_bytes, stream)
            self.device.driver("cuStreamSynchronize", stream)
        return found


def stream_handle(stream: object) -> int:
    """CUDA handle of a stream: an int, an object with `__cuda_stream__` (cuda.core), torch's, cupy's or pycuda's.

    Raises InputError for anything else. 0 means the default stream.
    """
    found: Any = stream
    if hasattr(found, "__cuda_stream__"):
        protocol: Any = found.__cuda_stream__
        pair: Any = protocol() if callable(protocol) else protocol
        found = pair[1]
    for attribute in ("cuda_stream", "ptr", "handle"):  # torch, cupy, pycuda
        if hasattr(found, attribute):
            found = getattr(found, attribute)
            break
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise InputError(
            "a CUDA stream or its handle", repr(stream), "pass stream=torch.cuda.current_stream(), for example"
        )
    return found or LEGACY_STREAM


def from_device(array: object, device: Device, *, stream: Stream, writable: bool = False) -> DeviceArray:
    """The array of another library, borrowed; later work on `stream` waits for what is still being written to it.

    Takes C-contiguous arrays on `device`; with `writable` none that is read-only. Raises InputError for others.
    """
    if isinstance(array, DeviceArray):
        found = array
    else:
        interface = _interface(array)
        if interface is not None and (_version(interface) >= 3 or not hasattr(array, "__dlpack__")):
            found = _from_interface(array, interface, device)
        elif hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
            found = _from_dlpack(array, device, stream)
        else:
            remedy = "pass an array of cupy, torch or pycuda, or use run() for arrays on the host"
            raise InputError("an array on the GPU", type(array).__name__, remedy)
    if writable and found.readonly:
        raise InputError("an array to write to", "one that is read-only", "pass a copy of it")
    if found.device.index != device.index:
        raise InputError(f"an array on cuda:{device.index}", f"one on cuda:{found.device.index}", "copy it there first")
    if found.stream is not None and found.stream != stream.handle:
        with device.current():
            stream.wait_for(found.stream)
    return found


def _interface(array: object) -> Mapping[str, Any] | None:
    """`array.__cuda_array_interface__`, None where there is none (torch has none on tensors of the CPU)."""
    try:
        found: object = getattr(array, "__cuda_array_interface__", None)
    except (TypeError, RuntimeError) as error:  # torch: a tensor that records gradients
        raise InputError("an array that can be lent", str(error).splitlines()[0], "pass array.detach()") from error
    if found is None or isinstance(found, Mapping):
        return cast("Mapping[str, Any] | None", found)
    raise InputError("a dict as __cuda_array_interface__", type(found).__name__, "report it to the array's library")


def _version(interface: Mapping[str, Any]) -> int:
    return int(interface.get("version", 0))


def _from_interface(array: object, interface: Mapping[str, Any], device: Device) -> DeviceArray:
    try:
        shape = tuple(int(size) for size in interface["shape"])
        dtype: np.dtype[Any] = np.dtype(str(interface["typestr"]))
        pointer, readonly = int(interface["data"][0] or 0), bool(interface["data"][1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        remedy = "report it to the array's library"
        raise InputError("shape, typestr and data in __cuda_array_interface__", repr(error), remedy) from error
    if interface.get("mask") is not None:
        raise InputError("an array without a mask", "a masked one", "fill it first")
    strides = interface.get("strides")
    _check_contiguous(shape, None if strides is None else tuple(int(step) for step in strides), dtype.itemsize)
    if 0 not in shape:
        _check_home(pointer, device)
    version = _version(interface)
    if version < 2:
        raise InputError(
            "__cuda_array_interface__ of version 2 or 3", f"version {version}", "update the array's library"
        )
    stream = interface.get("stream") if version >= 3 else LEGACY_STREAM
    if stream is not None and (isinstance(stream, bool) or not isinstance(stream, int) or stream <= 0):
        raise InputError("a stream handle or None in __cuda_array_interface__", repr(stream), "pass stream= yourself")
    return DeviceArray(device, pointer, shape, dtype, owner=array, stream=stream, readonly=readonly)


def _check_contiguous(shape: tuple[int, ...], strides_bytes: tuple[int, ...] | None, itemsize: int) -> None:
    """Raises InputError unless elements lie in C order without gaps. Steps along axes of one element do not matter."""
    if strides_bytes is None or 0 in shape:
        return
    dense = itemsize
    for size, step in zip(reversed(shape), reversed(strides_bytes), strict=True):
        if size != 1 and step != dense:
            got = f"shape {shape} with strides {strides_bytes} bytes"
            raise InputError("a C-contiguous array", got, "make it contiguous first (torch: .contiguous())")
        dense *= size


def _check_home(pointer: int, device: Device) -> None:
    """Raises InputError unless the pointer is memory of this GPU that its primary context may use."""
    kinds: Any = device.driver.module.CUpointer_attribute
    ask = device.driver.module.cuPointerGetAttribute
    with device.current():
        status, ordinal = ask(kinds.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer)
        known, context = ask(kinds.CU_POINTER_ATTRIBUTE_CONTEXT, pointer)
    if int(status) != 0:
        raise InputError("memory of a GPU", f"address {pointer:#x} ({status.name})", "use run() for arrays on the host")
    if int(ordinal) != device.index:
        raise InputError(f"an array on cuda:{device.index}", f"one on cuda:{int(ordinal)}", "copy it there first")
    if int(known) == 0 and int(context) not in (0, int(device.context)):  # 0: memory pools belong to no context
        remedy = "with pycuda: no autoinit, but pycuda.driver.Device(0).retain_primary_context().push()"
        raise InputError("an array of the GPU's primary context", "one of another context of the process", remedy)


def _from_dlpack(array: Any, device: Device, stream: Stream) -> DeviceArray:
    kind, index = (int(part) for part in array.__dlpack_device__())
    if kind not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        raise InputError("an array on the GPU", f"one of DLPack device type {kind}", "use run() for arrays on the host")
    if index != device.index:
        raise InputError(f"an array on cuda:{device.index}", f"one on cuda:{index}", "copy it there first")
    try:
        with device.current():
            capsule = array.__dlpack__(stream=stream.handle)  # makes our stream wait for the writer's
    except (BufferError, TypeError, RuntimeError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError("an array that can be lent", got, "pass array.detach(), or a plain copy") from error
    tensor = dlpack.take_capsule(capsule)
    _check_contiguous(tensor.shape, tensor.strides_bytes, tensor.dtype.itemsize)
    return DeviceArray(device, tensor.pointer, tensor.shape, tensor.dtype, owner=tensor)
