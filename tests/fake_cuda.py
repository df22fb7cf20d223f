"""CUDA's driver on host memory, with the protocol of cuda.bindings.driver: (status, results...) from every function.

Nothing on a stream happens before somebody waits for it, so that a result read too early is stale; every address is
checked when it is used, so that memory freed too early is found. What a program did wrong stands in `problems`.
"""

import collections
import contextlib
import ctypes
import enum
import re
import sys
import threading

from fake_graphs import Graphs
from fake_kernels import Modules
from fake_streams import BAD_HANDLE, CUresult, Failed, Streams

from sdk.runtime import gpu

ALIGNMENT = 256
PRIMARY = 7  # the primary context of GPU 0; that of GPU 1 is 8
ANYWHERE = {"cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease", "cuCtxPushCurrent"}


class FakeCuda(Streams, Graphs, Modules):
    """The module that sdk.runtime.gpu.Driver wraps. faults: function -> the status it answers, or what gives one."""

    CUresult = CUresult
    CUstreamCaptureMode = enum.IntEnum("CUstreamCaptureMode", ["CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"])
    POINTER = {"CU_POINTER_ATTRIBUTE_CONTEXT": 1, "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL": 9}
    CUpointer_attribute = enum.IntEnum("CUpointer_attribute", POINTER)
    CUdevice_attribute = enum.IntEnum("CUdevice_attribute", {"CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE": 38})

    def __init__(self, memory_bytes=1 << 30, gpus=1):
        Streams.__init__(self)
        Graphs.__init__(self)
        Modules.__init__(self)
        self.lock = threading.RLock()
        self.memory_bytes, self.gpus = memory_bytes, gpus
        self.calls, self.faults = collections.Counter(), {}
        self.memory = {}  # address -> (ctypes buffer, size, "device" | "host", gpu, context)
        self.retained = collections.Counter()
        self.implicit_waits = 0  # times that freeing memory had to wait for work
        self._local = threading.local()

    def __getattr__(self, name):
        """cuMemAlloc(...) -> do_mem_alloc(...), counted, in a current context, with its status in front."""
        if not name.startswith("cu"):
            raise AttributeError(name)
        function = getattr(self, "do_" + re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", name[2:]).lower())

        def answer(*arguments):
            with self.lock:
                self.calls[name] += 1
                try:
                    fault = self.faults.get(name)
                    fault = fault() if callable(fault) else fault
                    if fault:
                        raise Failed(fault)
                    if name not in ANYWHERE and not self.stack:
                        self.problems.append(f"{name} without a current context")
                        raise Failed("CUDA_ERROR_INVALID_CONTEXT")
                    result = function(*arguments)
                except Failed as failed:
                    return failed.status, None
            return (
                CUresult.CUDA_SUCCESS,
                *(result if isinstance(result, tuple) else () if result is None else (result,)),
            )

        return answer

    @property
    def live(self):
        """What is not freed yet, by kind: {} after a clean end."""
        kinds = dict(memory=self.memory, events=self.events, graphs=self.graphs, executables=self.executables)
        counts = {name: len(kind) for name, kind in kinds.items()}
        counts.update(modules=len(self.modules), streams=len(self.streams) - 1, contexts=sum(self.retained.values()))
        return {name: count for name, count in counts.items() if count}

    @property
    def stack(self):
        """This thread's contexts, the current one last."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        return self._local.stack

    def used_bytes(self):
        return sum(size for _, size, kind, *_ in self.memory.values() if kind == "device")

    def allocate(self, size, kind="device", gpu=0, context=PRIMARY):
        if kind == "device" and self.used_bytes() + size > self.memory_bytes:
            raise Failed("CUDA_ERROR_OUT_OF_MEMORY")
        buffer = ctypes.create_string_buffer(size + ALIGNMENT)
        ctypes.memset(buffer, 0xFF, size + ALIGNMENT)  # NaN until written
        address = -(-ctypes.addressof(buffer) // ALIGNMENT) * ALIGNMENT
        self.memory[address] = (buffer, size, kind, gpu, context)
        return address

    def foreign(self, array, gpu=0, context=PRIMARY, offset=0):
        """Device memory of another library that holds a NumPy array; its address."""
        address = self.allocate(array.nbytes + offset, "device", gpu, context) + offset
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        return address

    def check(self, address, size, kind="device", whose=""):
        """The address again, after a look whether so many bytes may be used there."""
        for start, (_, room, what, *_) in self.memory.items():
            if start <= address and address + size <= start + room and what == kind:
                return address
        self.problems.append(f"{whose}{size} bytes of {kind} memory at {address:#x}: not, or no longer, allocated")
        raise Failed("CUDA_ERROR_ILLEGAL_ADDRESS")

    def do_init(self, flags): ...

    def do_device_get(self, index):
        if not 0 <= index < self.gpus:
            raise Failed("CUDA_ERROR_INVALID_DEVICE")
        return index

    def do_device_get_attribute(self, attribute, index):
        return 1 << 16

    def do_device_primary_ctx_retain(self, index):
        self.retained[index] += 1
        return PRIMARY + index

    def do_device_primary_ctx_release(self, index):
        self.retained[index] -= 1

    def do_ctx_push_current(self, context):
        self.stack.append(context)

    def do_ctx_pop_current(self):
        return self.stack.pop()

    def do_mem_get_info(self):
        return self.memory_bytes - self.used_bytes(), self.memory_bytes

    def do_mem_alloc(self, size):
        self.refuse_while_capturing()
        return self.allocate(size, gpu=self.stack[-1] - PRIMARY)

    def do_mem_host_alloc(self, size, flags):
        self.refuse_while_capturing()
        return self.allocate(size, "host")

    def do_mem_free(self, address):
        self.refuse_while_capturing()
        for stream in list(self.streams.values()):  # as the real one, it waits for the GPU
            self.implicit_waits += bool(stream.queue)
            stream.drain()
        self.drop(self.memory, address, "device memory")

    def do_mem_free_host(self, address):  # does not wait: work that still uses it finds it gone
        self.refuse_while_capturing()
        self.drop(self.memory, address, "host memory")

    def copy(self, target, source, size, stream, *checks):
        def work():
            ctypes.memmove(target, source, size if all(self.check(one, size, kind) for one, kind in checks) else 0)

        self.launch(stream, work, kind="memcpy")

    def do_memcpy_htod_async(self, target, source, size, stream):
        self.copy(target, source, size, stream, (target, "device"), (source, "host"))

    def do_memcpy_dtoh_async(self, target, source, size, stream):
        pinned = any(kind == "host" and a <= target < a + n for a, (_, n, kind, *_) in self.memory.items())
        if self.capturing(stream) and not pinned:
            self.problems.append("a graph that writes to pageable memory of the host")
        self.copy(target, source, size, stream, (source, "device"), *([(target, "host")] if pinned else []))

    def do_memcpy_dtod_async(self, target, source, size, stream):
        self.copy(target, source, size, stream, (target, "device"), (source, "device"))

    def do_memsetd8_async(self, target, value, size, stream):
        self.launch(stream, lambda: ctypes.memset(self.check(target, size), value, size), kind="memset")

    def do_pointer_get_attribute(self, attribute, address):
        for start, (_, size, kind, index, context) in self.memory.items():
            if start <= address < start + size and kind == "device":
                return context if int(attribute) == 1 else index
        raise Failed("CUDA_ERROR_INVALID_VALUE")


class FakeLibrary:
    """libcuda.so.1 as ctypes shows it. init: what cuInit answers; capability: (major, minor)."""

    def __init__(self, gpus=1, *, init=0, name="Fake GPU", capability=(8, 6), memory_mib=8192, cuda=13000):
        self.gpus, self.init, self.name, self.cuda = gpus, init, name.encode(), cuda
        self.memory_mib, self.capability = memory_mib, capability

    def cuInit(self, flags):  # noqa: N802
        return self.init

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = self.cuda
        return 0

    def cuGetErrorName(self, status, text):  # noqa: N802
        names = {int(one): one.name.encode() for one in CUresult}
        text._obj.value = names.get(status.value)
        return 0 if status.value in names else 1

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index.value
        return 0

    def cuDeviceGetName(self, name, size, device):  # noqa: N802
        name.value = self.name
        return 0

    def cuDeviceTotalMem_v2(self, size, device):  # noqa: N802
        size._obj.value = self.memory_mib << 20
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        known = {16: 20, 18: 0, 75: self.capability[0], 76: self.capability[1]}
        value._obj.value = known[attribute.value]
        return 0


def install(monkeypatch, cuda=None, library=None):
    """Put a fake driver in the place of libcuda and of cuda-python; returns it."""
    cuda = FakeCuda() if cuda is None else cuda
    library = FakeLibrary(cuda.gpus) if library is None else library
    monkeypatch.setattr(gpu, "_open_library", lambda: library)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", cuda)
    monkeypatch.setattr(gpu, "compile_cuda", lambda source, sm: b"\x7fELF")  # the real one asks the real driver module
    gpu.driver.cache_clear()
    monkeypatch.setattr(gpu, "driver", gpu.driver.__wrapped__)  # nothing of a fake stays behind
    return cuda


@contextlib.contextmanager
def current(cuda, context=PRIMARY):
    """As an application that has made a context current, of its own perhaps."""
    cuda.cuCtxPushCurrent(context)
    yield
    cuda.cuCtxPopCurrent()


__all__ = ["BAD_HANDLE", "PRIMARY", "FakeCuda", "FakeLibrary", "current", "install"]
