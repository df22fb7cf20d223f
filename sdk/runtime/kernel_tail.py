"""Launchers of kernels/image_tail.cu, a network's last tensor to 8-bit pictures, and kernels/enlarge.cu."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.pixels import not_finite
from sdk.runtime.device import Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_args import EnlargeArgs, ImageTailArgs
from sdk.runtime.kernel_checks import MOST_ELEMENTS, Arguments, check_numbers
from sdk.runtime.kernel_crop import MAX_SIZE, Colours, network_target
from sdk.runtime.kernel_module import KernelSet

__all__ = ["FACTORS", "enlarge", "image_tail", "picture_levels", "require_finite"]

FACTORS = {"nchw": (1, 2, 4, 8), "hwc8": (2, 4, 8)}  # layout -> pixel shuffles that there are kernels for
MAX_LR_SCALE = 32
NOT_FINITE = 1  # bit of image_tail's status
THREADS = 128  # of image_tail: 7 blocks with their registers and shared memory fill a multiprocessor
PIXELS = 8  # a thread without a shuffle: 24 bytes to store
ENLARGE_THREADS = 256  # nothing is shared: large blocks keep the grid small


def picture_levels(value_range: tuple[float, float]) -> tuple[float, float]:
    """(gain, shift) from the network's values to grey levels, as sdk.image.pixels.from_network."""
    low, high = value_range
    return 255.0 / (high - low), -low * 255.0 / (high - low)


def image_tail(
    kernels: KernelSet,
    features: object,  # [N, 3 r r, h, w] float16 or float32 on the GPU; hwc8: [N, h, w, C] float16, channels (i, j, c)
    *,
    out: object,  # [N, h r, w r, 3] uint8 on the GPU, written
    stream: Stream,
    r: int = 1,  # of the pixel shuffle
    gain: float = 255.0,
    shift: float = 0.0,  # level = gain * value + shift
    lr: object | None = None,  # [N, 3, h r / lr_scale, w r / lr_scale] of the same type: its bicubic is added
    lr_scale: int | None = None,  # output pixels a pixel of `lr`; None: r
    bias: object | None = None,  # [3 r r] float32 on the GPU
    slope: float = 1.0,  # of feature + bias below zero: 0 is ReLU
    sums: object | None = None,  # [N, 6] uint64 on the GPU: sums of levels and of their squares are added
    count: object | None = None,  # [1] int32 on the GPU: pictures to make; None: N
    status: object | None = None,  # [N] uint32 on the GPU: bit 0 is set for a picture with NaN or infinity
    bgr: bool = False,  # order of the channels in `out`
    layout: str = "nchw",
) -> None:
    """pixel_shuffle() and from_network() of sdk.image.pixels in one launch; NaN becomes 0. The device must be current.
    Raises InputError that names the argument, BackendError when CUDA refuses the launch."""
    look = Arguments(kernels.device, stream)
    source, target, channels = _ends(look, features, out, r, layout)
    N, h, w = (look.sizes[letter] for letter in ("N", "h", "w"))
    check_numbers(gain=gain, shift=shift, slope=slope)
    if r == 1 and (lr is not None or bias is not None or slope != 1.0):
        raise InputError("neither lr, bias nor slope for r=1", "one of them", "they belong before the shuffle")
    args = ImageTailArgs(
        features=source.pointer,
        lr=0 if lr is None else _residual(look, lr, source, r, lr_scale or r).pointer,
        bias=look.optional("bias", bias, np.float32, 3 * r * r, writable=False),
        count=look.optional("count", count, np.int32, 1, writable=False),
        out=target.pointer,
        sums=look.optional("sums", sums, np.uint64, "N", 6),
        status=look.optional("status", status, np.uint32, "N"),
        gain=gain,
        shift=shift,
        slope=slope,
        capacity=look.faces("features"),
        rows=h,
        columns=w,
        channels=channels,
        lr_scale=lr_scale or r,
        bgr=bgr,
    )
    if N and h and w:
        kernel = f"image_tail_{'f16' if source.dtype == np.float16 else 'f32'}_{layout}_r{r}"
        grid = (-(-h * w // (PIXELS * THREADS if r == 1 else THREADS // r)), N, 1)  # cells of the features a block
        kernels.launch("image_tail", kernel, args, grid=grid, block=(THREADS, 1, 1), stream=stream.handle)


def require_finite(
    status: npt.NDArray[np.uint32],  # [N] of image_tail, on the host
    name: str,  # of the network
) -> None:
    """Raises ModelError, as without the kernels, when a picture held NaN or infinity."""
    if (status & NOT_FINITE).any():
        raise not_finite(name)


def _residual(look: Arguments, lr: object, source: DeviceArray, r: int, scale: int) -> DeviceArray:
    """The small picture whose enlargement is added, after a look at it. Raises InputError."""
    tall, wide = look.sizes["h"] * r, look.sizes["w"] * r
    if scale % r or scale > MAX_LR_SCALE or tall % scale or wide % scale:
        expected = f"lr_scale as a multiple of r={r} up to {MAX_LR_SCALE} that divides {tall} x {wide}"
        raise InputError(expected, str(scale), "see how the network was built")
    return look.take("lr", lr, source.dtype, "N", 3, tall // scale, wide // scale)


def _ends(look: Arguments, features: object, out: object, r: int, layout: str) -> tuple[DeviceArray, DeviceArray, int]:
    """Features, out and the features' channels after a look at them. Raises InputError."""
    if r not in FACTORS.get(layout, ()):
        raise InputError(f"a layout and r of {FACTORS}", f"{layout!r} and {r}", "use sdk.image.pixels")
    kinds = (np.float16,) if layout == "hwc8" else (np.float16, np.float32)
    shape = ("N", "h", "w", "C") if layout == "hwc8" else ("N", 3 * r * r, "h", "w")
    source = look.take("features", features, kinds, *shape, aligned=True)
    N, h, w = (look.sizes[letter] for letter in ("N", "h", "w"))
    if h * w * r * r > MOST_ELEMENTS:
        raise InputError(f"out of at most {MOST_ELEMENTS} pixels", f"{h * r} x {w * r}", "make it in parts")
    target = look.take("out", out, np.uint8, N, h * r, w * r, 3, writable=True)
    channels = look.sizes.get("C", 3 * r * r)
    if layout == "hwc8" and (channels % 8 or channels < 3 * r * r):
        raise InputError(f"features of {3 * r * r} or more channels, a multiple of 8", str(channels), "pad them")
    if target.pointer % 8:
        raise InputError("out to begin at a multiple of 8 bytes", f"{target.pointer:#x}", "pass a whole allocation")
    return source, target, channels


def enlarge(
    kernels: KernelSet,
    lr: object,  # [N, 3, size, size] float32 on the GPU, 0..255
    *,
    out: object,  # [N, C, S, S] float32 or float16 on the GPU, written; hwc8: [N, S, S, 8] float16
    colours: Colours,  # [C, 4]; sdk.runtime.kernel_crop.network_colours() for lr's order
    stream: Stream,
    count: object | None = None,  # [1] int32 on the GPU: faces to do; None: N
    layout: str = "nchw",  # or "hwc8", whose channels past C are written 0
) -> None:
    """The bicubic of sdk.image.pixels.to_network() for networks that take an enlarged face; returns before it is done.

    The device must be current. Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    source = look.take("lr", lr, np.float32, "N", 3, "size", "size")
    target, form = network_target(look, out, colours, layout=layout, side="S")
    N, size, side = (look.sizes[letter] for letter in ("N", "size", "S"))
    if size < 1 or side % size or not size <= side <= MAX_SIZE:
        raise InputError(f"out of a multiple of {size} px a side, at most {MAX_SIZE}", str(side), "see ModelSpec.scale")
    args = EnlargeArgs(
        lr=source.pointer,
        count=look.optional("count", count, np.int32, 1, writable=False),
        out=target.pointer,
        size=size,
        scale=side // size,
        channels=len(colours),
        capacity=look.faces("lr"),
    )
    for k, row in enumerate(colours.tolist()):
        args.colour[k][:] = row
    if N:
        grid, block = (-(-side * side // ENLARGE_THREADS), N, 1), (ENLARGE_THREADS, 1, 1)
        kernels.launch("enlarge", f"enlarge_{form}", args, grid=grid, block=block, stream=stream.handle)
