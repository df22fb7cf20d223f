"""Batched geometry of training: windows, mirrors, rotations. Every reduction uses `sdk.image.resample`'s kernel."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdk.image.points68 import FLIP_68
from sdk.image.resample import bicubic_kernel, resample_weights

FLIP = torch.from_numpy(FLIP_68.copy())


def window_weights(
    start: np.ndarray,  # [B] edge coordinates
    stop: np.ndarray,  # [B]
    size: np.ndarray,  # [B] samples that exist
    *,
    n_in: int,
    n_out: int,
    edge: str = "replicate",
) -> Tensor:
    """`resample_weights(size, n_out, start=…, stop=…, edge="replicate")` of B intervals: float32 [B, n_out, n_in].

    edge="reflect" mirrors the picture at its borders instead.
    """
    scale = (stop - start) / n_out  # [B]
    widen = np.maximum(1.0, scale)
    centre = start[:, None] + (np.arange(n_out) + 0.5) * scale[:, None]  # [B, n_out]
    taps = int(np.ceil(4.0 * widen.max())) + 1
    index = np.floor(centre - 2.0 * widen[:, None] + 0.5).astype(np.int64)[..., None] + np.arange(
        taps
    )  # [B, n_out, taps]
    weight = bicubic_kernel((index + 0.5 - centre[..., None]) / widen[:, None, None])
    weight /= weight.sum(axis=-1, keepdims=True)
    last = size[:, None, None] - 1
    if edge == "reflect":
        index = np.where(index < 0, -1 - index, index)
        index = np.where(index > last, 2 * last + 1 - index, index)
    index = np.clip(index, 0, last)
    matrix = torch.zeros(len(start), n_out, n_in)
    return matrix.scatter_add_(2, torch.from_numpy(index), torch.from_numpy(weight.astype(np.float32)))


def crop_windows(
    pixels: Tensor,  # [B, 3, S, S] uint8
    size: np.ndarray,  # [B] side of the picture inside the canvas
    windows: np.ndarray,  # [B, 4] x0, y0, x1, y1 in edge coordinates
    *,
    n_out: int,
    edge: str = "replicate",
) -> Tensor:
    """Antialiased bicubic crops, float32 [B, 3, n_out, n_out] in [0, 255], rounded as a stored picture would be."""
    batch, _, n_in, _ = pixels.shape
    across = window_weights(windows[:, 0], windows[:, 2], size, n_in=n_in, n_out=n_out, edge=edge)
    down = window_weights(windows[:, 1], windows[:, 3], size, n_in=n_in, n_out=n_out, edge=edge)
    rows = torch.bmm(pixels.float().reshape(batch, 3 * n_in, n_in), across.transpose(1, 2))  # [B, 3 * S, n_out]
    columns = rows.reshape(batch, 3, n_in, n_out).transpose(1, 2).reshape(batch, n_in, 3 * n_out)
    crops = torch.bmm(down, columns).reshape(batch, n_out, 3, n_out).transpose(1, 2).contiguous()
    return crops.clamp_(0.0, 255.0).round_()


def reduce(images: Tensor, n_out: int) -> Tensor:
    """Antialiased bicubic reduction of square [B, C, S, S] in [0, 255] to [B, C, n_out, n_out], rounded to 8 bit."""
    if images.shape[-1] == n_out:
        return images
    matrix = torch.from_numpy(resample_weights(images.shape[-1], n_out).astype(np.float32))
    return (matrix @ images @ matrix.T).clamp_(0.0, 255.0).round_()


def random_windows(
    rng: np.random.Generator,
    size: np.ndarray,  # [B] px
    *,
    sides: tuple[float, float],
    shift: float,
    output: int,
) -> np.ndarray:
    """Square windows about the pictures' centres: float64 [B, 4], edge coordinates; they may leave the pictures.

    sides: range of the side as a share of the picture's, never below `output` px (nothing is enlarged); shift: largest
    move of the centre as a share of the side.
    """
    side = np.maximum(rng.uniform(*sides, len(size)) * size, output)
    centre = size[:, None] / 2.0 + rng.uniform(-shift, shift, (len(size), 2)) * side[:, None]
    low = centre - side[:, None] / 2.0
    return np.concatenate([low, low + side[:, None]], axis=1)


def mirror(images: Tensor, chosen: Tensor, points: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Mirror the chosen [B] pictures; their points change sides *and* names (left eye becomes right eye)."""
    images = torch.where(chosen[:, None, None, None], images.flip(3), images)
    if points is None:
        return images, None
    swapped = points[:, FLIP] * torch.tensor([-1.0, 1.0]) + torch.tensor([images.shape[3] - 1.0, 0.0])
    return images, torch.where(chosen[:, None, None], swapped, points)


def random_affine(
    rng: np.random.Generator,
    batch: int,
    *,
    rotation_rad: float,
    log_scale: float,
    shift: float,
    shear: float,
) -> np.ndarray:
    """Maps from output to input in units of the half side: [B, 2, 3]; normal deviates, clipped at 2.5 sigma."""
    draw = rng.normal(size=(6, batch)).clip(-2.5, 2.5)
    angle, scale = draw[0] * rotation_rad, np.exp(draw[1] * log_scale)
    aspect, slant = np.exp(draw[2] * shear), draw[3] * shear
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([cos * aspect, -sin + slant, sin, cos / aspect], axis=1).reshape(batch, 2, 2)
    offset = draw[4:6].T[:, :, None] * 2.0 * shift
    return np.concatenate([linear, offset], axis=2)


def warp(
    images: Tensor,  # [B, 3, S, S] float32
    points: Tensor,  # [B, 68, 2] pixels of the input
    affine: np.ndarray,  # [B, 2, 3] output -> input, half-side units
    *,
    n_out: int,
) -> tuple[Tensor, Tensor]:
    """Warped pictures [B, 3, n_out, n_out] (bilinear, edges repeated) and points in output pixels.

    No antialiasing: call it with an output about as fine as the input, then `reduce` to half or less.
    """
    theta = torch.from_numpy(affine.astype(np.float32))
    grid = F.affine_grid(theta, [len(images), 3, n_out, n_out], align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    side = images.shape[-1]
    unit = (points + 0.5) * (2.0 / side) - 1.0
    inverse = torch.linalg.inv(theta[:, :, :2])
    unit = torch.einsum("bij,bkj->bki", inverse, unit - theta[:, None, :, 2])
    return warped.clamp_(0.0, 255.0), (unit + 1.0) * (n_out / 2.0) - 0.5
