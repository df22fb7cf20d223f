"""enlarge on the CPU runner: a case by eye, counts, random faces against sdk.image.pixels.to_network."""

import ctypes

import numpy as np
import pytest
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.image.pixels import to_network
from sdk.spec import ModelSpec

pytestmark = needs_compiler

OUTPUTS = {"f16_nchw": np.float16, "f32_nchw": np.float32, "f16_hwc8": np.float16}
RGB = np.eye(3, 4)
EPS = 2.0**-24  # float32, half a unit in the last place of 1


class EnlargeArgs(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("lr", "count", "out")],
        ("colour", ctypes.c_float * 12),
        *[(name, ctypes.c_int32) for name in ("size", "scale", "channels", "capacity")],
    ]


def run(lr, scale, *, form="f32_nchw", colour=RGB, count=None, schedule=0):
    """The kernel's output [N, channels, S, S] or [N, S, S, 8] for lr [N, 3, size, size]."""
    N, size, S = len(lr), lr.shape[2], lr.shape[2] * scale
    with Memory() as memory:
        out = memory.poisoned((N, S, S, 8) if form == "f16_hwc8" else (N, len(colour), S, S), OUTPUTS[form])
        counted = None if count is None else memory.put(np.array([count], np.int32))
        args = EnlargeArgs(
            lr=memory.put(lr.astype(np.float32)), out=out.pointer, count=counted,
            size=size, scale=scale, channels=len(colour), capacity=N,
        )  # fmt: skip
        args.colour[: 4 * len(colour)] = np.asarray(colour, np.float32).ravel()
        grid = (-(-S * S // 256), N, 1)
        Kernels("enlarge.cu").launch(f"enlarge_{form}", args, grid=grid, block=(256, 1, 1), schedule=schedule)
        return out.get()


def spec(size, scale, **options):
    return ModelSpec(name="made", lr_size=size, scale=scale, input_upscaled=True, **options)


def test_a_constant_and_a_step_by_eye():
    lr = np.full((1, 3, 4, 4), 100.0)
    lr[0, 1, :, 2:] = 200.0
    out = agreed(lambda s: run(lr, 2, schedule=s))[0]
    assert np.allclose(out[0], 100.0, atol=1e-4)
    # A quarter of a pixel from a tap Keys' weights are -9, 111, 29, -3 of 128; next to the border the -3 falls away.
    assert np.allclose(out[1, 3, 2:6], 100 + np.array([-9 / 131, 26 / 128, 102 / 128, 140 / 131]) * 100, atol=1e-3)


@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize(("size", "scale"), [(16, 8), (5, 3), (1, 2), (7, 1), (3, 4)])
def test_equals_to_network(form, size, scale):
    rng = np.random.default_rng(size)
    lr = rng.uniform(0, 255, (2, 3, size, size)).astype(np.float32)
    low, mean, std = -1.0, np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    options = {"colour": "bgr", "value_range": (-1.0, 1.0), "mean": tuple(mean), "std": tuple(std)}
    wanted = to_network(np.ascontiguousarray(np.moveaxis(lr, 1, 3)), spec(size, scale, **options))
    colour = np.zeros((3, 4))
    colour[[0, 1, 2], [2, 1, 0]], colour[:, 3] = 2 / 255 / std, (low - mean) / std
    out = agreed(lambda s: run(lr, scale, form=form, colour=colour, schedule=s))
    if form == "f16_hwc8":
        assert not out[..., 3:].any()
        out = np.moveaxis(out[..., :3], 3, 1)
    # 40 roundings of sums of up to 1.6 * 255 levels on either side, times the gain; half's of values up to 5.
    error = 80 * EPS * 1.6 * 255 * colour[:, :3].max() + (5 * 2.0**-11 if OUTPUTS[form] == np.float16 else 0.0)
    assert np.abs(out - wanted).max() <= error


def test_luminance_and_counts():
    lr = np.random.default_rng(1).uniform(0, 255, (3, 3, 6, 6)).astype(np.float32)
    luma = np.array([[65.481, 128.553, 24.966, 16 * 255.0]]) / 255.0 / 255.0
    wanted = to_network(np.ascontiguousarray(np.moveaxis(lr, 1, 3)), spec(6, 2, channels=1, colour="y"))
    for count, used in ((None, 3), (2, 2), (0, 0), (5, 3), (-1, 0)):
        out = run(lr, 2, colour=luma, count=count)
        assert np.allclose(out[:used], wanted[:used], atol=1e-5)
        assert np.all(out[used:].view(np.uint32) == 0xA5A5A5A5)


def under_sanitizers():
    for form in OUTPUTS:
        run(np.ones((2, 3, 5, 5)), 3, form=form)


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_enlarge:under_sanitizers")
    assert done.returncode == 0, done.stderr
