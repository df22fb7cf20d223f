"""The kernels' argument structs as ctypes: mirrors of those in kernels/*.cuh, compared with them by a test.

Pointers are CUDA addresses; 0 is null. A field's meaning stands beside its twin in the .cuh file.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32, c_int64, c_void_p
from typing import Any, ClassVar

__all__ = [
    "STRUCTS",
    "CropNormArgs",
    "EnlargeArgs",
    "HeatmapDecodeArgs",
    "ImageTailArgs",
    "LumaTailArgs",
    "PasteArgs",
    "PasteGateArgs",
    "PixelShuffleArgs",
]

Matrix34 = (c_float * 4) * 3


class CropNormArgs(ctypes.Structure):
    """kernels/crop_norm.cuh"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("frame", c_void_p),
        ("uv", c_void_p),
        ("boxes", c_void_p),
        ("count", c_void_p),
        ("out", c_void_p),
        ("status", c_void_p),
        ("pitch", c_int64),
        ("uv_pitch", c_int64),
        ("colour", Matrix34),
        ("to_rgb", Matrix34),
        ("siting_x", c_float),
        ("width", c_int32),
        ("height", c_int32),
        ("size", c_int32),
        ("channels", c_int32),
        ("capacity", c_int32),
    ]


class HeatmapDecodeArgs(ctypes.Structure):
    """kernels/heatmap_decode.cuh"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("maps", c_void_p),
        ("matrices", c_void_p),
        ("count", c_void_p),
        ("out", c_void_p),
        ("status", c_void_p),
        ("scale", c_float),
        ("capacity", c_int32),
        ("landmarks", c_int32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("channels", c_int32),
        ("mode", c_int32),
        ("blur", c_int32),
    ]


class PasteArgs(ctypes.Structure):
    """kernels/paste.cuh"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("frame", c_void_p),
        ("uv", c_void_p),
        ("faces", c_void_p),
        ("maps", c_void_p),
        ("landmarks", c_void_p),
        ("strength", c_void_p),
        ("count", c_void_p),
        ("placed", c_void_p),
        ("status", c_void_p),
        ("pitch", c_int64),
        ("uv_pitch", c_int64),
        ("to_rgb", Matrix34),
        ("to_yuv", Matrix34),
        ("siting_x", c_float),
        ("feather", c_float),
        ("amount", c_float),
        ("width", c_int32),
        ("height", c_int32),
        ("size", c_int32),
        ("capacity", c_int32),
        ("color_match", c_int32),
    ]


class ImageTailArgs(ctypes.Structure):
    """kernels/image_tail.cuh"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("features", c_void_p),
        ("lr", c_void_p),
        ("bias", c_void_p),
        ("count", c_void_p),
        ("out", c_void_p),
        ("sums", c_void_p),
        ("status", c_void_p),
        ("gain", c_float),
        ("shift", c_float),
        ("slope", c_float),
        ("capacity", c_int32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("channels", c_int32),
        ("lr_scale", c_int32),
        ("bgr", c_int32),
    ]


class EnlargeArgs(ctypes.Structure):
    """kernels/enlarge.cu"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("lr", c_void_p),
        ("count", c_void_p),
        ("out", c_void_p),
        ("colour", Matrix34),
        ("size", c_int32),
        ("scale", c_int32),
        ("channels", c_int32),
        ("capacity", c_int32),
    ]


class LumaTailArgs(ctypes.Structure):
    """kernels/luma_tail.cu"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("sr", c_void_p),
        ("lr", c_void_p),
        ("count", c_void_p),
        ("out", c_void_p),
        ("status", c_void_p),
        ("colour", Matrix34),
        ("luma", c_float * 3),
        ("size", c_int32),
        ("scale", c_int32),
        ("capacity", c_int32),
    ]


class PasteGateArgs(ctypes.Structure):
    """kernels/paste_gate.cu"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("marks", c_void_p),
        ("status", c_void_p),
        ("count", c_void_p),
        ("points", c_void_p),
        ("strength", c_void_p),
        ("confidence", c_void_p),
        ("amount", c_float),
        ("least", c_float),
        ("landmarks", c_int32),
        ("capacity", c_int32),
    ]


class PixelShuffleArgs(ctypes.Structure):
    """kernels/pixel_shuffle.cuh"""

    _fields_: ClassVar[Sequence[Any]] = [
        ("in", c_void_p),
        ("out", c_void_p),
        ("batch", c_int64),
        ("channels", c_int32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("r", c_int32),
    ]


STRUCTS: dict[str, type[ctypes.Structure]] = {  # .cu file -> what its kernels take
    "crop_norm": CropNormArgs,
    "enlarge": EnlargeArgs,
    "heatmap_decode": HeatmapDecodeArgs,
    "image_tail": ImageTailArgs,
    "luma_tail": LumaTailArgs,
    "paste": PasteArgs,
    "paste_gate": PasteGateArgs,
    "paste_match": PasteArgs,
    "pixel_shuffle": PixelShuffleArgs,
}
