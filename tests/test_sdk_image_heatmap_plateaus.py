"""Maps whose top is flat: decode's "dark" has nothing to go by there, and must say the peak cell."""

import numpy as np
import pytest

from sdk.image.heatmap import decode, encode


def plateaus(side=24):
    """[1, 4, side, side]: flat, flat with a rounding's step, a roof whose ridge runs along x, a hill of 9 flat rows."""
    rows, columns = np.mgrid[:side, :side]
    maps = np.full((1, 4, side, side), 0.7, np.float32)
    maps[0, :2, 12, 12] = np.nextafter(np.float32(0.7), np.float32(1))
    maps[0, 1, 8:17, 8:17] += np.random.default_rng(0).uniform(-6e-8, 6e-8, (9, 9)).astype(np.float32)
    maps[0, 2] = np.exp(-((rows - 11.7) ** 2) / 8)
    maps[0, 2, 12, 12] = maps[0, 2].max() * np.float32(1 + 1e-6)
    maps[0, 3] = np.exp(-(np.maximum(np.abs(rows - 12) - 4, 0) ** 2 + (columns - 12) ** 2) / 8)
    maps[0, 3, 12, 12] *= np.float32(1 + 1e-6)
    return maps


@pytest.mark.parametrize("blur", [1, 5])
def test_dark_stays_on_the_peak_of_a_plateau(blur):
    """Where nothing bends, rounding alone would make the step; along a ridge in one direction of the two."""
    maps = plateaus()
    assert decode(maps, blur=blur).points.tolist() == decode(maps, mode="argmax").points.tolist()
    levels = np.zeros((1, 1, 24, 24), np.int8)
    levels[0, 0, 5:20, 5:20] = 100  # its first cell is a corner, which bends
    levels[0, 0, 12, 12] = 101
    assert np.abs(decode(levels, blur=blur).points - 12).max() < 1e-6


def test_dark_still_refines_a_wide_hill():
    truth = np.array([[[31.3, 30.6]]])
    maps = encode(truth, (64, 64), sigma_cells=12.0)
    assert np.abs(decode(maps).points - truth).max() < 0.02
