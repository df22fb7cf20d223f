"""Points for unlabelled faces from a trained landmark branch.

    python -m training.pseudo_label CKPT --pack NAME -o points.npz

The teacher looks at 64 px, at a face and its mirror, and cuts the face anew by its own points until they settle
(three passes). Faces on which the two views disagree by more than 6 % of the eye distance are left out. The points
carry the licence of the data that the teacher saw.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from sdk.image.crop import apply_affine, crop, landmark_box, square_windows, window_affine
from sdk.image.points68 import OUTER_EYES, mirror_points
from training import checkpoint
from training.data.packs import Pack, open_pack
from training.losses import centroid
from training.models.picoface import PicoFace

SIZE = 64  # px fed to the teacher
PASSES = 3
AGREEMENT = 0.06  # of the outer eye distance


@torch.inference_mode()
def look(model: PicoFace, pictures: np.ndarray) -> np.ndarray:
    """Points [N,68,2] in pixels of the pictures [N,64,64,3] float32 in [0,255]."""
    lr = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0
    maps = model.heatmaps(lr)
    return ((centroid(maps, radius=4) + 0.5) * (SIZE / maps.shape[-1]) - 0.5).numpy()


def label(model: PicoFace, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Points [68,2] in pixels of one square picture [S,S,3] uint8, and the disagreement of face and mirror."""
    windows = np.array([[0.0, 0.0, image.shape[1], image.shape[0]]])
    points, disagreement = np.zeros((68, 2), np.float32), 0.0
    for _ in range(PASSES):
        face = crop(image, windows, size=SIZE)
        both = look(model, np.concatenate([face, face[:, :, ::-1]]))
        views = np.stack([both[0], mirror_points(both[1], SIZE)])
        eyes = np.linalg.norm(views.mean(axis=0)[OUTER_EYES[0]] - views.mean(axis=0)[OUTER_EYES[1]])
        disagreement = float(np.linalg.norm(views[0] - views[1], axis=1).mean() / max(eyes, 1.0))
        points = apply_affine(views.mean(axis=0)[None], window_affine(windows, size=SIZE))[0]
        windows = square_windows(landmark_box(points[None]), kind="landmarks")
    return points, disagreement


def label_pack(model: PicoFace, pack: Pack, split: str) -> dict[str, np.ndarray]:
    """Points of every unlabelled face of a split on which the teacher agrees with itself."""
    found: dict[str, np.ndarray] = {}
    rows = [r for r in pack.select(split) if r["id"] not in pack.points]
    for number, row in enumerate(rows):
        points, disagreement = label(model, pack.picture(row))
        if disagreement < AGREEMENT:
            found[row["id"]] = points.astype(np.float32)
        if number % 50 == 0 or number + 1 == len(rows):
            sys.stderr.write(f"\r{number + 1}/{len(rows)} faces, {len(found)} kept ")
    sys.stderr.write("\n")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pseudo_label", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    model = checkpoint.build(checkpoint.load(args.checkpoint))
    found = label_pack(model, open_pack(args.pack), args.split)
    np.savez_compressed(args.out, id=np.array(list(found)), pts68=np.stack(list(found.values())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
