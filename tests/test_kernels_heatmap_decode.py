"""heatmap_decode on the CPU runner: cases by eye, its contract, and random maps against sdk.image.heatmap."""

import ctypes

import numpy as np
import pytest
from heatmap_kernel import EPS, FORMS, HeatmapDecodeArgs, dark_tolerance, decode_on_host, kernels, some_maps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_host import KernelFaultError, Kernels, agreed, needs_compiler, sanitized
from test_sdk_image_heatmap_plateaus import plateaus

from sdk.image.heatmap import DECODE_MODES, decode, encode

pytestmark = needs_compiler

MOMENT_TERMS = 81  # cells of the centroid's window: two float32 sums of them differ by that many roundings each
each_form = pytest.mark.parametrize("form", FORMS)


def check(maps, form, *, mode="dark", blur=5, scale=1.0, schedules=(0, 1, 7, 8), **options):
    """Every schedule gives the same bits, and those agree with the reference. Returns (out, how many were compared)."""
    out, status = agreed(
        lambda schedule: decode_on_host(
            maps, form, mode=mode, blur=blur, scale=scale, schedule=schedule, **options
        ),
        schedules,
    )  # fmt: skip
    values = maps.astype(np.float32) * np.float32(scale)
    reference = decode(values, mode=mode, blur=blur)
    assert np.array_equal(out[..., 2], reference.scores, equal_nan=True)
    assert np.array_equal(status, np.isnan(values).all(axis=(2, 3)).any(axis=1))
    peak = decode(values, mode="argmax").points.astype(np.int64)
    tolerance = np.zeros(peak.shape[:2])
    judged = np.ones(peak.shape[:2], bool)
    if mode == "centroid":
        tolerance += 2 * MOMENT_TERMS * EPS * 4.0 + EPS * peak.max()  # offsets up to 4 cells, then the sum
    if mode == "dark":
        tolerance, shaky = dark_tolerance(values, peak, blur)
        tolerance, judged = tolerance + 2 * EPS * peak.max() + EPS, ~shaky
        assert np.abs(out[..., :2] - peak).max() <= 2.0
    difference = np.abs(out[..., :2] - reference.points).max(axis=2)
    assert (difference <= tolerance)[judged].all(), (difference - tolerance)[judged].max()
    variance_error = 2 * MOMENT_TERMS * EPS * 32.0  # x^2 + y^2 up to 32
    spread_error = np.minimum(np.sqrt(variance_error), variance_error / np.maximum(reference.spread, 1e-9))
    assert (np.abs(out[..., 3] - reference.spread) <= spread_error + EPS).all()
    return out, int(judged.sum())


# ---- by eye


@each_form
def test_the_peak_of_a_small_map(form):
    maps = np.zeros((1, 1, 3, 5), FORMS[form])
    maps[0, 0, 1, 3] = 4
    maps[0, 0, 1, 2] = 1
    out, status = decode_on_host(maps, form, mode="argmax")
    assert out[0, 0, :3].tolist() == [3.0, 1.0, 4.0] and status.tolist() == [0]
    assert decode_on_host(maps, form, mode="quarter")[0][0, 0, :2].tolist() == [2.75, 1.0]
    assert decode_on_host(maps, form, mode="centroid")[0][0, 0, :2] == pytest.approx([2.8, 1.0])


@each_form
def test_of_equal_cells_the_first_wins(form):
    maps = np.zeros((1, 4, 16, 16), FORMS[form])
    maps[0, 1, 10, 5] = maps[0, 1, 10, 6] = maps[0, 1, 3, 15] = 7  # other pieces, other threads
    maps[0, 2, 3, 4] = maps[0, 2, 3, 5] = maps[0, 2, 3, 7] = 7  # one piece
    maps[0, 3] = -5
    maps[0, 3, 15, 15] = -4
    out, _ = decode_on_host(maps, form, mode="argmax", threads=32)
    assert out[0, :, :2].tolist() == [[0, 0], [15, 3], [4, 3], [15, 15]]


@pytest.mark.parametrize("form", ["f16_nchw", "f32_nchw", "f16_hwc8"])
def test_nan_infinity_and_minus_zero(form):
    maps = np.zeros((1, 5, 8, 8), FORMS[form])
    maps[0, 0] = np.nan
    maps[0, 1] = np.nan
    maps[0, 1, 5, 6] = -np.inf
    maps[0, 2, 1, 2], maps[0, 2, 4, 4] = np.nan, np.inf
    maps[0, 3] = -0.0
    maps[0, 3, 2, 2] = 0.0
    maps[0, 4] = -1.0
    maps[0, 4, 7, 7] = 2.0
    out, status = decode_on_host(maps, form, mode="dark")
    assert out[0, :, :2].tolist() == [[0, 0], [6, 5], [4, 4], [0, 0], [7, 7]]
    assert np.isnan(out[0, 0, 2]) and out[0, 1:, 2].tolist() == [-np.inf, np.inf, 0.0, 2.0]
    assert status.tolist() == [1]


def test_dark_finds_the_middle_of_a_gaussian():
    points = np.array([[[20.3, 11.8], [5.6, 30.25]]])
    maps = encode(points, (40, 48), sigma_cells=2.0)
    out, _ = decode_on_host(maps, "f32_nchw", mode="dark")
    assert np.abs(out[..., :2] - points).max() < 0.01
    assert np.abs(out[..., 3] - 1.9).max() < 0.15  # the window cuts the Gaussian's tails off


@pytest.mark.parametrize("form", ["f16_nchw", "f32_nchw", "f16_hwc8"])
def test_dark_stays_on_the_peak_of_a_plateau(form):
    maps = plateaus().astype(FORMS[form])
    maps[0, :, 12, 12] = np.nextafter(maps[0, :, 12, 12], FORMS[form](2))
    out, _ = decode_on_host(maps, form, mode="dark")
    assert np.array_equal(out[..., :2], decode(maps, mode="argmax").points)


# ---- contract


def test_matrices_turn_cells_into_picture_coordinates():
    rng = np.random.default_rng(3)
    maps = some_maps(rng, (3, 2, 12, 20), np.float32, "gauss")
    matrices = rng.uniform(-30, 30, (3, 2, 3)).astype(np.float32)
    cells, _ = decode_on_host(maps, "f32_nchw")
    out, _ = decode_on_host(maps, "f32_nchw", matrices=matrices)
    exact = np.einsum("nij,nkj->nki", matrices[:, :, :2].astype(np.float64), cells[..., :2]) + matrices[:, None, :, 2]
    assert np.abs(out[..., :2] - exact).max() <= 5 * EPS * 30 * (20 + 12 + 1)  # 5 roundings of sums up to that
    assert np.array_equal(out[..., 2:], cells[..., 2:])


@each_form
@pytest.mark.parametrize("count", [-1, 0, 2, 9])
def test_faces_past_the_count_are_left_alone(form, count):
    maps = some_maps(np.random.default_rng(1), (4, 3, 9, 8), FORMS[form], "gauss")
    out, _ = decode_on_host(maps, form, count=count)
    faces = min(max(count, 0), 4)
    everything, _ = decode_on_host(maps, form)
    assert np.array_equal(out[:faces], everything[:faces])
    assert (out[faces:].view(np.uint8) == 0xA5).all()


def test_maps_at_any_address_give_the_same():
    maps = some_maps(np.random.default_rng(2), (2, 3, 16, 16), np.float16, "gauss")
    aligned = decode_on_host(maps, "f16_nchw")
    for offset in (1, 3, 7):
        assert all(map(np.array_equal, decode_on_host(maps, "f16_nchw", offset=offset), aligned))


def test_a_block_that_is_too_large_is_refused():
    maps = np.zeros((1, 1, 8, 8), np.float32)
    with pytest.raises(KernelFaultError, match="512 threads a block; the kernel allows 1 to 256"):
        decode_on_host(maps, "f32_nchw", threads=512)


def test_another_argument_struct_is_refused():
    class Longer(HeatmapDecodeArgs):
        _fields_ = [("more", ctypes.c_int64)]

    with pytest.raises(AssertionError, match="Longer has 80 bytes, the kernel's differs"):
        kernels().launch("heatmap_decode_f32_nchw", Longer(), grid=(1, 1, 1), block=(32, 1, 1))


# ---- reference


@each_form
@pytest.mark.parametrize("mode", DECODE_MODES)
def test_peaks_agree_with_the_reference(form, mode):
    rng = np.random.default_rng(4)
    maps = some_maps(rng, (3, 9, 16, 24), FORMS[form], "gauss")
    for blur in (1, 5, 11) if mode == "dark" else (5,):
        scale = 1.0 / 127.0 if maps.dtype == np.int8 else 1.0
        _, compared = check(maps, form, mode=mode, blur=blur, scale=scale)
        assert compared >= (20 if mode == "dark" else 27)


@each_form
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_maps_agree_with_the_reference(form, data):
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    kind = data.draw(st.sampled_from(["gauss", "noise", "ties", "holes"]))
    N = data.draw(st.integers(1, 300 if rows * columns < 60 else 6))
    shape = (N, data.draw(st.integers(1, 3 if N > 6 else 20)), rows, columns)
    maps = some_maps(np.random.default_rng(data.draw(st.integers(0, 2**32))), shape, FORMS[form], kind)
    threads = data.draw(st.sampled_from([32, 64, 128, 256]))
    mode, blur = data.draw(st.sampled_from(DECODE_MODES)), data.draw(st.sampled_from([1, 3, 5, 7, 9, 11]))
    check(maps, form, mode=mode, blur=blur, threads=threads, schedules=(0, 1, 7))


@each_form
@pytest.mark.parametrize("shape", [(300, 1, 8, 8), (97, 3, 5, 7), (1, 68, 16, 16), (1, 2, 256, 256), (1, 1, 255, 251)])
def test_many_faces_and_large_maps(form, shape):
    maps = some_maps(np.random.default_rng(6), shape, FORMS[form], "ties" if shape[0] == 1 else "gauss")
    maps[0, -1, -1, -1] = 127  # the last cell
    out, _ = check(maps, form, mode="quarter", threads=256 if shape[2] > 100 else 32, schedules=(0, 7))
    assert out[0, -1, :3].tolist() == [shape[3] - 1, shape[2] - 1, 127]


def test_gpus_without_redux_get_the_same():
    maps = some_maps(np.random.default_rng(8), (2, 3, 17, 16), np.float16, "holes")
    older = Kernels("heatmap_decode.cu", defines=("WITHOUT_REDUX",))
    for form in ("f16_nchw", "f16_hwc8"):
        for schedule in (0, 7):
            there = decode_on_host(maps, form, threads=128, library=older, schedule=schedule)
            here = decode_on_host(maps, form, threads=128)
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(there, here, strict=True))


# ---- sanitizers


def small():
    """Every instance and mode over little maps, in a child with sanitizers."""
    rng = np.random.default_rng(9)
    for form, dtype in FORMS.items():
        for number, shape in enumerate([(2, 3, 8, 8), (1, 9, 7, 5), (3, 1, 1, 1), (1, 2, 33, 16)]):
            maps = some_maps(rng, shape, dtype, "gauss" if dtype == np.int8 else "holes")
            for blur in (5, 11):
                check(maps, form, mode=DECODE_MODES[-1 - number], blur=blur, threads=128, schedules=(0, 7), count=99)


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_heatmap_decode:small")
    assert done.returncode == 0, done.stderr[-3000:]
