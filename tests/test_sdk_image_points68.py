"""The 68-point scheme: mirror permutation and groups."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdk.image.points68 import BROWS, CHIN, COUNT, EYES, FLIP_68, JAW, MOUTH, NOSE, OUTER_EYES, mirror_points


def test_swaps_are_those_of_the_300w_order():
    swaps = {0: 16, 7: 9, 17: 26, 21: 22, 31: 35, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}
    swaps |= {48: 54, 49: 53, 50: 52, 55: 59, 56: 58, 60: 64, 61: 63, 65: 67}
    for left, right in swaps.items():
        assert FLIP_68[left] == right and FLIP_68[right] == left, (left, right)
    middle = [CHIN, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert FLIP_68[middle].tolist() == middle


def test_permutation_is_an_involution_within_each_group():
    assert sorted(FLIP_68) == list(range(COUNT))
    assert np.array_equal(FLIP_68[FLIP_68], np.arange(COUNT))
    for group in (JAW, BROWS, NOSE, EYES, MOUTH):
        assert set(FLIP_68[list(group)]) == set(group)
    assert sorted(JAW + BROWS + NOSE + EYES + MOUTH) == list(range(COUNT))


def test_mirrored_pixel_centres():
    points = np.zeros((COUNT, 2), dtype=np.float32)
    points[OUTER_EYES[0]] = (2.0, 5.0)
    mirrored = mirror_points(points, 10)
    assert mirrored[OUTER_EYES[1]].tolist() == [7.0, 5.0]  # pixel 2 of 10 is pixel 7 from the other side
    assert mirrored.dtype == np.float32


@given(st.integers(0, 2**32 - 1), st.integers(1, 4000))
def test_flipping_twice_is_the_identity(seed, width):
    points = np.random.default_rng(seed).uniform(-10, width + 10, (2, COUNT, 2))
    kept = points.copy()
    twice = mirror_points(mirror_points(points, width), width)
    np.testing.assert_allclose(twice, points, atol=1e-12 * width)
    np.testing.assert_array_equal(points, kept)  # the input is not touched
