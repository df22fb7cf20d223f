"""One picture file enhanced: read, find, enhance, put back, write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.enhancer import PAINTED, FaceEnhancer
from sdk.image.resample import resize
from sdk.pictures import FORMATS, Picture, encode_picture, read_picture, resized_like, write_file
from sdk.plan import Boxes, Job
from sdk.result import FaceResult

__all__ = ["PhotoOptions", "enhance_photo", "face_path", "is_done"]

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoOptions:
    """What face-enhance does with each picture."""

    aligned: bool = False  # pictures are faces cut out already
    boxes: Boxes | None = None  # None: the detector's
    box_kind: str = "face"
    compare: bool = False  # a second file: before and after side by side
    strength: float = 1.0  # 0..1
    paste: bool = True  # False: face pictures alone, one file each
    max_megapixels: float = 120.0


def face_path(target: Path, number: int) -> Path:
    """Where face `number` of a picture goes with paste=False."""
    return target.with_name(f"{target.stem}_face{number:02d}{target.suffix}")


def is_done(target: Path, options: PhotoOptions) -> bool:
    """Has an earlier run finished this picture? Faces are written last to first: the first stands for all."""
    return (target if options.paste or options.aligned else face_path(target, 0)).exists()


def enhance_photo(enhancer: FaceEnhancer, job: Job, options: PhotoOptions) -> dict[str, Any]:
    """Does one job; returns its JSON-ready record. `enhancer` must be of color "rgb".

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
    notes = _write(enhancer, picture, results, job, options, clock)
    return {
        "input": str(job.source),
        "output": str(job.target),
        "width": frame.shape[1],
        "height": frame.shape[0],
        "faces": [result.to_dict() for result in results],
        "timings_ms": clock.spans_ms,
        "notes": notes,
    }


class _Clock:
    """Milliseconds between marks."""

    def __init__(self) -> None:
        self._last_s = time.perf_counter()
        self.spans_ms: dict[str, float] = {}

    def mark(self, name: str) -> None:
        now_s = time.perf_counter()
        self.spans_ms[name] = round(1000 * (now_s - self._last_s), 2)
        self._last_s = now_s


def _write(
    enhancer: FaceEnhancer,
    picture: Picture,
    results: Sequence[FaceResult],
    job: Job,
    options: PhotoOptions,
    clock: _Clock,
) -> list[str]:
    """Writes what the options ask for; returns notes on it."""
    if options.aligned:
        image = _blend(picture.pixels, results[0].image, options.strength)
        like = resized_like(picture, len(image))
        return [*picture.notes, *_write_picture(job.target, image, like, picture.pixels, options, clock)]
    if not options.paste:
        return [*picture.notes, *_write_faces(picture, results, job.target, clock)]
    touched = options.strength > 0 and any(result.status in PAINTED for result in results)
    if not touched and FORMATS.get(job.source.suffix.lower()) == FORMATS[job.target.suffix.lower()] == picture.format:
        write_file(job.target, job.source.read_bytes())  # bit for bit, with all that picture files carry
        clock.mark("write")
        return ["no face was changed: the file is copied"]
    image = enhancer.render(picture.pixels, results, strength=options.strength)
    clock.mark("render")
    return [*picture.notes, *_write_picture(job.target, image, picture, picture.pixels, options, clock)]


def _write_picture(
    target: Path,
    image: U8,  # [H, W, 3] after
    like: Picture,
    before: U8,  # [h, w, 3]
    options: PhotoOptions,
    clock: _Clock,
) -> list[str]:
    data, notes = encode_picture(image, target.suffix, like=like)
    if options.compare:  # before the picture itself, whose presence says that the job is done
        sheet, _ = encode_picture(_side_by_side(before, image), target.suffix)
        write_file(target.with_name(f"{target.stem}_compare{target.suffix}"), sheet)
    write_file(target, data)
    clock.mark("write")
    return notes


def _write_faces(picture: Picture, results: Sequence[FaceResult], target: Path, clock: _Clock) -> list[str]:
    images = [(number, result.image) for number, result in enumerate(results) if result.image is not None]
    for number, image in reversed(images):
        data, _ = encode_picture(image, target.suffix, like=Picture(image, None, picture.grey, picture.format))
        write_file(face_path(target, number), data)
    clock.mark("write")
    return [] if images else ["no face to write"]


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
