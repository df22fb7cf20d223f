"""pixel_shuffle on the CPU runner: a case by eye, its round trip, random tensors against sdk.image.pixels."""

import ctypes
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.image.pixels import pixel_shuffle, pixel_unshuffle

pytestmark = needs_compiler

DTYPES = (np.int8, np.uint8, np.float16, np.float32, np.int32)
LARGEST_GRID_Y = 65535


class PixelShuffleArgs(ctypes.Structure):
    _fields_ = [
        ("in_", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        *[(name, ctypes.c_int32) for name in ("channels", "rows", "columns", "r")],
    ]


@cache
def kernels():
    return Kernels("pixel_shuffle.cu")


def run(planes, r, *, pieces=True, planes_at_once=LARGEST_GRID_Y, offset=0, schedule=0, library=None):
    """[N, C r r, h, w] -> [N, C, h r, w r]; `pieces`: the instance for r = 2 or 4, `offset`: elements off alignment."""
    N, depth, h, w = planes.shape
    size = planes.itemsize
    with Memory() as memory:
        out = memory.poisoned((N, depth // (r * r), h * r, w * r), planes.dtype)
        pointer = memory.put(np.concatenate([np.zeros(offset, planes.dtype), planes.ravel()])) + offset * size
        args = PixelShuffleArgs(pointer, out.pointer, N, depth // (r * r), h, w, r)
        special = pieces and r in (2, 4)
        items = h * -(-w * size // 16) * r if special else h * w * r * r
        grid = (-(-items // 256), min(N * depth // (r * r), planes_at_once), 1)
        name = f"pixel_shuffle_b{8 * size}" + (f"_r{r}" if special else "")
        (library or kernels()).launch(name, args, grid=grid, block=(256, 1, 1), schedule=schedule)
        return out.get()


def some(rng, shape, dtype):
    """Random bits: also NaN, whose payload must survive."""
    return rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]


def same_bits(a, b):
    return np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8))


def test_four_channels_become_two_rows():
    planes = np.array([[[[0, 1]], [[10, 11]], [[20, 21]], [[30, 31]]]], np.float32)
    for pieces in (True, False):
        assert run(planes, 2, pieces=pieces).tolist() == [[[[0, 10, 1, 11], [20, 30, 21, 31]]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_unshuffled_pictures_come_back(dtype):
    picture = some(np.random.default_rng(1), (2, 3, 24, 48), dtype)
    for r in (1, 2, 3, 4, 8):
        assert same_bits(run(pixel_unshuffle(picture, r), r), picture)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), r=st.sampled_from([1, 2, 3, 4, 8]), pieces=st.booleans())
def test_random_tensors_agree_with_the_reference(data, dtype, r, pieces):
    N, C = data.draw(st.integers(1, 300 if r < 3 else 20)), data.draw(st.integers(1, 5))
    h, w = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([1, 2, 3, 4, 7, 8, 16, 17, 32]))
    planes = some(np.random.default_rng(N * 1000 + w), (N, C * r * r, h, w), dtype)
    options = {"pieces": pieces, "offset": data.draw(st.sampled_from([0, 0, 1])), "planes_at_once": N}
    assert same_bits(agreed(lambda s: run(planes, r, schedule=s, **options), (0, 1, 7)), pixel_shuffle(planes, r))


def small():
    """Every instance, aligned and not, in a child with sanitizers."""
    rng = np.random.default_rng(2)
    for dtype in DTYPES:
        for r in (2, 3, 4):
            for w, offset in ((16, 0), (16, 1), (5, 0)):
                planes = some(rng, (2, 2 * r * r, 3, w), dtype)
                assert same_bits(run(planes, r, offset=offset), pixel_shuffle(planes, r))


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_pixel_shuffle:small")
    assert done.returncode == 0, done.stderr[-3000:]
