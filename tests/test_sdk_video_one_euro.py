"""The one-euro filter: the published algorithm, steady where still, prompt where moving, bounded lag."""

import math

import numpy as np
import pytest

from sdk.errors import InputError
from sdk.video.one_euro import OneEuro, PointFilter, Smoothing, smoothing_share

RATE_HZ = 30.0
FACE = np.stack([np.cos(np.linspace(0, 6, 68)), np.sin(np.linspace(0, 6, 68))], axis=1) * 20.0 + 100.0


class Published:
    """Algorithm 1 of the paper, line by line, for one number."""

    def __init__(self, mincutoff: float, beta: float, dcutoff: float) -> None:
        self.mincutoff, self.beta, self.dcutoff = mincutoff, beta, dcutoff
        self.hatx: float | None = None
        self.hatdx = 0.0

    @staticmethod
    def alpha(cutoff: float) -> float:
        tau = 1.0 / (2 * math.pi * cutoff)
        te = 1.0 / RATE_HZ
        return 1.0 / (1.0 + tau / te)

    def __call__(self, x: float) -> float:
        if self.hatx is None:
            self.hatx = x
            return x
        dx = (x - self.hatx) * RATE_HZ
        a = self.alpha(self.dcutoff)
        self.hatdx = a * dx + (1 - a) * self.hatdx
        a = self.alpha(self.mincutoff + self.beta * abs(self.hatdx))
        self.hatx = a * x + (1 - a) * self.hatx
        return self.hatx


def test_one_number_is_filtered_as_published():
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(size=200)) + rng.normal(size=200)
    ours = OneEuro(min_cutoff_hz=0.8, beta_hz=0.3, speed_cutoff_hz=1.2)
    published = Published(0.8, 0.3, 1.2)
    for value in signal:
        assert ours(np.array([[value]]), 1.0 / RATE_HZ)[0, 0] == pytest.approx(published(float(value)), rel=1e-9)


def test_the_share_of_a_low_pass_halves_power_at_its_cutoff():
    cutoff, step = 2.0, 1e-4  # fine steps: the discrete filter is the analogue one
    share = float(smoothing_share(cutoff, step))
    time = np.arange(0, 10.0, step)
    value, out = 0.0, np.empty_like(time)
    for i, x in enumerate(np.sin(2 * np.pi * cutoff * time)):
        value += share * (x - value)
        out[i] = value
    assert np.abs(out[len(out) // 2 :]).max() == pytest.approx(math.sqrt(0.5), abs=0.01)


def run(points, filter_, *, size=40.0, scores=None):
    return np.stack([filter_(p, i / RATE_HZ, size_px=size, scores=scores) for i, p in enumerate(points)])


def jitter(points):
    return float(np.linalg.norm(np.diff(points, axis=0), axis=2).mean())


@pytest.mark.parametrize("noise_px", [0.1, 0.3, 0.8])
def test_a_still_face_under_noise_jitters_at_most_a_third(noise_px):
    clip = FACE + np.random.default_rng(1).normal(scale=noise_px, size=(120, 68, 2))
    steady = run(clip, PointFilter())
    assert jitter(clip) / jitter(steady[10:]) > 3.0
    assert np.abs(steady[30:] - FACE).mean() < np.abs(clip[30:] - FACE).mean() / 2


def test_a_moving_face_is_at_most_one_frame_behind():
    speed_px = 0.5 * 40.0 / RATE_HZ  # half a face a second, of a face of 40 px
    rng = np.random.default_rng(2)
    truth = FACE + np.arange(90)[:, None, None] * np.array([speed_px, 0.0])
    steady = run(truth + rng.normal(scale=0.2, size=truth.shape), PointFilter())
    behind = (truth - steady)[30:, :, 0].mean()
    assert behind < 1.0 * speed_px


def test_no_sure_point_is_farther_than_the_bound_even_after_a_jump():
    clip = np.concatenate([np.repeat(FACE[None], 30, 0), np.repeat(FACE[None] + [25.0, -9.0], 5, 0)])
    steady = run(clip, PointFilter(Smoothing(max_lag=0.02)))
    assert np.linalg.norm(steady - clip, axis=2).max() <= 0.02 * 40.0 + 1e-4


def test_a_point_without_score_keeps_its_place_in_the_face():
    scores = np.ones(68)
    scores[5] = 0.0
    clip = np.repeat(FACE[None], 20, 0)
    clip += np.arange(20)[:, None, None] * np.array([1.0, 0.5])
    clip[10:, 5] += 300.0  # its heatmap went wild
    steady = run(clip, PointFilter(), scores=scores)
    assert np.linalg.norm(steady[-1, 5] - (FACE[5] + 19 * np.array([1.0, 0.5]))) < 3.0


def test_it_starts_anew_after_a_gap_and_after_a_step_back():
    for second in (5.0, -1.0):
        filter_ = PointFilter(Smoothing(max_lag=100.0))
        filter_(FACE, 0.0, size_px=40.0)
        assert filter_(FACE + 50.0, second, size_px=40.0) == pytest.approx(FACE + 50.0)


def test_two_frames_of_one_time_do_no_harm():
    filter_ = PointFilter()
    filter_(FACE, 1.0, size_px=40.0)
    assert np.isfinite(filter_(FACE + 1.0, 1.0, size_px=40.0)).all()


def test_sizes_scale():
    clip = FACE + np.random.default_rng(3).normal(size=(30, 68, 2))
    small, large = run(clip, PointFilter()), run(clip * 10.0, PointFilter(), size=400.0)
    assert large == pytest.approx(10.0 * small, rel=1e-5)


@pytest.mark.parametrize("bad", [{"min_cutoff_hz": 0.0}, {"beta_hz": -1.0}, {"max_lag": math.nan}])
def test_bad_rules_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Smoothing(**bad)


def test_bad_points_are_refused():
    with pytest.raises(InputError, match="finite"):
        PointFilter()(FACE * math.nan, 0.0, size_px=40.0)
    with pytest.raises(InputError, match="size"):
        PointFilter()(FACE, 0.0, size_px=0.0)
