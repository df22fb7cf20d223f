"""LS3D-W: 68 points of the 3-D face a picture, in a `.t7` file (a Torch7 tensor [68, 2]) or a `.mat` file beside it.

Folders: 300W-Testset-3D, 300VW-3D, AFLW2000-3D-Reannotated, LS3D-W_balanced, Menpo-3D, any of them or all.

Convention: not stated by its authors. The first pixel is taken as (1, 1): the points were made with Torch7 and MATLAB,
whose pictures count from 1, and start from sets that count so. `--first-pixel 0` reads them as written.

Source: Bulat and Tzimiropoulos 2017, "How far are we from solving the 2D & 3D Face Alignment problem?".
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.formats.mat5 import read_mat
from training.data.formats.sample import (
    BadSampleError,
    Sample,
    Skips,
    beside,
    face,
    face_id,
    folder_of,
    pictures_below,
)
from training.data.formats.torch7 import read_t7

FIRST_PIXEL = 1
SHAPES = ((68, 2), (68, 3), (2, 68), (3, 68))


def read_ls3dw(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Faces of LS3D-W. Split: train below a folder Trainset, else test. A `.t7` wins over a `.mat` of its name."""
    folder = folder_of(root)
    used: set[Path] = set()
    found = {p.with_suffix(""): p for ending in (".mat", ".t7") for p in sorted(folder.rglob(f"*{ending}"))}
    for path in sorted(found.values()):
        try:
            picture = beside(path)
            used.add(picture)
            points = points_of(path)
            train = any("trainset" in part.lower() for part in path.relative_to(folder).parts[:-1])
            name = face_id(folder, path)
            split = "train" if train else "test"
            yield face(picture, points - first, scheme="68-3d", source=path, split=split, id=name)
        except BadSampleError as bad:
            skips.add(path, bad.line, bad.reason)
    for picture in pictures_below(folder):
        if picture not in used:
            skips.add(picture, None, f"no annotation {picture.stem}.t7 or .mat beside it")


def points_of(path: Path) -> npt.NDArray[np.float64]:
    """The one array of 68 points in a file: [68, 2] as written. Raises BadSampleError: none, or several."""
    content = read_t7(path) if path.suffix == ".t7" else read_mat(path)
    values = list(content.values()) if isinstance(content, dict) else [content]
    arrays = [v for v in values if isinstance(v, np.ndarray) and v.dtype != object]
    fitting = [a for a in arrays if a.shape in SHAPES]
    if len(fitting) != 1:
        shapes = ", ".join(str(list(a.shape)) for a in arrays) or "none"
        raise BadSampleError(f"one array of 68 points expected, found arrays of shape {shapes}")
    points = fitting[0].astype(np.float64)
    return (points if points.shape[0] == 68 else points.T)[:, :2]
