"""An archive while it is written: square crops by `sdk.image.crop`'s rules, their points, and its lists."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sdk.errors import InputError
from sdk.image.crop import (
    apply_affine,
    crop,
    inside_fraction,
    invert_affine,
    landmark_box,
    square_windows,
    window_affine,
)
from sdk.image.resample import round_8bit
from training.data.formats.sample import Sample, Skips
from training.data.labels import write_labels

WINDOWS = ("landmarks", "face", "crop", "whole")
COLUMNS = ("id", "file", "split", "kind", "scale", "w", "h", "native_side", "outside", "x0", "y0")
POSE = ("yaw", "pitch", "roll")
BROW_TO_CHIN = ("19", "21", "39", "68", "68-3d", "194")  # orders whose box the rule for landmarks was made for
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)  # what Pillow raises
MAX_WINDOW_PICTURES = 8  # a window's side beyond so many sides of its picture is a mistake


@dataclass(frozen=True)
class Options:
    """How faces are cut and stored."""

    window: str = "landmarks"  # of WINDOWS
    max_side: int = 256  # px of a stored face; smaller ones keep their size, nothing is enlarged
    min_side: int = 16  # px of a window in the photo; smaller faces are skipped
    jpeg: int | None = None  # quality; None: WebP without loss
    limit: int | None = None  # stop after that many samples

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise InputError(f"a window of {WINDOWS}", repr(self.window), "pick one of those")
        if not 1 <= self.min_side <= self.max_side:
            got = f"{self.min_side} and {self.max_side}"
            raise InputError("1 <= smallest side <= largest side", got, "give sides in pixels")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise InputError("a JPEG quality of 1 to 100", str(self.jpeg), "95 is a good one")
        if self.limit is not None and self.limit < 1:
            raise InputError("a limit of 1 or more", str(self.limit), "leave it out for all")


@dataclass
class Writer:
    """An archive's folder while it is filled."""

    folder: Path
    options: Options
    skips: Skips
    rows: list[dict[str, Any]] = field(default_factory=list)
    points: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = field(default_factory=dict)  # by order of points
    names: set[str] = field(default_factory=set)
    last: tuple[Path, npt.NDArray[np.uint8] | None, str] | None = None  # photo read last: many hold several faces

    def photo(self, path: Path) -> npt.NDArray[np.uint8] | str:
        """RGB [H, W, 3] as stored in the file, or why not. EXIF turns are not applied: annotations do not know them."""
        if self.last is None or self.last[0] != path:
            try:
                self.last = (path, stored_pixels(path), "")
            except UNREADABLE as error:
                self.last = (path, None, str(error) or type(error).__name__)
        return self.last[2] if self.last[1] is None else self.last[1]

    def name(self, wanted: str) -> str:
        """The wanted id, or with a number where it is taken."""
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name

    def save(self, pixels: npt.NDArray[np.uint8], name: str, split: str) -> str:
        """Store RGB pixels; the file's path inside the archive."""
        ending = "webp" if self.options.jpeg is None else "jpg"
        how = [cv2.IMWRITE_WEBP_QUALITY, 101]  # above 100: without loss
        if self.options.jpeg is not None:
            chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
            how = [cv2.IMWRITE_JPEG_QUALITY, self.options.jpeg, *chroma]
        ok, data = cv2.imencode(f".{ending}", np.ascontiguousarray(pixels[..., ::-1]), how)
        assert ok, pixels.shape
        file = Path("img") / (split or "all") / f"{name}.{ending}"
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_bytes(data.tobytes())
        return file.as_posix()

    def add_face(self, sample: Sample) -> None:
        """Cut one face and store it, or say why not."""
        pixels = self.photo(sample.picture)
        if isinstance(pixels, str):
            self.skips.add(sample.source, sample.line, f"{sample.picture.name} cannot be read ({pixels})")
            return
        window, wrong = window_of(sample, pixels.shape[:2], self.options)
        if window is None:
            self.skips.add(sample.source, sample.line, wrong)
            return
        native = float(window[0, 2] - window[0, 0])
        side = min(self.options.max_side, max(1, round(native)))
        to_crop = invert_affine(window_affine(window, size=side))
        cut = round_8bit(crop(pixels, window, size=side))[0].astype(np.uint8)
        name = self.name(sample.id or sample.picture.stem)
        row: dict[str, Any] = {"id": name, "file": self.save(cut, name, sample.split), "split": sample.split}
        row |= {"w": side, "h": side, "native_side": round(native, 2)}
        row |= {"x0": round(float(window[0, 0]), 3), "y0": round(float(window[0, 1]), 3)}
        row["outside"] = round(1.0 - float(inside_fraction(window, pixels.shape[:2])[0]), 4)
        if sample.pose is not None:
            angles = (sample.pose.yaw_deg, sample.pose.pitch_deg, sample.pose.roll_deg)
            row |= dict(zip(POSE, (round(v, 3) for v in angles), strict=True))
        if sample.box is not None:
            corners = (sample.box.reshape(2, 2) - window[0, :2]) * (side / native)
            row |= dict(zip(BOX, (round(float(v), 3) for v in corners.ravel()), strict=True))
        self.rows.append(row)
        if len(sample.points):
            moved = apply_affine(sample.points[None].astype(np.float64), to_crop)[0]
            self.points.setdefault(sample.scheme, []).append((name, moved, sample.visible))

    def finish(self, source: Path) -> None:
        """index.csv, the points and skipped.csv. Raises InputError where nothing is left."""
        if not self.rows:
            first = str(self.skips.entries[0]) if len(self.skips) else "no sample at all"
            raise InputError(f"a usable sample in {source}", f"{len(self.skips)} skipped, first: {first}", "see there")
        columns = [c for c in (*COLUMNS, *POSE, *BOX) if any(c in row for row in self.rows)]
        write_csv(self.folder / "index.csv", columns, ([row.get(c, "") for c in columns] for row in self.rows))
        for scheme, faces in self.points.items():
            ids, points, visible = zip(*faces, strict=True)
            write_labels(self.folder, scheme, ids, points=points, visible=visible)
        self.skips.write(self.folder / "skipped.csv", root=source)


def stored_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """RGB [H, W, 3] without EXIF's turn, of the whole file. Raises one of UNREADABLE."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


def window_of(
    sample: Sample, frame_hw: tuple[int, int], options: Options
) -> tuple[npt.NDArray[np.float64] | None, str]:
    """The square window [1, 4] in edge coordinates, or None and the reason.

    A data set's rule falls back on what the sample has: without points from brow to chin to the box, without a box to
    the points, and without both to the whole picture.
    """
    height, width = frame_hw
    seen = sample.points[sample.visible]
    kind = options.window
    spread = len(seen) > 1 and sample.scheme in BROW_TO_CHIN
    if kind == "landmarks" and not spread:
        kind = "face" if sample.box is not None else "whole"
    elif kind in ("face", "crop") and sample.box is None:
        kind = "landmarks" if spread else "whole"
    if kind == "whole":
        box = np.array([[0.0, 0.0, width, height]])
    elif kind == "landmarks":
        box = landmark_box(seen[None])
    else:
        assert sample.box is not None, kind
        box = sample.box[None]
    if kind != "landmarks" or (box[:, 2:] > box[:, :2]).all():
        if not inside_fraction(box, frame_hw)[0] > 0:
            return None, f"the face lies outside the picture of {width} x {height}"
    else:
        return None, "the points lie on one line"
    window = square_windows(box, kind="crop" if kind == "whole" else kind)
    side = float(window[0, 2] - window[0, 0])
    if side < options.min_side:
        return None, f"a window of {side:.1f} px, below {options.min_side}"
    if side > MAX_WINDOW_PICTURES * max(frame_hw):
        return None, f"a window of {side:.0f} px in a picture of {width} x {height}"
    return window, ""


def write_csv(path: Path, columns: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
