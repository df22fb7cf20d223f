"""Readers of the data sets that the papers use, one line each. `python -m training.data.convert` makes archives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sdk.errors import InputError
from training.data.formats import aflw, lists, lp, ls3dw, pairs, pts


@dataclass(frozen=True)
class Format:
    """How a data set is read, and how its faces are cut when nobody says otherwise."""

    read: Callable[..., Iterator[Any]]  # (root, skips, **options)
    first_pixel: int | None  # what the reader takes off; None: it has no coordinates
    stated: bool  # whether that convention is known; else it is our choice (see the reader)
    window: str  # "landmarks", "face", "crop" (sdk.image.crop.square_windows) or "whole" (the picture)
    points: tuple[str, ...] = ()  # values of its option `points`
    holds: str = "faces"  # or "pictures" (pairs for super-resolution), "verification" (pairs of faces)


FORMATS = {
    "300w": Format(pts.read_300w, pts.FIRST_PIXEL, True, "landmarks"),
    "menpo": Format(pts.read_menpo, pts.FIRST_PIXEL, True, "landmarks"),
    "300wlp": Format(lp.read_300wlp, lp.FIRST_PIXEL, True, "landmarks", lp.KINDS),
    "aflw2000": Format(lp.read_aflw2000, lp.FIRST_PIXEL, True, "landmarks", lp.KINDS),
    "ls3dw": Format(ls3dw.read_ls3dw, ls3dw.FIRST_PIXEL, False, "landmarks"),
    "aflw": Format(aflw.read_aflw, aflw.FIRST_PIXEL, False, "face"),
    "aflw-list": Format(aflw.read_aflw_list, aflw.FIRST_PIXEL, False, "face", ("mat", "csv")),
    "celeba": Format(lists.read_celeba, lists.FIRST_PIXEL, False, "crop", ("wild", "align")),
    "helen194": Format(lists.read_helen, lists.FIRST_PIXEL, False, "landmarks", ("official", "fsrnet")),
    "wider": Format(lists.read_wider, lists.FIRST_PIXEL, False, "face"),
    "lfw": Format(pairs.read_lfw, None, True, "whole", holds="verification"),
    "pairs": Format(pairs.read_pairs, None, True, "whole", holds="pictures"),
}


def format_of(name: str) -> Format:
    """The reader of that name. Raises InputError listing the known ones."""
    if name not in FORMATS:
        raise InputError(f"a format of {sorted(FORMATS)}", repr(name), "pick one of those")
    return FORMATS[name]
