"""Where a face goes in its frame and how its edge fades: regions, hull of the landmarks, feathered masks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.image.crop import apply_affine
from sdk.image.points68 import BROWS, CHIN

FOREHEAD = 0.25  # brows are lifted by this fraction of the way from chin to brows: a forehead inside the window
HULL_DIRECTIONS = 16  # half planes that stand for the hull of the landmarks: 2 % wider at its corners, 10x cheaper
_ANGLES = np.arange(HULL_DIRECTIONS) * (2.0 * np.pi / HULL_DIRECTIONS)
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # [HULL_DIRECTIONS, 2] unit vectors

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Region = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Placement:
    """Where one face goes."""

    index: int  # of the face
    region: Region  # of the frame; never empty
    affine: Float64  # [2, 3] face centre coordinates -> region centre coordinates
    hull: Float64 | None  # [HULL_DIRECTIONS] largest projection of the landmarks, region coordinates


def placements(
    size: int,  # side of the face pictures
    affine: Float64,  # [N, 2, 3] face -> frame, centre coordinates
    *,
    landmarks: npt.NDArray[np.floating] | None,  # [N, 68, 2] frame pixels
    feather: float,
    frame_hw: tuple[int, ...],
    even: bool = False,
) -> Iterator[Placement]:
    """Placements of the faces that touch the frame, in list order; none for one that is not finite or has no size.

    even: regions start at even pixels, end at even ones or the frame's end and hold all pixels of each chroma sample
    that the mask reaches.
    """
    last = size - 0.5
    corners = apply_affine(np.array([[[-0.5, -0.5], [last, -0.5], [-0.5, last], [last, last]]]), affine)  # [N, 4, 2]
    low, high = corners.min(axis=1), corners.max(axis=1)  # [N, 2] x, y
    usable = np.isfinite(affine).all(axis=(1, 2)) & (scale_of(affine) > 0.0)
    hulls: Float64 | None = None
    if landmarks is not None:
        points = face_outline(landmarks.astype(np.float64))  # [N, K, 2]
        usable &= np.isfinite(points).all(axis=(1, 2))
        reach = 0.5 * feather * size * scale_of(affine)[:, None]
        low = np.maximum(low, points.min(axis=1) - reach)
        high = np.minimum(high, points.max(axis=1) + reach)
        hulls = (points @ DIRECTIONS.T).max(axis=1)  # [N, HULL_DIRECTIONS]
    for index in np.flatnonzero(usable):
        x0, y0 = (max(0, int(np.ceil(edge))) for edge in low[index])
        x1, y1 = (min(n - 1, int(np.floor(edge))) + 1 for n, edge in zip(frame_hw[1::-1], high[index], strict=True))
        if x0 >= x1 or y0 >= y1:
            continue
        if even:
            x0, y0 = max(0, x0 - 1) & ~1, y0 & ~1
            x1, y1 = min(frame_hw[1], (x1 + 2) & ~1), min(frame_hw[0], (y1 + 1) & ~1)
        local = affine[index].copy()
        local[:, 2] -= (x0, y0)
        hull = None if hulls is None else hulls[index] - DIRECTIONS @ np.array([x0, y0])
        yield Placement(int(index), (slice(y0, y1), slice(x0, x1)), local, hull)


def face_outline(
    landmarks: Float64,  # [N, 68, 2]
) -> Float64:  # [N, 78, 2]
    """The landmarks and the brows lifted on to the forehead."""
    brows = landmarks[:, BROWS, :]
    up = brows.mean(axis=1, keepdims=True) - landmarks[:, CHIN : CHIN + 1]
    return np.concatenate([landmarks, brows + FOREHEAD * up], axis=1)


def scale_of(affine: Float64) -> Float64:
    """[..., 2, 3] -> [...] frame pixels per face pixel."""
    return np.sqrt(np.abs(affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]))


def _smooth(ramp: Float32) -> Float32:
    """0 below 0, 1 above 1, smooth between; in place."""
    np.maximum(ramp, 0.0, out=ramp)  # np.clip costs more than both on arrays this small
    np.minimum(ramp, 1.0, out=ramp)
    rest = 3.0 - 2.0 * ramp
    ramp *= ramp
    ramp *= rest
    return ramp


def edge_mask(position: Float64, size: int, width: float) -> Float32:
    """Feathered inside of the face along one axis; position in face centre coordinates."""
    inner = np.minimum(position + 0.5, size - 0.5 - position)
    return _smooth((inner / width).astype(np.float32))


def hull_mask(
    hull: Float64,  # [HULL_DIRECTIONS]
    size_hw: tuple[int, ...],
    width: float,
) -> Float32:  # [h, w]
    """1 inside the hull, 0.5 on it, 0 outside; the edge is `width` pixels wide."""
    unit = DIRECTIONS / width  # [HULL_DIRECTIONS, 2]
    down = (hull / width + 0.5 - np.arange(size_hw[0])[:, None] * unit[:, 1]).astype(np.float32)  # [h, directions]
    across = (np.arange(size_hw[1])[:, None] * unit[:, 0]).astype(np.float32)  # [w, directions]
    ramp, plane = np.empty(size_hw, dtype=np.float32), np.empty(size_hw, dtype=np.float32)
    np.subtract(down[:, 0, None], across[:, 0], out=ramp)
    for k in range(1, HULL_DIRECTIONS):
        np.subtract(down[:, k, None], across[:, k].copy(), out=plane)
        np.minimum(ramp, plane, out=ramp)
    return _smooth(ramp)
