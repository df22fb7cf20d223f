"""Modules and launches of the fake driver: kernels/*.cu, compiled by g++ (tests/kernel_host.py), run on its memory.

A launch copies its arguments at once and runs when its stream does, as the real one, after a look whether all memory
that it may touch is (still) there; a fault of the kernel is CUDA_ERROR_LAUNCH_FAILED for whoever waits, and stands in
`problems`.
"""

import ctypes
import functools
import json
from pathlib import Path

from fake_graphs import struct_at
from fake_streams import Failed

from sdk.runtime.kernel_args import STRUCTS

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
        self.modules, self.functions, self.loaded = {}, {}, set()
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
        self.refuse_while_capturing()
        if module not in self.modules or name.decode() not in entry_points():
            raise Failed("CUDA_ERROR_NOT_FOUND")
        handle = self.handle()
        self.functions[handle] = (module, name.decode())
        return handle

    def do_launch_kernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):  # noqa: PLR0913
        grid, block = (gx, gy, gz), (bx, by, bz)
        if function not in self.loaded:  # lazily, at the first launch
            self.refuse_while_capturing()
        work = self.kernel_work(function, grid, block, parameters)
        self.loaded.add(function)
        self.launch(stream, work, kind="kernel", function=function, grid=grid, block=block)

    def kernel_work(self, function, grid, block, parameters):
        """What a launch does when its time comes; its arguments are copied now."""
        if function not in self.functions:
            self.problems.append(f"a launch of a kernel {function} that is not loaded")
            raise Failed("CUDA_ERROR_INVALID_HANDLE")
        if min(*grid, *block) < 1 or block[0] * block[1] * block[2] > 1024 or max(grid[1:]) > 65535:
            raise Failed("CUDA_ERROR_INVALID_VALUE")
        kernel = self.functions[function][1]
        name, size_bytes = entry_points()[kernel]
        args = struct_at(parameters, STRUCTS[name])
        assert ctypes.sizeof(args) == size_bytes, (name, ctypes.sizeof(args), size_bytes)

        def work():
            import kernel_host

            if function not in self.functions:
                self.problems.append(f"{kernel} runs after its code was unloaded")
                raise Failed("CUDA_ERROR_LAUNCH_FAILED")
            for field, size in extents(name, kernel, args).items():
                if getattr(args, field):
                    self.check(getattr(args, field), size, whose=f"{kernel}'s {field}, ")
            self.launches.append((kernel, grid, block))
            try:
                host_kernels(name).launch(kernel, args, grid=grid, block=block)
            except kernel_host.KernelFaultError as fault:
                self.problems.append(str(fault))
                raise Failed("CUDA_ERROR_LAUNCH_FAILED") from fault

        return work


def extents(name, kernel, a):
    """Bytes that a launch may touch behind each pointer; 1 where nothing more is said."""
    found = {field: 1 for field, kind in a._fields_ if kind is ctypes.c_void_p}
    half = "f16" in kernel
    if "count" in found:
        found["count"] = 4
    if name == "crop_norm":
        boxes = 24 if "affine" in kernel else 16
        out = a.capacity * a.channels * a.size * a.size * (2 if half else 4)
        found.update(frame=a.pitch * a.height, boxes=a.capacity * boxes, out=out, status=4 * a.capacity)
        found["uv"] = a.uv_pitch * -(-a.height // 2)
    elif name == "enlarge":
        side = a.size * a.scale
        found.update(lr=a.capacity * 12 * a.size**2, out=a.capacity * a.channels * side**2 * (2 if half else 4))
    elif name == "heatmap_decode":
        found.update(out=16 * a.capacity * a.landmarks, matrices=24 * a.capacity, status=4 * a.capacity)
        cell = 2 if half else 1 if "i8" in kernel else 4
        found["maps"] = a.capacity * a.rows * a.columns * (a.landmarks if "nchw" in kernel else a.channels) * cell
    elif name == "image_tail":
        cells = a.capacity * a.rows * a.columns
        found["out"] = cells * 3 * int(kernel[-1]) ** 2
        found["features"] = (found["out"] if "nchw" in kernel else cells * a.channels) * (2 if half else 4)
        found.update(sums=48 * a.capacity, status=4 * a.capacity)
    elif name == "luma_tail":
        pixels = a.capacity * (a.size * a.scale) ** 2
        found.update(sr=pixels * (2 if half else 4), lr=a.capacity * 12 * a.size**2, out=3 * pixels)
        found["status"] = 4 * a.capacity
    elif name == "paste_gate":
        found.update(marks=16 * a.landmarks * a.capacity, points=8 * a.landmarks * a.capacity)
        found.update({field: 4 * a.capacity for field in ("status", "strength", "confidence")})
    elif name in ("paste", "paste_match"):
        found.update(frame=a.pitch * a.height, uv=a.uv_pitch * -(-a.height // 2), faces=a.capacity * 3 * a.size**2)
        found.update(maps=24 * a.capacity, landmarks=8 * 68 * a.capacity, placed=148 * a.capacity)
        found.update(strength=4 * a.capacity, status=4 * a.capacity)
    return found
