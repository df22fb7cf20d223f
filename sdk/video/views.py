"""Ways to show a stream: before and after, an inset, points drawn in. Pictures are uint8 [H, W, 3] in any order."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, MissingPackageError
from sdk.image.crop import crop
from sdk.result import FaceStatus
from sdk.video.following import TrackedFace

__all__ = ["VIEWS", "view"]

U8 = npt.NDArray[np.uint8]

VIEWS = ("enhanced", "side-by-side", "picture-in-picture", "overlay")
INSET_SHARE = 0.3  # side of the inset by the frame's smaller side
SHADE = 0.35  # what is left of the brightness under a text
SUBPIXEL_BITS = 4  # of cv2's drawing: points are drawn where they are, not at whole pixels
PIP = 'pip install "opencv-python-headless>=4.8,<5"'


def view(
    name: str,
    frame: U8,  # [H, W, 3] as the source gave it
    picture: U8,  # [H, W, 3] with the faces pasted in
    faces: Sequence[TrackedFace],
) -> U8:
    """What to show, new memory unless it is `picture` itself; "side-by-side" is [H, 2 W, 3].

    Raises InputError for an unknown name.
    """
    if name not in VIEWS:
        raise InputError(f"a view of {VIEWS}", repr(name), "pick one of those")
    if name == "side-by-side":
        return np.concatenate([frame, picture], axis=1)
    if name == "picture-in-picture":
        return _with_inset(frame, picture, faces)
    return _with_points(picture, faces) if name == "overlay" else picture


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackageError("drawing into pictures", "opencv-python-headless<5", PIP) from error


def _with_inset(frame: U8, picture: U8, faces: Sequence[TrackedFace]) -> U8:
    """The largest face, before and after, in the corner that is farthest from it."""
    shown = [face for face in faces if face.result.image is not None]
    if not shown:
        return picture
    face = max(shown, key=lambda f: f.result.window[2] - f.result.window[0]).result
    height, width = picture.shape[:2]
    side = min(round(INSET_SHARE * min(height, width)), width // 2)
    if side < 8:
        return picture
    cv2 = _opencv()
    before = np.clip(np.rint(crop(frame, face.window[None], size=side)[0]), 0, 255).astype(np.uint8)
    after = cv2.resize(face.image, (side, side), interpolation=cv2.INTER_AREA)
    inset = np.concatenate([before, after], axis=1)
    middle = 0.5 * (face.window[:2] + face.window[2:])
    left = 0 if middle[0] > width / 2 else width - inset.shape[1]
    top = 0 if middle[1] > height / 2 else height - side
    out = picture.copy()
    out[top : top + side, left : left + inset.shape[1]] = inset
    return out


def _with_points(picture: U8, faces: Sequence[TrackedFace]) -> U8:
    """Landmarks, windows and identities; faces that were not found are drawn thin."""
    cv2, out = _opencv(), picture.copy()
    one = 1 << SUBPIXEL_BITS
    for face in faces:
        result = face.result
        if not np.isfinite(result.window).all():
            continue
        sure = result.status is not FaceStatus.LOW_CONFIDENCE
        colour = (90, 230, 90) if sure else (160, 160, 160)
        side = float(result.window[2] - result.window[0])
        corners = np.rint((result.window - 0.5) * one).astype(int)
        cv2.rectangle(out, corners[:2].tolist(), corners[2:].tolist(), colour, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        radius = max(one // 2, round(0.008 * side * one))
        for point in result.landmarks if sure and result.landmarks is not None else ():
            place = np.rint(point * one).astype(int).tolist()
            cv2.circle(out, place, radius, (255, 255, 255), -1, cv2.LINE_AA, SUBPIXEL_BITS)
        _write(cv2, out, f"{face.identity}", (int(result.window[0]), int(result.window[1]) - 3), colour)
    return out


def _write(
    cv2: Any,
    out: U8,  # [H, W, 3] in place
    text: str,
    place: tuple[int, int],  # left lower corner
    colour: tuple[int, int, int],
) -> None:
    """Text on a darkened ground."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    x, y = max(0, place[0]), max(height + 2, place[1])
    ground = out[y - height - 2 : y + below, x : x + width + 4]
    ground[:] = (ground * SHADE).astype(np.uint8)
    cv2.putText(out, text, (x + 2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
