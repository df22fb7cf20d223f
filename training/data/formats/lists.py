"""Data sets whose annotations are text lists: CelebA, HELEN with 194 points, WIDER FACE.

CelebA (Liu et al. 2015): `list_landmarks_celeba.txt` (photos) or `list_landmarks_align_celeba.txt` (aligned, 178 x
218 px): the number of pictures, the column names, then `000001.jpg` and 5 points. `list_bbox_celeba.txt`: x_1, y_1,
width, height, in the photos. `list_eval_partition.txt`: 0 train, 1 val, 2 test. Convention: not stated; read as
written, the first pixel being (0, 0): the mean eyes of the aligned faces, x = 69 and 108, lie about 88.5, the middle of
178 px counted from 0.

HELEN (Le et al. 2012): `annotation/1.txt` ... `2330.txt`: the picture's name, then 194 lines `x , y`; `trainnames.txt`
and `testnames.txt` where present. Convention: not stated; read as written, the first pixel being (0, 0).

WIDER FACE (Yang et al. 2016): `wider_face_{train,val}_bbx_gt.txt`: a path, the number of faces, then for each x1, y1,
w, h, blur, expression, illumination, invalid, occlusion, pose (one line of zeros where there is no face). Convention:
not stated; [x1, x1 + w] is taken as edge coordinates, 0 being the left edge of the first pixel.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdk.errors import InputError
from training.data.formats.sample import (
    BadSampleError,
    Sample,
    Skips,
    beside,
    face,
    face_id,
    first_of,
    folder_of,
    inside,
    list_lines,
    numbers,
    text_lines,
)

FIRST_PIXEL = 0
CELEBA_SPLITS = {"0": "train", "1": "val", "2": "test"}
FSRNET_TEST = 2281  # FSRNet and JASRNet test on the last 50 of HELEN's 2330 annotation files


def read_celeba(
    root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL, points: str | None = None
) -> Iterator[Sample]:
    """Faces of CelebA with 5 points. points: "wild" (photos, with boxes) or "align"; default: whichever is there."""
    folder = folder_of(root)
    lists = {"wild": "list_landmarks_celeba.txt", "align": "list_landmarks_align_celeba.txt"}
    if points not in (None, *lists):
        raise InputError(f"points of {sorted(lists)}", repr(points), "pick one of those")
    found = {k: first_of(folder, f"Anno/{name}", name) for k, name in lists.items() if points in (None, k)}
    kind = next((k for k, path in found.items() if path), None)
    if kind is None:
        raise InputError(f"{' or '.join(lists[k] for k in found)} below {folder}", "none", "see docs/DATA.md")
    path = found[kind]
    assert path is not None, found
    names = ("Img/img_celeba", "img_celeba") if kind == "wild" else ("Img/img_align_celeba", "img_align_celeba")
    pictures = first_of(folder, *names) or folder
    boxes = _table(first_of(folder, "Anno/list_bbox_celeba.txt", "list_bbox_celeba.txt") if kind == "wild" else None)
    parts = _table(first_of(folder, "Eval/list_eval_partition.txt", "list_eval_partition.txt"))
    lines = list_lines(path)
    announced = lines[0].strip() if lines else ""
    start = 2 if announced.isdigit() else 0
    for number, text in enumerate(lines[start:], start + 1):
        fields = text.split()
        if not fields:
            continue
        try:
            if len(fields) != 11:
                raise BadSampleError(f"a name and 10 numbers expected, found {len(fields)} fields", line=number)
            xy = np.array(numbers(fields[1:], line=number)).reshape(5, 2)
            box = None
            if fields[0] in boxes:
                x, y, w, h = _four(boxes[fields[0]], line=number)
                box = np.array([x, y, x + w, y + h]) - first
            split = CELEBA_SPLITS.get("".join(parts.get(fields[0], [])), "")
            picture = inside(pictures, fields[0], line=number)
            name = face_id(pictures, picture)
            yield face(picture, xy - first, scheme="5", box=box, source=path, line=number, split=split, id=name)
        except BadSampleError as bad:
            skips.add(path, number, bad.reason)
    rows = sum(bool(text.strip()) for text in lines[start:])
    if start and rows != int(announced):
        skips.add(path, 1, f"{announced} pictures announced, {rows} lines found")


def _table(path: Path | None) -> dict[str, list[str]]:
    """The fields of every line of a list by its first one."""
    rows = [text.split() for text in list_lines(path)] if path is not None else []
    return {r[0]: r[1:] for r in rows if len(r) > 1}


def _four(fields: list[str], *, line: int) -> list[float]:
    if len(fields) != 4:
        raise BadSampleError(f"a box of 4 numbers expected, found {fields}", line=line)
    return numbers(fields, line=line)


def read_helen(
    root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL, points: str | None = None
) -> Iterator[Sample]:
    """Faces of HELEN with 194 points.

    Splits: by testnames.txt where it is there (2 000 and 330), else FSRNet's, the last 50 of 2 330 annotation files.
    points: "official" or "fsrnet" to say which.
    """
    if points not in (None, "official", "fsrnet"):
        raise InputError("a split of ('official', 'fsrnet')", repr(points), "pick one of those")
    folder = folder_of(root)
    annotations = first_of(folder, "annotation", "annotations") or folder
    names = first_of(folder, "testnames.txt") if points != "fsrnet" else None
    if points == "official" and names is None:
        raise InputError(f"testnames.txt below {folder}", "none", "fetch it, or use FSRNet's split")
    tested = {text.strip() for text in list_lines(names)} if names is not None else None
    stored = {p.stem: p.parent for p in sorted(folder.rglob("*.jpg"))}
    found = [p for p in annotations.rglob("*.txt") if p.stem.isdigit()]
    if not found:
        raise InputError(f"annotation files 1.txt, 2.txt, ... below {annotations}", "none", "see docs/DATA.md")
    for path in sorted(found, key=lambda p: int(p.stem)):
        try:
            lines = [(n, text.strip()) for n, text in enumerate(text_lines(path), 1) if text.strip()]
            if not lines:
                raise BadSampleError("an empty file")
            name = Path(lines[0][1]).stem if lines[0][1].lower().endswith(".jpg") else lines[0][1]
            rows = []
            for number, text in lines[1:]:
                fields = text.replace(",", " ").split()
                if len(fields) != 2:
                    raise BadSampleError(f"x , y expected, found {text!r}", line=number)
                rows.append(numbers(fields, line=number))
            if len(rows) != 194:
                raise BadSampleError(f"194 points expected, found {len(rows)}")
            if "/" in name or "\\" in name:
                raise BadSampleError(f"a path in place of a picture's name: {name}", line=lines[0][0])
            picture = beside(path, stem=name, folder=stored.get(name, folder))
            test = int(path.stem) >= FSRNET_TEST if tested is None else name in tested
            split = "test" if test else "train"
            yield face(picture, np.array(rows) - first, scheme="194", source=path, split=split, id=name)
        except BadSampleError as bad:
            skips.add(path, bad.line, bad.reason)


def read_wider(root: str | Path, skips: Skips, *, first: int = FIRST_PIXEL) -> Iterator[Sample]:
    """Boxes of WIDER FACE, no points; faces marked invalid are skipped. Splits: train and val."""
    folder = folder_of(root)
    lists = sorted(folder.rglob("wider_face_*_bbx_gt.txt"))
    if not lists:
        raise InputError(f"wider_face_train_bbx_gt.txt or the like below {folder}", "none", "see docs/DATA.md")
    for path in lists:
        split = path.stem.split("_")[2]
        pictures = first_of(folder, f"WIDER_{split}/images", f"WIDER_{split}", "images") or folder
        yield from _wider_list(path, pictures, skips, split, first)


def _wider_list(path: Path, pictures: Path, skips: Skips, split: str, first: int) -> Iterator[Sample]:
    lines = list_lines(path)
    at = 0
    while at < len(lines):
        name, start = lines[at].strip(), at + 1
        at += 1
        if not name:
            continue
        if not name.lower().endswith((".jpg", ".jpeg", ".png")):
            skips.add(path, start, f"a picture's path expected, found {name!r}")
            continue
        while at < len(lines) and not lines[at].strip().lower().endswith((".jpg", ".jpeg", ".png")):
            at += 1
        block = [(n + 1, lines[n].split()) for n in range(start, at) if lines[n].strip()]
        yield from _wider_picture(path, name, (start, block), pictures, skips, split, first)


def _wider_picture(
    path: Path,
    name: str,
    block: tuple[int, list[tuple[int, list[str]]]],  # line of the name, then the lines that follow it
    pictures: Path,
    skips: Skips,
    split: str,
    first: int,
) -> Iterator[Sample]:
    line, rows = block
    try:
        picture = inside(pictures, name, line=line)
        if not rows or len(rows[0][1]) != 1 or not rows[0][1][0].isdigit():
            raise BadSampleError(f"the number of faces of {name} expected", line=line + 1)
    except BadSampleError as bad:
        skips.add(path, bad.line, bad.reason)
        return
    count = int(rows[0][1][0])
    faces = rows[1:]
    if count == 0 and all(f == "0" for _, fields in faces for f in fields):
        skips.add(path, line, f"no face marked in {name}")
        return
    if count != len(faces):
        skips.add(path, rows[0][0], f"{count} faces of {name} announced, {len(faces)} lines found")
    for index, (number, fields) in enumerate(faces):
        try:
            if len(fields) not in (4, 10):
                raise BadSampleError(f"4 or 10 numbers expected, found {len(fields)}", line=number)
            values = numbers(fields, line=number)
            if len(values) == 10 and values[7] == 1:
                raise BadSampleError("a face marked invalid", line=number)
            x, y, w, h = values[:4]
            box = np.array([x, y, x + w, y + h]) - first
            points = np.zeros((0, 2))
            face_name = face_id(pictures, picture, suffix=f"_{index}")
            yield face(picture, points, scheme="none", box=box, source=path, line=number, split=split, id=face_name)
        except BadSampleError as bad:
            skips.add(path, bad.line, bad.reason)
