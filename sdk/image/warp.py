"""A face picture on the pixels of a frame: triangle kernel, widened when shrinking, along the face's own axes."""

import numpy as np
import numpy.typing as npt

from sdk.image.crop import apply_affine, invert_affine
from sdk.image.placement import Float32, Float64, edge_mask, scale_of


def warp_face(
    face: npt.NDArray[np.uint8],  # [S, S, 3]
    affine: Float64,  # [2, 3] face -> region
    size_hw: tuple[int, ...],
    width: float,
) -> tuple[Float32, Float32]:  # [h, w, 3], [h, w]
    """The face on the region's pixels, replicated beyond its border, and the feathered mask of its window."""
    S = len(face)
    if affine[0, 1] == 0.0 and affine[1, 0] == 0.0:  # no rotation: axis by axis
        x = (np.arange(size_hw[1]) - affine[0, 2]) / affine[0, 0]  # [w] face coordinates
        y = (np.arange(size_hw[0]) - affine[1, 2]) / affine[1, 1]  # [h]
        mask = edge_mask(y, S, width)[:, None] * edge_mask(x, S, width)
        step = np.abs(1.0 / affine[[0, 1], [0, 1]])  # [2] face pixels per region pixel
        used = _used(x, step[0], S)
        rows = _take(face[:, used].reshape(S, -1).astype(np.float32), y, step[1])  # [h, used * 3]
        turned = rows.reshape(len(y), -1, 3).transpose(1, 0, 2).reshape(-1, 3 * len(y))  # [used, h * 3]
        warped = _take(turned, x - used.start, step[0]).reshape(len(x), len(y), 3)
        return np.ascontiguousarray(warped.transpose(1, 0, 2)), mask
    grid = np.stack(np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0])), axis=-1).reshape(1, -1, 2)
    points = apply_affine(grid.astype(np.float64), invert_affine(affine[None]))[0]  # [h * w, 2]
    mask = edge_mask(points[:, 0], S, width) * edge_mask(points[:, 1], S, width)
    warped = _take_points(face.astype(np.float32), points, 1.0 / float(scale_of(affine)))
    return warped.reshape(*size_hw, 3), mask.reshape(*size_hw)


def _radius(step: float, size: int) -> float:
    """Of the triangle, lines; no more than all of them, so that a face shrunk to nothing costs nothing."""
    return min(max(1.0, step), float(size))


def _used(position: Float64, step: float, size: int) -> slice:
    """The lines of a face of `size` that _take reads for these positions."""
    radius = _radius(step, size)
    first, last = np.clip([position.min() - radius, position.max() + radius], 0, size - 1)
    return slice(int(first), int(np.ceil(last)) + 1)


def _taps(
    position: Float64,  # [n] fractional line numbers, centre coordinates
    step: float,
    size: int,
) -> tuple[npt.NDArray[np.int64], Float32]:
    """Lines [n, taps] under the triangle and their weights, which sum to 1; beyond the ends the last line repeats."""
    radius = _radius(step, size)
    first = np.ceil(position - radius).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(2.0 * radius)))
    weights = np.maximum(0.0, 1.0 - np.abs(index - position[:, None]) / radius)
    return np.clip(index, 0, size - 1), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _take(
    lines: Float32,  # [S, L]
    position: Float64,  # [n]
    step: float,
) -> Float32:  # [n, L]
    """Lines at the positions."""
    index, weights = _taps(position, step, len(lines))
    total = lines[index[:, 0]]
    total *= weights[:, :1]
    for tap in range(1, index.shape[1]):
        line = lines[index[:, tap]]
        line *= weights[:, tap, None]
        total += line
    return total


def _take_points(
    face: Float32,  # [S, S, 3]
    points: Float64,  # [P, 2] (x, y) centre coordinates
    step: float,
) -> Float32:  # [P, 3]
    """Pixels at single points: what _take() gives along both axes. One row of taps at a time bounds the memory."""
    columns, across = _taps(points[:, 0], step, len(face))
    rows, down = _taps(points[:, 1], step, len(face))
    total = np.zeros((len(points), 3), dtype=np.float32)
    for tap in range(rows.shape[1]):
        line = np.einsum("pt,ptc->pc", across, face[rows[:, tap, None], columns])
        total += down[:, tap, None] * line
    return total
