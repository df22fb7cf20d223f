"""sdk.sharpness: what holds detail and what only has pixels, whatever noise lies on it."""

from pathlib import Path

import numpy as np
import pytest

from sdk.image.resample import resize
from sdk.pictures import read_picture
from sdk.sharpness import BLOWN_UP, SHARP, detail_ratio, octave_ratio

RNG = np.random.default_rng(0)
TRUTH = np.asarray(resize(RNG.integers(60, 196, (48, 48, 3), dtype=np.uint8), (128, 128)), np.uint8)
LR = np.asarray(resize(TRUTH.astype(np.float32), (16, 16)))
BASE = np.asarray(resize(LR, (128, 128)))
SR = np.clip(BASE + 0.6 * (TRUTH - BASE), 0, 255).astype(np.uint8)  # as a network: a part of the detail, all of it true


def test_by_eye():
    assert detail_ratio(SR.astype(np.float32), SR, LR) == pytest.approx(1.0)
    assert detail_ratio(BASE, SR, LR) == pytest.approx(0.0, abs=1e-6)
    assert detail_ratio((BASE + SR) / 2, SR, LR) == pytest.approx(0.5, abs=1e-6)


def test_a_sharp_frame_is_above_and_a_blurred_one_below():
    blurred = np.asarray(resize(np.asarray(resize(TRUTH.astype(np.float32), (20, 20))), (128, 128)))
    assert detail_ratio(TRUTH.astype(np.float32), SR, LR) > 1.5  # it holds what the network could not know
    assert detail_ratio(blurred, SR, LR) < SHARP


def test_noise_is_no_detail():
    """Its mean product with our detail is 0; the tolerance is four standard errors of 128 x 128 pixels."""
    noise = RNG.normal(0, 10, BASE.shape).astype(np.float32)
    assert abs(detail_ratio(BASE + noise, SR, LR)) < 4 * 10 * 0.58 / 128 / np.std((SR - BASE) @ [0.257, 0.504, 0.098])


def test_a_network_that_adds_nothing_loses_to_any_detail():
    nothing = np.clip(BASE + 0.5, 0, 255).astype(np.uint8)
    assert detail_ratio(TRUTH.astype(np.float32), nothing, LR) == np.inf
    assert detail_ratio(BASE, nothing, LR) == 0.0


def test_an_empty_octave_is_seen():
    """Four parts of a real photo; white noise has 4 times the energy in the finer octave, and the filters add."""
    photo = read_picture(Path(__file__).parents[1] / "benchmarks/assets/astronaut.png").pixels.astype(np.float32)
    parts = np.stack([photo[y : y + 160, x : x + 160] for y, x in ((40, 140), (40, 180), (250, 100), (100, 300))])
    sharp = np.asarray(resize(parts, (32, 32)))
    blown_up = np.asarray(resize(np.asarray(resize(parts, (16, 16))), (32, 32)))
    assert (octave_ratio(sharp) > 1.3 * BLOWN_UP).all() and (octave_ratio(blown_up) < 0.9 * BLOWN_UP).all()
    assert (octave_ratio(RNG.uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)) > 4).all()
    assert octave_ratio(np.full((1, 32, 32, 3), 9, np.float32)) < 1e-3
    np.testing.assert_array_equal(octave_ratio(sharp)[1:2], octave_ratio(sharp[1:2]))
