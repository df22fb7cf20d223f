"""The launchers of image_tail, enlarge and pixel_shuffle on the fake GPU, which runs the kernels, against sdk.image."""

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import InputError, ModelError
from sdk.image.pixels import from_network, pixel_shuffle, to_network
from sdk.image.resample import resize
from sdk.runtime import kernel_shuffle
from sdk.runtime.kernel_crop import network_colours
from sdk.runtime.kernel_tail import enlarge, image_tail, picture_levels, require_finite
from sdk.spec import ModelSpec

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(5)


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch) as found:
        yield found


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("size", [(20, 28), (9, 7)])
def test_a_picture_equals_from_network(gpu, dtype, size):
    spec = ModelSpec("a", 16, 4, value_range=(-1, 1), colour="bgr")
    sr = RNG.uniform(-1.2, 1.2, (3, 3, *size)).astype(dtype)
    sr[0, 0, 0, 0] = np.nan
    out = gpu.room((3, *size, 3), np.uint8)
    gain, shift = picture_levels(spec.value_range)
    status = gpu.put(np.zeros(3, np.uint32))
    given = dict(out=out, stream=gpu.stream, gain=gain, shift=shift, bgr=True, status=status)
    image_tail(gpu.kernels, gpu.put(sr), **given)
    off = np.abs(gpu.get(out).astype(int) - from_network(sr.astype(np.float32), spec))
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # ties of rounding: the kernel multiplies and adds in one step
    assert gpu.get(status).tolist() == [1, 0, 0]
    require_finite(gpu.get(status)[1:], "net")
    with pytest.raises(ModelError, match="expected finite pixels from net; got NaN or infinity; use the fp32 model"):
        require_finite(gpu.get(status), "net")


@pytest.mark.parametrize("r", [2, 4, 8])
@pytest.mark.parametrize(("dtype", "layout"), [(np.float16, "nchw"), (np.float32, "nchw"), (np.float16, "hwc8")])
def test_shuffle_and_residual(gpu, r, dtype, layout):
    h, w = 8, 12
    features = RNG.uniform(-0.3, 0.3, (2, 3 * r * r, h, w)).astype(dtype)
    lr = RNG.uniform(0, 1, (2, 3, h, w)).astype(dtype)
    given = features
    if layout == "hwc8":  # channels (i, j, c), then padding
        given = features.reshape(2, 3, r * r, h, w).transpose(0, 3, 4, 2, 1).reshape(2, h, w, 3 * r * r)
        given = np.pad(given, ((0, 0), (0, 0), (0, 0), (0, -3 * r * r % 8)))
    out, sums = gpu.room((2, h * r, w * r, 3), np.uint8), gpu.put(np.zeros((2, 6), np.uint64))
    image_tail(gpu.kernels, gpu.put(given), out=out, stream=gpu.stream, r=r, lr=gpu.put(lr), sums=sums, layout=layout)
    wide = np.pad(lr.astype(np.float32), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge").transpose(0, 2, 3, 1)
    base = resize(wide, ((h + 8) * r, (w + 8) * r))[:, 4 * r : -4 * r, 4 * r : -4 * r]  # replicated edges
    value = pixel_shuffle(features.astype(np.float32), r) + base.transpose(0, 3, 1, 2)
    found = gpu.get(out)
    off = np.abs(found.astype(int) - from_network(value, ModelSpec("a", 16, r)))
    assert off.max() <= 1 and (off > 0).mean() < 2e-3
    levels = found.reshape(2, -1, 3).astype(np.uint64)
    np.testing.assert_array_equal(gpu.get(sums), np.concatenate([levels.sum(1), (levels * levels).sum(1)], axis=1))


@pytest.mark.parametrize("spec", [ModelSpec("rgb", 8, 4, input_upscaled=True), ModelSpec(
    "y", 8, 2, channels=1, colour="y", input_upscaled=True)], ids=["rgb", "y"])  # fmt: skip
def test_enlarge_equals_to_network(gpu, spec):
    lr = RNG.uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    wanted = to_network(lr, spec)
    out = gpu.room(wanted.shape, np.float32)
    enlarge(
        gpu.kernels, gpu.put(lr.transpose(0, 3, 1, 2)), out=out, colours=network_colours(spec, "rgb"), stream=gpu.stream
    )
    np.testing.assert_allclose(gpu.get(out), wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))
    pixels = gpu.room((2, *wanted.shape[2:], 8), np.float16)
    small, colours = gpu.put(lr.transpose(0, 3, 1, 2)), network_colours(spec, "rgb")
    enlarge(gpu.kernels, small, out=pixels, colours=colours, stream=gpu.stream, layout="hwc8")
    found = gpu.get(pixels).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found[:, : spec.channels], gpu.get(out).astype(np.float16))
    assert not found[:, spec.channels :].any()


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32])
@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_pixel_shuffle_moves_every_bit(gpu, dtype, r):
    planes = RNG.integers(0, 100, (2, 5 * r * r, 7, 16)).astype(dtype)
    out = gpu.room((2, 5, 7 * r, 16 * r), dtype)
    kernel_shuffle.pixel_shuffle(gpu.kernels, gpu.put(planes), r, out=out, stream=gpu.stream)
    np.testing.assert_array_equal(gpu.get(out), pixel_shuffle(planes, r))


BAD = {
    "host": (dict(features=lambda gpu: np.zeros((2, 12, 8, 8))), "features on the GPU"),
    "r": (dict(r=3), "a layout and r"),
    "out": (dict(out=lambda gpu: gpu.room((2, 16, 17, 3), np.uint8)), "out of shape"),
    "float out": (dict(out=lambda gpu: gpu.room((2, 16, 16, 3), np.float32)), "out of uint8"),
    "lr type": (dict(lr=lambda gpu: gpu.room((2, 3, 8, 8), np.float32)), "lr of float16"),
    "lr scale": (dict(lr=lambda gpu: gpu.room((2, 3, 8, 8), np.float16), lr_scale=3), "lr_scale as a multiple"),
    "bias": (dict(bias=lambda gpu: gpu.room((11,), np.float32)), "bias of shape"),
    "status": (dict(status=lambda gpu: gpu.room((2,), np.int32)), "status of uint32"),
    "sums": (dict(sums=lambda gpu: gpu.room((2, 3), np.uint64)), "sums of shape"),
    "count": (dict(count=lambda gpu: gpu.room((1,), np.int64)), "count of int32"),
}


@pytest.mark.parametrize(("change", "names"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named_before_the_launch(gpu, change, names):
    plain = dict(
        features=lambda gpu: gpu.room((2, 12, 8, 8), np.float16), out=lambda gpu: gpu.room((2, 16, 16, 3), "u1")
    )
    given = {name: value(gpu) if callable(value) else value for name, value in {**plain, "r": 2, **change}.items()}
    with pytest.raises(InputError, match=names):
        image_tail(gpu.kernels, given.pop("features"), stream=gpu.stream, **given)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


def test_pixel_shuffle_names_bad_arguments(gpu):
    planes = gpu.room((1, 8, 4, 4), np.float16)
    for out, r, names in (
        ((1, 2, 8, 9), 2, "multiples of r=2"),
        ((1, 3, 8, 8), 2, "planes of shape"),
        ((1, 2, 8, 8), 0, "factor"),
    ):
        with pytest.raises(InputError, match=names):
            kernel_shuffle.pixel_shuffle(gpu.kernels, planes, r, out=gpu.room(out, np.float16), stream=gpu.stream)
