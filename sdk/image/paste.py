"""Enhanced faces back into their frame: reference of kernels/paste.cu.

Only the rectangle under a face is read and written, so the time follows the faces and not the frame. By face:
warp (triangle kernel, antialiased when shrinking), mask (hull of the landmarks with the forehead, or the window;
feathered), colour match to the frame under the mask, blend, round half up.

The colours to match are the given frame's, also where faces overlap: then the sums of all faces can be taken at once,
and no face takes over the colours of one pasted before. The sums are of integers (weights in 1/1024, levels in 1/16):
exact, so that no order of summation, here or on a GPU, changes them.
"""

import math

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.placement import Float32, Placement, face_outline, hull_mask, placements, scale_of
from sdk.image.points68 import COUNT
from sdk.image.warp import warp_face

__all__ = ["face_outline", "match_colors", "paste", "sample_step"]

GAIN_LIMITS = (0.8, 1.25)  # of the colour match: beyond it the contrast differs for another reason than exposure
MIN_STD = 1.0  # grey levels: a flatter face or region gets no gain
SAMPLE_SIDE = 48  # about 48 x 48 pixels of a region are enough for mean and contrast
MIN_MASK = 4.0  # sampled pixels of mask: fewer tell nothing about colours
WEIGHT_STEPS = 1024  # a mask of 1
LEVEL_STEPS = 16  # a grey level


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
    amounts = checked_strength(strength, len(faces), feather)
    if out is None:
        out = frame.copy()
    elif out is not frame:
        out[...] = frame
    maps = crop_to_frame.astype(np.float64)
    found = placements(faces.shape[1], maps, landmarks=landmarks, feather=feather, frame_hw=frame.shape[:2])
    places = [place for place in found if amounts[place.index] > 0.0]
    seen = [_sparse(out[place.region]).copy() if color_match else None for place in places]  # before any is pasted
    for place, under in zip(places, seen, strict=True):
        _blend(out[place.region], faces[place.index], place, float(amounts[place.index]), under, feather)
    return out


def checked_strength(strength: float | npt.NDArray[np.floating], count: int, feather: float) -> npt.NDArray[np.float64]:
    """Strengths [count]. Raises InputError as paste()."""
    amounts = np.broadcast_to(np.asarray(strength, dtype=np.float64), (count,))
    if not ((amounts >= 0.0) & (amounts <= 1.0)).all() or not feather > 0.0:
        raise InputError("strength in [0, 1] and feather > 0", f"strength={strength}, feather={feather}", "clip them")
    return amounts


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
    check_faces(faces, crop_to_frame, landmarks)
    if out is not None and (out.shape != frame.shape or out.dtype != np.uint8):
        raise InputError(
            f"out uint8 {frame.shape}", f"{out.dtype} {out.shape}", "pass out=frame or np.empty_like(frame)"
        )


def check_faces(
    faces: npt.NDArray[np.uint8],
    crop_to_frame: npt.NDArray[np.floating],
    landmarks: npt.NDArray[np.floating] | None,
) -> None:
    """Raises InputError when they do not fit each other."""
    N = len(faces)
    shapes_fit = faces.ndim == 4 and faces.shape[1] == faces.shape[2] >= 1 and faces.shape[3] == 3
    if not shapes_fit or faces.dtype != np.uint8 or crop_to_frame.shape != (N, 2, 3):
        got = f"{faces.dtype} of shape {faces.shape} and maps of shape {crop_to_frame.shape}"
        raise InputError("faces uint8 [N, S, S, 3] with maps [N, 2, 3]", got, "pass one map for each face")
    if landmarks is not None and landmarks.shape != (N, COUNT, 2):
        raise InputError(f"landmarks [{N}, {COUNT}, 2]", f"shape {landmarks.shape}", "pass None without landmarks")


def masked_warp(
    face: npt.NDArray[np.uint8],  # [S, S, 3]
    place: Placement,
    size_hw: tuple[int, ...],
    feather: float,
) -> tuple[Float32, Float32]:  # [h, w, 3], [h, w]
    """The face on its region and the mask by which it is blended."""
    width = feather * len(face)  # of the mask's edge, face pixels
    warped, mask = warp_face(face, place.affine, size_hw, width)
    if place.hull is not None:
        mask *= hull_mask(place.hull, size_hw, width * float(scale_of(place.affine)))
    return warped, mask


def _blend(
    target: npt.NDArray[np.uint8],  # [h, w, 3] view of the output, written
    face: npt.NDArray[np.uint8],  # [S, S, 3]
    place: Placement,
    strength: float,
    seen: npt.NDArray[np.uint8] | None,  # [h', w', 3] the given frame at _sparse(); None: no colour match
    feather: float,
) -> None:
    warped, mask = masked_warp(face, place, target.shape[:2], feather)
    under = target.astype(np.float32)
    if seen is not None:
        match_colors(warped, mask, seen)
    warped -= under
    warped *= (mask * np.float32(strength))[:, :, None]
    warped += under
    warped += 0.5
    np.maximum(warped, 0.0, out=warped)
    np.minimum(warped, 255.0, out=warped)
    target[...] = warped  # truncates: rounded half up


def sample_step(size_hw: tuple[int, ...]) -> int:
    """Every how many rows and columns of a region are looked at for its colours."""
    return 1 + math.isqrt(size_hw[0] * size_hw[1]) // SAMPLE_SIDE


def _sparse(region: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    step = sample_step(region.shape)
    return region[::step, ::step]


def match_colors(
    face: Float32,  # [h, w, 3], changed in place
    mask: Float32,  # [h, w]
    seen: npt.NDArray[np.uint8] | Float32,  # [h', w', 3] the frame at every sample_step()-th row and column
) -> None:
    """Mean and contrast of the frame under the mask, by channel, for the face."""
    step = sample_step(mask.shape)
    weights = np.floor(mask[::step, ::step].reshape(1, -1) * np.float32(WEIGHT_STEPS) + np.float32(0.5))
    total = float(weights.sum(dtype=np.float64))
    if total < MIN_MASK * WEIGHT_STEPS:
        return
    stats: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for picture in (face[::step, ::step], seen):
        levels = np.floor(picture.reshape(-1, 3).astype(np.float32) * np.float32(LEVEL_STEPS) + np.float32(0.5))
        flat = levels.astype(np.float64)  # whole numbers: the sums below are exact
        mean = (weights.astype(np.float64) @ flat)[0] / total
        square = (weights.astype(np.float64) @ (flat * flat))[0] / total
        stats.append((mean / LEVEL_STEPS, np.sqrt(np.maximum(square - mean * mean, 0.0)) / LEVEL_STEPS))
    (face_mean, face_std), (under_mean, under_std) = stats
    gain = np.clip(under_std / np.maximum(face_std, MIN_STD), *GAIN_LIMITS)
    gain = np.where((face_std > MIN_STD) & (under_std > MIN_STD), gain, 1.0)
    face *= gain.astype(np.float32)
    face += (under_mean - gain * face_mean).astype(np.float32)
