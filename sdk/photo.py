"""One picture file enhanced: read, find, enhance, put back, write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.enhancer import PAINTED, FaceEnhancer
from sdk.image.resample import resize
from sdk.pictures import FORMATS, Picture, encode_picture, read_picture, resized_like, write_file
from sdk.plan import Boxes, Job, face_path
from sdk.result import FaceResult

__all__ = ["PhotoOptions", "enhance_photo"]

U8 = npt.NDArray[np.uint8]
File = tuple[Path, bytes]


@dataclass(frozen=True)
class PhotoOptions:
    """What face-enhance does with each picture."""

    aligned: bool = False  # pictures are faces cut out already
    boxes: Boxes | None = None  # None: the detector's
    box_kind: str = "face"
    strength: float = 1.0  # 0..1
    max_megapixels: float = 120.0


def enhance_photo(
    enhancer: FaceEnhancer,
    job: Job,
    options: PhotoOptions,
    *,
    attach: Callable[[dict[str, Any]], list[File]] | None = None,
) -> dict[str, Any]:
    """Does one job; returns its JSON-ready record. `enhancer` must be of color "rgb". `attach` makes further files
    of the record, written before the pictures: the output's presence says that all is there.

    Raises InputError (the picture, its boxes), OutputError, DetectorError and what FaceEnhancer raises.
    """
    clock = _Clock()
    picture = read_picture(job.source, max_megapixels=options.max_megapixels)
    frame = picture.pixels  # [H, W, 3]
    clock.mark("read")
    if options.aligned:
        results = enhancer.enhance_aligned([frame])
    else:
        boxes = options.boxes.of(job.source) if options.boxes is not None else enhancer.detect(frame)
        clock.mark("detect")
        kind = options.box_kind if options.boxes is not None else "face"
        results = enhancer.enhance(frame, boxes, box_kind=kind)
    clock.mark("enhance")
    files, notes = _outputs(enhancer, picture, results, job, options, clock)
    clock.mark("encode")
    record = {
        "input": str(job.source),
        "output": str(job.target),
        "width": frame.shape[1],
        "height": frame.shape[0],
        "faces": [result.to_dict() for result in results],
        "timings_ms": clock.spans_ms,
        "notes": notes,
    }
    _write_files([*(attach(record) if attach is not None else []), *files])
    clock.mark("write")
    return record


class _Clock:
    """Milliseconds between marks."""

    def __init__(self) -> None:
        self._last_s = time.perf_counter()
        self.spans_ms: dict[str, float] = {}

    def mark(self, name: str) -> None:
        now_s = time.perf_counter()
        self.spans_ms[name] = round(1000 * (now_s - self._last_s), 2)
        self._last_s = now_s


def _outputs(
    enhancer: FaceEnhancer,
    picture: Picture,
    results: Sequence[FaceResult],
    job: Job,
    options: PhotoOptions,
    clock: _Clock,
) -> tuple[list[File], list[str]]:
    """The files of a job in the order of writing, and notes on them."""
    if options.aligned:
        image = _blend(picture.pixels, results[0].image, options.strength)
        files, notes = _picture_files(job, image, resized_like(picture, len(image)), picture.pixels)
        return files, [*picture.notes, *notes]
    if job.faces:
        files = _face_files(picture, results, job.target)
        return files, [*picture.notes, *([] if files else ["no face to write"])]
    touched = options.strength > 0 and any(result.status in PAINTED for result in results)
    if not touched and FORMATS.get(job.source.suffix.lower()) == FORMATS[job.target.suffix.lower()] == picture.format:
        # bit for bit, with all that picture files carry
        return [(job.target, job.source.read_bytes())], ["no face was changed: the file is copied"]
    image = enhancer.render(picture.pixels, results, strength=options.strength)
    clock.mark("render")
    files, notes = _picture_files(job, image, picture, picture.pixels)
    return files, [*picture.notes, *notes]


def _picture_files(
    job: Job,
    image: U8,  # [H, W, 3] after
    like: Picture,
    before: U8,  # [h, w, 3]
) -> tuple[list[File], list[str]]:
    data, notes = encode_picture(image, job.target.suffix, like=like)
    files: list[File] = []
    if job.sheet is not None:  # before the picture itself, whose presence says that the job is done
        files.append((job.sheet, encode_picture(_side_by_side(before, image), job.sheet.suffix)[0]))
    return [*files, (job.target, data)], notes


def _face_files(picture: Picture, results: Sequence[FaceResult], target: Path) -> list[File]:
    files: list[File] = []
    for number, result in enumerate(results):
        if result.image is not None:
            like = Picture(result.image, None, picture.grey, picture.format)
            files.append((face_path(target, number), encode_picture(result.image, target.suffix, like=like)[0]))
    return files


def _write_files(files: Sequence[File]) -> None:
    """Writes all; if that is cut short, those that are new go again, or the next run would trip over them."""
    new: list[Path] = []
    try:
        for path, data in files:
            if not os.path.exists(path):
                new.append(path)
            write_file(path, data)
    except BaseException:  # Ctrl-C too
        for path in new:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _blend(
    before: U8,  # [h, w, 3]
    after: U8 | None,  # [S, S, 3]
    strength: float,
) -> U8:
    """The face at the output's size, mixed with the enlarged input for strength < 1."""
    if after is None or strength == 1.0:
        return before if after is None else after
    enlarged = np.asarray(resize(before, (after.shape[0], after.shape[1])), np.float32)
    return (enlarged + strength * (after - enlarged) + 0.5).astype(np.uint8)


def _side_by_side(
    before: U8,  # [h, w, 3]
    after: U8,  # [H, W, 3]
) -> U8:
    """[H, 2 W + gap, 3]: before (enlarged by bicubic if smaller) on the left, after on the right."""
    if before.shape != after.shape:
        before = np.asarray(resize(before, (after.shape[0], after.shape[1])), np.uint8)
    gap = np.full((after.shape[0], max(2, after.shape[1] // 100), 3), 255, np.uint8)
    return np.concatenate([before, gap, after], axis=1)
