"""The truths of an archive's faces, cut once and kept in memory. What cannot be used is listed with its row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, inside_fraction, invert_affine, landmark_box, window_affine
from sdk.image.points68 import COUNT
from sdk.image.resample import resize
from training.data.feeding import U8, cut_face, face_windows
from training.data.formats.sample import Skips
from training.data.packs import Pack
from training.data.parsing import UNKNOWN, cut_classes, read_classes
from training.data.pipelines import Pipeline

INSIDE = 0.95  # of a paper's window that an archive's pictures must hold, for it to be cut from them
LOOKED_AT = 50  # faces that decide it


@dataclass(frozen=True, eq=False)
class Faces:
    """Truths of one side, cut once."""

    pictures: U8  # [M, S, S, 3]
    points: npt.NDArray[np.float64]  # [M, 68, 2] pixels of the truth; NaN: unknown
    classes: U8 | None = None  # [M, S, S] parsing labels where they are learned; UNKNOWN: a face without

    def __len__(self) -> int:
        return len(self.pictures)


def cut_faces(
    rule: Pipeline,
    pack: Pack,
    rows: Sequence[dict[str, str]],
    *,
    report: Callable[[str], None],
    skips: Skips | None = None,
    classes: int = 0,
) -> Faces:
    """Truths of an archive: the paper's window where its pictures hold it, else as the archive cut them.

    skips gets the rows whose picture, points or labels cannot be used. classes: how many parsing labels to read, or 0.
    """
    side = rule.hr_px
    assert side is not None, rule
    skips = Skips() if skips is None else skips
    before, numbers = len(skips), {id(row): number for number, row in enumerate(pack.rows, 2)}
    fits = _holds_windows(rule, pack, rows)
    found: list[tuple[U8, npt.NDArray[np.float64], U8 | None]] = []
    for row in rows:
        try:
            found.append(_cut(rule, pack, row, side=side, fits=fits, classes=classes))
        except InputError as error:
            skips.add(pack.root / "index.csv", numbers.get(id(row)), f"{row['id']}: {error}")
    how = f"cut as {rule.source} says" if fits else "as the archive cut them"
    lost = f"; {len(skips) - before} of {len(rows)} cannot be used" if len(skips) > before else ""
    report(f"{pack.name}: {len(found)} faces, {how}{lost}\n")
    pictures = np.stack([f[0] for f in found]) if found else np.zeros((0, side, side, 3), np.uint8)
    points = np.stack([f[1] for f in found]) if found else np.zeros((0, COUNT, 2))
    if not classes:
        return Faces(pictures, points)
    unknown = np.full((side, side), UNKNOWN, np.uint8)
    labels = [unknown if f[2] is None else f[2] for f in found]
    return Faces(pictures, points, np.stack(labels) if labels else np.zeros((0, side, side), np.uint8))


def _cut(
    rule: Pipeline, pack: Pack, row: dict[str, str], *, side: int, fits: bool, classes: int
) -> tuple[U8, npt.NDArray[np.float64], U8 | None]:
    """Picture [S, S, 3], points [68, 2] and classes [S, S] of one face. Raises InputError."""
    known = pack.points.get(row["id"])
    points = np.full((COUNT, 2), np.nan)
    photo = pack.picture(row) if fits else pack.square_picture(row)
    height, width = photo.shape[:2]
    window = np.array([0.0, 0.0, width, height])
    if fits and known is not None:
        box = landmark_box(known[None])
        picture, windows = cut_face(rule, photo, box[0]), face_windows(rule, box)
        window = windows[0]
        if not inside_fraction(windows, (height, width))[0] > 0:
            got = f"points of {row['id']} beyond its {width} x {height}"
            raise InputError("a face inside its picture", got, "correct landmarks.npz, or leave it out")
        points = apply_affine(known[None], invert_affine(window_affine(windows, size=side)))[0]
    else:
        picture = resize(photo, (side, side)).astype(np.uint8)
        if known is not None:
            points = (known + 0.5) * (side / np.array([width, height])) - 0.5
    if not classes or not row.get("parsing"):
        return picture, points, None
    labels = read_classes(pack, row, count=classes)
    return picture, points, cut_classes(labels, window, picture_hw=(height, width), size=side)


def _holds_windows(rule: Pipeline, pack: Pack, rows: Sequence[dict[str, str]]) -> bool:
    """Whether all these faces have points and most of the paper's windows lie inside the pictures."""
    if not rows or rule.cut == "celeba_aligned" or any(r["id"] not in pack.points for r in rows):
        return False
    shares: list[float] = []
    for row in rows[:LOOKED_AT]:
        try:
            windows = face_windows(rule, landmark_box(pack.points[row["id"]][None]))
            shares.append(float(inside_fraction(windows, pack.picture(row).shape[:2])[0]))
        except InputError:  # it will stand in the list of those that cannot be used
            continue
    return bool(shares) and float(np.median(shares)) >= INSIDE


def together(faces: Sequence[Faces]) -> Faces:
    labels = [f.classes for f in faces if f.classes is not None]
    return Faces(
        np.concatenate([f.pictures for f in faces]),
        np.concatenate([f.points for f in faces]),
        np.concatenate(labels) if labels else None,
    )
