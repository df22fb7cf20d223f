"""Launcher of kernels/pixel_shuffle.cu: depth to space for any tensor on the GPU."""

from __future__ import annotations

from sdk.errors import InputError
from sdk.runtime.device import Stream
from sdk.runtime.kernel_args import PixelShuffleArgs
from sdk.runtime.kernel_checks import MOST_ELEMENTS, MOST_FACES, Arguments
from sdk.runtime.kernel_module import KernelSet

__all__ = ["pixel_shuffle"]

THREADS = 256  # nothing is shared: large blocks keep the grid small
PIECE_BYTES = 16  # a load
FAST_FACTORS = (2, 4)  # factors with a kernel that moves whole pieces
TYPES = ("float16", "float32", "int8", "uint8", "int16", "uint16", "int32", "uint32")


def pixel_shuffle(
    kernels: KernelSet,
    planes: object,  # [N, C r r, H, W] on the GPU, of elements of 1, 2 or 4 bytes
    r: int,
    *,
    out: object,  # [N, C, H r, W r] of the same type on the GPU, written
    stream: Stream,
) -> None:
    """sdk.image.pixels.pixel_shuffle() in one launch, bit for bit; returns before it is done.

    The device must be current. Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    if r < 1:
        raise InputError("a factor r of at least 1", str(r), "check the factor")
    look = Arguments(kernels.device, stream)
    target = look.take("out", out, TYPES, "N", "C", "H r", "W r", writable=True)
    N, C, tall, wide = target.shape
    if tall % r or wide % r:
        raise InputError(f"out with sides that are multiples of r={r}", f"{tall} x {wide}", "check the factor")
    source = look.take("planes", planes, target.dtype, "N", C * r * r, tall // r, wide // r)
    if tall * wide > MOST_ELEMENTS or N * C > MOST_ELEMENTS:
        expected = f"out of at most {MOST_ELEMENTS} planes of {MOST_ELEMENTS} elements"
        raise InputError(expected, f"shape {list(target.shape)}", "shuffle in parts")
    rows, columns, size_bytes = tall // r, wide // r, target.dtype.itemsize
    args = PixelShuffleArgs(
        **{"in": source.pointer}, out=target.pointer, batch=N, channels=C, rows=rows, columns=columns, r=r
    )
    kernel, items = f"pixel_shuffle_b{8 * size_bytes}", rows * columns * r * r
    if r in FAST_FACTORS:
        kernel, items = f"{kernel}_r{r}", rows * -(-columns * size_bytes // PIECE_BYTES) * r
    if 0 not in target.shape:
        grid = (-(-items // THREADS), min(N * C, MOST_FACES), 1)
        kernels.launch("pixel_shuffle", kernel, args, grid=grid, block=(THREADS, 1, 1), stream=stream.handle)
