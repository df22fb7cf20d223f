"""The pictures of a protocol (training.protocols): truth, input, what the table compares with, points and pose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, crop_affine, invert_affine, landmark_box, window_affine
from sdk.image.resample import resize, round_8bit
from training.data.feeding import U8, compose, cut_face, draw_map, face_windows, fed_picture
from training.data.packs import Pack
from training.data.pipelines import PIPELINES, pipeline
from training.evaluate_examples import truth_of
from training.pose import yaw_deg
from training.protocols import Preset

SEED = 0  # of MTUN's movements: one generator a picture, from its place in the split


@dataclass(frozen=True, eq=False)
class Example:
    """One picture. Networks that take small faces get `lr`; `file` is the archive's own enlarged input."""

    id: str
    hr: U8  # [H, W, 3]
    lr: U8  # [h, w, 3]
    baseline: U8  # [H, W, 3] what the table compares with
    file: U8 | None = None  # [H, W, 3]
    upright: U8 | None = None  # [h, w, 3] a moved input turned back
    points: npt.NDArray[np.float64] | None = None  # [68, 2] pixels of hr
    yaw_deg: float | None = None
    yaw_from: str | None = None  # "label" of the archive, or "points"
    native: bool = True  # False: the truth had to be enlarged and says nothing about sharpness


def examples(preset: Preset, pack: Pack, *, split: str | None, limit: int | None) -> list[Example]:
    """All pictures of the split, or the first `limit`.

    Raises InputError: an archive that has not what the protocol asks for.
    """
    make = _whole_pictures if preset.lr_px is None else _faces
    found = []
    for example in make(preset, pack, split):
        found.append(_with_pose(example, pack) if preset.pose_bins else example)
        if limit is not None and len(found) >= limit:
            break
    return found


def _faces(preset: Preset, pack: Pack, split: str | None) -> Iterator[Example]:
    """Square truths of lr_px * scale pixels."""
    rows = pack.select(split, kind="HR")
    files = _files(preset, pack, split, rows) if preset.lr_files else {}
    assert preset.lr_px is not None, preset
    side = preset.lr_px * preset.scale
    for number, row in enumerate(rows):
        hr, points, native = _truth(preset, pack, row, side)
        lr, upright = resize(hr, (preset.lr_px, preset.lr_px)).astype(np.uint8), None
        if preset.moved_input:
            lr, upright = moved_input(hr, preset.lr_px, np.random.default_rng([SEED, number]))
        file = pack.square_picture(files[row["id"]]) if files else None
        if file is not None and file.shape != hr.shape:
            got = f"{file.shape[0]} px for {row['id']}"
            raise InputError(f"LR files of {side} px, as the truth", got, "pass the archive the protocol was made for")
        aligned = lr if upright is None else upright  # what MTUN's table gives its baselines
        baseline = enlarged_by(preset.baseline, aligned, (side, side)) if file is None else file
        yield Example(row["id"], hr, lr, baseline, file=file, upright=upright, points=points, native=native)


def _truth(
    preset: Preset, pack: Pack, row: dict[str, str], side: int
) -> tuple[U8, npt.NDArray[np.float64] | None, bool]:
    """The truth, cut as the paper does where the protocol says so, its points, and whether it was not enlarged."""
    if preset.cut is None:
        picture, points = truth_of(pack, row, side)
        moved = None if points is None else (points + 0.5) * (side / picture.shape[0]) - 0.5
        return resize(picture, (side, side)).astype(np.uint8), moved, picture.shape[0] >= side
    rule = replace(pipeline(preset.cut), hr_px=side)
    known = pack.points.get(row["id"])
    if known is None:
        raise InputError(f"points of {row['id']} in {pack.name}", "none", "its window is cut about them")
    box = landmark_box(known[None])
    window = face_windows(rule, box)
    points = apply_affine(known[None], invert_affine(window_affine(window, size=side)))[0]
    return cut_face(rule, pack.picture(row), box[0]), points, bool(window[0, 2] - window[0, 0] >= side)


def _files(preset: Preset, pack: Pack, split: str | None, rows: Sequence[dict[str, str]]) -> dict[str, dict[str, str]]:
    """The archive's own enlarged inputs by id; none of an archive that has none at all."""
    stored = {r["id"]: r for r in pack.select(split) if r.get("kind") in ("LR", f"LR_{preset.scale}x")}
    missing = [row["id"] for row in rows if row["id"] not in stored]
    if stored and missing:
        got = f"none for {missing[0]} and {len(missing) - 1} more"
        raise InputError(f"an LR_{preset.scale}x file of each picture in {pack.name}", got, "complete the archive")
    return stored


def _whole_pictures(preset: Preset, pack: Pack, split: str | None) -> Iterator[Example]:
    """Pairs of the generic sets: the truth and its small picture as distributed, or reduced where none is."""
    rows = [r for r in pack.select(split) if r.get("scale") in ("", None, str(preset.scale))]
    small = {_stem(r): r for r in rows if r.get("kind") == "LR"}
    large = [r for r in rows if r.get("kind") in ("HR", "", None)]
    missing = [r["id"] for r in large if small and _stem(r) not in small]
    if not large or missing:
        got = f"none for {missing[0]} and {len(missing) - 1} more" if missing else "no picture"
        remedy = "convert the set as its authors publish it (python -m training.data.convert pairs)"
        raise InputError(f"pictures for x{preset.scale} of {split} in {pack.name}", got, remedy)
    for row in large:
        hr = pack.picture(row)
        if not small:  # truths alone
            hr = hr[: hr.shape[0] // preset.scale * preset.scale, : hr.shape[1] // preset.scale * preset.scale]
        reduced = (hr.shape[0] // preset.scale, hr.shape[1] // preset.scale)
        lr = pack.picture(small[_stem(row)]) if small else resize(hr, reduced).astype(np.uint8)
        if hr.shape[:2] != (lr.shape[0] * preset.scale, lr.shape[1] * preset.scale):
            got = f"{hr.shape[:2]} and {lr.shape[:2]} of {row['id']}"
            raise InputError(f"a truth of {preset.scale} times its small picture", got, "convert the set again")
        yield Example(row["id"], hr, lr, enlarged_by(preset.baseline, lr, hr.shape[:2]))


def _stem(row: dict[str, str]) -> str:
    """What the two pictures of a pair have in common."""
    name = row["id"]
    return name.removesuffix("_HR").removesuffix("_LR")


def enlarged_by(name: str, lr: U8, size_hw: tuple[int, ...]) -> U8:
    """The table's baseline: "bicubic" (a = -0.5), "opencv" (a = -0.75, as JASRNet's code) or "bilinear"."""
    if name == "opencv":
        large = fed_picture(PIPELINES["jasrnet"], lr, size_hw)
    else:
        large = resize(lr.astype(np.float32), (int(size_hw[0]), int(size_hw[1])), kernel=name).astype(np.float32)
    return round_8bit(large).astype(np.uint8)


def moved_input(hr: U8, lr_px: int, rng: np.random.Generator) -> tuple[U8, U8]:
    """MTUN's input, turned, scaled, shifted and reduced, and the same turned back: each [lr_px, lr_px, 3]."""
    scale = hr.shape[0] / lr_px
    step = invert_affine(draw_map(PIPELINES["mtun"].jitter, hr.shape[0], rng)[None])  # moved -> upright, truth's px
    shrink = np.array([[[scale, 0.0, (scale - 1) / 2.0], [0.0, scale, (scale - 1) / 2.0]]])
    lr = round_8bit(crop_affine(hr, compose(step, shrink), size=lr_px))[0].astype(np.uint8)
    back = compose(invert_affine(shrink), compose(invert_affine(step), shrink))  # upright -> moved, input's px
    return lr, round_8bit(crop_affine(lr, back, size=lr_px))[0].astype(np.uint8)


def _with_pose(example: Example, pack: Pack) -> Example:
    """The archive's yaw where it has one for this picture, else an estimate from the true points."""
    row = next(r for r in pack.rows if r["id"] == example.id)
    label = _finite(row.get("yaw"))
    if label is not None:
        return replace(example, yaw_deg=label, yaw_from="label")
    if example.points is None:
        raise InputError(f"a yaw or points of {example.id} in {pack.name}", "neither", "pass an archive with poses")
    return replace(example, yaw_deg=float(yaw_deg(example.points[None])[0]), yaw_from="points")


def _finite(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if np.isfinite(value) else None
