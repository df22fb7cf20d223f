"""crop_norm on the CPU runner: a case by eye, its contract, random faces against sdk.image.crop and sdk.image.nv12."""

import ctypes

import numpy as np
import pytest
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.image.crop import crop, crop_affine, window_affine
from sdk.image.nv12 import Nv12Frame, crop_affine_nv12, crop_nv12, yuv_to_rgb_matrix

pytestmark = needs_compiler

POINTERS = ("frame", "uv", "boxes", "count", "out", "status")
INTEGERS = ("width", "height", "size", "channels", "capacity")
RGB = np.eye(3, 4, dtype=np.float32)
EPS = 2.0**-24  # float32, half a unit in the last place of 1
OUTPUTS = {"f16_nchw": np.float16, "f32_nchw": np.float32, "f16_hwc8": np.float16}


class CropNormArgs(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in POINTERS],
        ("pitch", ctypes.c_int64),
        ("uv_pitch", ctypes.c_int64),
        ("colour", ctypes.c_float * 12),
        ("to_rgb", ctypes.c_float * 12),
        ("siting_x", ctypes.c_float),
        *[(name, ctypes.c_int32) for name in INTEGERS],
    ]


def rows_of(memory, plane, padding):
    """A pointer to the plane's rows with `padding` bytes behind each, and the pitch."""
    flat = plane.reshape(len(plane), -1)
    padded = np.pad(flat, ((0, 0), (0, padding)), constant_values=255)
    return memory.put(padded), padded.shape[1]


def run(frame, boxes, *, size=16, form="f32_nchw", colour=RGB, count=None, padding=0, schedule=0):
    """(out, status) of the kernel for windows [N, 4] or maps [N, 2, 3]; poisoned where it wrote nothing."""
    nv12 = isinstance(frame, Nv12Frame)
    planes = [frame.y, frame.uv] if nv12 else [frame]
    boxes = np.asarray(boxes, np.float32)
    shape = (len(boxes), size, size, 8) if form == "f16_hwc8" else (len(boxes), len(colour), size, size)
    with Memory() as memory:
        out, status = memory.poisoned(shape, OUTPUTS[form]), memory.poisoned((len(boxes),), np.int32)
        (rows, pitch), (uv, uv_pitch) = (rows_of(memory, p, padding) for p in (planes[0], planes[-1]))
        args = CropNormArgs(
            frame=rows, uv=uv if nv12 else None, boxes=memory.put(boxes), out=out.pointer, status=status.pointer,
            count=None if count is None else memory.put(np.array([count], np.int32)),
            pitch=pitch, uv_pitch=uv_pitch, width=planes[0].shape[1], height=planes[0].shape[0],
            size=size, channels=len(colour), capacity=len(boxes),
        )  # fmt: skip
        args.colour[: colour.size] = colour.ravel()
        if nv12:
            args.to_rgb[:] = yuv_to_rgb_matrix(frame.matrix, full_range=frame.full_range).ravel()
            args.siting_x = 0.25 if frame.siting == "left" else 0.0
        affine = boxes.ndim == 3
        name = f"crop_{'affine' if affine else 'norm'}_{'nv12' if nv12 else 'bgr'}_{form}"
        blocks = -(-size * size // 4) if affine else size * -(-size // 16)
        Kernels("crop_norm.cu").launch(
            name, args, grid=(blocks, max(1, len(boxes)), 1), block=(128, 1, 1), schedule=schedule
        )
        return out.get(), status.get()


def expected(frame, boxes, size):
    """The NumPy definition: [N, 3, size, size]."""
    boxes = np.asarray(boxes, np.float32)
    windows, maps = (crop_nv12, crop_affine_nv12) if isinstance(frame, Nv12Frame) else (crop, crop_affine)
    return np.moveaxis((maps if boxes.ndim == 3 else windows)(frame, boxes, size=size), 3, 1)


def tolerance(boxes, size, *, nv12):
    """Grey levels [N]: positions in float32 (4 roundings of the side) times the kernel's total variation, 2.3; sums of
    that many taps, here and in NumPy; the colour matrix (rows of up to 3.5 in absolute value)."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim == 3:
        side = np.abs(boxes[:, :, :2]).sum(axis=(1, 2)) * size
        step = np.sqrt(np.abs(np.linalg.det(boxes[:, :, :2])))
    else:
        side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        step = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) / size
    moved = 2.3 * 4 * EPS * (side + 1) / np.maximum(step, 1)
    summed = 2 * 1.6 * EPS * (8 * np.maximum(side / size, 1) + 8)
    return 255 * (moved + summed) * (3.5 if nv12 else 1.0)


def picture(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def nv12_picture(rng, height, width):
    y = rng.integers(0, 256, (height, width), dtype=np.uint8)
    uv = rng.integers(0, 256, (-(-height // 2), -(-width // 2), 2), dtype=np.uint8)
    kind = {"matrix": str(rng.choice(["bt601", "bt709"])), "siting": str(rng.choice(["left", "center"]))}
    return Nv12Frame(y, uv, full_range=bool(rng.integers(2)), **kind)


def random_boxes(rng, height, width, *, rotated):
    """Enlarged, reduced, tiny, larger than the frame, over its borders, outside of it."""
    sides = np.exp(rng.uniform(np.log(0.5), np.log(3.0 * max(height, width)), (6, 1)))
    low = rng.uniform(-1.0, 1.0, (6, 2)) * (sides + (width, height))
    windows = np.concatenate([low, low + sides], axis=1)
    windows[0] += 1e4  # far outside
    if not rotated:
        windows[1, 2:] += (3.0, 0.0)  # not square
        return windows.astype(np.float32)
    maps, angles = window_affine(windows, size=16), rng.uniform(-3, 3, 6)
    turn = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    maps[:, :, :2] @= turn
    return maps.astype(np.float32)


def test_whole_pixels_by_eye():
    frame = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    out, status = agreed(lambda s: run(frame, [[1.0, 0.0, 4.0, 3.0], [-9.0, -9.0, -6.0, -6.0]], size=3, schedule=s))
    assert out[0, 0].tolist() == [[3, 6, 9], [15, 18, 21], [27, 30, 33]]  # the first channel of columns 1 to 3
    assert out[0, 2].tolist() == [[5, 8, 11], [17, 20, 23], [29, 32, 35]]
    assert np.all(out[1] == np.array([0, 1, 2])[:, None, None])  # the corner pixel
    assert status.tolist() == [0, 0]


@pytest.mark.parametrize("form", OUTPUTS)
def test_colours_gain_and_shift_of_the_network(form):
    rng = np.random.default_rng(0)
    frame, box = picture(rng, 20, 30), [[3.0, 2.0, 8.0, 7.0]]
    colour = np.zeros((3, 4), np.float32)
    colour[[0, 1, 2], [2, 1, 0]], colour[:, 3] = (2 / 255, 1 / 255, 4 / 255), (-1.0, 0.5, 0.0)
    out, _ = run(frame, box, size=5, form=form, colour=colour)
    plain = expected(frame, box, 5)[:, ::-1]
    wanted = plain * np.float32([2, 1, 4])[:, None, None] / 255 + np.float32([-1, 0.5, 0])[:, None, None]
    if form == "f16_hwc8":
        assert not out[..., 3:].any()
        out = np.moveaxis(out[..., :3], 3, 1)
    error = 4 * 2.0**-11 if OUTPUTS[form] == np.float16 else 4e-5  # half's rounding of up to 4; 2e-3 grey levels of 255
    assert np.abs(out - wanted).max() <= error
    luminance = np.array([[0.299, 0.587, 0.114, 0.0]], np.float32)
    grey, _ = run(frame, box, size=5, colour=luminance)
    assert grey.shape == (1, 1, 5, 5) and np.allclose(
        grey[:, 0], np.tensordot(luminance[0, :3], plain[:, ::-1], (0, 1)), atol=5e-3
    )


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("nv12", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equals_numpy(nv12, rotated, seed):
    rng = np.random.default_rng(100 * nv12 + 10 * rotated + seed)
    height, width = int(rng.integers(1, 90)), int(rng.integers(1, 130))
    frame = (nv12_picture if nv12 else picture)(rng, height, width)
    size = int(rng.choice([1, 7, 16, 20])) if not rotated else 16
    boxes = random_boxes(rng, height, width, rotated=rotated)
    padding = int(rng.integers(0, 9))
    out, status = agreed(lambda s: run(frame, boxes, size=size, padding=padding, schedule=s), schedules=(0, 8))
    difference = np.abs(out - expected(frame, boxes, size)).max(axis=(1, 2, 3))
    assert not status.any() and np.all(difference <= tolerance(boxes, size, nv12=nv12)), difference


@pytest.mark.parametrize("nv12", [False, True])
def test_a_large_window_into_16_pixels(nv12):
    rng = np.random.default_rng(7)
    frame = (nv12_picture if nv12 else picture)(rng, 300, 700)
    boxes = np.float32([[40.3, -60.7, 473.1, 372.1]])
    out, _ = run(frame, boxes)
    assert np.abs(out - expected(frame, boxes, 16)).max() <= tolerance(boxes, 16, nv12=nv12)[0]


def test_digits_survive_far_into_a_wide_frame():
    frame = np.zeros((4, 15000, 3), np.uint8)
    frame[:, ::2] = 255  # a position wrong by 0.001 px would show as 0.5 levels
    boxes = np.float32([[14321.34765625, 0.0, 14324.84765625, 3.5]])
    out, _ = run(frame, boxes, size=8)
    assert np.abs(out - expected(frame, boxes, 8)).max() <= tolerance(boxes, 8, nv12=False)[0]


GOOD, INF, NAN = [2.0, 3.0, 9.0, 10.0], np.inf, np.nan
BAD_WINDOWS = [[NAN, 3, 9, 10], [2, 3, INF, 10], [9, 3, 2, 10], [2, 3, 2, 10], [-9e4, -9e4, 9e4, 9e4], [2, -INF, 9, 10]]
GOOD_MAP = [[1.0, 0.0, 2.0], [0.0, 1.0, 3.0]]
BAD_MAPS = [
    [[NAN, 0, 2], [0, 1, 3]], [[1, 0, INF], [0, 1, 3]], [[1, 0, 2], [0, 1, NAN]], [[0, 0, 2], [0, 0, 3]],
    [[1, 1, 2], [1, 1, 3]], [[1e4, 0, 2], [0, 1e4, 3]],
]  # fmt: skip


@pytest.mark.parametrize("boxes", [[GOOD, *BAD_WINDOWS, GOOD], [GOOD_MAP, *BAD_MAPS, GOOD_MAP]])
def test_bad_boxes_write_nothing_but_their_status(boxes):
    frame = picture(np.random.default_rng(1), 24, 32)
    out, status = agreed(lambda s: run(frame, boxes, size=8, schedule=s))
    assert status.tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    poisoned = np.all(out.view(np.uint32) == 0xA5A5A5A5, axis=(1, 2, 3))
    np.testing.assert_array_equal(poisoned, status == 1)
    np.testing.assert_array_equal(out[0], out[7])


@pytest.mark.parametrize(("count", "written"), [(0, 0), (2, 2), (4, 4), (9, 4), (-3, 0), (None, 4)])
def test_only_the_faces_counted_are_written(count, written):
    frame = picture(np.random.default_rng(2), 24, 32)
    out, status = run(frame, [[1.0, 1.0, 9.0, 9.0]] * 4, size=4, count=count)
    done = np.any(out.view(np.uint32) != 0xA5A5A5A5, axis=(1, 2, 3))
    assert done.tolist() == [True] * written + [False] * (4 - written)
    assert (status == 0).tolist() == done.tolist()


def under_sanitizers():
    rng = np.random.default_rng(3)
    for rotated in (False, True):
        for frame in (picture(rng, 23, 37), nv12_picture(rng, 23, 37)):
            for form in OUTPUTS:
                run(frame, random_boxes(rng, 23, 37, rotated=rotated), size=9, form=form, count=5)


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_crop_norm:under_sanitizers")
    assert done.returncode == 0, done.stderr
