"""Launcher of kernels/paste_match.cu and kernels/paste.cu: enhanced faces into a frame on the GPU, in place."""

from __future__ import annotations

import math

import numpy as np

from sdk.errors import InputError
from sdk.image.points68 import COUNT
from sdk.runtime.device import Stream
from sdk.runtime.kernel_args import PasteArgs
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_frames import MAX_FRAME_PX, frame_fields
from sdk.runtime.kernel_module import KernelSet

__all__ = ["PLACED_BYTES", "paste"]

PLACED_BYTES = 148  # struct PasteFace, what the first launch tells the second of a face
THREADS = 256  # a tile of 32 x 8 pixels; a warp reads a row of it
TILES = 64  # blocks a face: they share its tiles, 128 x 128 px have exactly as many


def paste(
    kernels: KernelSet,
    frame: object,  # [H, W, 3] uint8 on the GPU, or a DeviceNv12; written in place
    faces: object,  # [N, S, S, 3] uint8 on the GPU, in the frame's colour order; RGB for NV12
    crop_to_frame: object,  # [N, 2, 3] float32 on the GPU, of the S x S pictures, centre coordinates
    *,
    placed: object,  # [N, PLACED_BYTES] uint8 on the GPU: room between the two launches
    stream: Stream,
    landmarks: object | None = None,  # [N, 68, 2] float32 on the GPU, frame pixels; None: the mask is the window
    strength: float | object = 1.0,  # 0..1, or [N] float32 on the GPU
    color_match: bool = True,
    feather: float = 0.08,
    count: object | None = None,  # [1] int32 on the GPU: faces to do; None: N
    status: object | None = None,  # [N] int32 on the GPU, written: 0 done, 1 not finite, 2 outside the frame
) -> None:
    """sdk.image.paste.paste() (NV12: sdk.image.nv12_paste) in two launches; returns before it is done.

    Faces whose map, landmarks or strength are not finite touch nothing. The device must be current.
    Raises InputError that names the argument, BackendError when CUDA refuses a launch.
    """
    look = Arguments(kernels.device, stream)
    fields = frame_fields(look, frame, writable=True)
    pictures = look.take("faces", faces, np.uint8, "N", "S", "S", 3)
    if look.sizes["N"] and not 1 <= look.sizes["S"] <= MAX_FRAME_PX:
        raise InputError(f"faces of 1 to {MAX_FRAME_PX} px a side", str(look.sizes["S"]), "scale them")
    maps = look.take("crop_to_frame", crop_to_frame, np.float32, "N", 2, 3)
    room = look.take("placed", placed, np.uint8, "N", PLACED_BYTES, writable=True, aligned=True)
    amount = strength if isinstance(strength, (int, float)) else None
    if (amount is not None and not 0.0 <= amount <= 1.0) or not 0.0 < feather < math.inf:
        raise InputError("strength in [0, 1] and a finite feather > 0", f"{strength=}, {feather=}", "clip them")
    args = PasteArgs(
        **fields.pointers,
        faces=pictures.pointer,
        maps=maps.pointer,
        landmarks=look.optional("landmarks", landmarks, np.float32, "N", COUNT, 2, writable=False),
        strength=look.optional("strength", strength, np.float32, "N", writable=False) if amount is None else 0,
        count=look.optional("count", count, np.int32, 1, writable=False),
        placed=room.pointer,
        status=look.optional("status", status, np.int32, "N"),
        feather=feather,
        amount=1.0 if amount is None else amount,
        size=look.sizes["S"],
        capacity=look.faces("faces"),
        color_match=color_match,
    )
    fields.fill(args, "to_rgb", "to_yuv")
    if args.capacity:
        first, second, block = f"paste_match_{fields.kind}", f"paste_{fields.kind}", (THREADS, 1, 1)
        kernels.launch("paste_match", first, args, grid=(args.capacity, 1, 1), block=block, stream=stream.handle)
        kernels.launch("paste", second, args, grid=(TILES, args.capacity, 1), block=block, stream=stream.handle)
