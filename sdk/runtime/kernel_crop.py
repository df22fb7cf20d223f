"""Launcher of kernels/crop_norm.cu: faces of a frame on the GPU to the network's input on the GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.pixels import YCBCR_FROM_RGB, YCBCR_OFFSET
from sdk.runtime.device import Stream
from sdk.runtime.kernel_args import CropNormArgs
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_frames import frame_fields
from sdk.runtime.kernel_module import KernelSet
from sdk.spec import ModelSpec

__all__ = ["LEVELS", "Colours", "crop_norm", "network_colours"]

Colours = npt.NDArray[np.float64]  # [C, 4]: output channel k = row k . (the frame's three channels in 0..255, 1)
THREADS = 128  # small faces have few columns: more threads would idle
ACROSS = 16  # output pixels of a block, neighbours in a row
LEVELS = np.eye(3, 4)  # grey levels in the frame's own order
MAX_SIZE = 4096  # px a side of the output


def network_colours(spec: ModelSpec, color: str) -> Colours:
    """What sdk.image.pixels.to_network does to the channels of a frame in the order of `color`; NV12 gives "rgb"."""
    low, high = spec.value_range
    gain = np.broadcast_to((high - low) / 255.0 / np.asarray(spec.std), spec.channels)
    shift = np.broadcast_to((low - np.asarray(spec.mean)) / np.asarray(spec.std), spec.channels)
    rows = {"rgb": np.eye(3), "bgr": np.eye(3)[::-1], "y": YCBCR_FROM_RGB[:1]}[spec.colour]  # from RGB
    offset = YCBCR_OFFSET[:1] if spec.colour == "y" else np.zeros(3)
    source = rows if color == "rgb" else rows[:, ::-1]
    return np.concatenate([gain[:, None] * source, (gain * offset + shift)[:, None]], axis=1)


def crop_norm(
    kernels: KernelSet,
    frame: object,  # [H, W, 3] uint8 on the GPU, or a DeviceNv12
    windows: object,  # [N, 4] float32 on the GPU, edge coordinates
    *,
    out: object,  # [N, C, size, size] float32 or float16 on the GPU, written
    colours: Colours,  # [C, 4]; network_colours() or LEVELS
    stream: Stream,
    count: object | None = None,  # [1] int32 on the GPU: faces to do; None: N
    status: object | None = None,  # [N] int32 on the GPU, written: 0 done, 1 a window that is none
) -> None:
    """sdk.image.crop.crop() and sdk.image.pixels.to_network() in one launch; returns before it is done.

    Windows of NaN, inverted or absurdly large write nothing but their status. The device must be current.
    Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    fields = frame_fields(look, frame, writable=False)
    boxes = look.take("windows", windows, np.float32, "N", 4)
    target = look.take("out", out, (np.float32, np.float16), "N", "C", "size", "size", writable=True)
    N, C, size = (look.sizes[letter] for letter in ("N", "C", "size"))
    if not 1 <= size <= MAX_SIZE:
        raise InputError(f"out of 1 to {MAX_SIZE} px a side", str(size), "use sdk.image.crop.crop")
    if colours.shape != (C, 4) or C not in (1, 3):
        raise InputError(f"colours [C={C}, 4], C 1 or 3", f"shape {list(colours.shape)}", "see network_colours()")
    args = CropNormArgs(
        **fields.pointers,
        boxes=boxes.pointer,
        count=look.optional("count", count, np.int32, 1),
        out=target.pointer,
        status=look.optional("status", status, np.int32, "N"),
        size=size,
        channels=C,
        capacity=look.faces("windows"),
    )
    fields.fill(args, "to_rgb")
    for k, row in enumerate(colours.tolist()):
        args.colour[k][:] = row
    if N:
        kind = "f16" if target.dtype == np.float16 else "f32"
        grid = (size * -(-size // ACROSS), N, 1)
        kernels.launch(
            "crop_norm",
            f"crop_norm_{fields.kind}_{kind}_nchw",
            args,
            grid=grid,
            block=(THREADS, 1, 1),
            stream=stream.handle,
        )
