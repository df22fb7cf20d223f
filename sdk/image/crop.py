"""Boxes, the network's square windows and the crops read through them: reference of kernels/crop_norm.cu.

Two frames of coordinates, both (x, y):
    edge      0 is the left edge of the first pixel, W the right edge of the last; boxes and windows.
    centre    an integer is the centre of a pixel; points and affine maps. centre = edge - 0.5.
"""

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.resample import KERNEL_RADIUS, kernel_values

BOX_KINDS = ("face", "landmarks", "crop")

# The rule by which the training faces were cut, on the tight box of the 68 points (brow to chin).
LANDMARK_SIDE = 1.5  # window side per larger side of the box: leaves forehead and jaw some room
LANDMARK_RAISE = 0.05  # centre moved up, per window side: the points stop at the brows, a face does not

# The same window from a detector's box: medians over OpenCV's frontal cascades on 457 HELEN training faces (1.37 to
# 1.40, 0.059 to 0.061). The root of the area serves detectors whose boxes are higher than wide as well.
FACE_SIDE = 1.38  # window side per square root of the box's area
FACE_RAISE = -0.06  # centre moved up, per window side; negative: down

MAX_WINDOW_FRAMES = 64.0  # a window side beyond this many frame sides is a mistake and would exhaust the memory

Boxes = npt.NDArray[np.floating]


def landmark_box(
    points: npt.NDArray[np.floating],  # [N, K, 2] (x, y), centre coordinates
) -> npt.NDArray[np.float64]:
    """Tight boxes [N, 4] (x0, y0, x1, y1) in edge coordinates around the points. Raises InputError."""
    if points.ndim != 3 or points.shape[1] < 1 or points.shape[2] != 2:
        raise InputError("points of shape [N, K, 2]", f"shape {points.shape}", "pass points[None] for one face")
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate([low, high], axis=1).astype(np.float64) + 0.5


def square_windows(
    boxes_xyxy_px: Boxes,  # [N, 4] edge coordinates
    *,
    kind: str = "face",
) -> npt.NDArray[np.float64]:
    """The network's square windows [N, 4], edge coordinates, float64; they may leave the frame.

    kind: "landmarks" for tight boxes of the 68 points, "face" for a detector's boxes (forehead to chin), "crop" when
    the box is the window (a box that is not square gets the square of its larger side about its centre).

    Raises:
        InputError: not [N, 4], unknown kind, a coordinate that is not finite, a side of zero or less.
    """
    if kind not in BOX_KINDS:
        raise InputError(f"a kind of box of {BOX_KINDS}", repr(kind), "pick one of those")
    boxes = checked_boxes(boxes_xyxy_px)
    sides = boxes[:, 2:] - boxes[:, :2]  # [N, 2]
    larger, root = sides.max(axis=1, keepdims=True), np.sqrt(np.prod(sides, axis=1, keepdims=True))  # [N, 1]
    side, raised = {
        "landmarks": (LANDMARK_SIDE * larger, LANDMARK_RAISE),
        "face": (FACE_SIDE * root, FACE_RAISE),
        "crop": (larger, 0.0),
    }[kind]
    centre = boxes[:, :2] + sides / 2.0
    centre[:, 1:] -= raised * side
    low = centre - side / 2.0
    windows = np.concatenate([low, low + side], axis=1)
    if kind == "crop":  # bit for bit the caller's window when it is square already
        square = sides[:, 0] == sides[:, 1]
        windows[square] = boxes[square]
    return windows


def checked_boxes(boxes_xyxy_px: Boxes) -> npt.NDArray[np.float64]:
    """The boxes as a new float64 [N, 4] array; an empty list gives [0, 4]. Raises InputError as square_windows."""
    boxes = np.array(boxes_xyxy_px, dtype=np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError("boxes of shape [N, 4] (x0, y0, x1, y1)", f"shape {boxes.shape}", "pass [box] for one box")
    bad = np.flatnonzero(~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
    if bad.size:
        got = f"box {bad[0]} = {boxes[bad[0]].tolist()}"
        raise InputError("finite boxes with x0 < x1 and y0 < y1", got, "drop it or give its corners in that order")
    return boxes


def inside_fraction(
    boxes: Boxes,  # [N, 4] edge coordinates
    frame_hw: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Fraction [N] of each box's area that lies inside the frame; 0 for a box without area."""
    sides = boxes[:, 2:] - boxes[:, :2]
    limit = np.array([frame_hw[1], frame_hw[0]], dtype=np.float64)  # W, H
    inner = np.minimum(boxes[:, 2:], limit) - np.maximum(boxes[:, :2], 0.0)  # [N, 2]
    area = np.where((sides > 0.0).all(axis=1), np.prod(sides, axis=1), np.inf)
    return np.prod(np.maximum(inner, 0.0), axis=1) / area


def window_affine(
    windows: Boxes,  # [N, 4] edge coordinates
    *,
    size: int,
) -> npt.NDArray[np.float64]:
    """Maps [N, 2, 3] from a crop of `size` pixels to the frame, both in centre coordinates."""
    step = (windows[:, 2:] - windows[:, :2]) / size  # [N, 2] frame pixels per crop pixel
    affine = np.zeros((len(windows), 2, 3))
    affine[:, 0, 0], affine[:, 1, 1] = step[:, 0], step[:, 1]
    affine[:, :, 2] = windows[:, :2] + 0.5 * step - 0.5
    return affine


def invert_affine(
    affine: npt.NDArray[np.floating],  # [N, 2, 3]
) -> npt.NDArray[np.float64]:
    """Inverse maps [N, 2, 3]. Raises InputError if one has no inverse."""
    (a, b), (c, d) = np.moveaxis(affine[:, :, :2].astype(np.float64), 0, -1)  # each [N]
    determinant = a * d - b * c
    if not np.all(np.isfinite(determinant) & (determinant != 0.0)):
        raise InputError("affine maps with an inverse", f"determinants {determinant}", "drop faces of no size")
    inverse = np.moveaxis(np.array([[d, -b], [-c, a]]) / determinant, -1, 0)  # [N, 2, 2]
    shift = -inverse @ affine[:, :, 2:]
    return np.concatenate([inverse, shift], axis=2)


def apply_affine(
    points: npt.NDArray[np.floating],  # [N, K, 2] (x, y)
    affine: npt.NDArray[np.floating],  # [N, 2, 3]
) -> npt.NDArray[np.float64]:
    """Points [N, K, 2] moved by the map of their face."""
    return points @ np.swapaxes(affine[:, :, :2], 1, 2) + affine[:, None, :, 2]


def crop(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    windows: Boxes,  # [N, 4] edge coordinates
    *,
    size: int,
) -> npt.NDArray[np.float32]:  # [N, size, size, C]
    """Crops in 0..255, float32, channels in the frame's order: bicubic a = -0.5, antialiased, not rounded, clipped.

    Taps outside the frame take the nearest edge pixel. Only the part of the frame under a window is read. The faces
    go one by one on purpose: their regions differ in size, and a padded batch is slower than small matrix products.

    Raises:
        InputError: a frame that is not [H, W, C] uint8, a window as in square_windows or absurdly large, size < 1.
    """
    boxes = checked_windows(frame, windows, size)
    crops = np.empty((len(boxes), size, size, frame.shape[2]), dtype=np.float32)
    for face, box in enumerate(boxes):
        crops[face] = crop_one(frame, box, size)
    return np.clip(crops, 0.0, 255.0, out=crops)


def checked_windows(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    windows: Boxes,  # [N, 4]
    size: int,
) -> npt.NDArray[np.float64]:
    """The windows as float64 [N, 4]. Raises InputError as crop()."""
    if frame.ndim != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        got = f"{frame.dtype} of shape {frame.shape}"
        raise InputError("a frame [H, W, C] uint8", got, "convert it with sdk.image.pixels.as_rgb8")
    if size < 1:
        raise InputError("a crop of at least 1 pixel", f"size={size}", "pass the network's lr_size")
    boxes = checked_boxes(windows)
    limit = MAX_WINDOW_FRAMES * max(frame.shape[:2])
    bad = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) > limit)
    if bad.size:
        got = f"window {bad[0]} = {boxes[bad[0]].tolist()} in a frame of shape {frame.shape}"
        raise InputError(f"windows with sides up to {limit:g} px", got, "check the units of the box")
    return boxes


def crop_one(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    box: npt.NDArray[np.float64],  # [4]
    size: int,
    *,
    kernel: str = "bicubic",
) -> npt.NDArray[np.float32]:  # [size, size, C]
    """One checked window of crop(), not clipped; kernel: "bicubic" or "bilinear", both widened when shrinking."""
    limit = np.array([frame.shape[1], frame.shape[0]])  # W, H
    step = (box[2:] - box[:2]) / size
    centre = box[:2, None] + (np.arange(size) + 0.5) * step[:, None]  # [2, size]
    first, weights = tap_weights(centre, np.maximum(step, 1.0), kernel=kernel)  # [2, size], [2, size, taps]
    reach = np.arange(int(weights.shape[2]))
    index = np.clip(first[:, :, None] + reach, 0, (limit - 1)[:, None, None])  # [2, size, taps], replicated edge
    low, high = index.min(axis=(1, 2)), index.max(axis=(1, 2)) + 1
    across, down = (_dense(index[axis] - low[axis], weights[axis], int(high[axis] - low[axis])) for axis in (0, 1))
    region = frame[low[1] : high[1], low[0] : high[0]].astype(np.float32)  # [R, Q, C]
    rows, columns, channels = region.shape
    work = np.matmul(down, region.reshape(rows, columns * channels)).reshape(size, columns, channels)
    work = np.matmul(across, work.transpose(1, 0, 2).reshape(columns, size * channels))  # [size (x), size (y) * C]
    return work.reshape(size, size, channels).transpose(1, 0, 2)


def tap_weights(
    centre: npt.NDArray[np.float64],  # [A, S] edge coordinates of the samples wanted, along A axes
    widen: npt.NDArray[np.float64],  # [A] >= 1, kernel widening of each axis
    *,
    kernel: str = "bicubic",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """First tap [A, S] and weights [A, S, taps] of the kernel; weights of a sample sum to 1."""
    radius = KERNEL_RADIUS[kernel] * widen[:, None]  # [A, 1]
    first = np.floor(centre - radius + 0.5).astype(np.int64)
    taps = int(np.ceil(2.0 * radius.max())) + 1
    offset = (first + 0.5 - centre)[:, :, None] + np.arange(taps)  # [A, S, taps]
    weights = kernel_values(kernel, offset / widen[:, None, None])
    return first, weights / weights.sum(axis=2, keepdims=True)


def _dense(
    index: npt.NDArray[np.int64],  # [S, taps] column of each tap, repeated where the edge is replicated
    weights: npt.NDArray[np.float64],  # [S, taps]
    width: int,
) -> npt.NDArray[np.float32]:  # [S, width]
    cell = index + width * np.arange(len(index))[:, None]
    return (
        np.bincount(cell.ravel(), weights=weights.ravel(), minlength=len(index) * width)
        .reshape(len(index), width)
        .astype(np.float32)
    )


def crop_affine(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    crop_to_frame: npt.NDArray[np.floating],  # [N, 2, 3] similarity maps, centre coordinates
    *,
    size: int,
) -> npt.NDArray[np.float32]:  # [N, size, size, C]
    """As crop(), through similarity maps (rotation, scale, shift): equal to it when there is no rotation.

    The kernel's axes stay those of the frame; its support is widened by the map's scale.
    """
    crops = np.empty((len(crop_to_frame), size, size, frame.shape[2]), dtype=np.float32)
    for face, (sample, widen) in enumerate(zip(*affine_samples(frame, crop_to_frame, size=size), strict=True)):
        crops[face] = sample_at(frame, sample, float(widen)).reshape(size, size, -1)
    return np.clip(crops, 0.0, 255.0, out=crops)


def affine_samples(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    crop_to_frame: npt.NDArray[np.floating],  # [N, 2, 3]
    *,
    size: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where crop_affine() looks: edge coordinates [N, 2, size * size] (x row, y row) and frame pixels per crop pixel
    [N], which widen the kernel when above 1. Raises InputError."""
    maps = np.asarray(crop_to_frame, dtype=np.float64)
    if maps.ndim != 3 or maps.shape[1:] != (2, 3) or not np.isfinite(maps).all():
        raise InputError("finite maps of shape [N, 2, 3]", f"shape {maps.shape}", "see window_affine")
    scale = np.sqrt(np.abs(np.linalg.det(maps[:, :, :2])))  # [N]
    around = maps[:, :, 2] + maps[:, :, :2].sum(axis=2) * (size - 1) / 2.0 + 0.5  # [N, 2] centre of the crop
    reach = (scale * size / 2.0)[:, None]
    checked_windows(frame, np.concatenate([around - reach, around + reach], axis=1), size)
    line = np.arange(size, dtype=np.float64)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2)  # [1, size * size, 2]
    return np.swapaxes(apply_affine(grid, maps), 1, 2) + 0.5, scale


def sample_at(
    frame: npt.NDArray[np.uint8],  # [H, W, C]
    centre: npt.NDArray[np.float64],  # [2, P] edge coordinates (x row, y row)
    scale: float,
    *,
    kernel: str = "bicubic",
) -> npt.NDArray[np.float32]:  # [P, C]
    """The frame at single points, not clipped: the kernel's axes are the frame's, widened by a scale above 1."""
    first, weights = tap_weights(centre, np.full(2, max(1.0, scale)), kernel=kernel)
    weights = weights.astype(np.float32)
    reach = np.arange(int(weights.shape[2]))
    columns = np.clip(first[0][:, None] + reach, 0, frame.shape[1] - 1)  # [P, taps]
    total = np.zeros((centre.shape[1], frame.shape[2]), dtype=np.float32)
    for tap in range(weights.shape[2]):  # one row of taps at a time: the memory stays at P * taps * C
        row = np.clip(first[1] + tap, 0, frame.shape[0] - 1)
        line = np.einsum("pt,ptc->pc", weights[0], frame[row[:, None], columns].astype(np.float32))
        total += weights[1][:, tap, None] * line
    return total
