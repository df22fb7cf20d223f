"""AFLW: its database, and the two lists of 19 points that papers use.

`aflw.sqlite` (Köstinger et al. 2011, "Annotated Facial Landmarks in the Wild"): tables Faces (face_id, file_id),
FaceImages (file_id, filepath), FaceRect (x, y, w, h), FacePose (roll, pitch, yaw in radians), FeatureCoords
(feature_id 1..21, x, y; visible points only). Pictures below `data/flickr`.

`AFLWinfo_release.mat` (Zhu et al. 2016, "Unconstrained Face Alignment via Cascaded Compositional Learning"; JASRNet's
20 000 and 4 386 faces): `nameList`, `data` [24386, 38] (all x, then all y), `mask_new` (1: visible), `bbox` (left,
right, top, bottom), `ra` (the order; the first 20 000 train). Hidden points have a guessed place.

`face_landmarks_aflw_{train,test,...}.csv` (the HRNet repository): a header, then the picture, scale, box size, centre x
and y, and 19 times x and y; their names differ among copies, their order does not.

Convention: not stated. The database is read as written, the first pixel being (0, 0): AFLW's tools are C++ on OpenCV.
The lists copy its coordinates. `--first-pixel 1` shifts them.
"""

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdk.errors import InputError
from training.data.formats.mat5 import numeric, read_mat
from training.data.formats.sample import (
    BadSampleError,
    Pose,
    Sample,
    Skips,
    face,
    face_id,
    first_of,
    folder_of,
    inside,
    list_lines,
    numbers,
)

FIRST_PIXEL = 0
TRAIN = 20_000  # faces of AFLWinfo_release.mat
HRNET_BOX = 200.0  # px that `scale` 1 stands for
HRNET_COLUMNS = 5 + 2 * 19


def pictures_of(root: Path) -> Path:
    return first_of(root, "data/flickr", "flickr", "aflw/data/flickr", "images") or root


def read_aflw(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Faces of aflw.sqlite with 21 points. The line of a sample is its face_id. No split is defined."""
    folder = folder_of(root)
    database = first_of(folder, "data/aflw.sqlite", "aflw.sqlite")
    if database is None:
        raise InputError(
            f"an aflw.sqlite below {folder}", "none", "see aflw-list for AFLWinfo_release.mat or CSV lists"
        )
    rows, boxes, poses, points = _tables(database)
    pictures = pictures_of(folder)
    for face_number, name in rows:
        try:
            found = np.full((21, 2), np.nan)
            for feature, x, y in points.get(face_number, []):
                if not isinstance(feature, int) or not 1 <= feature <= 21:
                    raise BadSampleError(f"feature {feature!r} outside 1..21", line=face_number)
                found[feature - 1] = numbers([str(x), str(y)], line=face_number)
            if name is None:
                raise BadSampleError("no row of FaceImages for its file_id", line=face_number)
            box = None
            if face_number in boxes:
                x, y, w, h = numbers(map(str, boxes[face_number]), line=face_number)
                box = np.array([x, y, x + w, y + h]) - first
            pose = None
            if face_number in poses:
                roll, pitch, yaw = np.degrees(numbers(map(str, poses[face_number]), line=face_number))
                pose = Pose(float(yaw), float(pitch), float(roll))
            picture = inside(pictures, name, line=face_number)
            yield face(
                picture,
                found - first,
                scheme="21",
                visible=np.isfinite(found).all(axis=1),
                box=box,
                pose=pose,
                source=database,
                line=face_number,
                id=face_id(pictures, picture, suffix=f"_{face_number}"),
            )
        except BadSampleError as bad:
            skips.add(database, face_number, bad.reason)


def _tables(database: Path) -> tuple[list, dict, dict, dict]:
    """Rows (face_id, filepath), and by face_id its box, its angles and its points. Raises InputError."""
    try:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
        try:
            query = (
                "SELECT Faces.face_id, FaceImages.filepath FROM Faces LEFT JOIN FaceImages "
                "ON Faces.file_id = FaceImages.file_id GROUP BY Faces.face_id ORDER BY Faces.face_id"
            )
            rows = connection.execute(query).fetchall()
            boxes = {r[0]: r[1:] for r in connection.execute("SELECT face_id, x, y, w, h FROM FaceRect")}
            poses = {r[0]: r[1:] for r in connection.execute("SELECT face_id, roll, pitch, yaw FROM FacePose")}
            points: dict[int, list[tuple]] = {}
            for number, *point in connection.execute("SELECT face_id, feature_id, x, y FROM FeatureCoords"):
                points.setdefault(number, []).append(tuple(point))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InputError(f"AFLW's database at {database}", str(error), "fetch it again") from error
    return rows, boxes, poses, points


def read_aflw_list(
    root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL, points: str | None = None
) -> Iterator[Sample]:
    """Faces of AFLWinfo_release.mat, or where there is none of the CSV lists, with 19 points.

    The line of a sample is its row, counted from 1 (in a CSV file its line). Splits: train and test; the frontal test
    set is the test faces with every point visible. points: "mat" or "csv" where both are there.
    """
    folder = folder_of(root)
    matrix = first_of(folder, "AFLWinfo_release.mat") if points in (None, "mat") else None
    if matrix is not None:
        yield from _read_info(matrix, pictures_of(folder), skips, first)
        return
    lists = sorted(folder.rglob("face_landmarks_aflw_*.csv"))
    lists = [p for p in lists if not p.stem.endswith("_frontal")]  # a part of the test list
    if not lists:
        raise InputError(
            f"AFLWinfo_release.mat or face_landmarks_aflw_*.csv below {folder}", "none", "see docs/DATA.md"
        )
    for path in lists:
        yield from read_hrnet_csv(path, pictures_of(folder), skips, first=first)


def _read_info(path: Path, pictures: Path, skips: Skips, first: int) -> Iterator[Sample]:
    try:
        arrays = read_mat(path)
        data, mask, boxes, order = (numeric(arrays, n) for n in ("data", "mask_new", "bbox", "ra"))
        names = np.asarray(arrays.get("nameList"), object).reshape(-1)
    except BadSampleError as bad:
        raise InputError(f"AFLW's list at {path}", bad.reason, "fetch it again") from bad
    n = len(names)
    if (
        data.shape != (n, 38)
        or mask.shape != (n, 19)
        or boxes.shape != (n, 4)
        or sorted(order.ravel()) != [*range(1, n + 1)]
    ):
        got = f"{n} names, data {data.shape}, mask_new {mask.shape}, bbox {boxes.shape}, ra {order.shape}"
        raise InputError(f"arrays of one length in {path}", got, "fetch it again")
    for place, number in enumerate(order.ravel().astype(int)):
        row = number - 1
        try:
            name = names[row]
            while isinstance(name, np.ndarray) and name.size == 1:
                name = name.ravel()[0]
            left, right, top, bottom = numbers(map(str, boxes[row]), line=number)
            picture = inside(pictures, str(name), line=number)
            yield face(
                picture,
                data[row].reshape(2, 19).T - first,
                scheme="19",
                visible=mask[row] == 1,
                box=np.array([left, top, right, bottom]) - first,
                source=path,
                line=number,
                split="train" if place < TRAIN else "test",
                id=face_id(pictures, picture, suffix=f"_{number}"),
            )
        except BadSampleError as bad:
            skips.add(path, number, bad.reason)


def read_hrnet_csv(path: Path, pictures: Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Faces of one list of the HRNet repository: 19 points, all counted as visible (the list does not say)."""
    rows = csv.reader(list_lines(path))
    header = next(rows, [])
    if len(header) != HRNET_COLUMNS:
        expected = f"a header of {HRNET_COLUMNS} columns in {path}"
        raise InputError(expected, f"{len(header)} columns", "give HRNet's list of 19 points")
    for fields in rows:
        line = rows.line_num
        try:
            if len(fields) != HRNET_COLUMNS:
                raise BadSampleError(f"{HRNET_COLUMNS} values expected, found {len(fields)}", line=line)
            scale, _, x, y, *coordinates = numbers(fields[1:], line=line)
            found = np.array(coordinates).reshape(19, 2)
            half = HRNET_BOX * scale / 2.0
            picture = inside(pictures, fields[0], line=line)
            yield face(
                picture,
                found - first,
                scheme="19",
                box=np.array([x - half, y - half, x + half, y + half]) - first,
                source=path,
                line=line,
                split="train" if "train" in path.stem else "test",
                id=face_id(pictures, picture, suffix=f"_{line}"),
            )
        except BadSampleError as bad:
            skips.add(path, line, bad.reason)
