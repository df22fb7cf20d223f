"""The launcher of heatmap_decode on the fake GPU, which runs the kernel itself, against sdk.image.heatmap."""

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import InputError
from sdk.image.crop import apply_affine
from sdk.image.heatmap import decode, encode
from sdk.runtime.kernel_decode import heatmap_decode

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(4)
SIZE_HW = (16, 24)
POINTS = RNG.uniform(1, 14, (3, 20, 2))
MAPS = encode(POINTS, SIZE_HW, sigma_cells=1.5) + RNG.uniform(0, 0.02, (3, 20, *SIZE_HW)).astype(np.float32)
MATRICES = np.array([[[2.0, 0.1, 5.0], [-0.1, 2.0, 7.0]]] * 3) + RNG.uniform(0, 1, (3, 2, 3))


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch) as found:
        yield found


def in_layout(maps, layout):
    """[N, K, H, W] in another layout, padded with the smallest values there are."""
    group = {"hwc8": 8, "chw32": 32}[layout]
    N, K, H, W = maps.shape
    low = -128 if maps.dtype == np.int8 else -np.inf
    padded = np.full((N, -(-K // group) * group, H, W), low, maps.dtype)
    padded[:, :K] = maps
    if layout == "hwc8":
        return padded.transpose(0, 2, 3, 1)
    return padded.reshape(N, -1, 32, H, W).transpose(0, 1, 3, 4, 2)


@pytest.mark.parametrize("mode", ["argmax", "quarter", "centroid", "dark"])
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(np.float16, "nchw"), (np.float32, "nchw"), (np.int8, "nchw"), (np.float16, "hwc8"), (np.int8, "chw32")],
)
def test_equals_the_reference(gpu, mode, dtype, layout):
    scale = 1 / 127 if dtype == np.int8 else 1.0
    maps = np.round(np.clip(MAPS, 0, 1) * 127).astype(np.int8) if dtype == np.int8 else MAPS.astype(dtype)
    given = maps if layout == "nchw" else in_layout(maps, layout)
    out = gpu.room((3, 20, 4), np.float32)
    heatmap_decode(
        gpu.kernels, gpu.put(given), out=out, stream=gpu.stream, mode=mode, scale=scale, layout=layout,
        matrices=gpu.put(MATRICES, np.float32),
    )  # fmt: skip
    found = gpu.get(out)
    real = maps.astype(np.float32) * np.float32(scale) if dtype == np.int8 else maps
    wanted = decode(real, mode=mode)
    # float32 sums in another order, magnified by the logarithm and its derivatives in "dark", then by the matrix
    cells = 5e-3 if mode == "dark" else 1e-4
    np.testing.assert_allclose(found[..., :2], apply_affine(wanted.points, MATRICES), atol=3 * cells)
    np.testing.assert_allclose(found[..., 2], wanted.scores, atol=1e-6)
    np.testing.assert_allclose(found[..., 3], wanted.spread, atol=1e-3)


def test_cells_without_matrices_count_and_status(gpu):
    maps = MAPS.copy()
    maps[1, 3] = np.nan
    out, status = gpu.room((3, 20, 4), np.float32), gpu.put(np.zeros(3, np.uint32))
    untouched = gpu.get(out)[2].view(np.uint32)
    heatmap_decode(
        gpu.kernels,
        gpu.put(maps),
        out=out,
        stream=gpu.stream,
        mode="argmax",
        count=gpu.put([2], np.int32),
        status=status,
    )
    found, wanted = gpu.get(out), decode(maps[:2], mode="argmax")
    np.testing.assert_array_equal(found[:2, :, :2], wanted.points)
    np.testing.assert_array_equal(found[:2, :, 2], wanted.scores)
    np.testing.assert_array_equal(found[2].view(np.uint32), untouched)
    assert gpu.get(status).tolist() == [0, 1, 0] and np.isnan(found[1, 3, 2])


def test_zero_faces_launch_nothing(gpu):
    maps = gpu.put(np.zeros((0, 20, 8, 8), np.float16))
    heatmap_decode(gpu.kernels, maps, out=gpu.room((0, 20, 4), np.float32), stream=gpu.stream)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


BAD = {
    "host": (lambda gpu: dict(heatmaps=MAPS), "heatmaps on the GPU"),
    "double": (lambda gpu: dict(heatmaps=gpu.put(MAPS, np.float64)), "heatmaps of float16 or float32 or int8"),
    "flat": (lambda gpu: dict(heatmaps=gpu.put(MAPS[0])), "heatmaps of shape"),
    "large": (lambda gpu: dict(heatmaps=gpu.room((3, 20, 257, 2), np.int8)), "1 to 256 cells"),
    "empty": (lambda gpu: dict(heatmaps=gpu.room((3, 20, 0, 2), np.int8)), "1 to 256 cells"),
    "room": (lambda gpu: dict(out=gpu.room((3, 20, 3), np.float32)), "out of shape"),
    "landmarks": (lambda gpu: dict(out=gpu.room((3, 21, 4), np.float32)), "heatmaps of shape .N=3, K=21"),
    "mode": (lambda gpu: dict(mode="best"), "a mode of"),
    "blur": (lambda gpu: dict(blur=13), "odd blur"),
    "layout": (lambda gpu: dict(layout="nhwc"), "a layout of"),
    "channels": (lambda gpu: dict(heatmaps=gpu.room((3, 8, 8, 20), np.float16), layout="hwc8"), "in 24 channels"),
    "matrices": (lambda gpu: dict(matrices=gpu.put(MATRICES[:2], np.float32)), "matrices of shape"),
    "odd address": (lambda gpu: dict(out=odd(gpu)), "out to begin at a multiple of 16"),
}


def odd(gpu):
    room = gpu.room((3, 20, 4), np.float32)
    room.pointer += 4
    return room


@pytest.mark.parametrize(("change", "names"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named_before_the_launch(gpu, change, names):
    given = dict(heatmaps=gpu.put(MAPS), out=gpu.room((3, 20, 4), np.float32)) | change(gpu)
    with pytest.raises(InputError, match=names):
        heatmap_decode(gpu.kernels, given.pop("heatmaps"), stream=gpu.stream, **given)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0
