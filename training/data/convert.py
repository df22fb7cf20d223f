"""Make an archive of a data set as its authors publish it.

    python -m training.data.convert 300w ~/data/300W -o ~/data/faces68_300w.tar
    python -m training.data.convert helen194 ~/data/helen --points fsrnet -o ~/data/helen194
    python -m training.data.convert pairs ~/data/SelfExSR -o ~/data/srbench.tar

Training and evaluation take the result as --pack. The source is only read. What could not be used is counted, the
first ones are named, and all of them stand with file and line in the archive's skipped.csv.
"""

import argparse
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sdk.errors import FaceTRTError, InputError, OutputError
from training.data.archive import WINDOWS, Options, Writer, write_csv
from training.data.formats import FORMATS, format_of
from training.data.formats.pairs import PicturePair, VerificationPair
from training.data.formats.sample import Sample, Skips
from training.data.packs import STAMP, TAR_ENDINGS

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}


@dataclass(frozen=True)
class Converted:
    """What was made."""

    path: Path
    pictures: int
    points: dict[str, int]  # faces by order of points
    skips: Skips


def convert(
    name: str,
    source: str | Path,
    *,
    out: str | Path,
    options: Options | None = None,
    first_pixel: int | None = None,
    points: str | None = None,
) -> Converted:
    """Write the archive `out`, a folder or a tar by its ending, of a data set of format `name`.

    options: None cuts by the format's own window. first_pixel: 0 or 1 in place of the format's convention. points:
    which of its annotations, where a format has several.

    Raises:
        InputError: an unknown format or option, no data set there, no usable sample in it.
        OutputError: something stands at `out` already, or it cannot be written.
    """
    form = format_of(name)
    source, out = Path(source), Path(out)
    if options is None:
        options = Options(window=form.window)
    arguments = _reader_options(name, first_pixel, points)
    ending = next((e for e in sorted(TAR_ENDINGS, key=len, reverse=True) if out.name.lower().endswith(e)), None)
    if out.exists():
        raise OutputError(f"nothing at {out}", "something there already", "give another name, or move it away")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            stem = out.name[: -len(ending)] if ending else out.name
            writer = Writer(Path(scratch) / stem, options, Skips())
            writer.folder.mkdir()
            samples = form.read(source, writer.skips, **arguments)
            {"faces": write_faces, "pictures": write_pictures, "verification": write_verification}[form.holds](
                samples, writer
            )
            writer.finish(source)
            made = writer.folder
            if ending:
                made = _pack(writer.folder, Path(scratch) / f"archive{ending}", MODES[ending])
            os.rename(made, out)
    except OSError as error:
        raise OutputError(f"to write {out}", str(error), "free space there, or give another path") from error
    return Converted(out, len(writer.rows), {k: len(v) for k, v in writer.points.items()}, writer.skips)


def _reader_options(name: str, first_pixel: int | None, points: str | None) -> dict[str, Any]:
    form = format_of(name)
    arguments: dict[str, Any] = {}
    if first_pixel is not None:
        if form.first_pixel is None:
            raise InputError(f"no --first-pixel for {name}", str(first_pixel), "it has no coordinates: leave it out")
        arguments["first"] = first_pixel
    if points is not None:
        if points not in form.points:
            allowed = f"--points of {form.points}" if form.points else f"no --points for {name}"
            raise InputError(allowed, repr(points), "pick one of those" if form.points else "leave it out")
        arguments["points"] = points
    return arguments


def write_faces(samples: Iterable[Sample], writer: Writer) -> None:
    for sample in islice(samples, writer.options.limit):
        writer.add_face(sample)


def write_pictures(pairs: Iterable[PicturePair], writer: Writer) -> None:
    """Truths and their reduced pictures, not cut; columns `kind` (HR, LR) and `scale`. A truth loses the rows and
    columns beyond a multiple of the scale."""
    stored: set[str] = set()
    for pair in islice(pairs, writer.options.limit):
        hr = writer.photo(pair.hr)
        lr = hr if pair.lr is None else writer.photo(pair.lr)
        if isinstance(hr, str) or isinstance(lr, str):
            bad, path = (hr, pair.hr) if isinstance(hr, str) else (lr, pair.lr)
            writer.skips.add(path or pair.hr, None, f"cannot be read ({bad})")
            continue
        scale = pair.scale if pair.lr is not None else None
        if scale is not None:
            rows, columns = hr.shape[0] // scale, hr.shape[1] // scale
            if lr.shape[:2] != (rows, columns):
                sizes = f"{lr.shape[1]} x {lr.shape[0]} px of a truth of {hr.shape[1]} x {hr.shape[0]}"
                writer.skips.add(pair.lr or pair.hr, None, f"{sizes} is not 1/{scale}")
                continue
            hr = hr[: rows * scale, : columns * scale]
        stem = f"{pair.split}_{pair.name}" + ("" if scale is None or "_SRF_" in pair.name else f"_SRF_{scale}")
        if stem in stored:
            writer.skips.add(pair.hr, None, f"a second picture {stem}")
            continue
        stored.add(stem)
        for kind, pixels in [("HR", hr), ("LR", lr)][: 1 if scale is None else 2]:
            name = writer.name(f"{stem}_{kind}")
            row = {"id": name, "file": writer.save(pixels, name, pair.split), "split": pair.split, "kind": kind}
            writer.rows.append(row | {"scale": scale or "", "w": pixels.shape[1], "h": pixels.shape[0]})


def write_verification(pairs: Iterable[VerificationPair], writer: Writer) -> None:
    """Every picture that a pair names once, and `pairs.csv`: left, right (ids), same (1 or 0), fold."""
    ids: dict[Path, str] = {}  # "" where the picture cannot be used
    lines = []
    for pair in islice(pairs, writer.options.limit):
        for path in (pair.left, pair.right):
            if path not in ids:
                before = len(writer.rows)
                nothing = np.zeros((0, 2), np.float32), None, "none", np.zeros(0, bool), None
                writer.add_face(Sample(path, *nothing, pair.source, pair.line, "lfw", path.stem))
                ids[path] = writer.rows[-1]["id"] if len(writer.rows) > before else ""
        if ids[pair.left] and ids[pair.right]:
            lines.append([ids[pair.left], ids[pair.right], int(pair.same), pair.fold])
        else:
            writer.skips.add(pair.source, pair.line, "a pair with a picture that cannot be used")
    write_csv(writer.folder / "pairs.csv", ["left", "right", "same", "fold"], lines)


def _pack(folder: Path, target: Path, mode: str) -> Path:
    """A tar of the folder; the same files give the same members, whoever made them and when."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, mode) as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != STAMP):
            tar.add(path, f"{folder.name}/{path.relative_to(folder).as_posix()}", filter=plain)
    return target


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.data.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("format", choices=sorted(FORMATS), metavar="FORMAT", help=", ".join(sorted(FORMATS)))
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the data set's folder")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="ARCHIVE", help="folder, .tar, .tar.gz, .tar.xz"
    )
    parser.add_argument("--points", help="which annotations, where a format has several: see docs/DATA.md")
    parser.add_argument(
        "--first-pixel",
        type=int,
        choices=(0, 1),
        help="coordinates of the first pixel's centre (default: the format's)",
    )
    parser.add_argument("--window", choices=WINDOWS, help="what a face is cut by (default: the format's)")
    parser.add_argument("--max-side", type=int, default=256, help="px; larger faces are reduced (default: %(default)s)")
    parser.add_argument("--min-side", type=int, default=16, help="px; smaller faces are skipped (default: %(default)s)")
    parser.add_argument("--jpeg", type=int, metavar="Q", help="store JPEG of that quality (default: WebP without loss)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        window = args.window or format_of(args.format).window
        options = Options(window, args.max_side, args.min_side, args.jpeg, args.limit)
        made = convert(
            args.format, args.source, out=args.out, options=options, first_pixel=args.first_pixel, points=args.points
        )
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    counts = "".join(f", {n} with points {k}" for k, n in sorted(made.points.items()))
    sys.stdout.write(f"{made.path}: {made.pictures} pictures{counts}\n{made.skips.report()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
