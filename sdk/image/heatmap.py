"""Heatmaps to landmarks and back: reference of kernels/heatmap_decode.cu.

Cell coordinates are (x, y), cell centres at integers; a map of W cells over a picture of S pixels puts cell x at
picture coordinate (x + 0.5) * S / W - 0.5. A 16 x 16 map magnifies half a cell to 4 output pixels: never write this
conversion a second time.

Which cell is the peak: the largest value; of equal ones the lowest index y * W + x. -0 equals +0, NaN never wins, a
map of nothing but NaN gives index 0 and score NaN, +-Inf are ordinary values. How the peak is refined:

    argmax     not at all
    quarter    0.25 cell towards the larger neighbour, by axis (mmpose); the peak must be 1 cell off the border
    centroid   intensity-weighted mean over (2r + 1)^2 cells; values <= 1e-6 count as 2.2e-16, also those outside the
               map (JASRNet)
    dark       Newton step on the logarithm of the blurred map (Zhang et al. 2020, mmpose's derivatives); the peak must
               be 2 cells off the border; dropped if longer than 2 cells, or on a plateau: |dxx dyy - dxy^2| <= 1e-3
               (|dxx| + |dyy|), about where a direction bends less than a Gaussian of 30 cells. There rounding alone
               makes the step, and the peak cell stands

Outside the map is zero. A window that holds NaN or Inf is not refined.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError

DECODE_MODES = ("argmax", "quarter", "centroid", "dark")
SPREAD_RADIUS = 4  # cells
FLOOR_VALUE = 1e-6  # of the centroid and the spread: smaller values count as TINY
TINY = 2.2e-16
LOG_FLOOR = 1e-10  # blurred values are raised to it before the logarithm (mmpose)
QUARTER_MARGIN = 1  # cells between peak and border that a refinement needs
DARK_MARGIN = 2
MAX_STEP = 2.0  # cells
MIN_CURVATURE = 1e-3  # per cell^2, of the logarithm: float32's rounding of the blur then moves a step by 0.01 cells
DERIVATIVE_REACH = 2  # cells: dark's second derivatives look that far

Float32 = npt.NDArray[np.float32]
Heatmaps = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Decoded:
    """Landmarks of N faces; all arrays are new."""

    points: Float32  # [N, K, 2] (x, y) cell coordinates
    scores: Float32  # [N, K] value of the peak cell
    spread: Float32  # [N, K] standard deviation by axis, in cells, of the positive mass within 4 cells of the peak


def encode(
    points: npt.NDArray[np.floating],  # [N, K, 2] (x, y) cell coordinates
    size_hw: tuple[int, int],
    *,
    sigma_cells: float,
    cutoff: float = 0.0,
) -> Float32:  # [N, K, H, W]
    """Gaussians with peak 1 at the exact, sub-cell position; values below `cutoff` are 0; a NaN point gives zeros.

    Raises:
        InputError: points that are not [N, K, 2], a sigma that is not positive.
    """
    if points.ndim != 3 or points.shape[2] != 2 or not sigma_cells > 0.0:
        got = f"shape {points.shape}, sigma_cells={sigma_cells}"
        raise InputError("points [N, K, 2] and sigma_cells > 0", got, "pass points[None] for one face")
    H, W = size_hw  # rows, columns
    wide = _gaussian(points[..., 0], W, sigma_cells)
    high = _gaussian(points[..., 1], H, sigma_cells)
    maps = high[..., :, None] * wide[..., None, :]
    if cutoff > 0.0:
        maps[maps < cutoff] = 0.0
    return maps


def _gaussian(centre: npt.NDArray[np.floating], n: int, sigma: float) -> Float32:
    """[N, K] -> [N, K, n]; zeros where the centre is NaN."""
    offset = (np.arange(n) - centre[..., None].astype(np.float64)) / sigma
    return np.nan_to_num(np.exp(-0.5 * offset * offset), nan=0.0).astype(np.float32)


def decode(
    heatmaps: Heatmaps,  # [N, K, H, W] float16, float32, float64 or int8
    *,
    mode: str = "dark",
    radius: int = 4,
    blur: int = 5,
) -> Decoded:
    """Landmarks of whole batches; the maps are read once for their peaks, then only small windows are.

    mode: see the module; radius: half window of "centroid" in cells; blur: odd number of taps of "dark"'s Gaussian
    (sigma by OpenCV's rule; 11 gives mmpose's numbers).

    Raises:
        InputError: maps of another shape or dtype, or without cells; unknown mode; bad radius or blur.
    """
    if heatmaps.ndim != 4 or 0 in heatmaps.shape[2:] or not (heatmaps.dtype.kind == "f" or heatmaps.dtype == np.int8):
        got = f"{heatmaps.dtype} of shape {heatmaps.shape}"
        raise InputError("heatmaps [N, K, H, W] of floats or int8", got, "pass heatmaps[None] for one face")
    if mode not in DECODE_MODES or radius < 1 or blur < 1 or blur % 2 == 0:
        got = f"mode={mode!r}, radius={radius}, blur={blur}"
        raise InputError(f"a mode of {DECODE_MODES}, radius >= 1, odd blur", got, "correct the decoder's options")
    N, K, H, W = heatmaps.shape  # faces, landmarks, rows, columns
    maps = heatmaps if heatmaps.dtype == np.float32 or heatmaps.dtype == np.int8 else heatmaps.astype(np.float32)
    maps = maps.reshape(N * K, H * W)
    index, scores = _peaks(maps)
    peak = np.stack([index % W, index // W], axis=1)  # [M, 2] x, y
    needed = {"centroid": radius, "dark": DERIVATIVE_REACH + blur // 2}.get(mode, 0)
    reach = max(SPREAD_RADIUS, needed)
    window = _windows(maps, peak, (H, W), reach)  # [M, 2 reach + 1, 2 reach + 1]
    mean, spread = _centroid(_middle(window, SPREAD_RADIUS))
    known = mode == "centroid" and radius == SPREAD_RADIUS  # worked out already
    points = peak + (mean if known else _refine(window, mode, radius, blur)) * _allowed(peak, (H, W), mode)
    return Decoded(
        points.astype(np.float32).reshape(N, K, 2), scores.reshape(N, K), spread.astype(np.float32).reshape(N, K)
    )


def _peaks(
    maps: Heatmaps,  # [M, H * W] float32 or int8
) -> tuple[npt.NDArray[np.intp], Float32]:
    """Index and value [M] of each map's peak."""
    index = maps.argmax(axis=1) if len(maps) else np.zeros(0, dtype=np.intp)
    scores = np.take_along_axis(maps, index[:, None], axis=1)[:, 0].astype(np.float32)
    for row in np.flatnonzero(np.isnan(scores)):  # NumPy's argmax stops at the first NaN
        usable = np.flatnonzero(~np.isnan(maps[row].astype(np.float32)))
        if usable.size:
            index[row] = usable[maps[row, usable].argmax()]
            scores[row] = maps[row, index[row]]
        else:
            index[row] = 0
    return index, scores


def _windows(
    maps: Heatmaps,  # [M, H * W]
    peak: npt.NDArray[np.intp],  # [M, 2] x, y
    size_hw: tuple[int, int],
    reach: int,
) -> Float32:  # [M, 2 reach + 1, 2 reach + 1]
    """Cells around each peak, zero outside the map."""
    H, W = size_hw
    offset = np.arange(-reach, reach + 1)
    x, y = peak[:, :1] + offset, peak[:, 1:] + offset  # [M, 2 reach + 1]
    cell = np.clip(y, 0, H - 1)[:, :, None] * W + np.clip(x, 0, W - 1)[:, None, :]
    cell += (np.arange(len(maps)) * (H * W))[:, None, None]
    window = maps.ravel().take(cell).astype(np.float32)
    inside = ((y >= 0) & (y < H))[:, :, None] & ((x >= 0) & (x < W))[:, None, :]
    window[~inside] = 0.0
    return window


def _middle(window: Float32, radius: int) -> Float32:
    """The inner (2 radius + 1)^2 cells."""
    reach = window.shape[1] // 2
    return window[:, reach - radius : reach + radius + 1, reach - radius : reach + radius + 1]


def _allowed(peak: npt.NDArray[np.intp], size_hw: tuple[int, int], mode: str) -> npt.NDArray[np.bool_]:
    """[M, 1]: is the peak far enough from the border for the mode's refinement?"""
    margin = {"argmax": 0, "quarter": QUARTER_MARGIN, "centroid": 0, "dark": DARK_MARGIN}[mode]
    last = np.array([size_hw[1] - 1, size_hw[0] - 1]) - margin
    return np.all((peak >= margin) & (peak <= last), axis=1, keepdims=True)


def _refine(window: Float32, mode: str, radius: int, blur: int) -> npt.NDArray[np.floating]:
    """Offset (x, y) [M, 2] from the peak cell, finite."""
    if mode == "argmax":
        return np.zeros((len(window), 2), dtype=np.float32)
    if mode == "centroid":
        return _centroid(_middle(window, radius))[0]
    if mode == "quarter":
        cross = _middle(window, 1)
        difference = np.stack([cross[:, 1, 2] - cross[:, 1, 0], cross[:, 2, 1] - cross[:, 0, 1]], axis=1)
        step = 0.25 * np.sign(difference)
        return np.where(_all_finite(cross)[:, None], step, 0.0)
    return _newton(_middle(window, DERIVATIVE_REACH + blur // 2), blur)


def _all_finite(window: Float32) -> npt.NDArray[np.bool_]:
    """[M, S, S] -> [M]"""
    return np.all(np.isfinite(window), axis=(1, 2))


def _centroid(
    window: Float32,  # [M, S, S]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean offset [M, 2] and standard deviation by axis [M] of the values as weights.

    Where a value is not finite the offset is 0 and all cells weigh the same.
    """
    S = int(window.shape[1])
    flat = window.reshape(len(window), S * S)
    finite = _all_finite(window)
    weights = np.where(finite[:, None] & (flat > FLOOR_VALUE), flat, np.float32(TINY))  # [M, S * S]
    offset = np.arange(S) - S // 2
    x, y = np.tile(offset, S), np.repeat(offset, S)
    moments = weights @ np.stack([np.ones(S * S), x, y, x * x + y * y], axis=1).astype(np.float32)  # [M, 4]
    mean = (moments[:, 1:] / moments[:, :1]).astype(np.float64)  # x, y, x^2 + y^2
    variance = (mean[:, 2] - mean[:, 0] ** 2 - mean[:, 1] ** 2) / 2.0
    return mean[:, :2] * finite[:, None], np.sqrt(np.maximum(variance, 0.0))


def _blur_matrix(blur: int) -> npt.NDArray[np.float64]:
    """[5, blur + 4] matrix that blurs a line of window cells at offsets -2..2 of the peak."""
    sigma = 0.3 * ((blur - 1) * 0.5 - 1.0) + 0.8  # OpenCV's rule for a kernel given by its size
    taps = np.exp(-0.5 * ((np.arange(blur) - blur // 2) / sigma) ** 2)
    matrix = np.zeros((2 * DERIVATIVE_REACH + 1, blur + 2 * DERIVATIVE_REACH))
    for row in range(len(matrix)):
        matrix[row, row : row + blur] = taps / taps.sum()
    return matrix


def _newton(
    window: Float32,  # [M, blur + 4, blur + 4]
    blur: int,
) -> npt.NDArray[np.float64]:  # [M, 2]
    """Newton step to the maximum of the log of the blurred window; 0 where it is useless."""
    finite = _all_finite(window)
    window = np.where(finite[:, None, None], window, np.float32(0.0))
    line = _blur_matrix(blur)
    blurred = window.reshape(len(window), len(line[0]) ** 2) @ np.kron(line, line).T.astype(np.float32)  # [M, 25]
    log = np.log(np.maximum(blurred.astype(np.float64), LOG_FLOOR)).reshape(-1, 5, 5)
    middle = log[:, 2, 2]
    dx, dy = 0.5 * (log[:, 2, 3] - log[:, 2, 1]), 0.5 * (log[:, 3, 2] - log[:, 1, 2])
    dxx = 0.25 * (log[:, 2, 4] - 2.0 * middle + log[:, 2, 0])
    dyy = 0.25 * (log[:, 4, 2] - 2.0 * middle + log[:, 0, 2])
    dxy = 0.25 * (log[:, 3, 3] - log[:, 1, 3] - log[:, 3, 1] + log[:, 1, 1])
    determinant = dxx * dyy - dxy * dxy
    solvable = finite & (np.abs(determinant) > MIN_CURVATURE * (np.abs(dxx) + np.abs(dyy)))
    divisor = np.where(solvable, determinant, 1.0)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / divisor[:, None]
    useful = solvable & (np.abs(step) <= MAX_STEP).all(axis=1)
    return np.where(useful[:, None], step, 0.0)


def cells_to_image(
    points: npt.NDArray[np.floating],  # [..., 2] (x, y) cell coordinates
    heatmap_hw: tuple[int, int],
    image_hw: tuple[int, int],
) -> npt.NDArray[np.floating]:
    """Picture coordinates (pixel centres at integers) of cell coordinates; same dtype, new array."""
    cells, pixels = _wh(heatmap_hw, points), _wh(image_hw, points)
    return (points + 0.5) * (pixels / cells) - 0.5


def image_to_cells(
    points: npt.NDArray[np.floating],  # [..., 2] (x, y) pixels
    heatmap_hw: tuple[int, int],
    image_hw: tuple[int, int],
) -> npt.NDArray[np.floating]:
    """Inverse of cells_to_image."""
    cells, pixels = _wh(heatmap_hw, points), _wh(image_hw, points)
    return (points + 0.5) * (cells / pixels) - 0.5


def _wh(size_hw: tuple[int, int], like: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.array([size_hw[1], size_hw[0]], dtype=like.dtype)
