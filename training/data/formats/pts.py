"""300-W and Menpo 2D: one `.pts` file a face, beside its picture.

    version: 1
    n_points:  68
    {
    446.000000 91.000000
    ...
    }

Convention: the first pixel is (1, 1). Menpo's own reader (menpo/io/input/landmark.py, `pts_importer`) says so and
subtracts 1; copies of the 300-W points counted from 0 differ from the `.pts` files by exactly 1 px.

Sources: Sagonas et al. 2013, "300 Faces in-the-Wild Challenge" (68 points); Zafeiriou et al. 2017, "The Menpo Facial
Landmark Localisation Challenge" (68 points, 39 on profile faces).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.formats.sample import (
    BadSampleError,
    Sample,
    Skips,
    beside,
    face,
    face_id,
    folder_of,
    numbers,
    pictures_below,
    text_lines,
)

FIRST_PIXEL = 1


def parse_pts(path: Path) -> npt.NDArray[np.float64]:
    """Points [K, 2] as written. Raises BadSampleError with the line: truncated, wrong count, text, NaN."""
    lines = text_lines(path)
    announced: int | None = None
    rows: list[list[float]] = []
    opened = closed = False
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if not text or text.startswith("#"):
            continue
        if not opened:
            key, _, value = text.partition(":")
            if key.strip() == "n_points":
                (count,) = numbers([value.strip()], line=number)
                announced = int(count)
            opened = text == "{"
        elif text == "}":
            closed = True
            break
        else:
            fields = text.replace(",", " ").split()
            if len(fields) != 2:
                raise BadSampleError(f"x and y expected, found {text!r}", line=number)
            rows.append(numbers(fields, line=number))
    if not closed:
        what = "no closing brace, the file is cut off" if opened else "no points in braces"
        raise BadSampleError(what, line=max(1, len(lines)))
    if announced is not None and announced != len(rows):
        raise BadSampleError(f"n_points says {announced}, {len(rows)} found")
    return np.array(rows, np.float64).reshape(-1, 2)


def read_300w(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Faces of 300-W: folders afw, helen/{trainset,testset}, ibug, lfpw/{trainset,testset}, 01_Indoor, 02_Outdoor.

    Splits: train (afw and both trainsets: 3148), common (both testsets: 554), challenge (ibug: 135), test (indoor and
    outdoor: 600); the papers' full set is common and challenge.
    """
    yield from _read(folder_of(root), skips, first=first, schemes={68: "68"}, split_of=split_300w)


def read_menpo(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Faces of Menpo 2D: 68 points, or 39 of a profile face. Split: train, or test below a folder of that name."""
    schemes = {68: "68", 39: "39"}
    yield from _read(folder_of(root), skips, first=first, schemes=schemes, split_of=split_by_folder)


def split_300w(parts: tuple[str, ...]) -> str:
    names = {p.lower() for p in parts}
    if "ibug" in names:
        return "challenge"
    if "testset" in names:
        return "common"
    return "test" if names & {"01_indoor", "02_outdoor", "300w"} else "train"


def split_by_folder(parts: tuple[str, ...]) -> str:
    return "test" if any("test" in p.lower() for p in parts) else "train"


def _read(root: Path, skips: Skips, *, first: int, schemes: dict[int, str], split_of) -> Iterator[Sample]:  # noqa: ANN001
    used: set[Path] = set()
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() == ".pts"):
        try:
            picture = beside(path)
            used.add(picture)
            points = parse_pts(path)
            if len(points) not in schemes:
                raise BadSampleError(f"{' or '.join(map(str, schemes))} points expected, found {len(points)}")
            name = face_id(root, path)
            split = split_of(path.relative_to(root).parts[:-1])
            scheme = schemes[len(points)]
            yield face(picture, points - first, scheme=scheme, source=path, split=split, id=name)
        except BadSampleError as bad:
            skips.add(path, bad.line, bad.reason)
    for picture in pictures_below(root):
        if picture not in used:
            skips.add(picture, None, f"no annotation {picture.stem}.pts beside it")
