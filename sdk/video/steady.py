"""Face pictures that do not flicker: each is blended with its predecessor, moved along with the face.

A network answers every frame afresh, so noise of a grey level in a face of 16 px becomes a shimmer over 128 px. Before
the blend the last picture is laid onto the new one by the similarity that best maps its landmarks; where the two agree
up to `tolerance` the mean of several frames is shown, where they differ (a blink, a hand, a false map) the new one.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, MissingPackageError

__all__ = ["Steadiness", "SteadyPicture", "similarity"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

BLUR_PX = 9  # side of the box over which two pictures are compared: what differs in single pixels is noise
PIP = 'pip install "opencv-python-headless>=4.8,<5"'


@dataclass(frozen=True)
class Steadiness:
    """share: of the last picture where nothing changed, in [0, 1). tolerance: grey levels."""

    share: float = 0.7
    tolerance: float = 6.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise InputError("share in [0, 1)", repr(self.share), "1 would show the first picture for ever")
        if not 0.0 < self.tolerance < float("inf"):
            raise InputError("tolerance as a finite number above 0", repr(self.tolerance), "leave it out")


def similarity(
    source: npt.NDArray[np.floating],  # [K, 2]
    target: npt.NDArray[np.floating],  # [K, 2]
) -> F64:
    """The turn, scale and shift [2, 3] that brings source closest to target in least squares (Umeyama 1991, 2-D).

    Points that all coincide give the shift alone.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    a, b = a - mean_a, b - mean_b
    power = float((a * a).sum())
    cosine, sine = (1.0, 0.0)
    if power > 0.0:
        cosine = float((a * b).sum()) / power
        sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([turn, (mean_b - turn @ mean_a)[:, None]], axis=1)


class SteadyPicture:
    """The pictures of one face over time."""

    def __init__(self, rule: Steadiness | None = None) -> None:
        self._rule = rule or Steadiness()
        self._last: F32 | None = None  # [S, S, 3]
        self._points: F64 | None = None  # [K, 2]

    def reset(self) -> None:
        """Forget the last picture: after a cut, a gap, or a face that was not sure."""
        self._last = self._points = None

    def __call__(
        self,
        picture: U8,  # [S, S, 3]
        points: npt.NDArray[np.floating],  # [K, 2] landmarks in the picture's px
    ) -> U8:
        """The picture to show, new memory. A picture of another size starts anew."""
        new = picture.astype(np.float32)
        shown = new
        if self._last is not None and self._points is not None and self._last.shape == new.shape:
            shown = self._blended(new, np.asarray(points, np.float64), self._last, self._points)
        self._last, self._points = shown, np.asarray(points, np.float64).copy()
        return np.clip(np.rint(shown), 0, 255).astype(np.uint8)

    def _blended(self, new: F32, points: F64, last: F32, last_points: F64) -> F32:
        cv2 = _opencv()
        size = (new.shape[1], new.shape[0])
        move = similarity(points, last_points)  # new px -> last px
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(last, move, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.warpAffine(np.ones(new.shape[:2], np.float32), move, size, flags=flags)  # 0 beyond its border
        change = cv2.blur((new - moved).mean(axis=2), (BLUR_PX, BLUR_PX))
        share = self._rule.share * known * np.exp(-np.square(change / self._rule.tolerance))
        return new + share[..., None] * (moved - new)


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackageError("steady pictures", "opencv-python-headless<5", PIP) from error
