"""Losses against NumPy, scikit-image and the SDK's decoder."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from sdk.image.heatmap import decode, encode
from sdk.image.pixels import rgb_to_y
from training.losses import centroid, gaussian_maps, landmark_loss, log_mse, psnr_y

RNG = np.random.default_rng(0)


def pictures(count: int = 3, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Two batches [N, S, S, 3] of uint8 values that differ by noise."""
    hr = RNG.integers(0, 256, (count, side, side, 3))
    return np.clip(hr + RNG.integers(-20, 21, hr.shape), 0, 255).astype(np.uint8), hr.astype(np.uint8)


def as_tensor(batch: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255.0


def test_psnr_y_is_scikit_image_s_on_the_luminance():
    sr, hr = pictures()
    ours = psnr_y(as_tensor(sr), as_tensor(hr)).numpy()
    for value, a, b in zip(ours, sr, hr, strict=True):
        expected = peak_signal_noise_ratio(rgb_to_y(b, rounded=False), rgb_to_y(a, rounded=False), data_range=255)
        assert value == pytest.approx(expected, abs=1e-3)


def test_log_mse_counts_every_picture_in_decibels():
    hr = torch.zeros(2, 3, 8, 8)
    near, far = torch.full_like(hr[:1], 0.1), torch.full_like(hr[:1], 0.2)
    both = log_mse(torch.cat([near, far]), hr, luma_share=0.0)
    assert float(both) == pytest.approx((np.log(0.01 + 1e-4) + np.log(0.04 + 1e-4)) / 2, abs=1e-5)


def test_gaussian_maps_are_the_sdk_s_heatmaps():
    points = RNG.uniform(-1, 17, (2, 5, 2)).astype(np.float32)
    ours = gaussian_maps(torch.from_numpy(points), 16, sigma=1.5).numpy()
    np.testing.assert_allclose(ours, encode(points, (16, 16), sigma_cells=1.5), atol=1e-6)


@pytest.mark.parametrize("radius", [2, 4])
def test_the_centroid_is_the_sdk_s_decoder(radius):
    points = RNG.uniform(0, 15, (2, 68, 2)).astype(np.float32)
    maps = encode(points, (16, 16), sigma_cells=1.5) + RNG.normal(0, 0.02, (2, 68, 16, 16)).astype(np.float32)
    ours = centroid(torch.from_numpy(maps), radius=radius).numpy()
    np.testing.assert_allclose(ours, decode(maps, mode="centroid", radius=radius).points, atol=2e-4)


def test_landmark_loss_ignores_points_of_weight_zero():
    target = torch.full((1, 2, 2), 8.0)
    maps = gaussian_maps(target, 16, sigma=1.5)
    spoilt = maps.clone()
    spoilt[:, 1] = torch.rand(16, 16)
    options = {"sigma": 1.5, "radius": 4, "map_weight": 1.0, "point_weight": 1.0}
    weight = torch.tensor([[1.0, 0.0]])
    assert landmark_loss(spoilt, target, weight, **options) == landmark_loss(maps, target, weight, **options)
    assert landmark_loss(spoilt, target, torch.ones(1, 2), **options) > 10 * landmark_loss(
        maps, target, torch.ones(1, 2), **options
    )


def test_gradient_moves_a_peak_towards_its_target():
    """Adam on the maps themselves: the decoded point must arrive."""
    target = torch.tensor([[[5.3, 9.6]]])
    maps = gaussian_maps(torch.tensor([[[8.0, 8.0]]]), 16, sigma=1.5).clone().requires_grad_()
    optimiser = torch.optim.Adam([maps], lr=0.05)
    for _ in range(150):
        loss = landmark_loss(maps, target, torch.ones(1, 1), sigma=1.5, radius=4, map_weight=60.0, point_weight=30.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(centroid(maps.detach(), radius=4), target, atol=0.05, rtol=0)
