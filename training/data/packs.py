"""Face archives: `index.csv` (one row a picture), pictures, and where present `landmarks.npz` (`id`, `pts68`).

An archive is a folder or a `.tar`/`.tar.xz`/`.tar.gz`; tars are unpacked once into a cache outside the repository
($FACETRT_CACHE, else ~/.cache/facetrt/packs). Points are (x, y) in pixels of the picture, pixel centres at integers.
"""

import csv
import os
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sdk.errors import InputError


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
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise InputError(f"a readable picture at {path}", "none", f"unpack {self.name} again")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def cache_dir() -> Path:
    return Path(os.environ.get("FACETRT_CACHE", Path.home() / ".cache" / "facetrt" / "packs"))


def open_pack(source: str | Path) -> Pack:
    """Open an archive by folder, tar file, or the name of one already in the cache.

    Raises:
        InputError: nothing there, an unsafe or broken tar, or no index.csv with a `file` column.
    """
    path = Path(source)
    stem = path.name.split(".")[0]
    root = path if path.is_dir() else cache_dir() / stem
    if not path.is_dir() and not (root / "index.csv").exists():
        if not path.is_file():
            raise InputError("an archive folder, a tar file or a cached name", str(source), "check the path")
        _unpack(path, root)
    index = root / "index.csv"
    if not index.exists():
        raise InputError(f"index.csv in {root}", "none", "point to the folder that holds it")
    with index.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or not {"file", "file128"} & rows[0].keys():
        raise InputError(
            f"a column `file` or `file128` in {index}", str(list(rows[0]) if rows else "no rows"), "see docs/DATA.md"
        )
    return Pack(stem, root, rows, _load_points(root / "landmarks.npz"))


def _load_points(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as archive:
        return {str(key): value.astype(np.float32) for key, value in zip(archive["id"], archive["pts68"], strict=True)}


def _unpack(path: Path, root: Path) -> None:
    """Into a temporary folder, then renamed: a kill leaves no half archive behind."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(scratch, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError("a readable tar archive", f"{path} ({error})", "fetch it again") from error
        indexes = sorted(Path(scratch).rglob("index.csv"), key=lambda p: len(p.parts))
        if not indexes:
            raise InputError(f"an index.csv inside {path}", "none", "see docs/DATA.md for the format")
        if not root.exists():
            indexes[0].parent.rename(root)
