"""Face-parsing labels: a picture of class numbers beside a face, cut, moved and mirrored with it.

The classes are FSRNet's (PAPERS 5.1), counted from 0 in this order; left and right are the subject's. In an archive
they are grey PNGs named in the column `parsing` of index.csv, over the same view as `file`, of any size.
"""

import cv2
import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, invert_affine
from training.data.feeding import U8, Pair
from training.data.packs import Pack

CLASSES = (
    "background",
    "skin",
    "hair",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "nose",
    "upper lip",
    "inner mouth",
    "lower lip",
)
UNKNOWN = 255  # every pixel of a face without labels
FLIP_CLASSES = np.array([0, 1, 2, 4, 3, 6, 5, *range(7, 256)], np.uint8)  # class -> the one it is in a mirror


def read_classes(pack: Pack, row: dict[str, str], *, count: int) -> U8:  # [h, w]
    """Class numbers of one row. Raises InputError: no such picture, not grey, or numbers of `count` and more."""
    path = pack.root / row["parsing"]
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 2 or found.dtype != np.uint8 or found.max() >= count:
        got = "none" if found is None else f"{found.dtype} {found.shape}, up to {found.max()}"
        raise InputError(f"class numbers below {count} in {path}", got, "save it as a grey PNG of class numbers")
    return np.asarray(found)


def cut_classes(
    classes: U8,  # [h, w]
    window: npt.NDArray[np.float64],  # [4] x0, y0, x1, y1 in edge coordinates of a picture
    *,
    picture_hw: tuple[int, int],  # of that picture, whose view the classes show
    size: int,
) -> U8:  # [size, size]
    """The class at the centre of each pixel of a window; beyond the border the edge is repeated, as in pictures."""
    share = (np.arange(size) + 0.5) / size
    x, y = (window[k] + share * (window[k + 2] - window[k]) for k in (0, 1))
    h, w = classes.shape
    columns = np.clip(np.floor(x * (w / picture_hw[1])), 0, w - 1).astype(int)
    rows = np.clip(np.floor(y * (h / picture_hw[0])), 0, h - 1).astype(int)
    return classes[rows][:, columns]


def move_classes(
    classes: U8,  # [S, S] of the picture that the pair was made from
    pair: Pair,
) -> U8:  # [H, W]
    """Classes of the pixels of `pair.hr`, nearest ones; in a mirror left becomes right."""
    height, width = pair.hr.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(1, -1, 2).astype(np.float64)
    back = apply_affine(grid, invert_affine(pair.to_hr[None]))[0]  # pixels of the picture, centres at integers
    x, y = (np.clip(np.rint(back[:, k]), 0, classes.shape[1 - k] - 1).astype(int) for k in (0, 1))
    moved = classes[y, x].reshape(height, width)
    return FLIP_CLASSES[moved] if pair.mirrored else moved
