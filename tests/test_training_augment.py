"""Training geometry: the same resampling as the SDK's, and points that stay on their pixels."""

import numpy as np
import pytest
import torch

from sdk.image.crop import crop
from sdk.image.points68 import mirror_points
from sdk.image.resample import resample_weights, resize, round_8bit
from training.data import augment
from training.data.degrade import ALL_AT_ONCE, Degradation, degrade, jpeg, shift_colour

RNG = np.random.default_rng(0)


def smooth_picture(side: int = 96) -> np.ndarray:
    coarse = RNG.integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
    return resize(coarse, (side, side)).astype(np.uint8)


def test_window_weights_are_the_reference_s():
    start, stop, size = np.array([3.2, -5.0]), np.array([77.9, 40.0]), np.array([96, 50])
    ours = augment.window_weights(start, stop, size, n_in=96, n_out=32).numpy()
    for row in range(2):
        n = int(size[row])
        expected = resample_weights(n, 32, start=start[row], stop=stop[row], edge="replicate")
        np.testing.assert_allclose(ours[row, :, :n], expected, atol=1e-6)
        assert not ours[row, :, n:].any()


def test_training_crops_equal_the_sdk_s_crops():
    picture = smooth_picture()
    window = np.array([[10.3, -4.0, 81.7, 67.4]])
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    ours = augment.crop_windows(pixels, np.array([96]), window, n_out=32)[0].permute(1, 2, 0).numpy()
    expected = round_8bit(crop(picture, window, size=32)[0])
    assert np.abs(ours - expected).max() <= 1.0  # a value on the edge between two levels may fall either way


def test_reduction_equals_the_sdk_s_resize():
    picture = smooth_picture(64)
    ours = augment.reduce(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), 16)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - resize(picture, (16, 16)).astype(np.float32)).max() <= 1.0


def test_mirroring_twice_changes_nothing_and_once_is_the_sdk_s():
    images, points = torch.rand(2, 3, 8, 8), torch.rand(2, 68, 2) * 8
    chosen = torch.tensor([True, False])
    once, moved = augment.mirror(images, chosen, points)
    torch.testing.assert_close(moved[0].numpy(), mirror_points(points[0].numpy(), 8))
    torch.testing.assert_close(moved[1], points[1])
    twice, back = augment.mirror(once, chosen, moved)
    torch.testing.assert_close(twice, images)
    torch.testing.assert_close(back, points)


def test_warped_points_stay_on_their_pixels():
    """A bright dot is found, after the warp, where its point says."""
    canvas = torch.zeros(4, 3, 96, 96)
    spots = torch.tensor([[30.0, 40.0], [60.0, 25.0], [48.0, 48.0], [35.0, 66.0]])
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    for picture, (px, py) in zip(canvas, spots, strict=True):
        picture += 255.0 * torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 18.0)
    affine = augment.random_affine(np.random.default_rng(3), 4, rotation_rad=0.3, log_scale=0.1, shift=0.05, shear=0.05)
    warped, points = augment.warp(canvas, spots[:, None].expand(-1, 68, -1), affine, n_out=80)
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    for picture, point in zip(warped[:, 0], points[:, 0], strict=True):
        centre = torch.stack([(picture * x).sum(), (picture * y).sum()]) / picture.sum()
        torch.testing.assert_close(centre, point, atol=0.1, rtol=0)


def test_windows_are_centred_and_never_enlarge():
    size = RNG.integers(140, 225, 500)
    windows = augment.random_windows(RNG, size, sides=(0.9, 1.4), shift=0.06, output=128)
    side = windows[:, 2] - windows[:, 0]
    np.testing.assert_allclose(side, windows[:, 3] - windows[:, 1])
    assert (side >= 128 - 1e-9).all() and (side <= 1.4 * size + 1e-9).all()
    centre = (windows[:, :2] + windows[:, 2:]) / 2
    assert (np.abs(centre - size[:, None] / 2) <= 0.06 * side[:, None] + 1e-9).all()


def test_windows_beyond_the_picture_see_it_mirrored():
    picture = smooth_picture(64)
    mirrored = np.pad(picture, ((32, 32), (32, 32), (0, 0)), mode="symmetric")
    ours = augment.crop_windows(
        torch.from_numpy(picture).permute(2, 0, 1)[None], np.array([64]), np.array([[-16.0, -16.0, 80.0, 80.0]]),
        n_out=32, edge="reflect",
    )  # fmt: skip
    expected = round_8bit(crop(mirrored, np.array([[16.0, 16.0, 112.0, 112.0]]), size=32)[0])
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - expected).max() <= 1.0


def test_degradation_is_repeatable_and_harmless_when_switched_off():
    picture = smooth_picture(64)
    clean = degrade(picture, 16, np.random.default_rng(0), ranges=Degradation(probability=0.0))
    np.testing.assert_array_equal(clean, resize(picture, (16, 16)))
    first, second = (degrade(picture, 16, np.random.default_rng(7), ranges=ALL_AT_ONCE) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first.astype(int) - clean.astype(int)).mean() > 1.0


@pytest.mark.parametrize("quality", [40, 95])
def test_jpeg_keeps_colours_in_place(quality):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(jpeg(red, quality).astype(int) - red.astype(int)).max() <= 6


def test_colour_shift_keeps_the_range():
    images = RNG.uniform(0, 255, (6, 3, 8, 8)).astype(np.float32)
    shifted = shift_colour(images, RNG, ranges=Degradation(), grey_probability=1.0)
    assert shifted.min() >= 0 and shifted.max() <= 255
    np.testing.assert_array_equal(shifted[:, 0], shifted[:, 2])  # grey was asked for
