"""Launcher of kernels/heatmap_decode.cu: heatmaps on the GPU to landmarks on the GPU."""

from __future__ import annotations

import math

import numpy as np

from sdk.errors import InputError
from sdk.image.heatmap import DECODE_MODES
from sdk.runtime.device import Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_args import HeatmapDecodeArgs
from sdk.runtime.kernel_checks import MOST_ELEMENTS, Arguments
from sdk.runtime.kernel_module import KernelSet

__all__ = ["CENTROID_RADIUS", "LAYOUTS", "MAX_BLUR", "MAX_CELLS", "heatmap_decode"]

MAX_CELLS = 256  # a side of a map
MAX_BLUR = 11  # taps
CENTROID_RADIUS = 4  # cells: the only one there is
LAYOUTS = {  # layout -> (type -> its part of the kernel's name, shape of the maps, channels a group)
    "nchw": ({"float16": "f16", "float32": "f32", "int8": "i8"}, ("N", "K", "H", "W"), 1),
    "hwc8": ({"float16": "f16"}, ("N", "H", "W", "C"), 8),
    "chw32": ({"int8": "i8"}, ("N", "G", "H", "W", 32), 32),
}
LOADS = 4  # 16-byte loads that a thread has in the air before it uses one
THREADS = (32, 256)  # fewest and most a block
INTERLEAVED_BLOCK = {"hwc8": 16, "chw32": 32}  # landmarks a block of 256 threads, 32 bytes of a cell at a time


def heatmap_decode(
    kernels: KernelSet,
    heatmaps: object,  # [N, K, H, W] float16, float32 or int8 on the GPU, or in one of LAYOUTS
    *,
    out: object,  # [N, K, 4] float32 on the GPU, written: x, y, score, spread in cells
    stream: Stream,
    mode: str = "dark",
    blur: int = 5,  # taps of "dark"
    matrices: object | None = None,  # [N, 2, 3] float32 on the GPU, cells -> picture; None: x, y stay cells
    count: object | None = None,  # [1] int32 on the GPU: faces to do; None: N
    status: object | None = None,  # [N] uint32 on the GPU: bit 0 is set for a face with a map of NaN alone
    scale: float = 1.0,  # value of one step of int8 maps
    layout: str = "nchw",
) -> None:
    """sdk.image.heatmap.decode() in one launch, with the way to the picture folded in; returns before it is done.

    "centroid" has the radius CENTROID_RADIUS. The device must be current.
    Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    landmarks = look.take("out", out, np.float32, "N", "K", 4, writable=True, aligned=True)
    maps, channels = _maps(look, heatmaps, layout)
    N, K, H, W = (look.sizes[letter] for letter in ("N", "K", "H", "W"))
    if mode not in DECODE_MODES or not 1 <= blur <= MAX_BLUR or blur % 2 == 0 or not 0.0 < scale < math.inf:
        got = f"mode={mode!r}, blur={blur}, scale={scale}"
        raise InputError(
            f"a mode of {DECODE_MODES}, an odd blur up to {MAX_BLUR}, finite scale > 0", got, "correct them"
        )
    args = HeatmapDecodeArgs(
        maps=maps.pointer,
        matrices=look.optional("matrices", matrices, np.float32, "N", 2, 3, writable=False),
        count=look.optional("count", count, np.int32, 1, writable=False),
        out=landmarks.pointer,
        status=look.optional("status", status, np.uint32, "N"),
        scale=scale,
        capacity=look.faces("heatmaps"),
        landmarks=K,
        rows=H,
        columns=W,
        channels=channels,
        mode=DECODE_MODES.index(mode),
        blur=blur,
    )
    blocks, threads = _grid(layout, K, H * W * maps.dtype.itemsize)
    if N and K:
        kernel = f"heatmap_decode_{LAYOUTS[layout][0][maps.dtype.name]}_{layout}"
        kernels.launch("heatmap_decode", kernel, args, grid=(blocks, N, 1), block=(threads, 1, 1), stream=stream.handle)


def _maps(look: Arguments, heatmaps: object, layout: str) -> tuple[DeviceArray, int]:
    """The maps and their channels, after a look at them; K is bound. Raises InputError."""
    if layout not in LAYOUTS:
        raise InputError(f"a layout of {sorted(LAYOUTS)}", repr(layout), "use nchw for what engines give")
    kinds, shape, group = LAYOUTS[layout]
    maps = look.take("heatmaps", heatmaps, list(kinds), *shape, aligned=layout != "nchw")
    K, H, W = (look.sizes[letter] for letter in ("K", "H", "W"))
    channels = {"nchw": K, "hwc8": look.sizes.get("C", 0), "chw32": 32 * look.sizes.get("G", 0)}[layout]
    if channels != -(-K // group) * group:
        expected = f"heatmaps of K={K} landmarks in {-(-K // group) * group} channels"
        raise InputError(expected, f"{channels}", f"{layout} rounds up to a multiple of {group}")
    if not (1 <= H <= MAX_CELLS and 1 <= W <= MAX_CELLS):
        remedy = "use sdk.image.heatmap.decode"
        raise InputError(f"heatmaps of 1 to {MAX_CELLS} cells a side", f"{H} x {W}", remedy)
    if group > 1 and H * W * channels > MOST_ELEMENTS:  # these layouts are counted in int32
        expected = f"heatmaps of at most {MOST_ELEMENTS} values a face in {layout}"
        raise InputError(expected, f"{H * W * channels}", "use nchw")
    return maps, channels


def _grid(layout: str, landmarks: int, map_bytes: int) -> tuple[int, int]:
    """Blocks a face and threads a block: a block a map, as many threads as keep LOADS loads of 16 bytes busy."""
    if layout in INTERLEAVED_BLOCK:
        return -(-landmarks // INTERLEAVED_BLOCK[layout]), THREADS[1]
    wanted = -(-map_bytes // (16 * LOADS))
    return landmarks, min(max(1 << (wanted - 1).bit_length(), THREADS[0]), THREADS[1])
