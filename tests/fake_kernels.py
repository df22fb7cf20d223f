"""Modules and launches of the fake driver: kernels/*.cu, compiled by g++ (tests/kernel_host.py), run on its memory.

A launch copies its arguments at once and runs when its stream does, as the real one; a fault of the kernel is
CUDA_ERROR_LAUNCH_FAILED for whoever waits, and stands in `problems`.
"""

import ctypes
import functools
import json
from pathlib import Path

from fake_streams import Failed

BUILT = Path(__file__).resolve().parents[1] / "kernels" / "built" / "index.json"


@functools.cache
def host_kernels(name):
    """The .cu file as a host library."""
    import kernel_host

    return kernel_host.Kernels(f"{name}.cu")


@functools.cache
def entry_points():
    """Kernel -> (.cu file, bytes of its arguments), of the binaries that are shipped."""
    files = json.loads(BUILT.read_text())["files"]
    return {kernel: (name, it["args_bytes"]) for name, file in files.items() for kernel, it in file["kernels"].items()}


class Modules:
    """The part of FakeCuda that loads and launches kernels."""

    def __init__(self):
        self.modules, self.functions = {}, {}
        self.launches = []  # (kernel, grid, block), as they ran

    def do_module_load_data(self, image):
        self.refuse_while_capturing()
        if bytes(image[:4]) not in (b"\x50\xed\x55\xba", b"\x7fELF"):  # a fat binary, a cubin
            raise Failed("CUDA_ERROR_INVALID_IMAGE")
        handle = self.handle()
        self.modules[handle] = bytes(image)
        return handle

    def do_module_unload(self, module):
        self.drop(self.modules, module, "module")
        self.functions = {handle: one for handle, one in self.functions.items() if one[0] != module}

    def do_module_get_function(self, module, name):
        if module not in self.modules or name.decode() not in entry_points():
            raise Failed("CUDA_ERROR_NOT_FOUND")
        handle = self.handle()
        self.functions[handle] = (module, name.decode())
        return handle

    def do_launch_kernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):  # noqa: PLR0913
        if function not in self.functions:
            self.problems.append(f"a launch of a kernel {function} that is not loaded")
            raise Failed("CUDA_ERROR_INVALID_HANDLE")
        grid, block = (gx, gy, gz), (bx, by, bz)
        if min(*grid, *block) < 1 or bx * by * bz > 1024 or gy > 65535 or gz > 65535:
            raise Failed("CUDA_ERROR_INVALID_VALUE")
        kernel = self.functions[function][1]
        name, size_bytes = entry_points()[kernel]
        where = ctypes.c_void_p.from_address(parameters).value
        args = (ctypes.c_uint8 * size_bytes).from_buffer_copy(ctypes.string_at(where, size_bytes))

        def work():
            import kernel_host

            self.launches.append((kernel, grid, block))
            try:
                host_kernels(name).launch(kernel, args, grid=grid, block=block)
            except kernel_host.KernelFaultError as fault:
                self.problems.append(str(fault))
                raise Failed("CUDA_ERROR_LAUNCH_FAILED") from fault

        self.launch(stream, work)
