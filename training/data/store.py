"""Pictures of an archive in memory as one uint8 tensor, so that a whole batch is cropped with a few matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdk.image.resample import resize
from training.data.packs import Pack


@dataclass
class FaceStore:
    """N pictures, each in the top-left corner of a square canvas."""

    pixels: Tensor  # [N, 3, canvas, canvas] uint8 RGB
    size: Tensor  # [N] int64, side of the square picture inside the canvas
    points: Tensor  # [N, 68, 2] float32, pixels of the stored picture; NaN where not labelled
    weak: Tensor  # [N] bool, True where the points were made by a program

    def __len__(self) -> int:
        return len(self.pixels)


def load_store(
    pack: Pack, rows: Sequence[dict[str, str]], *, canvas: int, fit: bool = False, weak: bool = False
) -> FaceStore:
    """Read rows into a store. Pictures are square; those larger than the canvas (or all, with fit) fill it exactly."""
    n = len(rows)
    pixels = np.zeros((n, canvas, canvas, 3), np.uint8)
    size = np.zeros(n, np.int64)
    points = np.full((n, 68, 2), np.nan, np.float32)
    for i, row in enumerate(rows):
        image = pack.picture(row)
        side = image.shape[0]
        new = canvas if fit else min(side, canvas)
        if new != side or image.shape[1] != side:
            image = resize(image, (new, new))
        pixels[i, :new, :new] = image
        size[i] = new
        if row["id"] in pack.points:
            points[i] = (pack.points[row["id"]] + 0.5) * (new / side) - 0.5
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return FaceStore(channels_first, torch.from_numpy(size), torch.from_numpy(points), torch.full((n,), weak))


def concatenate(stores: Sequence[FaceStore]) -> FaceStore:
    return FaceStore(*(torch.cat([getattr(s, name) for s in stores]) for name in ("pixels", "size", "points", "weak")))
