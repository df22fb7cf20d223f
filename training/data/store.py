"""Pictures of an archive in memory as one uint8 tensor, so that a whole batch is cropped with a few matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdk.image.crop import apply_affine, crop, invert_affine, landmark_box, square_windows, window_affine
from sdk.image.resample import resize, round_8bit
from training.data.packs import Pack


@dataclass
class FaceStore:
    """N pictures, each in the top-left corner of a square canvas."""

    pixels: Tensor  # [N, 3, canvas, canvas] uint8 RGB
    size: Tensor  # [N] int64, side of the square picture inside the canvas
    points: Tensor  # [N, 68, 2] float32, pixels of the stored picture; NaN where not labelled
    trust: Tensor  # [N] float32, weight of the points in the loss: 1 for hand-made ones

    def __len__(self) -> int:
        return len(self.pixels)


def load_store(
    pack: Pack, rows: Sequence[dict[str, str]], *, canvas: int, fit: bool = False, trust: float = 1.0
) -> FaceStore:
    """Read rows into a store; pictures larger than the canvas (or all, with fit) fill it exactly.

    Raises:
        InputError: a picture that is not square or cannot be read.
    """
    n = len(rows)
    pixels = np.zeros((n, canvas, canvas, 3), np.uint8)
    size = np.zeros(n, np.int64)
    points = np.full((n, 68, 2), np.nan, np.float32)
    for i, row in enumerate(rows):
        image = pack.square_picture(row)
        side = image.shape[0]
        new = canvas if fit else min(side, canvas)
        if new != side:
            image = resize(image, (new, new))
        pixels[i, :new, :new] = image
        size[i] = new
        if row["id"] in pack.points:
            points[i] = (pack.points[row["id"]] + 0.5) * (new / side) - 0.5
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return FaceStore(channels_first, torch.from_numpy(size), torch.from_numpy(points), torch.full((n,), trust))


def load_pseudo(pack: Pack, found: dict[str, np.ndarray], *, canvas: int, trust: float) -> FaceStore:
    """Faces with points found by a teacher [68, 2], cut by the landmark window as the labelled archives are."""
    rows = [r for r in pack.rows if r["id"] in found]
    pixels = np.zeros((len(rows), canvas, canvas, 3), np.uint8)
    points = np.zeros((len(rows), 68, 2), np.float32)
    for i, row in enumerate(rows):
        truth = found[row["id"]][None]
        window = square_windows(landmark_box(truth), kind="landmarks")
        pixels[i] = round_8bit(crop(pack.picture(row), window, size=canvas)[0]).astype(np.uint8)
        points[i] = apply_affine(truth, invert_affine(window_affine(window, size=canvas)))[0]
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    n = len(rows)
    return FaceStore(channels_first, torch.full((n,), canvas), torch.from_numpy(points), torch.full((n,), trust))


def concatenate(stores: Sequence[FaceStore]) -> FaceStore:
    return FaceStore(*(torch.cat([getattr(s, name) for s in stores]) for name in ("pixels", "size", "points", "trust")))
