"""Heatmap encoding and decoding: literals, ties and NaN, properties, a face-by-face loop as the reference."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import InputError
from sdk.image.heatmap import DECODE_MODES, cells_to_image, decode, encode, image_to_cells


def blur_taps(blur):
    sigma = 0.3 * ((blur - 1) * 0.5 - 1) + 0.8
    taps = [math.exp(-((k - blur // 2) ** 2) / (2 * sigma * sigma)) for k in range(blur)]
    return [tap / sum(taps) for tap in taps]


def loop_point(heat, mode, radius=4, blur=5):
    """The rule for one map as a person would write it, independent of sdk.image.heatmap."""
    H, W = heat.shape
    py, px = divmod(int(np.argmax(heat)), W)

    def value(y, x):
        return float(heat[y, x]) if 0 <= y < H and 0 <= x < W else 0.0

    x, y = float(px), float(py)
    if mode == "quarter" and 1 <= px <= W - 2 and 1 <= py <= H - 2:
        x += 0.25 * np.sign(value(py, px + 1) - value(py, px - 1))
        y += 0.25 * np.sign(value(py + 1, px) - value(py - 1, px))
    if mode == "centroid":
        reach = np.arange(-radius, radius + 1)
        window = np.array([[value(py + dy, px + dx) for dx in reach] for dy in reach])
        window = np.where(window > 1e-6, window, 2.2e-16)
        x += float((window.sum(axis=0) * reach).sum() / window.sum())
        y += float((window.sum(axis=1) * reach).sum() / window.sum())
    if mode == "dark" and 2 <= px <= W - 3 and 2 <= py <= H - 3:
        reach = blur // 2 + 2
        padded = np.pad(heat.astype(np.float64), reach)[py : py + 2 * reach + 1, px : px + 2 * reach + 1]
        taps = np.array(blur_taps(blur))
        rows = np.array([np.convolve(line, taps, mode="valid") for line in padded])
        smooth = np.array([np.convolve(line, taps, mode="valid") for line in rows.T]).T  # [5, 5], symmetric taps
        p = np.log(np.maximum(smooth, 1e-10))
        gradient = np.array([p[2, 3] - p[2, 1], p[3, 2] - p[1, 2]]) / 2
        dxx, dyy = (p[2, 4] - 2 * p[2, 2] + p[2, 0]) / 4, (p[4, 2] - 2 * p[2, 2] + p[0, 2]) / 4
        dxy = (p[3, 3] - p[1, 3] - p[3, 1] + p[1, 1]) / 4
        if abs(dxx * dyy - dxy * dxy) > 1e-3 * (abs(dxx) + abs(dyy)):
            step = -np.linalg.solve(np.array([[dxx, dxy], [dxy, dyy]]), gradient)
            if np.abs(step).max() <= 2:
                x, y = x + step[0], y + step[1]
    return x, y


def loop_decode(heatmaps, mode, **options):
    return np.array([[loop_point(heat, mode, **options) for heat in face] for face in heatmaps])


def noisy_maps(seed, faces, points, size_hw, sigma, noise=0.05):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, (faces, points, 2)) * (np.array(size_hw[::-1]) - 1)
    maps = encode(truth, size_hw, sigma_cells=sigma)
    return truth, (maps + rng.normal(0, noise, maps.shape)).astype(np.float32)


def test_encode_by_hand():
    maps = encode(np.array([[[2.0, 1.0], [0.5, 0.0], [np.nan, 1.0]]]), (3, 4), sigma_cells=1.0)
    assert maps.shape == (1, 3, 3, 4) and maps.dtype == np.float32
    assert maps[0, 0, 1, 2] == 1.0
    np.testing.assert_allclose(maps[0, 0, 0, 3], math.exp(-1.0), rtol=1e-6)  # one cell in x, one in y
    np.testing.assert_allclose(maps[0, 1, 0, :2], math.exp(-0.125), rtol=1e-6)  # half a cell to either side
    assert not maps[0, 2].any()


def test_cutoff_zeroes_the_tails():
    maps = encode(np.array([[[8.0, 8.0]]]), (16, 16), sigma_cells=0.5, cutoff=0.01)
    assert maps[maps > 0].min() >= 0.01 and (maps == 0).sum() > 200


def test_each_mode_by_hand():
    heat = np.zeros((1, 1, 5, 7), dtype=np.float32)
    heat[0, 0, 2, 3:5] = (1.0, 0.5)  # peak at x 3, y 2; larger neighbour on the right
    assert decode(heat, mode="argmax").points[0, 0].tolist() == [3.0, 2.0]
    assert decode(heat, mode="quarter").points[0, 0].tolist() == [3.25, 2.0]
    np.testing.assert_allclose(decode(heat, mode="centroid", radius=1).points[0, 0], [3 + 0.5 / 1.5, 2.0], rtol=1e-6)
    assert decode(heat).scores[0, 0] == 1.0


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_first_of_equal_values_wins(mode):
    heat = np.zeros((1, 2, 40, 50), dtype=np.float32)
    heat[0, 0, (11, 11, 30), (20, 37, 5)] = 1.0
    heat[0, 1] = -0.0
    heat[0, 1, 0, 9] = 0.0  # equals -0
    points = decode(heat, mode=mode).points[0]
    np.testing.assert_allclose(points[0], [20, 11], atol=0.01)
    np.testing.assert_allclose(points[1], [0, 0], atol=1e-6)


def test_nan_never_wins_and_infinities_are_ordinary():
    maps = np.zeros((1, 5, 8, 9), dtype=np.float32)
    maps[0, 0, 3, 4], maps[0, 0, 0, :3] = 0.5, np.nan
    maps[0, 1] = np.nan
    maps[0, 2, 5, 5], maps[0, 2, 5, 6] = np.inf, 3.0
    maps[0, 3] = -np.inf
    maps[0, 3, 0, 0] = np.nan
    maps[0, 4] = -np.inf
    maps[0, 4, 7, 8] = -5.0
    for mode in DECODE_MODES:
        decoded = decode(maps, mode=mode)
        assert decoded.points[0].round().tolist() == [[4, 3], [0, 0], [5, 5], [1, 0], [8, 7]], mode
        np.testing.assert_array_equal(decoded.scores[0], np.array([0.5, np.nan, np.inf, -np.inf, -5.0], np.float32))
        assert np.isfinite(decoded.points).all() and np.isfinite(decoded.spread).all()


@pytest.mark.parametrize(("peak", "quarter", "dark"), [((0, 4), 0, 0), ((1, 4), 1, 0), ((2, 4), 1, 1), ((7, 4), 1, 1)])
@pytest.mark.parametrize("end", [False, True])
def test_refinement_needs_room(peak, quarter, dark, end):
    heat = encode(np.array([[[peak[0] + 0.3, peak[1] + 0.2]]]), (9, 16), sigma_cells=1.0)
    if end:
        heat = np.ascontiguousarray(heat[:, :, :, ::-1])
    for mode, moved in (("quarter", quarter), ("dark", dark)):
        point = decode(heat, mode=mode).points[0, 0]
        assert bool(np.any(point != point.round())) == bool(moved), (mode, point)


@pytest.mark.parametrize("size_hw", [(16, 16), (24, 40), (40, 24), (3, 5), (1, 1)])
@pytest.mark.parametrize("mode", DECODE_MODES)
def test_equal_to_the_loop(size_hw, mode):
    for sigma, noise in ((0.5, 0.0), (1.5, 0.05), (1.0, 0.4)):
        maps = noisy_maps(3, 3, 20, size_hw, sigma, noise)[1]
        # float32 sums of up to 121 values, amplified by the Newton step's small determinants: a hundredth of a cell.
        np.testing.assert_allclose(decode(maps, mode=mode).points, loop_decode(maps, mode), atol=0.01)


def test_other_windows_equal_the_loop():
    maps = noisy_maps(4, 2, 20, (32, 32), 1.5)[1]
    np.testing.assert_allclose(decode(maps, blur=11).points, loop_decode(maps, "dark", blur=11), atol=0.01)
    np.testing.assert_allclose(
        decode(maps, mode="centroid", radius=2).points, loop_decode(maps, "centroid", radius=2), atol=0.001
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_other_number_types(dtype):
    truth, maps = noisy_maps(5, 4, 68, (32, 32), 2.0, noise=0.0)
    scaled = np.round(maps * 127).astype(dtype) if dtype == np.int8 else maps.astype(dtype)
    decoded = decode(scaled)
    exact = decode(maps)
    inner = ((truth > 4) & (truth < 27)).all(axis=2)
    # int8: levels of 1/127 tie at the peak, so the peak cell itself may be the neighbour (KERNELS.md section 2)
    assert np.abs(decoded.points - exact.points)[inner].max() < (0.08 if dtype == np.int8 else 0.02)
    assert decoded.points.dtype == decoded.scores.dtype == decoded.spread.dtype == np.float32


def test_paper_errors_on_perfect_maps():
    """PAPERS.md 11.5: uniformly random positions, cells of 8 px, sigma half a cell."""
    truth = np.random.default_rng(6).uniform(6, 10, (40, 68, 2))
    errors = {}
    for mode, sigma in (("argmax", 0.5), ("quarter", 0.5), ("centroid", 0.5), ("dark", 1.0)):
        points = decode(encode(truth, (16, 16), sigma_cells=sigma), mode=mode).points
        errors[mode] = float(np.linalg.norm(points - truth, axis=2).mean())
    assert errors["argmax"] == pytest.approx(0.3826, abs=0.01)  # 2720 samples of deviation 0.14: 0.003
    assert errors["quarter"] == pytest.approx(0.1913, abs=0.005)
    assert errors["centroid"] * 8 == pytest.approx(0.19, abs=0.02)
    assert errors["dark"] < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(16, 16, 1.0), (32, 32, 1.5), (64, 64, 2.0), (24, 48, 1.5)]))
def test_encode_then_decode_is_the_identity(seed, shape):
    H, W, sigma = shape
    truth = np.random.default_rng(seed).uniform(5.0, np.array([W, H]) - 6.0, (2, 10, 2))
    decoded = decode(encode(truth, (H, W), sigma_cells=sigma))
    assert np.linalg.norm(decoded.points - truth, axis=2).max() <= 0.05
    inner = np.minimum(truth, np.array([W, H]) - 1 - truth).min(axis=2) > 5
    np.testing.assert_allclose(decoded.spread[inner], sigma, rtol=0.12)  # the window ends at 2 to 4 sigma


def test_spread_tells_sharp_from_flat():
    maps = np.zeros((1, 3, 32, 32), dtype=np.float32)
    maps[0, 0, 16, 16] = 1.0
    maps[0, 1] = 1.0
    spread = decode(maps).spread[0]
    assert spread[0] < 1e-3
    assert spread[1] > 1.2  # a flat map peaks in the corner: a quarter of the window, standard deviation 1.41
    assert spread[2] == pytest.approx(math.sqrt((81 - 1) / 12), rel=1e-3)  # nothing known: uniform over 9 cells


def test_cell_and_picture_coordinates():
    points = np.array([[[0.0, 0.0], [15.0, 7.0]]])
    assert cells_to_image(points, (8, 16), (64, 128)).tolist() == [[[3.5, 3.5], [123.5, 59.5]]]
    np.testing.assert_allclose(image_to_cells(cells_to_image(points, (8, 16), (50, 30)), (8, 16), (50, 30)), points)


def test_no_faces_and_bad_arguments():
    empty = decode(np.zeros((0, 68, 8, 8), np.float32))
    assert empty.points.shape == (0, 68, 2) and empty.scores.shape == empty.spread.shape == (0, 68)
    good = np.zeros((1, 1, 8, 8), np.float32)
    for call in (
        lambda: decode(good[0]),
        lambda: decode(np.zeros((1, 1, 0, 8), np.float32)),
        lambda: decode(good.astype(np.int32)),
        lambda: decode(good, mode="softmax"),
        lambda: decode(good, blur=4),
        lambda: decode(good, mode="centroid", radius=0),
        lambda: encode(np.zeros((68, 2)), (8, 8), sigma_cells=1.0),
        lambda: encode(np.zeros((1, 68, 2)), (8, 8), sigma_cells=0.0),
    ):
        with pytest.raises(InputError, match="expected .*; got .*; "):
            call()


def test_input_is_not_touched_and_results_repeat():
    maps = noisy_maps(8, 2, 68, (32, 32), 1.5)[1]
    kept = maps.copy()
    first, second = decode(maps), decode(maps)
    np.testing.assert_array_equal(maps, kept)
    np.testing.assert_array_equal(first.points, second.points)


def test_at_least_five_times_faster_than_the_loop():
    """64 faces of 68 maps of 64 x 64; interleaved, best of several, CPU time: another process's load does not count."""
    maps = noisy_maps(9, 64, 68, (64, 64), 2.0)[1]
    fast, slow = [], []
    for part in np.split(np.arange(64), 4):  # a quarter of the faces a turn
        start = time.thread_time()
        for _ in range(3):
            decode(maps[part])
        middle = time.thread_time()
        loop_decode(maps[part], "dark")
        fast.append((middle - start) / 3)
        slow.append(time.thread_time() - middle)
    assert min(slow) > 5 * min(fast), (min(slow), min(fast))
