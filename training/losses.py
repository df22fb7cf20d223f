"""Losses, and the differentiable twin of the SDK's landmark decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor

Y_WEIGHTS = (65.481, 128.553, 24.966)  # BT.601, limited range, of RGB in [0, 1]
LOG_FLOOR = 1e-4  # 40 dB: below that error a picture stops mattering
TINY = 2.2e-16  # JASRNet's stand-in for "nothing here", PAPERS 3.4


def luma(rgb: Tensor) -> Tensor:
    """Y in [16/255, 235/255] without the offset: [N,3,H,W] in [0,1] -> [N,1,H,W]."""
    weights = rgb.new_tensor(Y_WEIGHTS) / 255.0
    return (rgb * weights[:, None, None]).sum(dim=1, keepdim=True)


def psnr_y(sr: Tensor, hr: Tensor) -> Tensor:
    """PSNR on Y per picture in dB, [N]; both [N,3,H,W] in [0,1], `sr` rounded to 8 bit here."""
    rounded = (sr.clamp(0.0, 1.0) * 255.0).round() / 255.0
    return -10.0 * torch.log10((luma(rounded) - luma(hr)).square().mean(dim=(1, 2, 3)) + 1e-12)


def log_mse(sr: Tensor, hr: Tensor, *, luma_share: float) -> Tensor:
    """Mean over pictures of the log of the squared error: minus PSNR up to a factor, so every picture counts in dB.

    Args:
        luma_share: weight of the Y term (what the papers' tables measure); the rest goes to RGB.
    """
    colour = (sr - hr).square().mean(dim=(1, 2, 3))
    grey = (luma(sr) - luma(hr)).square().mean(dim=(1, 2, 3))
    return ((1.0 - luma_share) * (colour + LOG_FLOOR).log() + luma_share * (grey + LOG_FLOOR).log()).mean()


def gaussian_maps(points: Tensor, size: int, *, sigma: float) -> Tensor:
    """`sdk.image.heatmap.encode` for a batch: points [N,K,2] in cells -> [N,K,size,size], peak 1."""
    axis = torch.arange(size, dtype=points.dtype)
    x = torch.exp(-((axis - points[..., 0:1]) ** 2) / (2.0 * sigma**2))  # [N,K,size]
    y = torch.exp(-((axis - points[..., 1:2]) ** 2) / (2.0 * sigma**2))
    return y[..., :, None] * x[..., None, :]


def centroid(heatmaps: Tensor, *, radius: int, centres: Tensor | None = None) -> Tensor:
    """The SDK's `centroid` decoder with a gradient: [N,K,H,W] -> points [N,K,2] in cells.

    The window sits on the arg-max, or on `centres` (int64 [N,K] linear index) while the arg-max is still meaningless.
    """
    n, k, height, width = heatmaps.shape
    flat = heatmaps.reshape(n, k, height * width)
    peak = flat.argmax(dim=2) if centres is None else centres  # [N,K]
    px, py = peak % width, peak // width
    reach = torch.arange(-radius, radius + 1)
    x, y = px[..., None] + reach, py[..., None] + reach  # [N,K,2r+1]
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    index = (y.clamp(0, height - 1) * width)[..., :, None] + x.clamp(0, width - 1)[..., None, :]
    values = flat.gather(2, index.reshape(n, k, -1)).reshape(index.shape)
    values = torch.where(inside, values.clamp_min(0.0), torch.zeros_like(values)) + TINY
    total = values.sum(dim=(2, 3))
    return torch.stack([(values.sum(dim=2) * x).sum(dim=2) / total, (values.sum(dim=3) * y).sum(dim=2) / total], dim=2)


def landmark_loss(
    heatmaps: Tensor,  # [N,K,S,S]
    target: Tensor,  # [N,K,2] cells
    weight: Tensor,  # [N,K] 0 where a point is unknown or outside
    *,
    sigma: float,
    radius: int,
    map_weight: float,
    point_weight: float,
    from_peak: bool = False,
) -> Tensor:
    """Squared error of the maps plus L1 of the decoded points (in crop widths), both weighted per point.

    from_peak: decode around the arg-max, as the SDK will, in place of the true cell. Only for maps that have a peak.
    """
    size = heatmaps.shape[-1]
    maps = gaussian_maps(target, size, sigma=sigma)
    # Weighted towards the Gaussian: 32 x 32 cells are mostly background.
    emphasis = 1.0 + 9.0 * maps
    map_error = ((heatmaps - maps).square() * emphasis).mean(dim=(2, 3))  # [N,K]
    cell = target.round().long().clamp(0, size - 1)
    centres = None if from_peak else cell[..., 1] * size + cell[..., 0]
    decoded = centroid(heatmaps, radius=radius, centres=centres)
    point_error = F.smooth_l1_loss(decoded, target, beta=0.5, reduction="none").mean(dim=2) / size
    total = weight.sum().clamp_min(1.0)
    return ((map_weight * map_error + point_weight * point_error) * weight).sum() / total
