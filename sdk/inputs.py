"""What callers hand in, checked once at the border: frames and boxes."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import BOX_KINDS, inside_fraction, square_windows
from sdk.image.pixels import as_rgb8

__all__ = ["COLOURS", "as_frame8", "check_boxes", "check_options", "check_strength", "is_share", "windows_of"]

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

COLOURS = ("bgr", "rgb")

MIN_SIDE_PX = 1.0  # a window without a single pixel has nothing to enhance
MAX_COORDINATE_PX = 1e7  # no frame is that large, and float32 could not tell its pixels apart
MAX_SIDE_FRAMES = 4.0  # a window four frames wide shows no face, and cutting it out would only cost time


def check_options(*, color: Any, refine: Any, min_confidence: Any, threads: Any, device: Any) -> None:
    """Options of FaceEnhancer, whatever they are. Raises InputError for a wrong type or range."""
    default = "leave it out for the default"
    if not isinstance(color, str) or color not in COLOURS:
        raise InputError(f"color among {COLOURS}", repr(color), 'pass "bgr" for OpenCV\'s frames')
    if not _is_whole(refine) or refine < 0:
        raise InputError("refine as a whole number of 0 or more", repr(refine), default)
    if min_confidence is not None and not is_share(min_confidence):
        raise InputError("min_confidence as a number in [0, 1]", repr(min_confidence), default)
    if threads is not None and not _is_whole(threads):
        raise InputError("threads as a whole number or None", repr(threads), default)
    if device is not None and not isinstance(device, str):
        raise InputError('device as a text like "cpu" or "cuda:0"', repr(device), default)


def is_share(value: Any) -> bool:
    """Is it a number in [0, 1]?"""
    return not isinstance(value, bool) and isinstance(value, Real) and 0.0 <= float(value) <= 1.0


def check_strength(strength: Any) -> None:
    """Raises InputError for anything but a number in [0, 1]."""
    if not is_share(strength):
        raise InputError("strength as a number in [0, 1]", repr(strength), "use 1 for the full effect, 0 for none")


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def as_frame8(
    frame: Any,  # [H, W, 3] uint8, or anything as_rgb8 takes
    color: str,
) -> U8:
    """The frame as uint8 [H, W, 3] in the order of `color`; a uint8 [H, W, 3] array is returned as it is, uncopied.

    Grey, alpha, 16 bit and floats in [0, 1] are converted (alpha is dropped). Raises InputError for all else.
    """
    if not isinstance(frame, np.ndarray):
        got = f"{type(frame).__name__}"
        raise InputError("a picture as a NumPy array [H, W, 3]", got, "convert it with numpy.asarray")
    array = cast("npt.NDArray[Any]", frame)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size > 0:
        return array
    rgb = as_rgb8(array, color=color)
    return rgb if color == "rgb" else np.ascontiguousarray(rgb[..., ::-1])


def check_boxes(
    boxes: Any,  # array-like [N, 4] of x0, y0, x1, y1 in px
) -> F64:
    """Boxes as a new float64 [N, 4]; values are not looked at. Raises InputError for other shapes or non-numbers."""
    remedy = "pass one row x0, y0, x1, y1 in pixels a face, e.g. [[10, 20, 40, 60]]"
    expected = "boxes as numbers of shape (N, 4)"
    try:
        array: npt.NDArray[Any] = np.asarray(boxes)
    except ValueError as error:  # rows of different lengths
        raise InputError(expected, "rows of different lengths", remedy) from error
    if array.shape in ((0,), (0, 4), (1, 0)):  # [], no rows, [[]]
        return np.zeros((0, 4))
    if array.dtype.kind not in "iuf":
        raise InputError(expected, f"dtype {array.dtype}", remedy)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(expected, f"shape {array.shape}", remedy)
    return array.astype(np.float64)


def windows_of(
    boxes: F64,  # [N, 4] edges in frame px
    frame_hw: tuple[int, int],
    *,
    kind: str,  # one of sdk.image.crop.BOX_KINDS
) -> tuple[F64, list[str]]:
    """The network's square windows float64 [N, 4] in frame px, and for each box why it is invalid ("" when it is not).

    Windows of invalid boxes are NaN. Raises InputError for an unknown kind.
    """
    if kind not in BOX_KINDS:
        raise InputError(f"box_kind among {BOX_KINDS}", repr(kind), "say what the boxes enclose")
    reasons = [""] * len(boxes)
    windows = np.full(boxes.shape, np.nan)
    sound = _sound(boxes, frame_hw)  # [N]
    windows[sound] = square_windows(boxes[sound], kind=kind)
    sides = windows[:, 2] - windows[:, 0]  # [N], NaN where unsound
    for i in np.flatnonzero(~sound | (sides > MAX_SIDE_FRAMES * max(frame_hw)) | (sides < MIN_SIDE_PX)).tolist():
        reasons[i] = _why_invalid(boxes[i], frame_hw)
        if not reasons[i] and sides[i] < MIN_SIDE_PX:
            reasons[i] = "the box is smaller than a pixel"
        elif not reasons[i]:
            reasons[i] = f"the box is more than {MAX_SIDE_FRAMES:g} times as large as the frame"
        windows[i] = np.nan
    return windows, reasons


def _sound(
    boxes: F64,  # [N, 4]
    frame_hw: tuple[int, int],
) -> npt.NDArray[np.bool_]:
    """[N]: has _why_invalid() nothing to say?"""
    within = np.isfinite(boxes) & (np.abs(boxes) <= MAX_COORDINATE_PX)  # [N, 4]
    wide_and_high = boxes[:, 2:] > boxes[:, :2]  # [N, 2]
    index = np.flatnonzero(np.concatenate([within, wide_and_high], axis=1).all(axis=1))
    sound = np.zeros(len(boxes), np.bool_)
    sound[index] = inside_fraction(boxes[index], frame_hw) > 0
    return sound


def _why_invalid(
    box: F64,  # [4]
    frame_hw: tuple[int, int],
) -> str:
    if not np.isfinite(box).all() or np.abs(box).max() > MAX_COORDINATE_PX:
        return "the box is not made of finite pixel coordinates"
    if not (box[2] > box[0] and box[3] > box[1]):
        return "the box has no area: x1 > x0 and y1 > y0 must hold"
    if not inside_fraction(box[None], frame_hw)[0] > 0:
        return "the box lies wholly outside the frame"
    return ""
