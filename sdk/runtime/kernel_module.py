"""The kernels loaded on one GPU, and their launches: no synchronisation, every status checked, nothing allocated.

A module a .cu file, loaded at first use or by prepare(); load before capturing a CUDA graph, since the driver may not
load code while a stream is captured.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Any

from sdk.errors import BackendError
from sdk.runtime import gpu
from sdk.runtime.device import Device, Resource
from sdk.runtime.kernel_files import CodeObject, load_code

__all__ = ["KernelSet"]

log = logging.getLogger("facetrt")

REFUSALS = (  # what the driver answers when it cannot use a code object
    "CUDA_ERROR_INVALID_IMAGE",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_INVALID_PTX",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
)


class _Module(Resource):
    """One code object in the memory of the GPU."""

    def __init__(self, device: Device, code: CodeObject) -> None:
        with device.current():
            handle = device.driver("cuModuleLoadData", code.image, what=f"the kernels of {code.name}")
        super().__init__(device, "cuModuleUnload", handle)
        self.handle: Any = handle
        self.code = code
        self._functions: dict[str, Any] = {}

    def function(self, kernel: str) -> Any:
        """The entry point. Raises BackendError with CUDA's reason. The device must be current."""
        found = self._functions.get(kernel)
        if found is None:
            what = f"the kernel {kernel} of {self.code.name}"
            found = self._functions[kernel] = self.device.driver(
                "cuModuleGetFunction", self.handle, kernel.encode(), what=what
            )
        return found


class KernelSet:
    """All our kernels on one GPU. Safe from several threads; close() when nothing on the GPU uses them any more."""

    def __init__(self, device: Device, *, sm: str | None = None) -> None:
        """sm: "sm_87"; None: asked of the driver."""
        self.device = device
        self.sm = sm or gpu.probe().gpus[device.index].sm
        self._lock = threading.Lock()
        self._modules: dict[str, _Module] = {}
        self._closed = False

    def prepare(self, *names: str) -> None:
        """Load .cu files by name. Raises BackendError when there is no code for this GPU."""
        for name in names:
            self._module(name)

    def origin(self, name: str) -> str:
        """Where the code of a .cu file came from, for people."""
        return self._module(name).code.origin

    def function(self, name: str, kernel: str) -> int:
        """CUDA's handle of an entry point. Raises BackendError. The device must be current."""
        return int(self._module(name).function(kernel))

    def launch(
        self,
        name: str,  # "paste": the .cu file
        kernel: str,  # "paste_bgr": the entry point
        args: ctypes.Structure,  # copied before this returns
        *,
        grid: tuple[int, int, int],  # blocks, each >= 1
        block: tuple[int, int, int],  # threads
        stream: int,  # CUDA handle
    ) -> None:
        """Put a kernel on a stream. The device must be current. Raises BackendError with the status' name."""
        module = self._module(name)
        about = module.code.kernels.get(kernel)
        size_bytes, threads = ctypes.sizeof(args), block[0] * block[1] * block[2]
        if about is not None:  # our mistakes, not the caller's
            assert size_bytes == about.args_bytes, (kernel, size_bytes, about.args_bytes)
            assert threads <= about.threads, (kernel, block, about.threads)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        self.device.driver(
            "cuLaunchKernel",
            module.function(kernel),
            *grid,
            *block,
            0,  # bytes of dynamic shared memory
            stream,
            ctypes.addressof(pointers),
            0,
            what=f"a launch of {kernel} as {grid} blocks of {block} threads",
        )

    def close(self) -> None:
        """Unload everything; twice is harmless."""
        with self._lock:
            self._closed = True
            modules, self._modules = self._modules, {}
        for module in modules.values():
            module.close()

    def _module(self, name: str) -> _Module:
        with self._lock:
            if self._closed:
                raise BackendError("loaded kernels", f"{name} after close()", "open the model again")
            found = self._modules.get(name)
            if found is None:
                found = self._modules[name] = self._load(name)
            return found

    def _load(self, name: str) -> _Module:
        code = load_code(name, self.sm, compiler=gpu.compile_cuda)
        try:
            return _Module(self.device, code)
        except BackendError as error:
            if not code.kernels or not error.got.startswith(REFUSALS):
                raise
            refused = f"the driver refuses the shipped binary: {error.got}"
        return _Module(self.device, load_code(name, self.sm, compiler=gpu.compile_cuda, refused=refused))
