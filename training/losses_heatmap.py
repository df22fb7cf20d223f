"""Losses of heatmaps, each with its paper's reduction, and the maps that they compare with.

A map that is masked out (`weight` 0: the point is unknown, hidden or outside the picture) counts as a difference of 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sdk.image.points68 import BROWS, EYES, JAW, MOUTH, NOSE
from training.data.parsing import UNKNOWN
from training.losses import gaussian_maps

COMPONENT_POINTS = (BROWS + EYES, NOSE, MOUTH, JAW)  # MTUN's eyes, nose, mouth, chin; PAPERS 4.4
JASRNET_CUTOFF = 0.01  # values below are 0, PAPERS 3.2


def cells(points: Tensor, *, hr_px: int, size: int) -> Tensor:
    """Points in pixels of a picture -> in cells of a map over it, both with centres at integers."""
    return (points + 0.5) * (size / hr_px) - 0.5


def point_maps(
    points: Tensor,  # [N,K,2] cells; NaN: unknown
    size: int,
    *,
    sigma: float,
    cutoff: float = 0.0,
) -> Tensor:  # [N,K,size,size]
    """`sdk.image.heatmap.encode` for a batch: peak 1 at the exact place, nothing where a point is NaN."""
    maps = torch.nan_to_num(gaussian_maps(points, size, sigma=sigma), nan=0.0)
    return torch.where(maps < cutoff, torch.zeros_like(maps), maps)


def with_background(maps: Tensor) -> Tensor:
    """JASRNet's last map: 1 minus the largest of the others. [N,K,h,w] -> [N,K+1,h,w]"""
    return torch.cat([maps, 1.0 - maps.amax(dim=1, keepdim=True)], dim=1)


def component_maps(
    points: Tensor,  # [N,68,2] cells; NaN: unknown
    size: int,
    *,
    sigma: float,
) -> Tensor:  # [N,4,size,size]
    """MTUN's maps of eyes, nose, mouth and chin: the largest of the Gaussians of a component's points."""
    maps = point_maps(points, size, sigma=sigma)
    return torch.stack([maps[:, list(indices)].amax(dim=1) for indices in COMPONENT_POINTS], dim=1)


def parsing_maps(
    classes: Tensor,  # [N,H,W] uint8; UNKNOWN all over where a face has no labels
    *,
    count: int,
    size: int,
) -> tuple[Tensor, Tensor]:  # [N,count,size,size], [N,count]
    """The share of each class in every cell, as FSRNet's parsing maps are to be, and 1 where a face has labels."""
    known = (classes != UNKNOWN).flatten(1).all(dim=1)  # [N]
    shown = torch.where(known[:, None, None], classes, torch.zeros_like(classes)).long()
    maps = F.adaptive_avg_pool2d(F.one_hot(shown, count).permute(0, 3, 1, 2).float(), size)
    return maps, known.float()[:, None].expand(-1, count)


def jasrnet_loss(stages: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum of squared errors over stages, maps and cells, divided by twice the batch (the released code's).

    stages [N,S,K,h,w], target [N,K,h,w], weight [N,K].
    """
    error = (stages - target[:, None]) * weight[:, None, :, None, None]
    return error.square().sum() / (2.0 * len(stages))


def super_fan_loss(heatmaps: Tensor, target: Tensor) -> Tensor:
    """Eq. 4: squared differences summed over cells, the mean over the 68 maps; here also the mean over the batch.

    heatmaps: of the integrated FAN on the SR picture; target: of another, frozen one on the HR picture. [N,K,h,w]
    """
    return (heatmaps - target).square().sum(dim=(2, 3)).mean()


def fan_loss(stages: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """FAN's own training: the mean squared error of every hourglass, added up.

    stages [N,S,K,h,w], target [N,K,h,w], weight [N,K].
    """
    error = (stages - target[:, None]) * weight[:, None, :, None, None]
    return error.square().mean(dim=(0, 2, 3, 4)).sum()


def fsrnet_loss(maps: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """‖p̃ - p‖²/(2N): squared differences summed over maps and cells, divided by twice the batch.

    maps and target [N,K,h,w], weight [N,K].
    """
    error = (maps - target) * weight[:, :, None, None]
    return error.square().sum() / (2.0 * len(maps))


def mtun_loss(stages: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L_h: the sum over the stacks of the mean squared error (the released code's). Shapes as in `fan_loss`, K = 4."""
    return fan_loss(stages, target, weight)
