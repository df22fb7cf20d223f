"""luma_tail on the CPU runner and behind its launcher: by eye, counts, NaN, random faces against from_network()."""

import ctypes

import fake_gpu
import numpy as np
import pytest
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.errors import InputError
from sdk.image.pixels import from_network
from sdk.runtime.kernel_args import LumaTailArgs
from sdk.runtime.kernel_luma import luma_tail
from sdk.spec import ModelSpec

pytestmark = needs_compiler
SPEC = ModelSpec("luma", 8, 2, channels=1, colour="y", input_upscaled=True, any_size=True)


def run(sr, lr, *, colour=None, luma=(1.0, 1.0, 1.0), count=None, schedule=0):
    """The kernel's pictures [N, S, S, 3] and its status words [N], in which bit 1 was set."""
    N, S, size = len(sr), sr.shape[-1], lr.shape[-1]
    with Memory() as memory:
        out, status = memory.poisoned((N, S, S, 3), np.uint8), memory.poisoned((N,), np.uint32)
        status.view()[:] = 2
        counted = None if count is None else memory.put(np.array([count], np.int32))
        args = LumaTailArgs(memory.put(sr), memory.put(lr.astype(np.float32)), counted, out.pointer, status.pointer)
        args.size, args.scale, args.capacity = size, S // size, N
        args.luma[:] = luma
        for k, row in enumerate(np.zeros((3, 4)) if colour is None else colour):
            args.colour[k][:] = row
        name = f"luma_tail_{'f16' if sr.dtype == np.float16 else 'f32'}"
        grid = (-(-S * S // 256), N, 1)
        Kernels("luma_tail.cu").launch(name, args, grid=grid, block=(256, 1, 1), schedule=schedule)
        return out.get(), status.get()


def test_a_grey_ramp_by_eye():
    sr = np.array([[[[0.0, 1.4], [1.5, 300.0]]]], np.float32)
    lr = np.full((1, 3, 2, 2), 10.0)
    out, status = agreed(lambda s: run(sr, lr, colour=[[1, 0, 0, 0], [0, 0, 0, 5], [0, 0, 0, -9]], schedule=s))
    assert out[0, ..., 0].tolist() == [[10, 11], [12, 255]]
    assert out[0, ..., 1].tolist() == [[5, 6], [7, 255]]
    assert out[0, ..., 2].tolist() == [[0, 0], [0, 255]] and status.tolist() == [2]


@pytest.mark.parametrize("count", [None, -1, 0, 2, 9])
def test_counts_and_what_is_not_finite(count):
    sr = np.full((3, 1, 4, 4), 20.0, np.float16)
    sr[0, 0, 3, 3], sr[2, 0, 0, 1] = np.inf, np.nan
    out, status = run(sr, np.zeros((3, 3, 2, 2)), count=count)
    made = 3 if count is None else min(max(count, 0), 3)
    assert (out[made:] == 0xA5).all() and not (out[:made, 1] == 0xA5).any()
    assert status.tolist() == [3 if one in (0, 2) and one < made else 2 for one in range(3)]
    if made == 3:
        assert out[2, 0, 1].tolist() == [0, 0, 0] and out[0, 3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("size", "scale", "bgr"), [(8, 2, False), (5, 3, True), (6, 4, False), (7, 1, True)])
def test_the_launcher_equals_from_network(monkeypatch, dtype, size, scale, bgr):
    rng, S = np.random.default_rng(size), size * scale
    lr = rng.uniform(0, 255, (2, 3, size, size)).astype(np.float32)
    sr = rng.uniform(-0.1, 1.1, (2, 1, S, S)).astype(dtype)
    wanted = from_network(sr.astype(np.float32), SPEC, lr=np.ascontiguousarray(lr.transpose(0, 2, 3, 1)))
    with fake_gpu.running(monkeypatch) as gpu:
        out, status = gpu.room((2, S, S, 3), np.uint8), gpu.put(np.zeros(2, np.uint32))
        luma_tail(gpu.kernels, gpu.put(sr), gpu.put(lr), out=out, stream=gpu.stream, status=status, bgr=bgr)
        found = gpu.get(out)[..., ::-1] if bgr else gpu.get(out)
        assert not gpu.get(status).any()
    off = np.abs(found.astype(int) - wanted)
    assert off.max() <= 1 and (off > 0).mean() < 2e-3  # exact halves, by the order of float32's sums


def test_what_does_not_fit_is_named(monkeypatch):
    with fake_gpu.running(monkeypatch) as gpu:
        sr, lr = gpu.room((2, 1, 8, 8), np.float32), gpu.room((2, 3, 4, 4), np.float32)
        out = gpu.room((2, 8, 8, 3), np.uint8)

        def launch(**changes):
            given = dict(sr=sr, lr=lr, out=out)
            luma_tail(gpu.kernels, **{**given, **changes}, stream=gpu.stream)

        for name, wrong in {
            "sr": gpu.room((2, 3, 8, 8), np.float32),
            "lr": gpu.room((3, 3, 4, 4), np.float32),
            "out": np.zeros((2, 8, 8, 3), np.uint8),
        }.items():
            with pytest.raises(InputError, match=name):
                launch(**{name: wrong})
        with pytest.raises(InputError, match="multiple of 3 px"):
            launch(lr=gpu.room((2, 3, 3, 3), np.float32))
        launch(**{name: gpu.room((0, *array.shape[1:]), array.dtype) for name, array in
                  dict(sr=sr, lr=lr, out=out).items()})  # fmt: skip
        assert not gpu.cuda.launches


def under_sanitizers():
    run(np.ones((2, 1, 15, 15), np.float16), np.ones((2, 3, 5, 5)))
    assert ctypes.sizeof(LumaTailArgs) == 112


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_luma_tail:under_sanitizers")
    assert done.returncode == 0, done.stderr
