"""300W-LP and AFLW2000-3D: one `.mat` file a face, beside its picture of 450 x 450 px.

300W-LP, `AFW/AFW_134212_1_0.mat`: `pt2d` [2, 68], `Pose_Para` [1, 7] and, in `landmarks/AFW/AFW_134212_1_0_pts.mat`,
`pts_2d` and `pts_3d` [68, 2]. AFLW2000-3D, `image00002.mat`: `pt3d_68` [3, 68], `pt2d` [2, 21] (AFLW's points, -1
where not visible), `Pose_Para`. `Pose_Para` is pitch, yaw, roll in radians, then the shift and scale of the 3-D model.
`roi` and the model's coefficients are not used.

Convention: the first pixel is (1, 1). The release's MATLAB example draws `pt3d_68` over `imshow`, whose first pixel
has its centre at (1, 1).

Source: Zhu et al. 2016, "Face Alignment Across Large Poses: A 3D Solution".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from training.data.formats.mat5 import numeric, read_mat
from training.data.formats.sample import (
    BadSampleError,
    Pose,
    Sample,
    Skips,
    beside,
    face,
    face_id,
    folder_of,
    pictures_below,
)

FIRST_PIXEL = 1
KINDS = ("2d", "3d")


def read_300wlp(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL, points: str = "2d") -> Iterator[Sample]:
    """Faces of 300W-LP (61 225 without the mirrored folders `*_Flip`, 122 450 with them); all split train.

    points: "2d" (`pts_2d`, or `pt2d` of the face's own file), or "3d" (`pts_3d`, from `landmarks/` only).
    """
    if points not in KINDS:
        raise InputError(f"points of {KINDS}", repr(points), "pick one of those")
    folder = folder_of(root)

    def of(path: Path, arrays: dict[str, Any]) -> tuple[npt.NDArray[np.float64], str, npt.NDArray[np.bool_] | None]:
        relative = path.relative_to(folder)
        extra = folder / "landmarks" / relative.with_name(f"{path.stem}_pts.mat")
        scheme = "68" if points == "2d" else "68-3d"
        if extra.is_file():
            return numeric(read_mat(extra), f"pts_{points}"), scheme, None
        if points == "3d":
            raise BadSampleError(f"no {extra.relative_to(folder).as_posix()}, which holds pts_3d")
        return numeric(arrays, "pt2d")[:2].T, scheme, None

    yield from _read(folder, skips, first, of, split="train", leave_out="landmarks")


def read_aflw2000(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL, points: str = "3d") -> Iterator[Sample]:
    """The 2 000 faces of AFLW2000-3D; all split test. points: "3d" (68, `pt3d_68`) or "2d" (AFLW's 21, `pt2d`)."""
    if points not in KINDS:
        raise InputError(f"points of {KINDS}", repr(points), "pick one of those")

    def of(path: Path, arrays: dict[str, Any]) -> tuple[npt.NDArray[np.float64], str, npt.NDArray[np.bool_] | None]:
        if points == "3d":
            return numeric(arrays, "pt3d_68")[:2].T, "68-3d", None
        found = numeric(arrays, "pt2d")[:2].T  # [21, 2]
        visible = (found > 0).all(axis=1)
        return np.where(visible[:, None], found, np.nan), "21", visible

    yield from _read(folder_of(root), skips, first, of, split="test", leave_out="Code")


def pose_of(arrays: dict[str, Any]) -> Pose | None:
    """Angles in degrees of `Pose_Para`, None without it. Raises BadSampleError where they are no numbers."""
    if "Pose_Para" not in arrays:
        return None
    values = np.degrees(numeric(arrays, "Pose_Para").reshape(-1)[:3])
    if len(values) != 3 or not np.isfinite(values).all():
        raise BadSampleError(f"Pose_Para without three finite angles: {values.tolist()}")
    pitch, yaw, roll = (float(v) for v in values)
    return Pose(yaw, pitch, roll)


def _read(root: Path, skips: Skips, first: int, of, *, split: str, leave_out: str) -> Iterator[Sample]:  # noqa: ANN001
    used: set[Path] = set()
    for path in sorted(p for p in root.rglob("*.mat") if leave_out not in p.relative_to(root).parts[:-1]):
        try:
            picture = beside(path)
            used.add(picture)
            arrays = read_mat(path)
            found, scheme, visible = of(path, arrays)
            yield face(
                picture,
                found - first,
                scheme=scheme,
                visible=visible,
                pose=pose_of(arrays),
                source=path,
                split=split,
                id=face_id(root, path),
            )
        except BadSampleError as bad:
            skips.add(path, bad.line, bad.reason)
    for picture in pictures_below(root):
        if picture not in used:
            skips.add(picture, None, f"no annotation {picture.stem}.mat beside it")
