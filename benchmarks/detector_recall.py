"""What the built-in detector finds, by size of the face: `python -m benchmarks.detector_recall --json OUT`.

Two sets. "composed": validation faces of HELEN (100 people in the wild), reduced by antialiased bicubic, in frames of
1080p made of photos without people. "photos": the demo photos with landmarks, each reduced as a whole.
Size: larger side of the tight box of the 68 points (brow to chin). Found: a box whose window overlaps the landmarks'
window with IoU >= 0.4. False positives are counted on the frames before faces are put in. Times: processor and wall
time of one frame, median; the state of the machine is in the file.
"""

import argparse
import csv
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.detect import CascadeDetector, open_detector
from sdk.enhancer import PAINTED, FaceEnhancer
from sdk.errors import InputError, ModelError
from sdk.image.crop import landmark_box, square_windows
from sdk.image.resample import resize
from sdk.pictures import read_picture

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

SIZES_PX = ((16, 20), (20, 24), (24, 32), (32, 48), (48, 96))
FRAME_HW = (1080, 1920)
CELL_PX = 160  # one face a cell of the frame: the largest crop, 1.5 x 96 px, fits
FRAMES = 8
SAME_FACE_IOU = 0.4
SEED = 7

# Photos of BSD100 (numbers of the archive) without people, statues or masks, at least 480 px wide.
# fmt: off
FACELESS = (
    4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 20, 22, 26, 27, 28, 29, 33, 34, 36, 37, 38, 43, 45, 48, 50, 51, 52,
    53, 54, 58, 59, 60, 64, 66, 67, 69, 73, 74, 76, 77, 79, 80, 84, 87, 89, 90, 91, 93, 96, 97, 98, 100,
)
# fmt: on


def pack(name: str) -> Path:
    """Folder of an unpacked archive. Raises InputError."""
    folder = Path(os.environ.get("FACETRT_CACHE") or Path.home() / ".cache/facetrt/packs") / name
    if not (folder / "index.csv").is_file():
        raise InputError(f"the unpacked archive {name}", f"no {folder}/index.csv", "unpack it there")
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "index.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points_of(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    archive = np.load(folder / "landmarks.npz")
    return dict(zip(archive["id"].tolist(), archive["pts68"], strict=True))  # each [68, 2]


def backgrounds() -> list[U8]:
    """FRAMES frames [1080, 1920, 3] of faceless photos, by turns at their own size and enlarged twice."""
    folder = pack("srbench") / "BSD100" / "x4"
    photos = [read_picture(folder / f"img_{number:03d}_SRF_4_HR.webp").pixels for number in FACELESS]
    photos = [photo[:320, :480] for photo in photos if photo.shape[0] >= 320 and photo.shape[1] >= 480]
    frames: list[U8] = []
    position = 0
    for number in range(FRAMES):
        factor = 1 + number % 2
        across, down = 1920 // (480 * factor), -(-1080 // (320 * factor))
        lines: list[U8] = []
        for _ in range(down):
            line = [photos[(position + k) % len(photos)] for k in range(across)]
            position += across
            lines.append(np.concatenate(line, axis=1))
        mosaic = np.concatenate(lines)
        whole = np.asarray(resize(mosaic, (mosaic.shape[0] * factor, mosaic.shape[1] * factor)), np.uint8)
        frames.append(np.ascontiguousarray(whole[: FRAME_HW[0], : FRAME_HW[1]]))
    return frames


def compose(
    frame: U8,  # [1080, 1920, 3]
    faces: Sequence[tuple[U8, npt.NDArray[np.float32]]],
    rng: np.random.Generator,
) -> tuple[U8, F64, F64]:
    """A frame with a face in every cell; tight landmark boxes [N, 4] in edge coordinates and their sizes [N] px."""
    canvas = frame.copy()
    boxes: list[F64] = []
    for number, (top, left) in enumerate(
        (y, x) for y in range(0, FRAME_HW[0] - CELL_PX, CELL_PX) for x in range(0, FRAME_HW[1], CELL_PX)
    ):
        photo, points = faces[rng.integers(len(faces))]
        box = landmark_box(points[None])[0]
        target = rng.uniform(*SIZES_PX[number % len(SIZES_PX)])
        side = round(photo.shape[0] * target / (box[2:] - box[:2]).max())
        if side > CELL_PX:
            continue
        y, x = top + rng.integers(CELL_PX - side + 1), left + rng.integers(CELL_PX - side + 1)
        canvas[y : y + side, x : x + side] = resize(photo, (side, side))
        boxes.append(box * side / photo.shape[0] + np.array([x, y, x, y]))
    truth = np.array(boxes)
    return canvas, truth, (truth[:, 2:] - truth[:, :2]).max(axis=1)


def found(
    boxes: F64,  # [N, 4] of the detector
    truth: F64,  # [M, 4] tight landmark boxes
) -> npt.NDArray[np.bool_]:
    """Which true faces [M] have a box."""
    a, b = square_windows(boxes, kind="face"), square_windows(truth, kind="landmarks")
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = np.prod(np.maximum(inner, 0.0), axis=2)  # [N, M]
    area = [np.prod(w[:, 2:] - w[:, :2], axis=1) for w in (a, b)]
    iou = both / (area[0][:, None] + area[1][None] - both)
    return iou.max(axis=0, initial=0.0) >= SAME_FACE_IOU


def photo_hits(detector: Callable[[U8], Any]) -> dict[tuple[int, int], list[bool]]:
    """By size: was the face of each demo photo found, the photo reduced so that the face has the middle size?"""
    folder = pack("demo_free")
    points = points_of(folder)
    hits: dict[tuple[int, int], list[bool]] = {size: [] for size in SIZES_PX}
    for row in rows_of(folder):
        if row["id"] not in points:
            continue
        photo = read_picture(folder / (row["scene"] or row["file"])).pixels
        box = landmark_box(points[row["id"]][None])[0]  # px of the crop
        if row["scene"]:
            x0, y0, side = (float(row[f"scene_{key}"]) for key in ("x0", "y0", "side"))
            box = box * side / float(row["w"]) + np.array([x0, y0, x0, y0])
        for size in SIZES_PX:
            factor = (size[0] + size[1]) / 2 / (box[2:] - box[:2]).max()
            if factor <= 1:
                small = np.asarray(
                    resize(photo, (round(photo.shape[0] * factor), round(photo.shape[1] * factor))), np.uint8
                )
                hits[size].append(bool(found(detector(small), box[None] * factor)[0]))
    return hits


def rows(name: str, hits: dict[tuple[int, int], list[bool]]) -> list[dict[str, Any]]:
    return [
        {"set": name, "size_px": list(size), "faces": len(h), "found": sum(h), "recall": round(sum(h) / len(h), 4)}
        for size, h in hits.items()
        if h
    ]


def measure(detector: Callable[[U8], Any]) -> dict[str, Any]:
    """Everything but the command line's part of the file."""
    folder = pack("faces68_helen_nc")
    points = points_of(folder)
    faces = [(read_picture(folder / r["file"]).pixels, points[r["id"]]) for r in rows_of(folder) if r["split"] == "val"]
    rng = np.random.default_rng(SEED)
    hits: dict[tuple[int, int], list[bool]] = {size: [] for size in SIZES_PX}
    false: list[tuple[U8, F64]] = []
    wall_ms: list[float] = []
    cpu_ms: list[float] = []
    for frame in backgrounds():
        false.append((frame, detector(frame)))
        canvas, truth, sizes = compose(frame, faces, rng)
        started, started_cpu = time.perf_counter(), time.process_time()
        boxes = detector(canvas)
        wall_ms.append(1000 * (time.perf_counter() - started))
        cpu_ms.append(1000 * (time.process_time() - started_cpu))
        for size, hit in zip(sizes, found(boxes, truth), strict=True):
            bins = [b for b in SIZES_PX if b[0] <= size < b[1]]
            if bins:
                hits[bins[0]].append(bool(hit))
    return {
        "results": [*rows("composed", hits), *rows("photos", photo_hits(detector))],
        "false_positives_per_1080p_frame": round(float(np.mean([len(boxes) for _, boxes in false])), 3),
        "painted_false_positives_per_1080p_frame": painted(false),
        "ms_per_1080p_frame": {"wall": round(float(np.median(wall_ms)), 1), "cpu": round(float(np.median(cpu_ms)), 1)},
    }


def painted(false: Sequence[tuple[U8, F64]]) -> float | None:
    """False positives a frame that the networks take for faces too; None without shipped networks."""
    try:
        with FaceEnhancer(backend="onnxruntime", color="rgb") as enhancer:
            results = [enhancer.enhance(frame, boxes) for frame, boxes in false]
    except ModelError:
        return None
    return round(float(np.mean([sum(r.status in PAINTED for r in faces) for faces in results])), 3)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detector_recall", description=__doc__.splitlines()[0])
    parser.add_argument("--detector", metavar="FILE.onnx", help="a YuNet file; default: the built-in cascade")
    parser.add_argument("--json", default="benchmarks/results/detector_recall.json", metavar="OUT", help="results file")
    options = parser.parse_args(argv)
    detector = open_detector(options.detector, color="rgb")
    content = {
        "command": shlex.join(["python", "-m", "benchmarks.detector_recall", *(argv or sys.argv[1:])]),
        "detector": "built-in cascade" if isinstance(detector, CascadeDetector) else Path(options.detector).name,
        **measure(detector),
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2)},
    }
    text = json.dumps(content, indent=1) + "\n"
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
