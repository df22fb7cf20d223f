"""The pictures of an archive as an evaluation feeds them: cut, reduced, and where asked for degraded or jittered."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, crop, invert_affine, window_affine
from sdk.image.resample import resize, round_8bit
from training.data.degrade import DEGRADATIONS, degrade
from training.data.packs import Pack
from training.predictors import enlarge

SEED = 0  # of degradations and jitter


@dataclass(frozen=True)
class Options:
    """What is fed and how it is measured."""

    split: str | None
    lr_size: int
    protocol: str
    lr_files: bool = False
    degraded: str | None = None  # a name of DEGRADATIONS
    jitter: bool = False

    def __post_init__(self) -> None:
        if self.lr_files and (self.degraded or self.jitter):
            got = "--lr-files with --degraded or --jitter"
            raise InputError("inputs either from files or made", got, "leave one of them out")


@dataclass(frozen=True)
class Example:
    """One picture of an archive, cut and reduced."""

    id: str
    hr: npt.NDArray[np.uint8]  # [H, H, 3]
    lr: npt.NDArray[np.uint8]  # [h, h, 3]
    enlarged: npt.NDArray[np.uint8]  # [H, H, 3] bicubic
    points: npt.NDArray[np.float32] | None  # [68, 2] pixels of hr
    native: bool  # False: the truth had to be enlarged and says nothing about sharpness


def examples(pack: Pack, options: Options, scale: int) -> Iterator[Example]:
    """The pictures of a split in file order."""
    rows = pack.select(options.split, kind="HR")
    stored = lr_rows(pack, options, rows, scale) if options.lr_files else {}
    rng = np.random.default_rng(SEED)
    side = options.lr_size * scale
    for row in rows:
        picture, points = truth_of(pack, row, side)
        native = picture.shape[0] >= side
        if options.jitter:
            window = jitter_window(picture.shape[0], rng)
            native = window[0, 2] - window[0, 0] >= side
            picture, points = cut(picture, points, window, side)
        elif picture.shape[:2] != (side, side):
            points = None if points is None else (points + 0.5) * (side / picture.shape[0]) - 0.5
            picture = resize(picture, (side, side)).astype(np.uint8)
        small = (options.lr_size, options.lr_size)
        if row["id"] in stored:
            enlarged = pack.square_picture(stored[row["id"]])
            if enlarged.shape[0] != side:
                got = f"{enlarged.shape[0]} for {row['id']}"
                raise InputError(f"LR files of {side} px, as the truth", got, "pick the --lr-size they were made for")
            lr = resize(enlarged, small).astype(np.uint8)
        else:
            ranges = DEGRADATIONS.get(options.degraded or "")
            lr = resize(picture, small) if ranges is None else degrade(picture, small[0], rng, ranges=ranges)
            lr = lr.astype(np.uint8)
            enlarged = enlarge(lr[None], scale)[0]
        yield Example(row["id"], picture, lr, enlarged, points, native)


def lr_rows(pack: Pack, options: Options, rows: list[dict[str, str]], scale: int) -> dict[str, dict[str, str]]:
    """The archive's enlarged LR file of every picture, by id. Raises InputError where one has none for this scale."""
    found = [r for r in pack.select(options.split) if r.get("kind", "").startswith("LR")]
    if not found:
        raise InputError(f"LR files in {pack.name}", "none", "leave out --lr-files")
    stored = {r["id"]: r for r in found if r["kind"] in ("LR", f"LR_{scale}x")}
    missing = [r["id"] for r in rows if r["id"] not in stored]
    if missing:
        got = f"{sorted({r['kind'] for r in found})}, and none for {missing[0]} and {len(missing) - 1} more"
        remedy = "use --lr-size 16 for LR_8x files, or leave out --lr-files"
        raise InputError(f"an LR_{scale}x file of each picture", got, remedy)
    return stored


def truth_of(
    pack: Pack, row: dict[str, str], side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Square picture [S, S, 3] and its points. `file128` is taken for a side of 128, or when it is all there is."""
    column = "file128" if row.get("file128") and (side == 128 or not row.get("file")) else "file"
    picture = pack.square_picture(row, column=column)
    points = pack.points.get(row["id"])
    if points is not None and column == "file128" and row.get("file"):  # the points are in pixels of `file`
        full = float(row.get("w") or pack.picture(row).shape[1])
        points = (points + 0.5) * (picture.shape[0] / full) - 0.5
    return picture, points


def jittered(
    picture: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32] | None,
    rng: np.random.Generator,
    side: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """The picture seen through a window moved by up to 8 % and scaled by up to 10 %, edges repeated."""
    return cut(picture, points, jitter_window(picture.shape[0], rng), side)


def jitter_window(full: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """[1, 4] edge coordinates of the moved and scaled window of a picture of `full` px."""
    half = 0.5 * full * rng.uniform(0.9, 1.1)
    centre = 0.5 * full + rng.uniform(-0.08, 0.08, 2) * full
    return np.concatenate([centre - half, centre + half])[None]


def cut(
    picture: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32] | None,
    window: npt.NDArray[np.float64],  # [1, 4]
    side: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """The window at side x side, and the points in its pixels."""
    found = round_8bit(crop(picture, window, size=side))[0].astype(np.uint8)
    if points is None:
        return found, None
    return found, apply_affine(points[None], invert_affine(window_affine(window, size=side)))[0].astype(np.float32)
