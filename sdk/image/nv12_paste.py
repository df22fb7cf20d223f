"""Enhanced faces back into an NV12 frame: reference of the NV12 half of kernels/paste.cu.

Warp, mask and colour match are those of sdk.image.paste, in RGB. The face is then converted, and the frame's planes
are blended each at its own rate: Y pixel by pixel, a chroma sample with the mean of the pixels it stands for. What no
mask covers keeps its bytes, and no pixel of the frame goes to RGB and back.
"""

import numpy as np
import numpy.typing as npt

from sdk.image.nv12 import Float32, Nv12Frame, convert, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from sdk.image.paste import check_faces, checked_strength, masked_warp, match_colors, sample_step
from sdk.image.placement import Placement, Region, placements

# Shares by which the pixels at columns 2i - 1, 2i, 2i + 1 make up chroma column i; rows 2j and 2j + 1 always by half.
COLUMN_SHARES = {"left": (0.25, 0.5, 0.25), "center": (0.0, 0.5, 0.5)}


def paste_nv12(
    frame: Nv12Frame,
    faces: npt.NDArray[np.uint8],  # [N, S, S, 3] RGB
    crop_to_frame: npt.NDArray[np.floating],  # [N, 2, 3] of the S x S pictures, centre coordinates
    *,
    landmarks: npt.NDArray[np.floating] | None = None,  # [N, 68, 2] frame pixels
    strength: float | npt.NDArray[np.floating] = 1.0,  # 0..1, one for all or [N]
    color_match: bool = True,
    feather: float = 0.08,
) -> None:
    """Blend the faces into the frame's own arrays, in list order; else as paste(). Raises InputError."""
    check_faces(faces, crop_to_frame, landmarks)
    amounts = checked_strength(strength, len(faces), feather)
    maps = crop_to_frame.astype(np.float64)
    S, frame_hw = faces.shape[1], frame.y.shape
    found = placements(S, maps, landmarks=landmarks, feather=feather, frame_hw=frame_hw, even=True)
    places = [place for place in found if amounts[place.index] > 0.0]
    seen = [_sparse_rgb(frame, place.region) if color_match else None for place in places]  # before any is pasted
    for place, under in zip(places, seen, strict=True):
        _blend(frame, faces[place.index], place, float(amounts[place.index]), under, feather)


def _sparse_rgb(frame: Nv12Frame, region: Region) -> Float32:
    """RGB [h', w', 3] in 0..255 at every sample_step()-th row and column; chroma bilinear between its samples."""
    top, bottom, left, right = int(region[0].start), int(region[0].stop), int(region[1].start), int(region[1].stop)
    step = sample_step((bottom - top, right - left))
    rows, columns = np.arange(top, bottom, step, dtype=np.int64), np.arange(left, right, step, dtype=np.int64)
    shift = 0.0 if frame.siting == "left" else -0.5  # of a column's distance to the chroma sample left of it
    across, down = (columns + shift) / 2.0, (rows - 0.5) / 2.0  # chroma centre coordinates
    chroma = _between(np.swapaxes(_between(frame.uv.astype(np.float32), down), 0, 1), across)
    luma = frame.y[np.ix_(rows, columns)][:, :, None].astype(np.float32)
    planes = np.concatenate([luma, np.swapaxes(chroma, 0, 1)], axis=2)
    rgb = convert(planes, yuv_to_rgb_matrix(frame.matrix, full_range=frame.full_range))
    return np.clip(rgb, 0.0, 255.0, out=rgb)


def _between(
    lines: Float32,  # [L, ...]
    position: npt.NDArray[np.floating],  # [n] fractional line numbers
) -> Float32:  # [n, ...]
    """Lines between the two neighbours; the outermost are held."""
    first = np.floor(position)
    part = (position - first).astype(np.float32).reshape(-1, *[1] * (lines.ndim - 1))
    low, high = (np.clip(first.astype(np.int64) + k, 0, len(lines) - 1) for k in (0, 1))
    return (lines[low] * (1.0 - part) + lines[high] * part).astype(np.float32, copy=False)


def _blend(
    frame: Nv12Frame,
    face: npt.NDArray[np.uint8],  # [S, S, 3]
    place: Placement,
    strength: float,
    seen: Float32 | None,  # [h', w', 3]
    feather: float,
) -> None:
    rows, columns = place.region
    target = frame.y[place.region]  # [h, w]
    warped, mask = masked_warp(face, place, target.shape, feather)
    if seen is not None:
        match_colors(warped, mask, seen)
    np.clip(warped, 0.0, 255.0, out=warped)
    yuv = convert(warped, rgb_to_yuv_matrix(frame.matrix, full_range=frame.full_range))
    mask *= np.float32(strength)
    under = target.astype(np.float32)
    target[...] = _rounded(under + mask * (yuv[:, :, 0] - under))
    chroma = frame.uv[rows.start // 2 : -(-rows.stop // 2), columns.start // 2 : -(-columns.stop // 2)]
    cover = _halved(mask[:, :, None], frame.siting)  # [h / 2, w / 2, 1]
    colour = _halved(mask[:, :, None] * yuv[:, :, 1:], frame.siting)  # [h / 2, w / 2, 2]
    chroma[...] = _rounded(chroma * (np.float32(1.0) - cover) + colour)


def _halved(
    pixels: Float32,  # [h, w, C] from an even row and column on
    siting: str,
) -> Float32:  # [ceil(h / 2), ceil(w / 2), C]
    """What the pixels are worth at the chroma samples. Pixels beyond the region count as its nearest ones: at the
    frame's border by rule, elsewhere the mask is 0 there."""
    h, w, _ = pixels.shape
    below = np.minimum(np.arange(0, h, 2, dtype=np.int64) + 1, h - 1)
    rows = (pixels[::2] + pixels[below]) * np.float32(0.5)  # [h / 2, w, C]
    middle = np.arange(0, w, 2, dtype=np.int64)
    taps = (np.maximum(middle - 1, 0), middle, np.minimum(middle + 1, w - 1))
    total = np.zeros((len(rows), len(middle), pixels.shape[2]), dtype=np.float32)
    for share, tap in zip(COLUMN_SHARES[siting], taps, strict=True):
        total += np.float32(share) * rows[:, tap]
    return total


def _rounded(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Clipped to 0..255 and rounded half up."""
    return np.clip(values + np.float32(0.5), 0.0, 255.0).astype(np.uint8)
