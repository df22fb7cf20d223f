"""What every reader gives: frozen samples, and a list of those that could not be used, each with its file and line.

Two frames of coordinates, both (x, y), as in `sdk.image.crop`: points have pixel centres at integers, the first pixel
is (0, 0); boxes are in edge coordinates, the first pixel spans [0, 1].
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NEWLINE = re.compile(r"\r\n|\r|\n")

# Orders of points, and how many each has. Points that are not visible may be NaN, except in the orders of 68.
SCHEMES = {
    "none": 0,  # a box alone
    "5": 5,  # CelebA: left eye, right eye, nose, left and right corner of the mouth, as seen in the picture
    "19": 19,  # AFLW without the ears
    "21": 21,  # AFLW
    "39": 39,  # Menpo, profile faces
    "68": 68,  # 300-W: on the visible outline where the face is turned
    "68-3d": 68,  # the same order, every point where the 3-D face has it, seen or not
    "194": 194,  # HELEN
}


@dataclass(frozen=True)
class Pose:
    """Angles of the head in degrees; positive as the data set has them."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True, eq=False)
class Sample:
    """One face of a data set."""

    picture: Path
    points: npt.NDArray[np.float32]  # [K, 2]
    box: npt.NDArray[np.float64] | None  # [4] x0, y0, x1, y1, edge coordinates
    scheme: str  # a key of SCHEMES
    visible: npt.NDArray[np.bool_]  # [K]
    pose: Pose | None
    source: Path  # the annotation file
    line: int | None  # counted from 1; of a database or matrix its face number or row; None: the whole file
    split: str = ""
    id: str = ""  # names the face inside its data set


class BadSampleError(ValueError):
    """Why one sample cannot be used. Raised inside readers only; they turn it into an entry of `Skips`."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(reason, line)
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Skip:
    """One sample that was left out."""

    source: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.source}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass
class Skips:
    """Everything a reader left out, in the order met."""

    entries: list[Skip] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, source: Path, line: int | None, reason: str) -> None:
        self.entries.append(Skip(source, line, reason))

    def report(self, *, shown: int = 10) -> str:
        """Text: how many, and the first ones with file and line."""
        if not self.entries:
            return "nothing skipped"
        lines = [f"skipped {len(self.entries)}:", *(f"  {entry}" for entry in self.entries[:shown])]
        if len(self.entries) > shown:
            lines.append(f"  and {len(self.entries) - shown} more")
        return "\n".join(lines)

    def write(self, path: Path, *, root: Path | None = None) -> None:
        """As CSV with the columns file, line, reason; files below `root` are named from there."""
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["file", "line", "reason"])
            for entry in self.entries:
                inside = root is not None and entry.source.is_relative_to(root)
                name = entry.source.relative_to(root) if root is not None and inside else entry.source
                writer.writerow([name.as_posix(), "" if entry.line is None else entry.line, entry.reason])


def face(
    picture: Path,
    points: npt.NDArray[np.floating],  # [K, 2]
    *,
    scheme: str,
    source: Path,
    line: int | None = None,
    box: Sequence[float] | npt.NDArray[np.floating] | None = None,  # [4] edge coordinates
    visible: npt.NDArray[np.bool_] | None = None,  # [K]
    pose: Pose | None = None,
    split: str = "",
    id: str = "",  # noqa: A002
) -> Sample:
    """A checked sample. Raises BadSampleError: wrong count, points or boxes that are not finite or have no size."""
    points = np.asarray(points, np.float32)
    count = SCHEMES[scheme]
    if points.shape != (count, 2):
        raise BadSampleError(f"{count} points (x, y) expected, found shape {list(points.shape)}", line=line)
    seen = np.ones(count, bool) if visible is None else np.asarray(visible, bool)
    finite = np.isfinite(points).all(axis=1)
    needed = np.ones(count, bool) if count == 68 else seen
    if not finite[needed].all():
        first = int(np.flatnonzero(needed & ~finite)[0]) + 1
        raise BadSampleError(f"point {first} of {count} is not finite: {points[first - 1].tolist()}", line=line)
    if count and not seen.any():
        raise BadSampleError("no visible point", line=line)
    if count > 1 and seen.sum() > 1 and not np.ptp(points[seen], axis=0).max() > 0:
        raise BadSampleError("all points lie on one spot", line=line)
    corners = None
    if box is not None:
        corners = np.asarray(box, np.float64)
        if not (np.isfinite(corners).all() and (corners[2:] > corners[:2]).all()):
            raise BadSampleError(f"a box without size: {corners.tolist()}", line=line)
    return Sample(picture, points, corners, scheme, seen, pose, source, line, split, id)


def text_lines(path: Path) -> list[str]:
    """Lines of a text file without their ends: LF, CR/LF or CR, UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        BadSampleError: a file that cannot be read or is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSampleError(f"cannot be read ({error.strerror})") from error
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        lines = NEWLINE.split(data.decode(coding))
    except UnicodeDecodeError as error:
        raise BadSampleError(f"no UTF-8 text (byte {error.start})") from error
    return lines[:-1] if lines and not lines[-1] else lines


def list_lines(path: Path) -> list[str]:
    """text_lines of a file that a whole data set hangs on. Raises InputError."""
    try:
        return text_lines(path)
    except BadSampleError as error:
        raise InputError(f"a readable list {path}", error.reason, "fetch it again, or check the folder") from error


def numbers(fields: Iterable[str], *, line: int | None = None) -> list[float]:
    """Finite numbers. Raises BadSampleError naming the one that is none."""
    values = []
    for text in fields:
        try:
            value = math.nan if "_" in text else float(text)
        except ValueError as error:
            raise BadSampleError(f"no number: {text!r}", line=line) from error
        if not math.isfinite(value):
            raise BadSampleError(f"no finite number: {text!r}", line=line)
        values.append(value)
    return values


def inside(root: Path, name: str, *, line: int | None = None) -> Path:
    """The file `name` of a list, below `root`. Raises BadSampleError: absolute, outside, or absent.

    Backslashes count as slashes. An absolute path is taken only where it already lies below the root.
    """
    text = name.strip()
    if not text:
        raise BadSampleError("no picture named", line=line)
    absolute = PurePosixPath(text).is_absolute() or bool(PureWindowsPath(text).drive)
    path = Path(text) if absolute else root / text.replace("\\", "/")
    if absolute and not path.is_relative_to(root):
        raise BadSampleError(f"an absolute path outside the data set: {text}", line=line)
    if ".." in path.relative_to(root).parts:
        raise BadSampleError(f"a path that leaves the data set: {text}", line=line)
    if not path.is_file():
        raise BadSampleError(f"no picture {text}", line=line)
    return path


def beside(annotation: Path, *, stem: str | None = None, folder: Path | None = None) -> Path:
    """The picture with an annotation's name. Raises BadSampleError where there is none."""
    base = (folder or annotation.parent) / (stem or annotation.stem)
    for ending in PICTURES:
        for suffix in (ending, ending.upper()):
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return path
    raise BadSampleError(f"no picture {base.name} with one of {', '.join(PICTURES)}")


def pictures_below(root: Path) -> list[Path]:
    """Every picture file in a folder and its folders, sorted."""
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())


def folder_of(root: str | Path) -> Path:
    """The data set's folder. Raises InputError where it is none."""
    path = Path(root)
    if not path.is_dir():
        raise InputError("a folder that holds the data set", str(root), "unpack it and give that folder")
    return path


def first_of(root: Path, *names: str) -> Path | None:
    """The first of several usual places that exists, else one of that last name found anywhere below."""
    for name in names:
        if (root / name).exists():
            return root / name
    wanted = Counter(Path(name).name for name in names)
    return next((p for name in wanted for p in sorted(root.rglob(name))), None)


def face_id(root: Path, path: Path, *, suffix: str = "") -> str:
    """A name for a picture's face: its path from the root with plain characters."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return re.sub(r"[^\w.-]+", "_", relative.with_suffix("").as_posix()) + suffix
