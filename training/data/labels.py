"""Points of an archive: `landmarks.npz` for the 68 of 300-W, `landmarks_SCHEME.npz` beside it for other orders.

Both hold `id` [N] text and `visible` [N, K] bool; the first `pts68` [N, 68, 2], the others `points` [N, K, 2] float32,
(x, y) in pixels of `file`, pixel centres at integers, NaN where a hidden point has no place.
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from training.data.formats.sample import SCHEMES
from training.data.packs import Pack

DAMAGED = (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Labels:
    """Points of one order, by picture id."""

    scheme: str
    points: dict[str, npt.NDArray[np.float32]] = field(repr=False)  # id -> [K, 2]
    visible: dict[str, npt.NDArray[np.bool_]] = field(repr=False)  # id -> [K]


def labels_file(scheme: str) -> str:
    return "landmarks.npz" if SCHEMES[scheme] == 68 else f"landmarks_{scheme}.npz"


def write_labels(
    folder: Path,
    scheme: str,
    ids: Sequence[str],
    *,
    points: Sequence[npt.NDArray[np.floating]],  # N of [K, 2]
    visible: Sequence[npt.NDArray[np.bool_]],  # N of [K]
) -> None:
    key = "pts68" if SCHEMES[scheme] == 68 else "points"
    arrays = {"id": np.array(ids), key: np.stack(points).astype(np.float32), "visible": np.stack(visible)}
    np.savez_compressed(folder / labels_file(scheme), **arrays, scheme=np.array(scheme))


def read_labels(pack: Pack, scheme: str) -> Labels:
    """Points of one order. Raises InputError: an unknown order, no such file, arrays that do not fit."""
    if scheme not in SCHEMES or scheme == "none":
        raise InputError(f"an order of points of {[s for s in SCHEMES if s != 'none']}", repr(scheme), "pick one")
    path = pack.root / labels_file(scheme)
    if not path.is_file():
        there = sorted(p.name for p in pack.root.glob("landmarks*.npz"))
        raise InputError(f"{path.name} in {pack.name}", str(there or "no points"), "pick an archive with those points")
    count = SCHEMES[scheme]
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            ids = archive["id"]
            points = archive["pts68" if count == 68 else "points"].astype(np.float32)
            visible = archive["visible"] if "visible" in archive else np.ones(points.shape[:2], bool)
    except DAMAGED as error:
        raise InputError(f"arrays of points in {path}", str(error) or "no npz file", "convert it again") from error
    n = len(ids)
    fits = points.shape == (n, count, 2) and visible.shape == (n, count) and visible.dtype == bool
    if not fits or not np.isfinite(points[visible]).all():
        got = f"id {ids.shape}, points {points.shape}, visible {visible.shape} {visible.dtype}, or points not finite"
        raise InputError(f"{count} finite points of each id in {path}", got, "convert it again")
    names = [str(name) for name in ids]
    return Labels(scheme, dict(zip(names, points, strict=True)), dict(zip(names, visible, strict=True)))
