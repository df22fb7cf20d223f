"""Steady pictures: less flicker along the warp, nothing smeared where the face really changes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from sdk.errors import InputError
from sdk.video.steady import Steadiness, SteadyPicture, similarity

SIDE = 96
POINTS = np.stack(np.meshgrid(np.linspace(25, 70, 8), np.linspace(25, 70, 8)), axis=-1).reshape(-1, 2)


def face() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=(SIDE, SIDE, 3)), (3, 3, 0))
    return 128.0 + 60.0 * smooth / smooth.std()


def to_picture(values) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_the_similarity_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    source = rng.normal(size=(68, 2)) * 30
    target = source @ np.array([[1.1, -0.3], [0.3, 1.1]]).T + [5.0, -8.0] + rng.normal(size=(68, 2))
    one, none = np.ones(68), np.zeros(68)
    x, y = source.T
    system = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, right, down = np.linalg.lstsq(system, target.T.reshape(-1), rcond=None)[0]
    assert similarity(source, target) == pytest.approx(np.array([[a, -b, right], [b, a, down]]), abs=1e-9)


def test_points_in_one_place_give_a_shift():
    assert similarity(np.ones((5, 2)), np.full((5, 2), 4.0)) == pytest.approx(np.array([[1, 0, 3], [0, 1, 3]]))


def flicker(pictures) -> float:
    return float(np.abs(np.diff(np.asarray(pictures, np.float64), axis=0)).mean())


def test_noise_on_a_still_face_flickers_less_and_is_nearer_to_the_truth():
    rng, truth, steady = np.random.default_rng(2), face(), SteadyPicture()
    noisy = [to_picture(truth + rng.normal(scale=4.0, size=truth.shape)) for _ in range(20)]
    shown = [steady(picture, POINTS) for picture in noisy]
    assert flicker(shown[5:]) < 0.5 * flicker(noisy[5:])
    assert np.abs(shown[-1] - truth).mean() < 0.7 * np.abs(noisy[-1] - truth).mean()


def test_a_moving_face_is_steadied_along_its_motion():
    rng, truth, steady = np.random.default_rng(3), face(), SteadyPicture()
    errors, raw = [], []
    for step in range(12):
        moved = shift(truth, (0.7 * step, -0.4 * step, 0), order=3, mode="nearest")
        noisy = to_picture(moved + rng.normal(scale=4.0, size=truth.shape))
        shown = steady(noisy, POINTS + np.array([-0.4 * step, 0.7 * step]))
        inner = (slice(20, -20), slice(20, -20))
        errors.append(np.abs(shown[inner] - moved[inner]).mean())
        raw.append(np.abs(noisy[inner] - moved[inner]).mean())
    assert np.mean(errors[4:]) < 0.8 * np.mean(raw[4:])


def test_what_changes_is_shown_at_once():
    steady, before = SteadyPicture(), face()
    after = before.copy()
    after[30:60, 30:60] += 60.0  # a blink, say
    steady(to_picture(before), POINTS)
    shown = steady(to_picture(after), POINTS)
    inside = (slice(38, 52), slice(38, 52))
    assert np.abs(shown[inside].astype(float) - to_picture(after)[inside]).max() <= 1


def test_beyond_the_last_picture_s_border_only_the_new_one_is_shown():
    steady = SteadyPicture(Steadiness(share=0.9, tolerance=1000.0))
    steady(np.zeros((SIDE, SIDE, 3), np.uint8), POINTS)
    shown = steady(np.full((SIDE, SIDE, 3), 200, np.uint8), POINTS + np.array([30.0, 0.0]))  # came in from the left
    assert (shown[:, :25] == 200).all() and (shown[20:-20, 45:] < 60).all()


def test_another_size_and_a_reset_start_anew():
    steady = SteadyPicture(Steadiness(tolerance=1000.0))
    steady(np.zeros((SIDE, SIDE, 3), np.uint8), POINTS)
    other = np.full((64, 64, 3), 77, np.uint8)
    assert (steady(other, POINTS) == other).all()
    steady.reset()
    same = np.full((64, 64, 3), 200, np.uint8)
    assert (steady(same, POINTS) == same).all()


def test_share_nought_shows_the_new_picture():
    steady, picture = SteadyPicture(Steadiness(share=0.0)), to_picture(face())
    steady(np.zeros_like(picture), POINTS)
    assert (steady(picture, POINTS) == picture).all()


@pytest.mark.parametrize("bad", [{"share": 1.0}, {"share": -0.1}, {"tolerance": 0.0}])
def test_bad_rules_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Steadiness(**bad)
