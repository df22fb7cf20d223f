"""Metrics: literals, scikit-image as the outside reference, the papers' sanity tests."""

import math
import time

import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sdk.errors import InputError
from sdk.image import metrics
from sdk.image.pixels import rgb_to_y
from sdk.image.resample import resize


@pytest.fixture(scope="module")
def pair():
    hr = np.ascontiguousarray(skimage.data.astronaut()[40:168, 160:288])
    return resize(resize(hr, (16, 16)), (128, 128)), hr


def outside_ssim(a, b):
    """scikit-image, cut to the windows that lie wholly inside."""
    _, values = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    return float(values[5:-5, 5:-5].mean())


def test_psnr_by_hand():
    a = np.full((4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0] = 112  # one of 48 values differs by 12: mean square 3
    assert metrics.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 3))
    assert metrics.psnr(a, a) == math.inf
    assert metrics.psnr(a, b, border=1) == math.inf
    assert metrics.psnr(a, b, box=(0, 0, 2, 2)) == pytest.approx(10 * math.log10(255**2 / 12))  # 1 of 12 values


def test_psnr_and_ssim_equal_scikit_image(pair):
    sr, hr = pair
    assert metrics.psnr(sr, hr) == pytest.approx(peak_signal_noise_ratio(hr, sr), abs=1e-9)
    luma = [rgb_to_y(picture, rounded=True) for picture in pair]
    assert metrics.psnr(sr, hr, mode="y") == pytest.approx(
        peak_signal_noise_ratio(luma[1], luma[0], data_range=255), abs=1e-9
    )
    assert metrics.ssim(sr, hr, mode="y") == pytest.approx(outside_ssim(*luma), abs=1e-9)
    channels = [outside_ssim(sr[..., k].astype(float), hr[..., k].astype(float)) for k in range(3)]
    assert metrics.ssim(sr, hr) == pytest.approx(float(np.mean(channels)), abs=1e-9)
    box = (10, 20, 75, 100)
    cut = [picture[20:100, 10:75] for picture in luma]
    assert metrics.ssim(sr, hr, mode="y", box=box) == pytest.approx(outside_ssim(*cut), abs=1e-9)


def test_ssim_of_srinc_equation_3(pair):
    """PAPERS.md 11.3: C = (Imax / 100)^2 and 9 C are the usual constants."""
    c = (255 / 100) ** 2
    x, y = (rgb_to_y(picture, rounded=False)[:11, :11] for picture in pair)  # a single window
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(taps, taps) / taps.sum() ** 2
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy, vxy = (
        (weights * (p - mp) * (q - mq)).sum() for p, mp, q, mq in ((x, mx, x, mx), (y, my, y, my), (x, mx, y, my))
    )
    expected = (2 * mx * my + c) * (2 * vxy + 9 * c) / ((mx**2 + my**2 + c) * (vx + vy + 9 * c))
    assert metrics.ssim(x, y, rounded=False) == pytest.approx(expected, abs=1e-12)


def test_ssim_of_equal_and_of_inverted_pictures(pair):
    hr = pair[1]
    assert metrics.ssim(hr, hr) == pytest.approx(1.0, abs=1e-12)
    assert metrics.ssim(hr, 255 - hr) < 0.0


def test_floats_are_rounded_when_asked_to(pair):
    sr, hr = pair
    assert metrics.psnr(sr + np.float32(0.3), hr.astype(np.float32)) == pytest.approx(metrics.psnr(sr, hr), abs=1e-9)
    assert metrics.psnr(sr + 0.3, hr, rounded=False) != pytest.approx(metrics.psnr(sr, hr), abs=1e-6)


def test_protocols(pair):
    sr, hr = pair
    assert set(metrics.PROTOCOLS) >= {"fsrnet", "jasrnet", "srinc", "superfan", "mtun"}
    fsrnet = metrics.score_pair(sr, hr, metrics.PROTOCOLS["fsrnet"])
    assert fsrnet == (metrics.psnr(sr, hr, mode="y"), metrics.ssim(sr, hr, mode="y"))
    assert metrics.score_pair(sr, hr, metrics.PROTOCOLS["superfan"]) == (metrics.psnr(sr, hr), metrics.ssim(sr, hr))
    srinc = metrics.score_pair(sr, hr, metrics.PROTOCOLS["srinc"], scale=8)
    assert srinc[0] == pytest.approx(metrics.psnr(sr[8:-8, 8:-8], hr[8:-8, 8:-8], mode="y"))
    with pytest.raises(InputError, match="scale"):
        metrics.score_pair(sr, hr, metrics.PROTOCOLS["srinc"])


def test_jasrnet_is_the_code_of_the_paper(pair):
    """Y of [0, 1] pictures with peak 1 inside the truncated box of the landmarks, clipped to [8, 120)."""
    sr, hr = pair
    points = np.array([[3.2, 20.9], [90.7, 60.0], [50.0, 126.0]])
    assert metrics.face_box(points, (128, 128)) == (8, 20, 90, 120)
    luma = [(p / 255.0 @ np.array([65.738, 129.057, 25.064])) / 256.0 for p in (sr[20:120, 8:90], hr[20:120, 8:90])]
    by_hand = 10 * np.log10(1.0 / np.mean((luma[0] - luma[1]) ** 2))
    scores = metrics.score_pair(sr, hr, metrics.PROTOCOLS["jasrnet"], points=points)
    assert scores[0] == pytest.approx(by_hand, abs=1e-4)  # the code's coefficients are rounded
    quirk = metrics.score_pair(sr, hr, metrics.PROTOCOLS["jasrnet_code"], points=points)
    assert quirk[0] == scores[0]
    _, values = structural_similarity(
        luma[0] + 16,
        luma[1] + 16,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        full=True,
    )
    assert quirk[1] == pytest.approx(float(values[5:-5, 5:-5].mean()), abs=1e-4)
    whole = metrics.score_pair(sr, hr, metrics.PROTOCOLS["jasrnet"])
    assert whole[0] == pytest.approx(metrics.psnr(sr, hr, mode="y", box=(8, 8, 120, 120), rounded=False))


def test_nme_by_hand():
    truth = np.zeros((2, 68, 2))
    truth[:, 45] = (40.0, 30.0)  # outer corners 50 px apart; landmark box 40 x 30
    pred = truth + (3.0, 4.0)
    np.testing.assert_allclose(metrics.nme(pred, truth), [0.1, 0.1])
    box = np.array([[0.0, 0.0, 25.0, 100.0], [10.0, 10.0, 110.0, 110.0]])
    np.testing.assert_allclose(metrics.nme(pred, truth, normaliser="sqrt_box", box=box), [0.1, 0.05])
    np.testing.assert_allclose(
        metrics.nme(pred, truth, normaliser="sqrt_landmark_box"), 5.0 / math.sqrt(1200.0), rtol=1e-12
    )
    visible = np.zeros((2, 68), dtype=bool)
    visible[:, :2] = True
    pred[:, 0] = truth[:, 0]
    np.testing.assert_allclose(metrics.nme(pred, truth, visible=visible), [0.05, 0.05])


def test_auc_equals_the_integral_of_the_cumulative_curve():
    """PAPERS.md 11.4."""
    errors = np.random.default_rng(0).gamma(2.0, 0.03, 500)
    threshold = 0.1
    levels = (np.arange(20000) + 0.5) * (threshold / 20000)
    curve = (errors[None] <= levels[:, None]).mean(axis=1)
    assert metrics.auc(errors, threshold) == pytest.approx(curve.mean(), abs=1e-4)


def test_auc_and_failures_by_hand():
    errors = np.array([0.0, 0.04, 0.08, 0.09, np.nan])
    assert metrics.auc(errors, 0.08) == pytest.approx((1 + 0.5) / 5)
    assert metrics.failure_rate(errors) == pytest.approx(2 / 5)


def test_cumulative_psnr_by_hand():
    a = np.zeros((1, 4), np.uint8)
    b = np.array([[0, 1, 1, 3]], np.uint8)
    curve = metrics.cumulative_psnr(a, b)
    first = 10 * math.log10(4 * 255**2 / 2)
    assert curve.shape == (255,)
    np.testing.assert_allclose(curve[:4], [first, first, first + 10 * math.log10(4 * 255**2 / 9)] + [curve[-1]])


def test_iou_by_hand():
    truth, pred = np.array([[0, 0, 1], [1, 2, 2]]), np.array([[0, 1, 1], [1, 2, 0]])
    np.testing.assert_allclose(metrics.iou(pred, truth, classes=4), [1 / 3, 2 / 3, 1 / 2, np.nan])


def test_bad_arguments_are_refused(pair):
    sr, hr = pair
    points = np.zeros((1, 68, 2))
    for call in (
        lambda: metrics.psnr(sr, hr[1:]),
        lambda: metrics.psnr(sr[None], hr[None]),
        lambda: metrics.psnr(sr, hr, mode="hsv"),
        lambda: metrics.psnr(sr, hr, border=64),
        lambda: metrics.psnr(sr, hr, box=(0, 0, 129, 10)),
        lambda: metrics.ssim(sr[:10], hr[:10]),
        lambda: metrics.nme(points, points[0]),
        lambda: metrics.nme(points[:, :5], points[:, :5]),
        lambda: metrics.nme(points, points, normaliser="sqrt_box"),
        lambda: metrics.nme(points, points, normaliser="nose"),
        lambda: metrics.auc(np.array([]), 0.08),
        lambda: metrics.failure_rate(np.array([0.1]), 0.0),
        lambda: metrics.cumulative_psnr(sr, hr.astype(np.float32)),
        lambda: metrics.iou(np.array([3]), np.array([0]), classes=3),
    ):
        with pytest.raises(InputError, match="expected .*; got .*; "):
            call()


def test_ssim_is_quick(pair):
    times = []
    for _ in range(10):
        start = time.thread_time()  # CPU time: other processes do not count
        metrics.ssim(*pair, mode="y")
        times.append(time.thread_time() - start)
    assert min(times) < 0.005, times
