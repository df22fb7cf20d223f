"""image_tail on the CPU runner: cases by eye, its contract, and random tensors against sdk.image and BicubicEnlarge."""

import ctypes
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.image.pixels import pixel_shuffle
from sdk.image.resample import resample_weights

pytestmark = needs_compiler

POINTERS = ("features", "lr", "bias", "count", "out", "sums", "status")
INTEGERS = ("capacity", "rows", "columns", "channels", "lr_scale", "bgr")
FORMS = [f"{dtype}_nchw_r{r}" for dtype in ("f16", "f32") for r in (2, 4, 8)] + [f"f16_hwc8_r{r}" for r in (2, 4, 8)]
WHOLE = ("f16_nchw_r1", "f32_nchw_r1")
EPS = 2.0**-24  # float32: half a unit in the last place of 1
each_form = pytest.mark.parametrize("form", FORMS)
each_whole = pytest.mark.parametrize("form", WHOLE)


class ImageTailArgs(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in POINTERS],
        *[(name, ctypes.c_float) for name in ("gain", "shift", "slope")],
        *[(name, ctypes.c_int32) for name in INTEGERS],
    ]


@cache
def kernels():
    return Kernels("image_tail.cu")


def dtype_of(form):
    return np.float16 if form.startswith("f16") else np.float32


def by_pixel(channels, r):
    """[.., 3 r r] in torch's order (c, i, j) -> the order (i, j, c) of hwc8."""
    split = channels.reshape(*channels.shape[:-1], 3, r, r)
    return np.moveaxis(split, -3, -1).reshape(channels.shape)


def run(features, form, *, lr=None, scale=0, bias=None, slope=1.0, gain=255.0, shift=0.0, bgr=False, count=None,
        sums=True, schedule=0, library=None):  # fmt: skip
    """(pictures [N, H, W, 3], sums [N, 6], status [N]) of features [N, 3 r r, h, w] in torch's order."""
    r = int(form.rpartition("r")[2])
    N, depth, h, w = features.shape
    channels = -(-depth // 8) * 8
    data = features
    if "hwc8" in form:
        data = np.full((N, h, w, channels), np.nan, features.dtype)
        data[..., :depth] = by_pixel(features.transpose(0, 2, 3, 1), r)
        bias = None if bias is None else by_pixel(bias, r)
    with Memory() as memory:
        out, total = memory.poisoned((N, h * r, w * r, 3), np.uint8), memory.poisoned((N, 6), np.uint64)
        status = memory.poisoned((N,), np.uint32)
        total.view()[:], status.view()[:] = 0, 2  # a bit of the caller's: stays
        args = ImageTailArgs(
            features=memory.put(data), lr=None if lr is None else memory.put(lr),
            bias=None if bias is None else memory.put(bias.astype(np.float32)),
            count=None if count is None else memory.put(np.array([count], np.int32)),
            out=out.pointer, sums=total.pointer if sums else None, status=status.pointer if sums else None,
            gain=gain, shift=shift, slope=slope,
            capacity=N, rows=h, columns=w, channels=channels, lr_scale=scale, bgr=int(bgr),
        )  # fmt: skip
        grid = (-(-h * w // (1024 if r == 1 else 128 // r)), N, 1)
        (library or kernels()).launch(f"image_tail_{form}", args, grid=grid, block=(128, 1, 1), schedule=schedule)
        return out.get(), total.get(), status.get()


def bicubic(lr, scale):
    """[N, 3, h, w] enlarged, float64, edges replicated."""
    taps = resample_weights(5, 5 * scale)[2 * scale : 3 * scale]  # [scale, 5]
    padded = np.pad(lr.astype(np.float64), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))  # [N, 3, h, w, 5, 5]
    N, C, h, w = lr.shape
    return np.einsum("nchwyx,iy,jx->nchiwj", windows, taps, taps).reshape(N, C, h * scale, w * scale)


def check(features, form, *, lr=None, scale=0, bias=None, slope=1.0, bgr=False, schedules=(0, 1, 7), **options):
    """Bits do not hang on the schedule; levels are the exact ones but where rounding may tip."""
    out, sums, status = agreed(
        lambda schedule: run(
            features, form, lr=lr, scale=scale, bias=bias, slope=slope, bgr=bgr, schedule=schedule, **options
        ),
        schedules,
    )  # fmt: skip
    exact = features.astype(np.float64) + (0.0 if bias is None else bias[:, None, None].astype(np.float64))
    exact = pixel_shuffle(np.where(exact < 0, exact * slope, exact), int(form.rpartition("r")[2]))
    magnitude = np.abs(exact).max() + (0.0 if bias is None else np.abs(bias).max())
    if lr is not None:
        exact, magnitude = exact + bicubic(lr, scale), magnitude + 2.0 * np.abs(lr).max()  # weights add up to < 2
    levels = np.clip(exact * 255.0, 0, 255)[:, :: -1 if bgr else 1].transpose(0, 2, 3, 1)
    tolerance = 0.5 + 30 * EPS * 255.0 * (magnitude + 1.0)  # some 30 float32 operations on numbers that large
    assert np.abs(out - levels).max() <= tolerance
    assert (status == 2).all()
    wide = out.astype(np.uint64)
    assert np.array_equal(sums, np.concatenate([wide.sum(axis=(1, 2)), (wide * wide).sum(axis=(1, 2))], axis=1))
    return out


# ---- by eye


@each_whole
def test_a_picture_becomes_bytes(form):
    picture = np.array([[[[0.0, 1.0, 0.5]], [[-1.0, 2.0, np.nan]], [[0.1, np.inf, -np.inf]]]], dtype_of(form))
    out, sums, status = run(picture, form)
    assert out.tolist() == [[[[0, 0, 25 if form[1] == "1" else 26], [255, 255, 255], [128, 0, 0]]]]
    assert run(picture, form, bgr=True)[0].tolist() == out[..., ::-1].tolist()
    assert sums[0, 0] == 0 + 255 + 128 and sums[0, 4] == 255**2
    assert status.tolist() == [3], "not finite, beside the caller's bit"


@each_form
def test_channels_become_pixels(form):
    r = int(form[-1])
    features = np.arange(3 * r * r, dtype=dtype_of(form)).reshape(1, -1, 1, 1)
    out = run(features, form, gain=1.0)[0]
    assert out[0].transpose(2, 0, 1).ravel().tolist() == list(range(3 * r * r))


@each_form
def test_a_flat_picture_stays_flat(form):
    r, scale = int(form[-1]), 2 * int(form[-1])
    features = np.zeros((1, 3 * r * r, 6, 4), dtype_of(form))
    lr = np.full((1, 3, 3, 2), 0.25, dtype_of(form))
    lr[:, 2] = 0.75
    out = run(features, form, lr=lr, scale=scale)[0]
    assert (out == [64, 64, 191]).all()


# ---- contract


@pytest.mark.parametrize("form", [*FORMS, *WHOLE])
@pytest.mark.parametrize("count", [-3, 0, 2, 7])
def test_pictures_past_the_count_are_left_alone(form, count):
    r = int(form[-1])
    features = np.random.default_rng(1).uniform(0, 1, (3, 3 * r * r, 3, 8)).astype(dtype_of(form))
    features[2, 0, 0, 0] = np.nan
    out, sums, status = run(features, form, count=count)
    pictures = min(max(count, 0), 3)
    assert np.array_equal(out[:pictures], run(features, form, sums=False)[0][:pictures])
    assert (out[pictures:] == 0xA5).all() and not sums[pictures:].any()
    assert status.tolist() == [2, 2, 3 if pictures == 3 else 2]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), form=st.sampled_from([*FORMS, *WHOLE]))
def test_one_value_that_is_not_finite_marks_its_picture(data, form):
    """Wherever it lies: in the features, or in the picture that is added, whose neighbours take it over."""
    r, h, w = int(form[-1]), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(h * 10 + w)
    features = rng.uniform(0, 1, (5, 3 * r * r, h, w)).astype(dtype_of(form))
    lr = None if r == 1 else rng.uniform(0, 1, (5, 3, h, w)).astype(dtype_of(form))
    place = features if lr is None or data.draw(st.booleans()) else lr
    picture = data.draw(st.integers(0, 4))
    place[picture].flat[data.draw(st.integers(0, place[picture].size - 1))] = data.draw(
        st.sampled_from([np.nan, np.inf, -np.inf])
    )
    for schedule in (0, 7):
        status = run(features, form, lr=lr, scale=r, schedule=schedule)[2]
        assert status.tolist() == [3 if one == picture else 2 for one in range(5)]


def test_gain_and_shift_undo_another_range():
    picture = np.random.default_rng(2).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    out = run(picture, "f32_nchw_r1", gain=127.5, shift=127.5)[0]
    assert np.abs(out - (picture.transpose(0, 2, 3, 1) + 1.0) * 127.5).max() <= 0.5 + 4 * EPS * 255


# ---- reference


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), form=st.sampled_from(FORMS))
def test_random_tails_agree_with_the_reference(data, form):
    r, dtype = int(form[-1]), dtype_of(form)
    step = data.draw(st.sampled_from([1, 2]))  # cells of the features per LR pixel and axis
    h, w = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    N = data.draw(st.integers(1, 300 if h * w * r * r * step * step < 200 else 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    features = rng.uniform(-0.3, 0.3, (N, 3 * r * r, h * step, w * step)).astype(dtype)
    lr = rng.uniform(0, 1, (N, 3, h, w)).astype(dtype) if data.draw(st.booleans()) else None
    bias = rng.uniform(-0.2, 0.2, 3 * r * r).astype(np.float32) if data.draw(st.booleans()) else None
    slope = data.draw(st.sampled_from([1.0, 0.0, 0.25]))
    check(features, form, lr=lr, scale=r * step, bias=bias, slope=slope, bgr=data.draw(st.booleans()))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(form=st.sampled_from(WHOLE), h=st.integers(1, 40), w=st.integers(1, 70), N=st.integers(1, 4), bgr=st.booleans())
def test_random_pictures_agree_with_the_reference(form, h, w, N, bgr):
    check(np.random.default_rng(h * 100 + w).uniform(-0.2, 1.2, (N, 3, h, w)).astype(dtype_of(form)), form, bgr=bgr)


@pytest.mark.parametrize("form", ["f16_nchw_r4", "f16_hwc8_r4", "f32_nchw_r8"])
def test_the_size_of_a_face(form):
    r = int(form[-1])
    rng = np.random.default_rng(5)
    features = rng.uniform(-0.3, 0.3, (2, 3 * r * r, 128 // r, 128 // r)).astype(dtype_of(form))
    check(features, form, lr=rng.uniform(0, 1, (2, 3, 16, 16)).astype(dtype_of(form)), scale=8, schedules=(0, 7))


def test_three_hundred_pictures():
    features = np.random.default_rng(6).uniform(0, 1, (300, 12, 2, 3)).astype(np.float16)
    check(features, "f16_hwc8_r2", bgr=True, schedules=(1, 8))


def test_the_residual_is_that_of_the_network():
    torch = pytest.importorskip("torch")
    from training.models.picoface import BicubicEnlarge

    lr = np.random.default_rng(7).uniform(0, 1, (2, 3, 9, 7)).astype(np.float32)
    with torch.no_grad():
        enlarged = BicubicEnlarge(8)(torch.from_numpy(lr)).numpy()
    out, *_ = run(np.zeros((2, 48, 18, 14), np.float32), "f32_nchw_r4", lr=lr, scale=8)
    assert np.abs(out - np.clip(enlarged * 255.0, 0, 255).transpose(0, 2, 3, 1)).max() <= 0.5 + 60 * EPS * 255 * 2


# ---- sanitizers


def small():
    """Every instance, odd and even sizes, in a child with sanitizers."""
    rng = np.random.default_rng(8)
    for form in (*FORMS, *WHOLE):
        r = int(form[-1])
        for h, w in ((1, 1), (3, 5), (2, 8)):
            features = rng.uniform(-0.3, 1.0, (2, 3 * r * r, h, w)).astype(dtype_of(form))
            lr = None if r == 1 else rng.uniform(0, 1, (2, 3, h, w)).astype(dtype_of(form))
            bias = None if r == 1 else rng.uniform(-0.2, 0.2, 3 * r * r)
            check(features, form, lr=lr, scale=r, bias=bias, bgr=True, schedules=(0, 7))


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_image_tail:small")
    assert done.returncode == 0, done.stderr[-3000:]
