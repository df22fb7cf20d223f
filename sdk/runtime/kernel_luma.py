"""Launcher of kernels/luma_tail.cu: what a network of luminance gave, and the face's own colours, to 8-bit pictures."""

from __future__ import annotations

import numpy as np

from sdk.errors import InputError
from sdk.image.pixels import RGB_FROM_YCBCR, YCBCR_FROM_RGB, YCBCR_OFFSET
from sdk.runtime.device import Stream
from sdk.runtime.kernel_args import LumaTailArgs
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_module import KernelSet

__all__ = ["luma_tail"]

THREADS = 256  # nothing is shared: large blocks keep the grid small


def luma_tail(
    kernels: KernelSet,
    sr: object,  # [N, 1, S, S] float16 or float32 on the GPU
    lr: object,  # [N, 3, size, size] float32 on the GPU: R, G, B of the faces in 0..255; S a multiple of size
    *,
    out: object,  # [N, S, S, 3] uint8 on the GPU, written
    stream: Stream,
    gain: float = 255.0,
    shift: float = 0.0,  # luminance in levels = gain * value + shift
    count: object | None = None,  # [1] int32 on the GPU: pictures to make; None: N
    status: object | None = None,  # [N] uint32 on the GPU: bit 0 is set for a picture with NaN or infinity
    bgr: bool = False,  # order of the channels in `out`
) -> None:
    """from_network() of sdk.image.pixels for luminance in one launch; NaN becomes 0. The device must be current.

    Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    source = look.take("sr", sr, (np.float32, np.float16), "N", 1, "S", "S")
    faces = look.take("lr", lr, np.float32, "N", 3, "size", "size")
    target = look.take("out", out, np.uint8, "N", "S", "S", 3, writable=True)
    N, S, size = (look.sizes[letter] for letter in ("N", "S", "size"))
    if size < 1 or size > S or S % size:
        raise InputError(f"sr of a multiple of {size} px a side", str(S), "see ModelSpec.scale")
    args = LumaTailArgs(
        sr=source.pointer,
        lr=faces.pointer,
        count=look.optional("count", count, np.int32, 1),
        out=target.pointer,
        status=look.optional("status", status, np.uint32, "N"),
        size=size,
        scale=S // size,
        capacity=look.faces("sr"),
    )
    order = [2, 1, 0] if bgr else [0, 1, 2]
    own = RGB_FROM_YCBCR[order, 0]  # [3] of a level of luminance
    colours = RGB_FROM_YCBCR[order, 1:] @ YCBCR_FROM_RGB[1:]  # [3, 3] of the face's R, G, B by way of Cb and Cr
    for k, row in enumerate(colours.tolist()):
        args.colour[k][:] = [*row, float(own[k] * (shift - YCBCR_OFFSET[0]))]
    args.luma[:] = (own * gain).tolist()
    if N:
        kind = "f16" if source.dtype == np.float16 else "f32"
        grid = (-(-S * S // THREADS), N, 1)
        kernels.launch("luma_tail", f"luma_tail_{kind}", args, grid=grid, block=(THREADS, 1, 1), stream=stream.handle)
