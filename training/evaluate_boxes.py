"""What the detector's boxes cost: landmarks end to end from found faces, beside the same faces from landmark boxes.

    python -m training.evaluate_boxes --pack demo_free --split demo --pack faces68_helen_nc --split val --json OUT

Every photo with points (the whole scene where the archive has one) is reduced until its landmark window has 24, 48 and
96 px, the detector looks for the face, and FaceEnhancer finds the points from that box and from the true landmark box.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.enhancer import FaceEnhancer
from sdk.errors import FaceTRTError
from sdk.image.crop import landmark_box, square_windows
from sdk.image.metrics import nme
from sdk.image.resample import resize
from sdk.result import FaceResult
from training.data.packs import Pack, open_pack
from training.results import check_target, finite, recorded_command, write_results

WINDOWS_PX = (24, 48, 96)
SAME_FACE = 0.3  # IoU of the windows from which a found box is that face's

Photo = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


def photo_of(pack: Pack, row: dict[str, str]) -> tuple[Photo, Points]:
    """Picture [H, W, 3] and points [68, 2] in its pixels: the scene where there is one, else the crop."""
    points = pack.points[row["id"]]
    if not row.get("scene"):
        return pack.picture(row), points
    scale = float(row["scene_side"]) / float(row["w"])
    corner = np.array([float(row["scene_x0"]), float(row["scene_y0"])])
    return pack.picture(row, column="scene"), ((points + 0.5) * scale + corner - 0.5).astype(np.float32)


def reduced(photo: Photo, points: Points, window_px: int) -> tuple[Photo, Points] | None:
    """Photo and points with a landmark window of `window_px`; None where the photo would have to be enlarged."""
    window = square_windows(landmark_box(points[None]), kind="landmarks")[0]
    factor = window_px / (window[2] - window[0])
    if factor > 1.0:
        return None
    size = (round(photo.shape[0] * factor), round(photo.shape[1] * factor))
    exact = np.array([size[1] / photo.shape[1], size[0] / photo.shape[0]])
    return resize(photo, size), ((points + 0.5) * exact - 0.5).astype(np.float32)


def window_iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    overlap = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(overlap, 0.0)))
    return both / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def best_match(results: list[FaceResult], window: npt.NDArray[np.float64]) -> FaceResult | None:
    """The result whose box is the face at `window`."""
    found = [r for r in results if r.landmarks is not None]
    scored = [(window_iou(square_windows(r.box_xyxy_px[None], kind="face")[0], window), r) for r in found]
    best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] >= SAME_FACE else None


def compare(enhancer: FaceEnhancer, pack: Pack, split: str | None, window_px: int) -> dict[str, Any]:
    """One row of the results for one archive and size; NME in percent over the faces that were found."""
    pairs: list[tuple[float, float]] = []
    photos = missed = extra = 0
    for row in pack.select(split):
        if row["id"] not in pack.points:
            continue
        made = reduced(*photo_of(pack, row), window_px)
        if made is None:
            continue
        photo, points = made
        photos += 1
        window = square_windows(landmark_box(points[None]), kind="landmarks")[0]
        results = enhancer.enhance(photo)
        match = best_match(results, window)
        extra += len(results) - (match is not None)
        if match is None:
            missed += 1
            continue
        true_box = enhancer.enhance(photo, landmark_box(points[None]), box_kind="landmarks")[0]
        both = np.stack([match.landmarks, true_box.landmarks])
        errors = 100.0 * nme(both, np.stack([points, points]))
        pairs.append((float(errors[0]), float(errors[1])))
    from_detector, from_landmarks = np.mean(pairs, axis=0) if pairs else (float("nan"),) * 2
    return {
        "pack": pack.name,
        "split": split,
        "window_px": window_px,
        "photos": photos,
        "found": len(pairs),
        "missed": missed,
        "other_boxes": extra,
        "nme_detector": float(from_detector),
        "nme_landmark_box": float(from_landmarks),
        "cost": float(from_detector - from_landmarks),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_boxes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--pack", action="append", required=True, help="archive with landmarks; may be given twice")
    parser.add_argument("--split", action="append", help="split of each archive, in the same order (default: all)")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args(arguments)
    splits = [*(args.split or []), *[None] * len(args.pack)]
    rows = []
    try:
        if args.json is not None:
            check_target(args.json)
        packs = [open_pack(source) for source in args.pack]
        for pack, split in zip(packs, splits, strict=False):
            pack.select(split)  # a misspelt split is told before the work
        with FaceEnhancer(backend="onnxruntime", color="rgb") as enhancer:
            for pack, split in zip(packs, splits, strict=False):
                for window_px in WINDOWS_PX:
                    rows.append(compare(enhancer, pack, split, window_px))
                    sys.stdout.write(json.dumps(finite(rows[-1])) + "\n")
        if args.json is not None:
            command = recorded_command("training.evaluate_boxes", arguments or sys.argv[1:])
            write_results(args.json, {"command": command, "results": rows})
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
