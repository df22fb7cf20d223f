"""FaceResult: what comes back for each box, in the order of the boxes, whatever happened to the face."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FaceResult", "FaceStatus"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


class FaceStatus(str, Enum):
    """Why a result is as it is; the value is what JSON shows. The first that applies, in this order, is given."""

    INVALID_BOX = "invalid_box"  # NaN, no area, or wholly outside the frame: no image, no landmarks
    LOW_CONFIDENCE = "low_confidence"  # the heatmaps found no face; render() leaves the frame as it is
    TOO_SMALL = "too_small"  # so few pixels that identity and expression are guesses
    NOT_DEGRADED = "not_degraded"  # the frame is already as sharp as our output: image is the frame's own crop
    PARTLY_OUTSIDE = "partly_outside"  # pixels beyond the frame's edge were made up by repeating the edge
    OK = "ok"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One face. Arrays are this object's own memory: later calls never change them. Coordinates are (x, y).

    Points and maps count pixel centres at integers; boxes and windows are edges (0 = left edge of the first pixel).
    """

    image: U8 | None  # [S, S, 3] in the caller's colour order, or None for an invalid box
    landmarks: F32 | None  # [68, 2] frame px (crop px after enhance_aligned), None without a landmark head
    scores: F32 | None  # [68] height of each heatmap's peak, about 1 when sure
    spread: F32 | None  # [68] standard deviation of each heatmap's peak in frame px
    box_xyxy_px: F64  # [4] the caller's or detector's box
    window: F64  # [4] the square that the network saw, edges in frame px (NaN for an invalid box)
    crop_to_frame: F64  # [2, 3] maps pixel centres of image to pixel centres of the frame (NaN for an invalid box)
    status: FaceStatus
    reason: str  # one sentence for people; empty when status is ok
    model: str | None  # name of the network that ran, None for an invalid box
    confidence: float  # mean of scores; NaN without landmarks
    components: F32 | None = None  # [K, h, w] of MTUN, over the crop: maps of eyes, nose, mouth and chin
    no_landmarks: str = ""  # why landmarks is None, in one sentence; empty when there are some

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready numbers and texts, without the image."""
        return {
            "status": self.status.value,
            "reason": self.reason,
            "model": self.model,
            "confidence": _number(self.confidence),
            "box_xyxy_px": _numbers(self.box_xyxy_px),
            "window_xyxy_px": _numbers(self.window),
            "landmarks_px": _numbers(self.landmarks),
            "no_landmarks": self.no_landmarks,
            "scores": _numbers(self.scores),
            "spread_px": _numbers(self.spread),
        }


def _number(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None  # JSON has no NaN


def _numbers(array: F32 | F64 | None) -> Any:
    if array is None:
        return None
    if array.ndim > 1:
        return [_numbers(row) for row in array]
    return [_number(value) for value in array.tolist()]
