"""Truths and inputs made by a paper's pipeline (`training.data.pipelines`).

    rule = pipeline("jasrnet")
    hr = cut_face(rule, photo, landmark_box(points[None])[0])    # the truth
    pair = degrade_pair(rule, hr, rng)
    batch = network_input(rule, pair.fed[None])                  # float32 [1, C, H, W]

Every resampling is `sdk.image`'s (Pillow's and MATLAB's family) but one: JASRNet's code enlarges by OpenCV's cubic.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, checked_boxes, crop, crop_affine, invert_affine, square_windows
from sdk.image.pixels import to_network
from sdk.image.resample import bicubic_kernel, resize, round_8bit
from sdk.spec import ModelSpec
from training.data.degrade import degrade
from training.data.pipelines import Jitter, Pipeline

U8 = npt.NDArray[np.uint8]
OPENCV_A = -0.75  # of its INTER_CUBIC


@dataclass(frozen=True, eq=False)
class Pair:
    """One training or test example."""

    hr: U8  # [H, W, 3] the truth
    lr: U8  # [h, w, 3]
    fed: npt.NDArray[np.float32]  # [h, w, 3] or, enlarged, [H, W, 3]: grey levels 0..255 for network_input
    to_hr: npt.NDArray[np.float64]  # [2, 3] from pixels of the picture given to pixels of `hr`, centre coordinates
    mirrored: bool  # points also change their names (training.data.mirror.FLIPS)
    scale: int


def face_windows(
    rule: Pipeline,
    boxes: npt.NDArray[np.floating],  # [N, 4] tight boxes of the landmarks (or of the face), edge coordinates
) -> npt.NDArray[np.float64]:
    """Windows [N, 4] in edge coordinates that the paper's truth is cut from. Raises InputError as square_windows.

    Not square: "twice" (FSRNet resizes it to a square) and "celeba_aligned", which is the same in every picture.
    """
    boxes = checked_boxes(boxes)
    if rule.cut == "landmarks":
        return square_windows(boxes, kind="landmarks")
    if rule.cut == "whole":
        return boxes
    if rule.cut == "celeba_aligned":
        return np.tile([35.0, 55.0, 35.0 + 107.0, 55.0 + 133.0], (len(boxes), 1))
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2.0, boxes[:, 2:] - boxes[:, :2]
    half = {
        "face50": np.repeat(sides[:, 1:], 2, axis=1) * (64.0 / 50.0) / 2.0,
        "box120": np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1) * 1.2 / 2.0,
        "twice": sides,
    }[rule.cut]
    return np.concatenate([centre - half, centre + half], axis=1)


def degrade_pair(
    rule: Pipeline,
    picture: U8,  # [H, W, 3] RGB
    rng: np.random.Generator,
    *,
    scale: int | None = None,  # None: drawn from the pipeline's
    augment: bool = True,  # False: test time; MTUN's input is upright then
) -> Pair:
    """Truth and input of one picture already cut to the truth's size (rows and columns beyond the scale are lost).

    Raises:
        InputError: no [H, W, 3] uint8, a side other than the pipeline's, or a scale that is not its own.
    """
    side = rule.hr_px
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise InputError("a picture [H, W, 3] uint8", f"{picture.dtype} {picture.shape}", "read it as RGB")
    if side is not None and picture.shape[:2] != (side, side):
        raise InputError(f"a picture of {side} x {side} px", f"shape {picture.shape}", "cut it by face_windows")
    scale = int(rng.choice(rule.scales)) if scale is None else scale
    if scale not in rule.scales:
        raise InputError(f"a scale of {rule.scales}", str(scale), "pick one of those")
    hr = picture[: picture.shape[0] // scale * scale, : picture.shape[1] // scale * scale]
    move, mirrored = identity(), False
    if augment:
        hr, move, mirrored = _augmented(rule, hr, rng)
        hr = _levels(rule, hr, rng)
    small = (hr.shape[0] // scale, hr.shape[1] // scale)
    if augment and rule.jitter_of == "input":
        step = invert_affine(draw_map(rule.jitter, hr.shape[0], rng)[None])  # output -> input, at the truth's size
        shrink = np.array([[[scale, 0.0, (scale - 1) / 2.0], [0.0, scale, (scale - 1) / 2.0]]])
        lr = round_8bit(crop_affine(hr, compose(step, shrink), size=small[0]))[0].astype(np.uint8)
    elif augment and rule.camera is not None:
        lr = degrade(hr, small[0], rng, ranges=rule.camera)
    else:
        lr = resize(hr, small).astype(np.uint8)
    return Pair(hr, lr, fed_picture(rule, lr, hr.shape[:2]), move, mirrored, scale)


def fed_picture(rule: Pipeline, lr: U8, size_hw: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The small picture, or enlarged as the paper does: float32 in 0..255."""
    rows, columns = int(size_hw[0]), int(size_hw[1])
    if rule.enlarged is None:
        return lr.astype(np.float32)
    if rule.enlarged == "bicubic":
        large = resize(lr.astype(np.float32), (rows, columns)).astype(np.float32)
    else:
        across, down = (opencv_weights(n, m) for n, m in ((lr.shape[1], columns), (lr.shape[0], rows)))
        large = np.einsum("Yy,yxc,Xx->YXc", down, lr.astype(np.float32), across, optimize=True).astype(np.float32)
    return round_8bit(large) if rule.enlarged_8bit else large


def opencv_weights(n_in: int, n_out: int) -> npt.NDArray[np.float64]:
    """[n_out, n_in] of OpenCV's INTER_CUBIC: a = -0.75, never widened, the edge repeated."""
    centre = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5  # [n_out] pixel centres at integers
    index = np.floor(centre).astype(np.int64)[:, None] + np.arange(-1, 3)  # [n_out, 4]
    weights = bicubic_kernel(index - centre[:, None], OPENCV_A)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], np.clip(index, 0, n_in - 1)), weights)
    return matrix


def network_input(
    rule: Pipeline,
    fed: npt.NDArray[np.floating],  # [N, H, W, 3] RGB, 0..255
) -> npt.NDArray[np.float32]:  # [N, C, H, W]
    """Pictures in the paper's channels and range, by the function that the SDK calls."""
    spec = ModelSpec("pipeline", fed.shape[1], 1, rule.channels, rule.colour, rule.value_range)
    return to_network(fed.astype(np.float32), spec)


def identity() -> npt.NDArray[np.float64]:
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def compose(outer: npt.NDArray[np.float64], inner: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Maps [N, 2, 3]: first `inner`, then `outer`."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    return np.concatenate([linear, outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]], axis=2)


def draw_map(jitter: Jitter, side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """[2, 3] from pixels of a picture of that side to pixels of the jittered one, centre coordinates."""
    angle = np.radians(rng.uniform(-jitter.rotation_deg, jitter.rotation_deg))
    size = rng.uniform(*jitter.scale)
    shift = rng.uniform(-jitter.shift, jitter.shift, 2) * side
    linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (side - 1) / 2.0)
    return np.concatenate([linear, (centre + shift - linear @ centre)[:, None]], axis=1)


def moved(
    points: npt.NDArray[np.floating],  # [K, 2]
    pair: Pair,
    *,
    flip: npt.NDArray[np.integer],  # [K] which point takes whose place in the mirror
) -> npt.NDArray[np.float64]:
    """Points [K, 2] of the picture given, in pixels of `pair.hr`."""
    found = apply_affine(points[None], pair.to_hr[None])[0]
    return found[flip] if pair.mirrored else found


def _augmented(rule: Pipeline, hr: U8, rng: np.random.Generator) -> tuple[U8, npt.NDArray[np.float64], bool]:
    """The picture jittered, turned and mirrored, the map of its pixels, and whether it is a mirror image."""
    move = identity()[None]
    if rule.jitter_of == "both" and rule.jitter != Jitter():
        move = draw_map(rule.jitter, hr.shape[0], rng)[None]
        hr = round_8bit(crop_affine(hr, invert_affine(move), size=hr.shape[0]))[0].astype(np.uint8)
    if rule.quarter_turns:
        for _ in range(int(rng.integers(4))):  # np.rot90 turns against the clock: (x, y) -> (y, W - 1 - x)
            move = compose(np.array([[[0.0, 1.0, 0.0], [-1.0, 0.0, hr.shape[1] - 1.0]]]), move)
            hr = np.rot90(hr)
    mirrored = rule.mirrored and bool(rng.random() < 0.5)
    if mirrored:
        move = compose(np.array([[[-1.0, 0.0, hr.shape[1] - 1.0], [0.0, 1.0, 0.0]]]), move)
        hr = hr[:, ::-1]
    return np.ascontiguousarray(hr), move[0], mirrored


def _levels(rule: Pipeline, hr: U8, rng: np.random.Generator) -> U8:
    """Contrast, brightness and, as a camera's, channel gains: of truth and input alike."""
    gains = np.ones(3)
    if rule.camera is not None and rng.random() < rule.camera.probability:
        gains = rng.uniform(*rule.camera.gain, 3)
    contrast, shift = rng.uniform(*rule.contrast), 255.0 * rng.uniform(-rule.brightness, rule.brightness)
    if contrast == 1.0 and shift == 0.0 and (gains == 1.0).all():
        return hr
    mean = hr.mean()
    return round_8bit(((hr * gains - mean) * contrast + mean + shift).astype(np.float32)).astype(np.uint8)


def patches(
    rule: Pipeline,
    pair: Pair,
) -> list[tuple[slice, slice]]:
    """Rows and columns of the training patches of a pair, those left out whose enlarged input is as good as the truth,
    or, by a lower limit, worse than that.

    Quality is the PSNR of the network's own channels, of 8-bit peak. Without patches in the pipeline: the whole.
    """
    rows, columns = pair.hr.shape[:2]
    if rule.patch_px is None or rule.stride_px is None:
        return [(slice(0, rows), slice(0, columns))]
    truth, fed = (network_input(rule, a[None].astype(np.float32))[0] for a in (pair.hr, pair.fed))  # [C, H, W]
    kept = []
    for y in range(0, rows - rule.patch_px + 1, rule.stride_px):
        for x in range(0, columns - rule.patch_px + 1, rule.stride_px):
            where = slice(y, y + rule.patch_px), slice(x, x + rule.patch_px)
            error = float(np.mean((truth[:, where[0], where[1]] - fed[:, where[0], where[1]]) ** 2))
            psnr = np.inf if error == 0.0 else -10.0 * np.log10(error)
            low, high = rule.min_bicubic_psnr_db, rule.max_bicubic_psnr_db
            if (low is None or psnr >= low) and (high is None or psnr <= high):
                kept.append(where)
    return kept


def cut_face(
    rule: Pipeline,
    photo: U8,  # [H, W, 3]
    box: npt.NDArray[np.floating],  # [4] tight box, edge coordinates
) -> U8:
    """The truth of one face of a photo, [hr_px, hr_px, 3]. Raises InputError for pipelines of whole pictures."""
    if rule.hr_px is None:
        raise InputError("a pipeline that cuts faces", "one of whole pictures", "crop the archive before")
    return round_8bit(crop(photo, face_windows(rule, box[None]), size=rule.hr_px))[0].astype(np.uint8)
