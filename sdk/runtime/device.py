"""One GPU through its primary context: memory, streams, events, graphs. Whoever makes one of these closes it.

The primary context is the one that torch, cupy, TensorRT and the CUDA runtime use, so arrays and streams mix. Nothing
here changes the caller's current context: it is pushed for the length of a call and popped again.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.runtime import gpu

__all__ = ["LEGACY_STREAM", "Buffer", "Device", "Event", "Graph", "PinnedBuffer", "Resource", "Stream", "device_index"]

LEGACY_STREAM = 1  # CU_STREAM_LEGACY: the default stream, which waits for all others that do not opt out
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING: such events cost next to nothing
NOT_READY = 600  # CUDA_ERROR_NOT_READY
KERNEL_NODE = 0  # CU_GRAPH_NODE_TYPE_KERNEL
MIB = 2**20

log = logging.getLogger("facetrt")


def device_index(device: str | None) -> int:
    """GPU number of "cuda" or "cuda:N"; None is cuda:0. Raises BackendError for anything else."""
    kind, colon, number = (device or "cuda").partition(":")
    if kind != "cuda" or (colon and not number.isdigit()):
        raise BackendError(
            'a device like "cuda" or "cuda:0"', repr(device), "engines run on GPUs; leave it out for cuda:0"
        )
    return int(number or 0)


class Device:
    """GPU number `index`. Its primary context stays retained as long as this object or anything made from it lives."""

    def __init__(self, index: int = 0) -> None:
        self.driver = gpu.driver()
        self.index = index
        handle = self.driver("cuDeviceGet", index, what=f"GPU cuda:{index}")
        self.context: Any = self.driver("cuDevicePrimaryCtxRetain", handle)
        self._pid = os.getpid()
        finalizer = weakref.finalize(self, _release_context, self.driver, handle, self._pid)
        finalizer.atexit = False  # at the end of the process the driver frees everything, in its own order

    @contextlib.contextmanager
    def current(self) -> Generator[None, None, None]:
        """Inside, CUDA calls of this thread go to this GPU. Raises BackendError in a forked process."""
        if not self.usable:
            got = f"process {os.getpid()}, forked from it"
            raise BackendError(
                f"process {self._pid}, which opened the GPU", got, "open models after forking, or use spawn"
            )
        self.driver("cuCtxPushCurrent", self.context)
        try:
            yield
        finally:
            self.driver("cuCtxPopCurrent")

    @property
    def usable(self) -> bool:
        """False in a process forked from the one that opened the GPU."""
        return os.getpid() == self._pid

    def memory_bytes(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU."""
        with self.current():
            free, total = self.driver("cuMemGetInfo")
        return int(free), int(total)

    def copy_in(self, target: int, source: int, size_bytes: int, stream: Stream) -> None:
        """Host to device; pinned memory at `source` must stay as it is until the stream has passed."""
        self.driver("cuMemcpyHtoDAsync", target, source, size_bytes, stream.handle)

    def copy_out(self, target: int, source: int, size_bytes: int, stream: Stream) -> None:
        """Device to host; `target` is valid once the stream has passed."""
        self.driver("cuMemcpyDtoHAsync", target, source, size_bytes, stream.handle)

    def copy(self, target: int, source: int, size_bytes: int, stream: Stream) -> None:
        """Device to device."""
        self.driver("cuMemcpyDtoDAsync", target, source, size_bytes, stream.handle)

    def fill_zero(self, target: int, size_bytes: int, stream: Stream) -> None:
        self.driver("cuMemsetD8Async", target, 0, size_bytes, stream.handle)


def _release_context(driver: gpu.Driver, handle: Any, pid: int) -> None:
    if os.getpid() == pid:
        with contextlib.suppress(BackendError):  # an earlier error has ended the context: nothing is left to release
            driver("cuDevicePrimaryCtxRelease", handle)


class Resource:
    """Something of a device that close() frees, twice harmless; also when it is dropped."""

    def __init__(self, device: Device, free: str, handle: Any) -> None:
        self.device = device
        self.handle: Any = handle
        self._free = weakref.finalize(self, _free_resource, device, free, handle)
        self._free.atexit = False

    def close(self) -> None:
        self._free()

    @property
    def closed(self) -> bool:
        return not self._free.alive


def _free_resource(device: Device, function: str, handle: Any) -> None:
    """Free something; a failure only goes to the log, since nobody who frees can mend it. Nothing in a forked child."""
    if not device.usable:
        return
    try:
        with device.current():
            device.driver(function, handle)
    except BackendError as error:
        log.debug("%s: %s", function, error.got)


class Buffer(Resource):
    """Device memory. cuMemFree waits for what the GPU still does with it."""

    def __init__(self, device: Device, size_bytes: int, what: str = "data") -> None:
        with device.current():
            try:
                pointer = device.driver("cuMemAlloc", max(size_bytes, 1))
            except BackendError as error:
                free, total = (size // MIB for size in device.memory_bytes())
                said = f"{size_bytes / MIB:.1f} MiB of {total} MiB GPU memory, {free} MiB free, for {what}"
                raise BackendError(f"cuMemAlloc to give {said}", error.got, error.remedy) from error
        super().__init__(device, "cuMemFree", pointer)
        self.pointer = int(pointer)
        self.size_bytes = size_bytes


class PinnedBuffer(Resource):
    """Host memory that the GPU copies from and to by itself."""

    def __init__(self, device: Device, size_bytes: int, what: str = "data") -> None:
        with device.current():
            said = f"{size_bytes / MIB:.1f} MiB of pinned host memory for {what}"
            pointer = device.driver("cuMemHostAlloc", max(size_bytes, 1), 0, what=said)
        super().__init__(device, "cuMemFreeHost", pointer)
        self.pointer = int(pointer)
        self.size_bytes = size_bytes

    def array(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, offset_bytes: int = 0
    ) -> npt.NDArray[Any]:  # [*shape], a view: do not keep it longer than this buffer
        """The memory from `offset_bytes` on, as an array."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert offset_bytes + size_bytes <= self.size_bytes, (offset_bytes, size_bytes, self.size_bytes)
        memory: Any = (ctypes.c_char * size_bytes).from_address(self.pointer + offset_bytes)
        flat: npt.NDArray[Any] = np.frombuffer(memory, np.dtype(dtype))
        return flat.reshape(shape)


class Event(Resource):
    """A point in a stream that others can wait for."""

    def __init__(self, device: Device, stream: int) -> None:
        """Records the point now; `stream` is a CUDA handle. The device must be current."""
        super().__init__(device, "cuEventDestroy", device.driver("cuEventCreate", NO_TIMING))
        device.driver("cuEventRecord", self.handle, stream)

    def passed(self) -> bool:
        """Has the stream got past it? The device must be current."""
        status, *_ = self.device.driver.module.cuEventQuery(self.handle)
        return int(status) != NOT_READY

    def synchronize(self) -> None:
        """Wait on the host until the stream has got past it. The device must be current."""
        self.device.driver("cuEventSynchronize", self.handle)


class Stream(Resource):
    """A queue of work on the GPU that does not wait for the default stream."""

    def __init__(self, device: Device) -> None:
        with device.current():
            native = device.driver("cuStreamCreate", NON_BLOCKING)
        super().__init__(device, "cuStreamDestroy", native)
        self.handle: int = int(native)

    def synchronize(self) -> None:
        """Wait on the host for all work so far. The device must be current."""
        self.device.driver("cuStreamSynchronize", self.handle)

    def wait_for(self, other: int) -> None:
        """Later work here waits on the GPU for the work so far in the stream of that handle."""
        with contextlib.closing(Event(self.device, other)) as event:
            self.device.driver("cuStreamWaitEvent", self.handle, event.handle, 0)

    def make_wait(self, other: int) -> None:
        """Later work in the stream of that handle waits on the GPU for the work so far here."""
        with contextlib.closing(Event(self.device, self.handle)) as event:
            self.device.driver("cuStreamWaitEvent", other, event.handle, 0)


class Graph(Resource):
    """Work recorded from a stream, launched again as one."""

    def __init__(self, stream: Stream, work: Callable[[], None], *, editable: bool = False) -> None:
        """Records what `work` puts on the stream; nothing runs yet. The device must be current. Raises BackendError.

        Thread-local capture: CUDA calls of other threads neither enter the graph nor spoil it.
        """
        device, driver = stream.device, stream.device.driver
        mode = driver.module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver("cuStreamBeginCapture", stream.handle, mode)
        try:
            work()
        except BaseException:
            _status, *results = driver.module.cuStreamEndCapture(stream.handle)  # ends it in any case
            if results and results[0] is not None and int(results[0]):
                driver("cuGraphDestroy", results[0])
            raise
        template = Resource(device, "cuGraphDestroy", driver("cuStreamEndCapture", stream.handle))
        try:
            _nodes, count = driver("cuGraphGetNodes", template.handle)
            if not count:  # TensorRT on another device records nothing and says nothing
                raise BackendError("work in the recorded CUDA graph", "an empty graph", "pass graphs=False")
            self._kernels = _kernel_nodes(driver, template.handle, int(count)) if editable else {}
            executable = driver("cuGraphInstantiate", template.handle, 0)
        except BackendError:
            template.close()
            raise
        super().__init__(device, "cuGraphExecDestroy", executable)
        self._template: Resource | None = template  # its nodes name what edit() changes
        if not editable:
            template.close()
        self._stream = stream.handle

    def launch(self) -> None:
        """Put the recorded work on the stream. The device must be current."""
        self.device.driver("cuGraphLaunch", self.handle, self._stream)

    def shows(self, function: int) -> bool:
        """Is the kernel of that CUDA handle there, once, for edit()?"""
        return function in self._kernels

    def edit(
        self,
        function: int,
        args: ctypes.Structure,  # copied before this returns
        *,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
    ) -> None:
        """Other arguments for a kernel of an editable graph, in launches from now on. The device must be current."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        parameters: Any = self.device.driver.module.CUDA_KERNEL_NODE_PARAMS()
        parameters.func = function
        parameters.gridDimX, parameters.gridDimY, parameters.gridDimZ = grid
        parameters.blockDimX, parameters.blockDimY, parameters.blockDimZ = block
        parameters.sharedMemBytes, parameters.kernelParams = 0, ctypes.addressof(pointers)
        node = self._kernels[function]
        self.device.driver("cuGraphExecKernelNodeSetParams", self.handle, node, parameters)

    def close(self) -> None:
        super().close()
        if self._template is not None:
            self._template.close()


def _kernel_nodes(driver: gpu.Driver, graph: Any, count: int) -> dict[int, Any]:
    """Nodes of a graph by their kernel; those of kernels that are there more than once, or have no handle, left out."""
    nodes, _count = driver("cuGraphGetNodes", graph, count)
    found: dict[int, list[Any]] = {}
    for node in nodes:
        if int(driver("cuGraphNodeGetType", node)) == KERNEL_NODE:
            status, parameters = driver.module.cuGraphKernelNodeGetParams(node)
            if int(status) == 0:  # else a kernel of a library, which may be hidden
                found.setdefault(int(parameters.func), []).append(node)
    return {function: several[0] for function, several in found.items() if function and len(several) == 1}
