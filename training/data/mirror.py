"""Orders of points in the mirror, and the length that their errors are divided by.

FLIPS are the tables of orders whose points have names. HELEN's 194 are sampled along outlines and their authors publish
no table: `mirror_order` finds it from the faces themselves, or says that it cannot. Menpo's 39 have none: they are of
one side of a face, and what they are called on the other its authors do not say.
"""

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.metrics import nme
from sdk.image.points68 import FLIP_68

# Which point takes whose place when a picture is mirrored.
FLIPS = {
    "5": np.array([1, 0, 2, 4, 3]),
    "19": np.array([5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18]),
    "21": np.array([5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 16, 15, 14, 13, 12, 19, 18, 17, 20]),
    "68": FLIP_68,
    "68-3d": FLIP_68,
}
# PAPERS 2.6 and 3.5; of the other orders they say nothing.
NORMALISERS = {"68": "outer_eye", "68-3d": "sqrt_box", "19": "sqrt_box", "194": "sqrt_landmark_box"}

UPRIGHT_ROUNDS = 4  # each sets the mean face straighter


def mirror_order(
    points: npt.NDArray[np.floating],  # [N, K, 2] faces as annotated, of every turn; hundreds of them
) -> npt.NDArray[np.int64]:  # [K]
    """Which point takes whose place in the mirror: in the mean face, set upright, the one nearest to its mirror image.

    Raises InputError: no [N, K, 2] of finite points, or a mean face in which two points claim one place: faces that
    look to one side, too few of them, or outlines that are not sampled alike left and right.
    """
    if points.ndim != 3 or points.shape[2] != 2 or not points.size or not np.isfinite(points).all():
        raise InputError("finite points [N, K, 2]", f"shape {points.shape}", "leave out faces with hidden points")
    centred = points - points.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=2).mean(axis=1))
    mean = (centred / np.maximum(size, 1e-12)[:, None, None]).mean(axis=0)  # [K, 2]
    for _ in range(UPRIGHT_ROUNDS):
        order = _nearest(mean)
        across = mean[order] - mean
        x, y = (across * np.sign(across[:, :1])).sum(axis=0)  # where left to right points
        tilt = -np.arctan2(y, x)
        mean = mean @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        mean = mean - [(mean + mean[order])[:, 0].mean() / 2.0, 0.0]
    order = _nearest(mean)
    wrong = np.flatnonzero(order[order] != np.arange(len(order)))
    if len(wrong):
        got = f"point {wrong[0]} and {len(wrong) - 1} more without one of their own"
        raise InputError(f"a place in the mirror for each of {len(order)} points", got, "give more, or frontal, faces")
    return order


def _nearest(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[K]: of each point's mirror image the nearest point."""
    mirrored = mean * np.array([-1.0, 1.0])
    return np.linalg.norm(mirrored[:, None] - mean[None], axis=2).argmin(axis=1)


def error_of(
    scheme: str,
    pred: npt.NDArray[np.floating],  # [N, K, 2] pixels
    truth: npt.NDArray[np.floating],  # [N, K, 2] pixels
    *,
    box: npt.NDArray[np.floating] | None = None,  # [N, 4] of the face, where the order's normaliser is it
    visible: npt.NDArray[np.bool_] | None = None,  # [N, K]
) -> npt.NDArray[np.float64]:  # [N]
    """NME as a fraction, by the length that the papers use for this order. Raises InputError as nme; none known."""
    if scheme not in NORMALISERS:
        expected = f"an order of points whose normaliser the papers give, of {sorted(NORMALISERS)}"
        raise InputError(expected, repr(scheme), "name a normaliser to sdk.image.metrics.nme")
    return nme(pred, truth, normaliser=NORMALISERS[scheme], box=box, visible=visible)
