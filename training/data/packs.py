"""Face archives: `index.csv` (one row a picture), pictures, and where present `landmarks.npz` (`id`, `pts68`).

An archive is a folder or a `.tar`/`.tar.xz`/`.tar.gz`; tars are unpacked once into a cache outside the repository
($FACETRT_CACHE, else ~/.cache/facetrt/packs), and again when the tar has changed since. Points are (x, y) in pixels of
the picture, pixel centres at integers.
"""

import csv
import json
import lzma
import math
import os
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import cv2
import numpy as np
import numpy.typing as npt

from sdk.errors import InputError

TAR_ENDINGS = (".tar", ".tar.gz", ".tar.xz", ".tgz")
STAMP = ".source"  # in a cached folder: size and time of the tar it came from
FILES = ("file", "file128", "scene", "parsing")  # columns that are paths inside the archive
NUMBERS = ("w", "scene_x0", "scene_y0", "scene_side")


@dataclass(frozen=True)
class Pack:
    """An opened archive. `rows` are the lines of index.csv in file order."""

    name: str
    root: Path
    rows: list[dict[str, str]] = field(repr=False)
    points: dict[str, npt.NDArray[np.float32]] = field(repr=False)  # id -> [68, 2]

    def select(self, split: str | None = None, *, kind: str | None = None) -> list[dict[str, str]]:
        """Rows of one split (None: all) and, where the archive has that column, one `kind`."""
        rows = [r for r in self.rows if split in (None, r.get("split"))]
        if kind is not None and any("kind" in r for r in rows):
            rows = [r for r in rows if r["kind"] == kind]
        if not rows:
            splits = sorted({r.get("split", "") for r in self.rows})
            raise InputError(f"rows of split {split!r} in {self.name}", "none", f"pick a split of {splits}")
        return rows

    def picture(self, row: dict[str, str], *, column: str = "file") -> npt.NDArray[np.uint8]:
        """RGB uint8 [H,W,3] of one row."""
        path = self.root / row[column]
        try:
            bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        except cv2.error as error:  # beyond its limit of pixels, or of memory
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"a readable picture at {path}", reason, "reduce it, or leave it out") from error
        if bgr is None:
            raise InputError(f"a readable picture at {path}", "none", f"unpack {self.name} again")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def square_picture(self, row: dict[str, str], *, column: str = "file") -> npt.NDArray[np.uint8]:
        """RGB uint8 [S,S,3] of one row. Raises InputError where it is not square."""
        picture = self.picture(row, column=column)
        if picture.shape[0] != picture.shape[1]:
            got = f"{row['id']} of {picture.shape[1]} x {picture.shape[0]}"
            raise InputError("square pictures", got, "crop the faces")
        return picture


def cache_dir() -> Path:
    return Path(os.environ.get("FACETRT_CACHE", Path.home() / ".cache" / "facetrt" / "packs"))


def pack_name(source: str | Path) -> str:
    """Name of an archive: that of the folder, or of the tar file without its ending; other dots are part of it."""
    path = Path(source)
    if path.is_dir():
        return path.resolve().name
    for ending in TAR_ENDINGS:
        if path.name.lower().endswith(ending) and len(path.name) > len(ending):
            return path.name[: -len(ending)]
    return path.name


def open_pack(source: str | Path) -> Pack:
    """Open an archive by folder, tar file, or the name of one already in the cache.

    Raises:
        InputError: nothing there, an unsafe or broken tar, an index.csv that does not name the pictures, or points
            that are not 68 finite pairs for each id.
    """
    path = Path(source)
    name = pack_name(source)
    root = path if path.is_dir() else cache_dir() / name
    if path.is_file():
        if _must_unpack(path, root):
            _unpack(path, root)
    elif not path.is_dir() and (str(source) != path.name or not (root / "index.csv").is_file()):
        raise InputError("an archive folder, a tar file or a cached name", str(source), "check the path")
    rows = _load_index(root / "index.csv")
    return Pack(name, root, rows, _load_points(root / "landmarks.npz"))


def _load_index(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"index.csv in {path.parent}", "none", "point to the folder that holds it")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle, restval=""))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"comma-separated UTF-8 in {path}", str(error), "save it as UTF-8 text") from error
    columns = rows[0].keys() if rows else set()
    if "id" not in columns or not {"file", "file128"} & columns:
        got = str(list(columns)) if rows else "no rows"
        raise InputError(f"columns `id` and `file` or `file128` in {path}", got, "see docs/DATA.md")
    for line, row in enumerate(rows, 2):
        wrong = _wrong_with(row)
        if wrong:
            raise InputError(f"{wrong[0]} in row {line} of {path}", wrong[1], "see docs/DATA.md")
    return rows


def _wrong_with(row: dict[str, str]) -> tuple[str, str] | None:
    """(expected, got) of the first thing wrong with a row of index.csv."""
    if None in row:
        return "no more values than columns", f"{row[None]} beyond them"  # type: ignore[index]
    if not row["id"]:
        return "an `id`", "a blank one"
    if not (row.get("file") or row.get("file128")):
        return "a `file` or `file128`", f"none for {row['id']!r}"
    for column in FILES:
        value = PurePath(row.get(column) or "")
        if value.is_absolute() or ".." in value.parts:
            return f"a `{column}` inside the archive", repr(str(value))
    for column in NUMBERS:
        value = row.get(column) or ""
        if (value or (row.get("scene") and column != "w")) and not _is_number(value, positive=column == "w"):
            return f"a number as `{column}`", repr(value)
    return None


def _is_number(text: str, *, positive: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and (value > 0 or not positive)


def _load_points(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    if not path.exists():
        return {}
    remedy = "write it with np.savez(path, id=ids, pts68=points)"
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            ids, points = archive["id"], archive["pts68"]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"arrays `id` and `pts68` in {path}", str(error) or "no npz file", remedy) from error
    if ids.ndim != 1 or points.shape != (len(ids), 68, 2) or points.dtype.kind not in "fiu":
        got = f"id {ids.shape}, pts68 {points.shape} {points.dtype}"
        raise InputError(f"id [N] and numeric pts68 [N, 68, 2] in {path}", got, remedy)
    points = points.astype(np.float32)
    bad = ids[~np.isfinite(points).all(axis=(1, 2))]
    if len(bad):
        got = f"NaN or infinity for {bad[0]} and {len(bad) - 1} more"
        raise InputError(f"finite points in {path}", got, "leave faces without points out of the file")
    return {str(key): value for key, value in zip(ids, points, strict=True)}


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _must_unpack(path: Path, root: Path) -> bool:
    """Whether the cached folder is missing, or was unpacked from another state of the tar.

    A folder without a stamp was put there by hand: it is taken as it is, and never replaced.
    """
    if not (root / STAMP).is_file():
        return not (root / "index.csv").is_file()
    try:
        return json.loads((root / STAMP).read_text(encoding="utf-8")) != _stamp(path)
    except (ValueError, OSError):
        return True


def _unpack(path: Path, root: Path) -> None:
    """Into a temporary folder, then renamed: a kill leaves no half archive behind."""
    if root.exists() and not (root / STAMP).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"an archive or nothing at {root}", "something else", "move it away, or set FACETRT_CACHE")
    stamp = _stamp(path)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=root.parent)
    except OSError as error:
        raise InputError(f"a writable folder {root.parent}", str(error), "set FACETRT_CACHE to another") from error
    with scratch as folder:
        new = Path(folder) / "new"
        try:
            with tarfile.open(path) as tar:
                tar.extractall(new, filter="data")
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
            remedy = "name a tar archive or a folder; fetch the archive again if it is one"
            raise InputError("a readable tar archive", f"{path} ({reason})", remedy) from error
        indexes = sorted(new.rglob("index.csv"), key=lambda p: len(p.parts))
        if not indexes:
            raise InputError(f"an index.csv inside {path}", "none", "see docs/DATA.md for the format")
        found = indexes[0].parent
        (found / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        _put(found, root, old=Path(folder) / "old")


def _put(found: Path, root: Path, *, old: Path) -> None:
    """Rename to the cached folder; where another process has just done the same, its copy stays."""
    try:
        if root.exists():
            root.rename(old)
        found.rename(root)
    except OSError as error:
        if not (root / "index.csv").is_file():
            raise InputError(f"a folder at {root}", str(error), "run it again") from error
