"""Every array of every launcher, replaced by each kind of bad one: refused by name before the launch."""

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import InputError
from sdk.image.crop import window_affine
from sdk.runtime.device import Device, Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_checks import MOST_FACES
from sdk.runtime.kernel_crop import LEVELS, crop_affine, crop_norm
from sdk.runtime.kernel_decode import heatmap_decode
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.kernel_paste import PLACED_BYTES, paste
from sdk.runtime.kernel_shuffle import pixel_shuffle
from sdk.runtime.kernel_tail import enlarge, image_tail

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(6)
WINDOWS = np.array([[10.0, 12.0, 30.5, 32.5], [-8.0, -5.0, 50.0, 53.0]], np.float32)
MAPS = window_affine(WINDOWS.astype(np.float64), size=8).astype(np.float32)
FRAME = RNG.integers(0, 256, (60, 84, 3), np.uint8)
NV12 = dict(y=FRAME[..., 0], uv=np.ascontiguousarray(FRAME[:30, :42, :2]))
COUNT, STATUS, FLAGS = np.array([1], np.int32), np.zeros(2, np.int32), np.zeros(2, np.uint32)
CROPS = dict(frame=FRAME, out=np.zeros((2, 3, 8, 8), np.float32), count=COUNT, status=STATUS)


def on_nv12(launch):
    """The launcher for a frame that comes in two planes."""

    def call(kernels, *, y, uv, **rest):
        launch(kernels, DeviceNv12(y, uv), **rest)

    return call


# fmt: off
CALLS = {  # launcher, its arrays, the names of those it writes, its other arguments
    "crop_norm": (crop_norm, dict(CROPS, windows=WINDOWS), "out status", dict(colours=LEVELS)),
    "crop_norm nv12": (on_nv12(crop_norm), dict(NV12, windows=WINDOWS, out=np.zeros((2, 8, 8, 8), np.float16)), "out",
                       dict(colours=LEVELS, layout="hwc8")),
    "crop_affine": (crop_affine, dict(CROPS, crop_to_frame=MAPS), "out status", dict(colours=LEVELS)),
    "enlarge": (enlarge, dict(
        lr=np.zeros((2, 3, 4, 4), np.float32), out=np.zeros((2, 3, 8, 8), np.float16), count=COUNT,
    ), "out", dict(colours=LEVELS)),
    "heatmap_decode": (heatmap_decode, dict(
        heatmaps=RNG.uniform(0, 1, (2, 5, 16, 16)).astype(np.float16), out=np.zeros((2, 5, 4), np.float32),
        matrices=MAPS, count=COUNT, status=FLAGS,
    ), "out status", {}),
    "image_tail": (image_tail, dict(
        features=np.zeros((2, 12, 8, 8), np.float16), lr=np.zeros((2, 3, 8, 8), np.float16),
        out=np.zeros((2, 16, 16, 3), np.uint8), bias=np.zeros(12, np.float32), sums=np.zeros((2, 6), np.uint64),
        count=COUNT, status=FLAGS,
    ), "out sums status", dict(r=2)),
    "paste": (paste, dict(
        frame=FRAME, faces=np.zeros((2, 8, 8, 3), np.uint8), crop_to_frame=MAPS,
        placed=np.zeros((2, PLACED_BYTES), np.uint8), strength=np.ones(2, np.float32),
        landmarks=RNG.uniform(15, 30, (2, 68, 2)).astype(np.float32), count=COUNT, status=STATUS,
    ), "frame placed status", {}),
    "pixel_shuffle": (pixel_shuffle, dict(
        planes=np.zeros((2, 8, 4, 4), np.int16), out=np.zeros((2, 2, 8, 8), np.int16),
    ), "out", dict(r=2)),
}
# fmt: on
EACH = [(call, name) for call, (_, arrays, _, _) in CALLS.items() for name in arrays]


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch, gpus=2) as found:
        yield found


class Strided:
    """Every second row of somebody's array."""

    def __init__(self, array):
        shape, step = array.shape, array.dtype.itemsize
        strides = tuple(2 * step * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        self.__cuda_array_interface__ = dict(array.__cuda_array_interface__, strides=strides, stream=None)


class Gone:
    """An array of another library whose memory was freed."""

    def __init__(self, array):
        self.__cuda_array_interface__ = dict(array.__cuda_array_interface__, data=(64, False), stream=None)


def freed(gpu, values):
    array = DeviceArray.empty(gpu.device, values.shape, values.dtype, stream=gpu.stream)
    array._owner.close()
    return array


def elsewhere(gpu, values):
    array = gpu.put(values)
    return DeviceArray(Device(1), array.pointer, array.shape, array.dtype, owner=array)


def claimed(gpu, shape, dtype):
    """An array that says it is so large, by itself in some terabytes."""
    return DeviceArray(gpu.device, len(shape) << 48, shape, dtype, owner=gpu)


KINDS = {  # how an array is spoilt, and what the refusal says of the argument
    "host": (lambda gpu, values: values, "{} on the GPU"),
    "list": (lambda gpu, values: values.tolist(), "{}: an array on the GPU"),
    "freed": (freed, "{} in memory of the GPU"),
    "gone": (lambda gpu, values: Gone(gpu.put(values)), "{}: memory of a GPU"),
    "elsewhere": (elsewhere, "{}: an array on cuda:0; got one on cuda:1"),
    "strided": (lambda gpu, values: Strided(gpu.put(values)), "{}: a C-contiguous array"),
    "type": (lambda gpu, values: gpu.put(values, np.complex64), "{} of "),
    "axis": (lambda gpu, values: gpu.put(values[None]), "{} of shape"),
    "short": (lambda gpu, values: gpu.put(values[:0]), "of shape"),  # or what does not fit it
}


def launch(gpu, call, **changes):
    function, arrays, written, others = CALLS[call]
    given = {name: gpu.put(values) for name, values in arrays.items()} | changes
    function(gpu.kernels, **{"stream": gpu.stream, **others, **given})
    return [gpu.get(given[name]) for name in written.split()]


@pytest.mark.parametrize(("call", "name"), EACH, ids=[f"{call}-{name}" for call, name in EACH])
def test_every_bad_array_is_named_before_the_launch(gpu, call, name):
    values = CALLS[call][1][name]
    said = f"frame.{name}" if name in NV12 else name
    for kind, (spoil, words) in KINDS.items():
        if (kind == "strided" and values.size == 1) or (kind == "short" and name == "frame"):
            continue  # an array of one element has no steps; a frame has any height
        with pytest.raises(InputError) as caught:
            launch(gpu, call, **{name: spoil(gpu, values)})
        assert words.format(said) in str(caught.value), (kind, str(caught.value))
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


@pytest.mark.parametrize("call", CALLS)
def test_read_only_arrays_are_read_and_never_written(gpu, call):
    _, arrays, written, _ = CALLS[call]
    given = {}
    for name, values in arrays.items():
        array = gpu.put(values)
        array.readonly = True
        if name in written.split():
            with pytest.raises(InputError, match=f"{name}: an array to write to"):
                launch(gpu, call, **{name: array})
        else:
            given[name] = array
    launch(gpu, call, **given)


def test_what_is_written_lies_apart(gpu):
    room = gpu.room((2, 8, 8, 8), np.int16)
    planes = DeviceArray(gpu.device, room.pointer + 64, (2, 8, 4, 4), np.int16, owner=room)
    out = DeviceArray(gpu.device, room.pointer, (2, 2, 8, 8), np.int16, owner=room)
    with pytest.raises(InputError, match="planes apart from out; got memory that they share"):
        launch(gpu, "pixel_shuffle", planes=planes, out=out)
    behind = DeviceArray(gpu.device, room.pointer + 512, (2, 8, 4, 4), np.int16, owner=room)
    launch(gpu, "pixel_shuffle", planes=behind, out=out)


@pytest.mark.parametrize("call", CALLS)
def test_a_stream_that_is_closed_or_of_another_gpu(gpu, call):
    closed, other = Stream(gpu.device), Stream(Device(1))
    closed.close()
    for stream, got in ((closed, "a closed one"), (other, "one of cuda:1")):
        with pytest.raises(InputError, match=f"an open stream of cuda:0; got {got}"):
            launch(gpu, call, stream=stream)
    other.close()
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


@pytest.mark.parametrize("count", [-5, 0, 2, 2**31 - 1])
@pytest.mark.parametrize("call", [call for call, (_, arrays, _, _) in CALLS.items() if "count" in arrays])
def test_a_count_beyond_the_buffers_stays_inside_them(gpu, call, count):
    """The fake driver reports every access outside an array."""
    launch(gpu, call, count=gpu.put([count], np.int32))


@pytest.mark.parametrize("call", ["crop_norm", "crop_affine", "heatmap_decode", "paste"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38, 0.0])
def test_boxes_and_maps_of_nonsense_write_a_status_or_nothing(gpu, call, value):
    name = {"crop_norm": "windows", "heatmap_decode": "matrices"}.get(call, "crop_to_frame")
    values = np.full_like(CALLS[call][1][name], value)
    found = launch(gpu, call, **{name: gpu.put(values)}, count=None)
    if call != "heatmap_decode":  # its matrices are the caller's numbers, and so are its points
        assert found[-1].all(), "a status for each"
    if call == "paste":
        np.testing.assert_array_equal(found[0], FRAME)


def test_more_faces_than_a_grid_takes(gpu):
    many, out = claimed(gpu, (MOST_FACES + 1, 4), np.float32), claimed(gpu, (MOST_FACES + 1, 3, 8, 8), np.float32)
    with pytest.raises(InputError, match="windows of at most 65535 faces; got 65536"):
        crop_norm(gpu.kernels, gpu.put(FRAME), many, out=out, colours=LEVELS, stream=gpu.stream)


@pytest.mark.parametrize(
    ("call", "change", "words"),
    [
        ("crop_norm", dict(colours=LEVELS * np.nan), "finite colours"),
        ("crop_norm", dict(layout="chw4"), "a layout of"),
        ("enlarge", dict(colours=LEVELS[:2]), r"colours \[1, 4\] or"),
        ("heatmap_decode", dict(scale=np.inf), "finite scale"),
        ("image_tail", dict(gain=np.nan), "finite gain"),
        ("image_tail", dict(slope=-np.inf), "finite slope"),
        ("paste", dict(feather=np.inf), "a finite feather"),
        ("paste", dict(strength=np.nan), r"strength in \[0, 1\]"),
    ],
)
def test_numbers_that_are_none(gpu, monkeypatch, call, change, words):
    function, arrays, written, others = CALLS[call]
    monkeypatch.setitem(CALLS, call, (function, arrays, written, {**others, **change}))
    monkeypatch.delitem(arrays, "strength", raising=False)
    with pytest.raises(InputError, match=words):
        launch(gpu, call)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


LARGE = "at most 2147483647 values a face"
SIZES = [
    ((1, 1, 1, 257), "nchw", "1 to 256"),
    ((1, 0, 4, 8), "hwc8", "1 to 256"),
    ((1, 256, 256, 2**15), "hwc8", LARGE),
]


@pytest.mark.parametrize(("shape", "layout", "words"), SIZES)
def test_maps_larger_than_supported(gpu, shape, layout, words):
    out = claimed(gpu, (1, shape[3] if layout == "hwc8" else 1, 4), np.float32)
    with pytest.raises(InputError, match=words):
        heatmap_decode(gpu.kernels, claimed(gpu, shape, np.float16), out=out, stream=gpu.stream, layout=layout)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0
