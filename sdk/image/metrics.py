"""PSNR, SSIM, landmark errors: one function per definition, one preset per paper.

Pictures are RGB uint8, or floats in 0..255. Tables of two papers compare only when their protocols do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.pixels import rgb_to_y
from sdk.image.points68 import COUNT, OUTER_EYES

PEAK = 255.0  # grey levels
SSIM_TAPS = 11
SSIM_SIGMA = 1.5  # pixels
SSIM_K1, SSIM_K2 = 0.01, 0.03  # Wang et al. 2004
MODES = ("rgb", "y")
NORMALISERS = ("outer_eye", "sqrt_box", "sqrt_landmark_box")
Picture = npt.NDArray[Any]  # [H, W, 3] RGB, or [H, W] one channel taken as it is
Float64 = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1: pixels x0 <= x < x1


@dataclass(frozen=True)
class Protocol:
    """How a paper measures a super-resolved picture against its original."""

    mode: str  # "rgb" or "y" (BT.601, limited range)
    source: str  # where the definition comes from
    rounded: bool = True  # luminance rounded to 8 bit before comparing
    border_is_scale: bool = False  # remove as many border pixels as the scale factor
    face_box: bool = False  # only inside the box of the true landmarks
    box_margin_px: int = 0  # the face box is clipped to [margin, size - margin)
    luma_offset: float = 0.0  # added to the luminance before SSIM (a slip of a paper's code)


PROTOCOLS = {
    "fsrnet": Protocol("y", "FSRNet Table 2, whose bicubic line it reproduces: Y, 8 bit, whole picture"),
    "jasrnet": Protocol(
        "y", "JASRNet's code: Y not rounded, box of the landmarks", rounded=False, face_box=True, box_margin_px=8
    ),
    # The code adds 16 to a luminance in [0, 1] where 16 / 255 is meant: PSNR is the same, SSIM rises by about 0.004.
    "jasrnet_code": Protocol(
        "y",
        "as jasrnet, with the code's offset of 16 for 16 / 255",
        rounded=False,
        face_box=True,
        box_margin_px=8,
        luma_offset=16.0 * PEAK - 16.0,
    ),
    "srinc": Protocol("y", "SRINC Table 1: Y, 8 bit, border of scale pixels removed", border_is_scale=True),
    "superfan": Protocol("rgb", "Super-FAN Table 2: 64 x 64, colour space not stated, RGB here"),
    "superfan_y": Protocol("y", "the same on Y, the other reading"),
    "mtun": Protocol("rgb", "MTUN Table 1: whole upright 128 x 128, colour space not stated, RGB here"),
    "mtun_y": Protocol("y", "the same on Y, the other reading"),
}


def psnr(
    a: Picture,
    b: Picture,
    *,
    mode: str = "rgb",
    box: Box | None = None,
    border: int = 0,
    rounded: bool = True,
) -> float:
    """10 log10(255^2 / mean squared difference) in dB over all channels compared; inf for equal pictures.

    mode: "rgb", or "y" for BT.601 luminance; `box` first, then `border` pixels on each side are cut; rounded: pictures
    (and luminance) to 8 bit before comparing.

    Raises:
        InputError: shapes that differ or are not [H, W, 3] or [H, W], nothing left to compare, unknown mode.
    """
    planes = _planes(a, b, mode, box, border, rounded)
    difference: Float64 = planes[0] - planes[1]
    mean_square = float(difference.ravel() @ difference.ravel()) / difference.size
    return float("inf") if mean_square == 0.0 else float(10.0 * np.log10(PEAK**2 / mean_square))


def ssim(
    a: Picture,
    b: Picture,
    *,
    mode: str = "rgb",
    box: Box | None = None,
    border: int = 0,
    rounded: bool = True,
    luma_offset: float = 0.0,
) -> float:
    """Structural similarity of Wang et al. 2004: 11 x 11 Gaussian of sigma 1.5, only windows wholly inside, peak 255.

    "rgb" is the mean over the channels. `luma_offset` is added to both before comparing. Else as psnr().

    Raises:
        InputError: as psnr(), and less than 11 pixels a side.
    """
    planes = _planes(a, b, mode, box, border, rounded)
    if min(planes.shape[2:]) < SSIM_TAPS:
        got = f"{planes.shape[3]} x {planes.shape[2]} pixels"
        raise InputError(f"at least {SSIM_TAPS} x {SSIM_TAPS} pixels for SSIM", got, "use a larger box or border=0")
    x, y = planes + luma_offset  # each [C, H, W]
    blurred = _gaussian_valid(np.stack([x, y, x * x + y * y, x * y]))  # [4, C, H - 10, W - 10]
    mean_x, mean_y, squares, product = blurred
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    both = mean_x * mean_y
    mean_squares = mean_x * mean_x + mean_y * mean_y
    structure = (2.0 * (product - both) + c2) / (squares - mean_squares + c2)
    values: Float64 = (2.0 * both + c1) / (mean_squares + c1) * structure
    return float(values.mean())


def _gaussian_valid(maps: Float64) -> Float64:
    """[..., H, W] -> [..., H - 10, W - 10], separable, float64."""
    offset = np.arange(SSIM_TAPS) - SSIM_TAPS // 2
    taps = np.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    for axis in (-1, -2):
        n = maps.shape[axis] - SSIM_TAPS + 1
        half = SSIM_TAPS // 2
        pieces = [maps[..., k : k + n] if axis == -1 else maps[..., k : k + n, :] for k in range(SSIM_TAPS)]
        total = taps[half] * pieces[half]
        for k in range(half):  # the kernel is symmetric: one product for two taps
            pair = pieces[k] + pieces[-1 - k]
            pair *= taps[k]
            total += pair
        maps = total
    return maps


def _planes(a: Picture, b: Picture, mode: str, box: Box | None, border: int, rounded: bool) -> Float64:
    """Both pictures' channels to compare: float64 [2, C, H, W]."""
    if mode not in MODES or border < 0:
        raise InputError(f"a mode of {MODES} and border >= 0", f"mode={mode!r}, border={border}", "pick one of those")
    if a.shape != b.shape or not (a.ndim == 2 or (a.ndim == 3 and a.shape[2] == 3)):
        got = f"shapes {a.shape} and {b.shape}"
        raise InputError("two pictures [H, W, 3] or [H, W] of one shape", got, "resize or cut one of them")
    x0, y0, x1, y1 = box if box is not None else (0, 0, a.shape[1], a.shape[0])
    rows, columns = slice(y0 + border, y1 - border), slice(x0 + border, x1 - border)
    inside = min(x0, y0) >= 0 and x1 <= a.shape[1] and y1 <= a.shape[0]
    if not inside or rows.stop <= rows.start or columns.stop <= columns.start:
        got = f"box {(x0, y0, x1, y1)} and border {border} in {a.shape[1]} x {a.shape[0]} pixels"
        raise InputError("a box with pixels left inside the picture", got, "clip the box")
    return np.stack([_channels(picture[rows, columns], mode, rounded) for picture in (a, b)])


def _channels(picture: Picture, mode: str, rounded: bool) -> Float64:
    """[h, w, 3] or [h, w] -> float64 [C, h, w]."""
    values = picture.astype(np.float64)
    if rounded and picture.dtype != np.uint8:
        values = np.floor(np.clip(values, 0.0, PEAK) + 0.5)
    if picture.ndim == 2:
        return values[None]
    return rgb_to_y(values, rounded=rounded)[None] if mode == "y" else np.moveaxis(values, 2, 0)


def face_box(
    points: npt.NDArray[np.floating],  # [K, 2] true landmarks, picture pixels
    size_hw: tuple[int, int],
    *,
    margin_px: int = 8,
) -> Box:
    """JASRNet's box for PSNR and SSIM: the points' extent, truncated, clipped to [margin, size - margin)."""
    corners = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.int64)
    limit = np.array([size_hw[1], size_hw[0]] * 2) - margin_px
    x0, y0, x1, y1 = (int(edge) for edge in np.clip(corners, margin_px, limit))
    return x0, y0, x1, y1


def score_pair(
    sr: Picture,  # [H, W, 3]
    hr: Picture,  # [H, W, 3]
    protocol: Protocol,
    *,
    points: npt.NDArray[np.floating] | None = None,  # [K, 2] true landmarks for protocols with a face box
    scale: int | None = None,  # for protocols that cut a border of scale pixels
) -> tuple[float, float]:
    """(PSNR in dB, SSIM) as the paper measures. Without points a face box is the whole picture less its margin.

    Raises:
        InputError: as psnr() and ssim(); no scale for a protocol that needs it.
    """
    if protocol.border_is_scale and scale is None:
        raise InputError("the scale factor for this protocol", "scale=None", "pass scale=2, 3, 4 or 8")
    border = int(scale or 0) if protocol.border_is_scale else 0
    H, W = hr.shape[:2]  # rows, columns
    box: Box | None = None
    if protocol.face_box:
        margin = protocol.box_margin_px
        box = (margin, margin, W - margin, H - margin) if points is None else face_box(points, (H, W), margin_px=margin)
    sr, hr = _to_8bit(sr), _to_8bit(hr)  # the pictures are 8 bit in every protocol; only luminance may not be
    how: dict[str, Any] = {"mode": protocol.mode, "box": box, "border": border, "rounded": protocol.rounded}
    return psnr(sr, hr, **how), ssim(sr, hr, **how, luma_offset=protocol.luma_offset)


def _to_8bit(picture: Picture) -> Picture:
    if picture.dtype == np.uint8:
        return picture
    return np.floor(np.clip(picture.astype(np.float64), 0.0, PEAK) + 0.5).astype(np.uint8)


def cumulative_psnr(a: Picture, b: Picture) -> Float64:
    """SRINC Eq. 4 for delta = 1..255, float64 [255]: a sum of logarithms of which only differences mean anything.

    Entry d - 1 is 10 * sum over n = 1..d of log10(values * 255^2 / (n^2 * how many values differ by n)), without the
    n that never occur. Raises InputError unless both are uint8 of one shape.
    """
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8 or a.size == 0:
        got = f"{a.dtype} {a.shape} and {b.dtype} {b.shape}"
        raise InputError("two uint8 pictures of one shape", got, "round them to 8 bit")
    n = np.arange(1, 256)
    counts = np.bincount(np.abs(a.astype(np.int64) - b.astype(np.int64)).ravel(), minlength=256)[1:]
    terms = 10.0 * np.log10(a.size * PEAK**2 / (n * n * np.maximum(counts, 1)))
    return np.cumsum(np.where(counts > 0, terms, 0.0))


def nme(
    pred: npt.NDArray[np.floating],  # [N, K, 2] pixels
    truth: npt.NDArray[np.floating],  # [N, K, 2] pixels
    *,
    normaliser: str = "outer_eye",
    box: npt.NDArray[np.floating] | None = None,  # [N, 4] for "sqrt_box"
    visible: npt.NDArray[np.bool_] | None = None,  # [N, K] points that count; all by default
) -> Float64:  # [N]
    """Mean distance of the points over a length of the face, by picture, as a fraction (0.05 = 5 %).

    Normalisers: "outer_eye" distance of the outer eye corners (68 points; SRINC Eq. 1, JASRNet), "sqrt_box" square root
    of the given box's area (FAN, Super-FAN, AFLW), "sqrt_landmark_box" of the true points' box (194 points).

    Raises:
        InputError: shapes that differ, unknown normaliser, no box or not 68 points where one needs them.
    """
    if pred.shape != truth.shape or pred.ndim != 3 or pred.shape[2] != 2:
        got = f"shapes {pred.shape} and {truth.shape}"
        raise InputError("two arrays [N, K, 2] of one shape", got, "pass points[None] for one face")
    distance = np.linalg.norm(pred.astype(np.float64) - truth, axis=2)  # [N, K]
    counted = np.ones(distance.shape, dtype=np.bool_) if visible is None else visible
    mean = np.where(counted, distance, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return mean / _face_length(truth.astype(np.float64), normaliser, box)


def _face_length(truth: Float64, normaliser: str, box: npt.NDArray[np.floating] | None) -> Float64:
    """[N] pixels."""
    if normaliser == "outer_eye" and truth.shape[1] == COUNT:
        return np.linalg.norm(truth[:, OUTER_EYES[0]] - truth[:, OUTER_EYES[1]], axis=1)
    if normaliser == "sqrt_landmark_box":
        return np.sqrt(np.prod(truth.max(axis=1) - truth.min(axis=1), axis=1))
    if normaliser == "sqrt_box" and box is not None and box.shape == (len(truth), 4):
        return np.sqrt(np.prod(box[:, 2:].astype(np.float64) - box[:, :2], axis=1))
    got = f"{normaliser!r} with {truth.shape[1]} points and box {None if box is None else box.shape}"
    expected = f"a normaliser of {NORMALISERS}; 'outer_eye' has 68 points, 'sqrt_box' boxes [N, 4]"
    raise InputError(expected, got, "choose the normaliser of the data set")


def auc(
    errors: npt.NDArray[np.floating],  # [N] fractions
    threshold: float,
) -> float:
    """Area under the cumulative error curve up to the threshold, over the threshold: mean(max(0, 1 - e / T)).

    An error that is NaN counts as a failure. Raises InputError without errors or for a threshold of 0 or less.
    """
    known = _errors(errors, threshold)
    return float(np.mean(np.maximum(0.0, 1.0 - known / threshold)))


def failure_rate(
    errors: npt.NDArray[np.floating],  # [N] fractions
    threshold: float = 0.08,
) -> float:
    """Fraction of the errors above the threshold; NaN counts as one. Raises as auc()."""
    return float(np.mean(_errors(errors, threshold) > threshold))


def _errors(errors: npt.NDArray[np.floating], threshold: float) -> Float64:
    if errors.size == 0 or not threshold > 0.0:
        got = f"{errors.size} errors, threshold {threshold}"
        raise InputError("at least one error and a threshold above 0", got, "check the selection of pictures")
    return np.where(np.isnan(errors), np.inf, errors.astype(np.float64))


def iou(
    pred: npt.NDArray[np.integer],  # [...] class numbers
    truth: npt.NDArray[np.integer],  # [...]
    *,
    classes: int,
) -> Float64:  # [classes]
    """Intersection over union of label maps by class; NaN for a class in neither. np.nanmean gives the mean IoU."""
    labels = np.concatenate([pred.ravel(), truth.ravel()])
    if pred.shape != truth.shape or labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
        got = f"shapes {pred.shape} and {truth.shape}, labels {labels.min(initial=0)} to {labels.max(initial=0)}"
        raise InputError(f"two label maps of one shape, labels below {classes}", got, "resize one by nearest pixel")
    pairs = np.bincount(truth.ravel() * classes + pred.ravel(), minlength=classes * classes).reshape(classes, classes)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - np.diag(pairs)
    return np.where(union > 0, np.diag(pairs) / np.maximum(union, 1), np.nan)
