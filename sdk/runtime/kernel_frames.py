"""Frames on the GPU as kernels take them: interleaved 8-bit colours, or NV12 of cameras and decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk.errors import InputError
from sdk.image.nv12 import LUMA_SHARES, SITINGS, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from sdk.runtime.kernel_checks import Arguments

__all__ = ["MAX_FRAME_PX", "DeviceNv12", "FrameFields", "frame_fields"]

MAX_FRAME_PX = 1 << 15  # a side; float32 places windows to 1/256 px there


@dataclass(frozen=True, eq=False)
class DeviceNv12:
    """sdk.image.nv12.Nv12Frame with planes on the GPU. Raises InputError for an unknown matrix or siting."""

    y: object  # [H, W] uint8
    uv: object  # [ceil(H / 2), ceil(W / 2), 2] uint8, Cb and Cr
    matrix: str = "bt709"
    full_range: bool = False
    siting: str = "left"

    def __post_init__(self) -> None:
        if self.matrix not in LUMA_SHARES or self.siting not in SITINGS:
            expected = f"a matrix of {sorted(LUMA_SHARES)} and a siting of {sorted(SITINGS)}"
            raise InputError(expected, f"{self.matrix!r}, {self.siting!r}", "see the decoder's VUI fields")


@dataclass(frozen=True)
class FrameFields:
    """What kernels' argument structs hold of a frame."""

    kind: str  # "bgr" (any order of three), "nv12": part of the kernel's name
    pointers: dict[str, Any]  # fields of the same names: frame, uv, pitch, uv_pitch, width, height, siting_x
    to_rgb: list[list[float]]  # [3][4]; empty unless NV12
    to_yuv: list[list[float]]

    def fill(self, args: Any, *names: str) -> None:
        """Put matrices into the fields of those names."""
        for name in names:
            for k, row in enumerate(getattr(self, name)):
                getattr(args, name)[k][:] = row


def frame_fields(look: Arguments, frame: object, *, writable: bool) -> FrameFields:
    """The frame after a look at its arrays. Raises InputError."""
    if isinstance(frame, DeviceNv12):
        luma = look.take("frame.y", frame.y, np.uint8, "H", "W", writable=writable)
        H, W = luma.shape
        half = (-(-H // 2), -(-W // 2), 2)
        chroma = look.take("frame.uv", frame.uv, np.uint8, *half, writable=writable)
        siting_x: Any = SITINGS[frame.siting][0]
        pointers = dict(frame=luma.pointer, uv=chroma.pointer, pitch=W, uv_pitch=2 * half[1], siting_x=siting_x)
        forward = yuv_to_rgb_matrix(frame.matrix, full_range=frame.full_range).tolist()
        back = rgb_to_yuv_matrix(frame.matrix, full_range=frame.full_range).tolist()
        fields = FrameFields("nv12", dict(pointers, width=W, height=H), forward, back)
    else:
        pixels = look.take("frame", frame, np.uint8, "H", "W", 3, writable=writable)
        height, width, _ = pixels.shape
        fields = FrameFields("bgr", dict(frame=pixels.pointer, pitch=3 * width, width=width, height=height), [], [])
    sides = fields.pointers["width"], fields.pointers["height"]
    if min(sides) < 1 or max(sides) > MAX_FRAME_PX:
        raise InputError(f"frame of 1 to {MAX_FRAME_PX} px a side", f"{sides}", "scale it, or cut it into parts")
    return fields
