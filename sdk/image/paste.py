"""Enhanced faces back into their frame: reference of kernels/paste.cu.

Only the rectangle under a face is read and written, so the time follows the faces and not the frame. By face:
warp (bilinear, antialiased when shrinking), mask (hull of the landmarks with the forehead, or the window; feathered),
colour match to the frame under the mask, blend, round half up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, invert_affine
from sdk.image.points68 import BROWS, CHIN, COUNT
from sdk.image.resample import resize

FOREHEAD = 0.25  # brows are lifted by this fraction of the way from chin to brows: a forehead inside the window
HULL_DIRECTIONS = 16  # half planes that stand for the hull of the landmarks: 2 % wider at its corners, 10x cheaper
_ANGLES = np.arange(HULL_DIRECTIONS) * (2.0 * np.pi / HULL_DIRECTIONS)
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # [HULL_DIRECTIONS, 2] unit vectors
GAIN_LIMITS = (0.8, 1.25)  # of the colour match: beyond it the contrast differs for another reason than exposure
MIN_STD = 1.0  # grey levels: a flatter face or region gets no gain
DENSE_PIXELS = 48 * 48  # from this size on every second row and column is enough for mean and contrast
MIN_MASK = 4.0  # pixels of mask: fewer tell nothing about colours

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Region = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class _Placement:
    """Where one face goes."""

    region: Region  # of the frame; never empty
    affine: Float64  # [2, 3] face centre coordinates -> region centre coordinates
    hull: Float64 | None  # [HULL_DIRECTIONS] largest projection of the landmarks, region coordinates


def paste(
    frame: npt.NDArray[np.uint8],  # [H, W, 3]
    faces: npt.NDArray[np.uint8],  # [N, S, S, 3] in the frame's colour order
    crop_to_frame: npt.NDArray[np.floating],  # [N, 2, 3] of the S x S pictures, centre coordinates
    *,
    landmarks: npt.NDArray[np.floating] | None = None,  # [N, 68, 2] frame pixels
    strength: float | npt.NDArray[np.floating] = 1.0,  # 0..1, one for all or [N]
    color_match: bool = True,
    feather: float = 0.08,
    out: npt.NDArray[np.uint8] | None = None,  # [H, W, 3]; may be the frame itself
) -> npt.NDArray[np.uint8]:
    """The frame with the faces blended in, in list order; a copy, or `out`.

    feather: width of the mask's edge as a fraction of the window's side. With landmarks the mask is their hull with
    the forehead, else the whole window. A face outside the frame, of strength 0 or with landmarks that are not finite
    changes nothing.

    Raises:
        InputError: arrays that do not fit each other, a strength outside [0, 1], a feather that is not positive.
    """
    _check(frame, faces, crop_to_frame, landmarks, out)
    amounts = np.broadcast_to(np.asarray(strength, dtype=np.float64), (len(faces),))
    if not ((amounts >= 0.0) & (amounts <= 1.0)).all() or not feather > 0.0:
        raise InputError("strength in [0, 1] and feather > 0", f"strength={strength}, feather={feather}", "clip them")
    if out is None:
        out = frame.copy()
    elif out is not frame:
        out[...] = frame
    if len(faces) == 0:
        return out
    for index, place in _placements(faces, crop_to_frame.astype(np.float64), landmarks, feather, frame.shape[:2]):
        if amounts[index] > 0.0:
            _blend(out[place.region], faces[index], place, float(amounts[index]), color_match, feather)
    return out


def _check(
    frame: npt.NDArray[np.uint8],
    faces: npt.NDArray[np.uint8],
    crop_to_frame: npt.NDArray[np.floating],
    landmarks: npt.NDArray[np.floating] | None,
    out: npt.NDArray[np.uint8] | None,
) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        got = f"{frame.dtype} of shape {frame.shape}"
        raise InputError("a frame uint8 [H, W, 3]", got, "convert it with sdk.image.pixels.as_rgb8")
    N = len(faces)
    shapes_fit = faces.ndim == 4 and faces.shape[1] == faces.shape[2] >= 1 and faces.shape[3] == 3
    if not shapes_fit or faces.dtype != np.uint8 or crop_to_frame.shape != (N, 2, 3):
        got = f"{faces.dtype} of shape {faces.shape} and maps of shape {crop_to_frame.shape}"
        raise InputError("faces uint8 [N, S, S, 3] with maps [N, 2, 3]", got, "pass one map for each face")
    if landmarks is not None and landmarks.shape != (N, COUNT, 2):
        raise InputError(f"landmarks [{N}, {COUNT}, 2]", f"shape {landmarks.shape}", "pass None without landmarks")
    if out is not None and (out.shape != frame.shape or out.dtype != np.uint8):
        raise InputError(
            f"out uint8 {frame.shape}", f"{out.dtype} {out.shape}", "pass out=frame or np.empty_like(frame)"
        )


def _placements(
    faces: npt.NDArray[np.uint8],  # [N, S, S, 3]
    affine: Float64,  # [N, 2, 3]
    landmarks: npt.NDArray[np.floating] | None,
    feather: float,
    frame_hw: tuple[int, ...],
) -> Iterator[tuple[int, _Placement]]:
    """Index and placement of each face that touches the frame."""
    S = faces.shape[1]
    last = S - 0.5
    corners = apply_affine(np.array([[[-0.5, -0.5], [last, -0.5], [-0.5, last], [last, last]]]), affine)  # [N, 4, 2]
    low, high = corners.min(axis=1), corners.max(axis=1)  # [N, 2] x, y
    usable = np.isfinite(affine).all(axis=(1, 2))
    hulls: Float64 | None = None
    if landmarks is not None:
        points = face_outline(landmarks.astype(np.float64))  # [N, K, 2]
        usable &= np.isfinite(points).all(axis=(1, 2))
        reach = 0.5 * feather * S * _scale(affine)[:, None]
        low = np.maximum(low, points.min(axis=1) - reach)
        high = np.minimum(high, points.max(axis=1) + reach)
        hulls = (points @ DIRECTIONS.T).max(axis=1)  # [N, HULL_DIRECTIONS]
    for index in np.flatnonzero(usable):
        x0, y0 = (max(0, int(np.ceil(edge))) for edge in low[index])
        x1, y1 = (min(n - 1, int(np.floor(edge))) + 1 for n, edge in zip(frame_hw[1::-1], high[index], strict=True))
        if x0 < x1 and y0 < y1:
            local = affine[index].copy()
            local[:, 2] -= (x0, y0)
            hull = None if hulls is None else hulls[index] - DIRECTIONS @ np.array([x0, y0])
            yield int(index), _Placement((slice(y0, y1), slice(x0, x1)), local, hull)


def face_outline(
    landmarks: Float64,  # [N, 68, 2]
) -> Float64:  # [N, 78, 2]
    """The landmarks and the brows lifted on to the forehead."""
    brows = landmarks[:, BROWS, :]
    up = brows.mean(axis=1, keepdims=True) - landmarks[:, CHIN : CHIN + 1]
    return np.concatenate([landmarks, brows + FOREHEAD * up], axis=1)


def _scale(affine: Float64) -> Float64:
    """[..., 2, 3] -> [...] frame pixels per face pixel."""
    return np.sqrt(np.abs(affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]))


def _blend(
    target: npt.NDArray[np.uint8],  # [h, w, 3] view of the output, written
    face: npt.NDArray[np.uint8],  # [S, S, 3]
    place: _Placement,
    strength: float,
    color_match: bool,
    feather: float,
) -> None:
    width = feather * len(face)  # of the mask's edge, face pixels
    warped, mask = _warp(face, place.affine, target.shape[:2], width)
    if place.hull is not None:
        mask *= _hull_mask(place.hull, target.shape[:2], width * float(_scale(place.affine)))
    under = target.astype(np.float32)
    if color_match:
        _match_colors(warped, under, mask)
    warped -= under
    warped *= (mask * np.float32(strength))[:, :, None]
    warped += under
    warped += 0.5
    np.maximum(warped, 0.0, out=warped)
    np.minimum(warped, 255.0, out=warped)
    target[...] = warped  # truncates: rounded half up


def _smooth(ramp: Float32) -> Float32:
    """0 below 0, 1 above 1, smooth between; in place."""
    np.maximum(ramp, 0.0, out=ramp)  # np.clip costs more than both on arrays this small
    np.minimum(ramp, 1.0, out=ramp)
    rest = 3.0 - 2.0 * ramp
    ramp *= ramp
    ramp *= rest
    return ramp


def _edge_mask(position: Float64, size: int, width: float) -> Float32:
    """Feathered inside of the face along one axis; position in face centre coordinates."""
    inner = np.minimum(position + 0.5, size - 0.5 - position)
    return _smooth((inner / width).astype(np.float32))


def _hull_mask(
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


def _match_colors(
    face: Float32,  # [h, w, 3], changed in place
    under: Float32,  # [h, w, 3]
    mask: Float32,  # [h, w]
) -> None:
    """Mean and contrast of the frame under the mask, by channel, for the face."""
    sparse = slice(None, None, 1 + (mask.size >= DENSE_PIXELS))  # every second row and column of a large face
    weights = mask[sparse, sparse].reshape(1, -1)
    total = float(weights.sum())
    if total < MIN_MASK:
        return
    stats: list[tuple[Float32, Float32]] = []
    for picture in (face, under):
        flat = picture[sparse, sparse].reshape(-1, 3)
        mean = (weights @ flat)[0] / total
        square = (weights @ (flat * flat))[0] / total
        stats.append((mean, np.sqrt(np.maximum(square - mean * mean, 0.0))))
    (face_mean, face_std), (under_mean, under_std) = stats
    gain = np.clip(under_std / np.maximum(face_std, MIN_STD), *GAIN_LIMITS)
    gain = np.where((face_std > MIN_STD) & (under_std > MIN_STD), gain, 1.0).astype(np.float32)
    face *= gain
    face += under_mean - gain * face_mean


def _warp(
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
        mask = _edge_mask(y, S, width)[:, None] * _edge_mask(x, S, width)
        step = np.abs(1.0 / affine[[0, 1], [0, 1]])  # [2] face pixels per region pixel
        used = _used(x, step[0], S)
        rows = _take(face[:, used].reshape(S, -1).astype(np.float32), y, step[1])  # [h, used * 3]
        turned = rows.reshape(len(y), -1, 3).transpose(1, 0, 2).reshape(-1, 3 * len(y))  # [used, h * 3]
        warped = _take(turned, x - used.start, step[0]).reshape(len(x), len(y), 3)
        return np.ascontiguousarray(warped.transpose(1, 0, 2)), mask
    grid = np.stack(np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0])), axis=-1).reshape(1, -1, 2)
    points = apply_affine(grid.astype(np.float64), invert_affine(affine[None]))[0]  # [h * w, 2]
    mask = _edge_mask(points[:, 0], S, width) * _edge_mask(points[:, 1], S, width)
    reduced = max(1, min(S, round(S * float(_scale(affine)))))  # shrink first, so that bilinear sees one pixel a pixel
    small = (
        face.astype(np.float32)
        if reduced == S
        else resize(face.astype(np.float32), (reduced, reduced), kernel="bilinear")
    )
    warped = _bilinear(small, (points + 0.5) * (reduced / S) - 0.5)
    return warped.reshape(*size_hw, 3), mask.reshape(*size_hw)


def _used(position: Float64, step: float, size: int) -> slice:
    """The lines of a face of `size` that _take reads for these positions."""
    radius = max(1.0, step)
    first, last = np.clip([position.min() - radius, position.max() + radius], 0, size - 1)
    return slice(int(first), int(np.ceil(last)) + 1)


def _take(
    lines: Float32,  # [S, L]
    position: Float64,  # [n] fractional line numbers, centre coordinates
    step: float,
) -> Float32:  # [n, L]
    """Lines at the positions: triangle kernel, widened by the step when that is above 1; ends replicated."""
    radius = max(1.0, step)
    first = np.ceil(position - radius).astype(np.int64)
    taps = int(np.ceil(2.0 * radius))
    index = first[:, None] + np.arange(taps)  # [n, taps]
    weights = np.maximum(0.0, 1.0 - np.abs(index - position[:, None]) / radius)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    index = np.clip(index, 0, len(lines) - 1)
    total = lines[index[:, 0]]
    total *= weights[:, :1]
    for tap in range(1, taps):
        line = lines[index[:, tap]]
        line *= weights[:, tap, None]
        total += line
    return total


def _bilinear(
    face: Float32,  # [S, S, 3]
    points: Float64,  # [P, 2] (x, y) centre coordinates
) -> Float32:  # [P, 3]
    last = len(face) - 1
    held = np.clip(points, 0.0, last)
    corner = np.minimum(held.astype(np.int64), max(0, last - 1))  # [P, 2]
    x, y = corner.T
    fx, fy = (held - corner).astype(np.float32).T[:, :, None]
    right, below = np.minimum(x + 1, last), np.minimum(y + 1, last)
    upper = face[y, x] * (1.0 - fx) + face[y, right] * fx
    lower = face[below, x] * (1.0 - fx) + face[below, right] * fx
    return upper * (1.0 - fy) + lower * fy
