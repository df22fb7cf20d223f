"""The launcher of crop_norm on the fake GPU, which runs the kernel itself, against sdk.image."""

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import BackendError, InputError
from sdk.image.crop import crop
from sdk.image.crop import crop_affine as affine_reference
from sdk.image.nv12 import Nv12Frame, crop_affine_nv12, crop_nv12
from sdk.image.pixels import to_network
from sdk.runtime.device import Graph
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_crop import LEVELS, crop_affine, crop_norm, network_colours
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.spec import ModelSpec

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(3)
FRAME = RNG.integers(0, 256, (60, 83, 3), np.uint8)
WINDOWS = np.array([[10.0, 12.0, 30.5, 32.5], [-8.0, -5.0, 50.0, 53.0], [60.0, 30.0, 95.0, 65.0]])
SPECS = {
    "rgb": ModelSpec("rgb", 16, 4),
    "bgr": ModelSpec("bgr", 16, 4, colour="bgr", value_range=(-1, 1), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)),
    "y": ModelSpec("y", 16, 2, channels=1, colour="y", mean=(0.1,)),
}


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch) as found:
        yield found


def wanted(spec, color, windows=WINDOWS, size=16):
    crops = crop(FRAME, windows.astype(np.float32), size=size)
    return to_network(np.ascontiguousarray(crops if color == "rgb" else crops[..., ::-1]), spec)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equals_crop_and_to_network(gpu, spec, color, dtype):
    out = gpu.room((3, spec.channels, 16, 16), dtype)
    crop_norm(
        gpu.kernels,
        gpu.put(FRAME),
        gpu.put(WINDOWS, np.float32),
        out=out,
        colours=network_colours(spec, color),
        stream=gpu.stream,
    )
    expected = wanted(spec, color)
    # float32 sums of some 100 taps in another order, of levels up to 255, then the spec's gain; and fp16's rounding.
    level = 2e-3 * max(np.abs(network_colours(spec, color)[:, :3]).sum(axis=1).max(), 1 / 255)
    tolerance = level + (np.abs(expected).max() * 2.0**-11 if dtype == np.float16 else 0.0)
    assert np.abs(gpu.get(out) - expected).max() <= tolerance


def test_levels_are_the_crop_itself(gpu):
    out = gpu.room((3, 3, 24, 24), np.float32)
    crop_norm(gpu.kernels, gpu.put(FRAME), gpu.put(WINDOWS, np.float32), out=out, colours=LEVELS, stream=gpu.stream)
    expected = crop(FRAME, WINDOWS.astype(np.float32), size=24)
    np.testing.assert_allclose(gpu.get(out).transpose(0, 2, 3, 1), expected, atol=2e-3)


def test_count_and_status(gpu):
    """Faces beyond the count stay as they are, windows that are none write only their status."""
    windows = np.concatenate([WINDOWS, WINDOWS]).astype(np.float32)
    windows[1] = np.nan
    windows[2, 2] = -1e9
    out, status = gpu.room((6, 3, 16, 16), np.float32), gpu.room((6,), np.int32)
    untouched = gpu.get(out)
    crop_norm(
        gpu.kernels,
        gpu.put(FRAME),
        gpu.put(windows),
        out=out,
        colours=network_colours(SPECS["rgb"], "bgr"),
        stream=gpu.stream,
        count=gpu.put([4], np.int32),
        status=status,
    )
    found = gpu.get(out)
    assert gpu.get(status)[:4].tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(found[[1, 2, 4, 5]].view(np.uint32), untouched[[1, 2, 4, 5]].view(np.uint32))
    np.testing.assert_allclose(found[[0, 3]], wanted(SPECS["rgb"], "bgr")[[0, 0]], atol=1e-5)


@pytest.mark.parametrize("siting", ["left", "center"])
def test_nv12_equals_the_reference(gpu, siting):
    y, uv = RNG.integers(16, 236, (60, 83), np.uint8), RNG.integers(16, 241, (30, 42, 2), np.uint8)
    frame = DeviceNv12(gpu.put(y), gpu.put(uv), "bt601", siting=siting)
    out = gpu.room((3, 3, 16, 16), np.float32)
    crop_norm(gpu.kernels, frame, gpu.put(WINDOWS, np.float32), out=out, colours=LEVELS, stream=gpu.stream)
    expected = crop_nv12(Nv12Frame(y, uv, "bt601", siting=siting), WINDOWS.astype(np.float32), size=16)
    np.testing.assert_allclose(gpu.get(out).transpose(0, 2, 3, 1), expected, atol=5e-3)


def turned(angle, scale, x, y):
    """A map from the crop to the frame."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return [[c, -s, x], [s, c, y]]


TURNED = np.array([turned(0.4, 1.3, 20, 8), turned(-2.0, 0.5, 30, 50), turned(0.0, 3.0, -5, 2)])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_turned_faces_equal_the_reference(gpu, spec, dtype):
    out, status = gpu.room((3, spec.channels, 17, 17), dtype), gpu.room((3,), np.int32)
    maps, colours = gpu.put(TURNED, np.float32), network_colours(spec, "bgr")
    crop_affine(gpu.kernels, gpu.put(FRAME), maps, out=out, colours=colours, stream=gpu.stream, status=status)
    crops = affine_reference(FRAME, TURNED.astype(np.float32), size=17)
    expected = to_network(np.ascontiguousarray(crops[..., ::-1]), spec)
    level = 2e-3 * max(np.abs(colours[:, :3]).sum(axis=1).max(), 1 / 255)
    tolerance = level + (np.abs(expected).max() * 2.0**-11 if dtype == np.float16 else 0.0)
    assert np.abs(gpu.get(out) - expected).max() <= tolerance
    assert not gpu.get(status).any()


@pytest.mark.parametrize("kind", ["bgr", "nv12"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("way", ["windows", "maps"])
def test_hwc8_holds_the_same_and_zeros(gpu, kind, spec, way):
    """Eight channels a pixel, as TensorRT's HWC8 has them: those past the network's are 0."""
    y, uv = RNG.integers(16, 236, (60, 83), np.uint8), RNG.integers(16, 241, (30, 42, 2), np.uint8)
    frame = gpu.put(FRAME) if kind == "bgr" else DeviceNv12(gpu.put(y), gpu.put(uv))
    boxes = gpu.put(WINDOWS if way == "windows" else TURNED, np.float32)
    cut = crop_norm if way == "windows" else crop_affine
    planes, pixels = gpu.room((3, spec.channels, 16, 16), np.float16), gpu.room((3, 16, 16, 8), np.float16)
    given = dict(colours=network_colours(spec, "bgr"), stream=gpu.stream)
    cut(gpu.kernels, frame, boxes, out=planes, **given)
    cut(gpu.kernels, frame, boxes, out=pixels, layout="hwc8", **given)
    found = gpu.get(pixels)
    np.testing.assert_array_equal(found[..., : spec.channels].transpose(0, 3, 1, 2), gpu.get(planes))
    assert not found[..., spec.channels :].any()


def test_turned_faces_of_nv12(gpu):
    y, uv = RNG.integers(16, 236, (60, 83), np.uint8), RNG.integers(16, 241, (30, 42, 2), np.uint8)
    out = gpu.room((3, 3, 16, 16), np.float32)
    maps, frame = gpu.put(TURNED, np.float32), DeviceNv12(gpu.put(y), gpu.put(uv))
    crop_affine(gpu.kernels, frame, maps, out=out, colours=LEVELS, stream=gpu.stream)
    expected = crop_affine_nv12(Nv12Frame(y, uv), TURNED.astype(np.float32), size=16)
    np.testing.assert_allclose(gpu.get(out).transpose(0, 2, 3, 1), expected, atol=5e-3)


def test_one_graph_serves_a_changing_number_of_faces(gpu):
    """Count and windows lie in the GPU's memory: captured once, replayed with others."""
    frame, boxes, count = gpu.put(FRAME), gpu.put(np.zeros((3, 4), np.float32)), gpu.put([0], np.int32)
    out, colours = gpu.room((3, 3, 16, 16), np.float32), network_colours(SPECS["rgb"], "bgr")

    def work():
        crop_norm(gpu.kernels, frame, boxes, out=out, colours=colours, stream=gpu.stream, count=count)

    work()  # loads the kernel
    graph = Graph(gpu.stream, work)
    for some in ([0, 1, 2], [2], [1, 0]):
        poison = gpu.room((3, 3, 16, 16), np.float32)
        for target, source in ((boxes, gpu.put(WINDOWS[some], np.float32)), (count, gpu.put([len(some)], np.int32))):
            gpu.device.copy(target.pointer, source.pointer, source.size_bytes, gpu.stream)
        gpu.device.copy(out.pointer, poison.pointer, out.size_bytes, gpu.stream)
        graph.launch()
        found = gpu.get(out)
        np.testing.assert_allclose(found[: len(some)], wanted(SPECS["rgb"], "bgr", WINDOWS[some]), atol=1e-5)
        np.testing.assert_array_equal(found[len(some) :].view(np.uint8), 0xA5)
    graph.close()


def test_zero_faces_launch_nothing(gpu):
    crop_norm(
        gpu.kernels,
        gpu.put(FRAME),
        gpu.put(np.zeros((0, 4), np.float32)),
        out=gpu.room((0, 3, 16, 16), np.float32),
        colours=LEVELS,
        stream=gpu.stream,
    )
    gpu.stream.synchronize()
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


def strided(gpu):
    class Odd:
        __cuda_array_interface__ = dict(
            gpu.put(FRAME).__cuda_array_interface__, shape=(60, 40, 3), strides=(249, 6, 1), stream=None
        )

    return Odd()


def freed(gpu):
    array = DeviceArray.empty(gpu.device, FRAME.shape, np.uint8, stream=gpu.stream)
    array._owner.close()
    return array


BAD = {
    "host frame": (dict(frame=lambda gpu: FRAME), "frame on the GPU"),
    "list": (dict(frame=lambda gpu: FRAME.tolist()), "frame: an array on the GPU"),
    "float frame": (dict(frame=lambda gpu: gpu.put(FRAME, np.float32)), "frame of uint8"),
    "grey frame": (dict(frame=lambda gpu: gpu.put(FRAME[..., 0])), "frame of shape"),
    "strided frame": (dict(frame=strided), "frame: a C-contiguous array"),
    "freed frame": (dict(frame=freed), "frame in memory of the GPU"),
    "host windows": (dict(windows=lambda gpu: WINDOWS), "windows on the GPU"),
    "double windows": (dict(windows=lambda gpu: gpu.put(WINDOWS)), "windows of float32"),
    "flat windows": (dict(windows=lambda gpu: gpu.put(np.zeros(4, np.float32))), "windows of shape"),
    "few rooms": (dict(out=lambda gpu: gpu.room((2, 3, 16, 16), np.float32)), "out of shape .N=3"),
    "oblong room": (dict(out=lambda gpu: gpu.room((3, 3, 16, 17), np.float32)), "out of shape"),
    "byte room": (dict(out=lambda gpu: gpu.room((3, 3, 16, 16), np.uint8)), "out of float32 or float16"),
    "two channels": (dict(out=lambda gpu: gpu.room((3, 2, 16, 16), np.float32)), "out of shape .N=3, 3, size"),
    "long count": (dict(count=lambda gpu: gpu.put([1, 2], np.int32)), "count of shape"),
    "short status": (dict(status=lambda gpu: gpu.room((2,), np.int32)), "status of shape"),
}


@pytest.mark.parametrize(("change", "names"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named_before_the_launch(gpu, change, names):
    arguments = dict(
        frame=lambda gpu: gpu.put(FRAME),
        windows=lambda gpu: gpu.put(WINDOWS, np.float32),
        out=lambda gpu: gpu.room((3, 3, 16, 16), np.float32),
    )
    given = {name: make(gpu) for name, make in {**arguments, **change}.items()}
    with pytest.raises(InputError, match=names):
        crop_norm(gpu.kernels, colours=LEVELS, stream=gpu.stream, **given)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


def test_a_failed_launch_poisons_nothing(gpu):
    frame, windows = gpu.put(FRAME), gpu.put(WINDOWS, np.float32)
    out = gpu.room((3, 3, 16, 16), np.float32)
    gpu.cuda.faults["cuLaunchKernel"] = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
    with pytest.raises(BackendError, match="crop_norm_bgr_f32_nchw .*CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
        crop_norm(gpu.kernels, frame, windows, out=out, colours=LEVELS, stream=gpu.stream)
    gpu.cuda.faults.clear()
    crop_norm(gpu.kernels, frame, windows, out=out, colours=LEVELS, stream=gpu.stream)
    assert np.isfinite(gpu.get(out)).all()
