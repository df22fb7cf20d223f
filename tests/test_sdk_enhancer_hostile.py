"""What the GPU path does with bad input and with failures of CUDA: an exception that names it, and nothing spoilt."""

import contextlib
import types

import fake_host
import kernel_host
import numpy as np
import pytest
from chain_host import BOXES, FRAME, engine, near, on_gpu, reference, same

from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError, InputError
from sdk.result import FaceStatus
from sdk.runtime.device import Buffer, Device, Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_frames import DeviceNv12

pytestmark = kernel_host.needs_compiler
CROP = dict(box_kind="crop")
TWO = BOXES[1:3]


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path, gpus=2) as found:
        yield found


@pytest.fixture
def backend(host, tmp_path):
    one = engine(tmp_path)
    yield one
    one.close()


def frame_of(device, pointer, **changes):
    """An array of another library, as it describes itself."""
    about = dict(shape=FRAME.shape, typestr="|u1", data=(pointer, False), version=3, strides=None, stream=None)
    return types.SimpleNamespace(__cuda_array_interface__={**about, **changes})


BAD_FRAMES = {
    "a host array": (lambda host, device, good: FRAME, "frame"),
    "a list": (lambda host, device, good: FRAME.tolist(), "frame"),
    "None": (lambda host, device, good: None, "frame"),
    "a host pointer": (lambda host, device, good: frame_of(device, FRAME.ctypes.data), "memory of a GPU"),
    "float32": (lambda host, device, good: on_gpu(host, device, FRAME.astype(np.float32)), "float32"),
    "grey": (lambda host, device, good: on_gpu(host, device, FRAME[..., 0]), "shape"),
    "planes": (lambda host, device, good: on_gpu(host, device, FRAME.transpose(2, 0, 1)), "shape"),
    "no pixels": (lambda host, device, good: on_gpu(host, device, FRAME[:0]), "px a side"),
    "rows with gaps": (
        lambda host, device, good: frame_of(device, good.pointer, shape=(64, 40, 3), strides=(240, 3, 1)),
        "contiguous",
    ),
    "upside down": (
        lambda host, device, good: frame_of(device, good.pointer, strides=(-240, 3, 1)),
        "contiguous",
    ),
    "read-only": (lambda host, device, good: frame_of(device, good.pointer, data=(good.pointer, True)), "read-only"),
    "another GPU": (lambda host, device, good: on_gpu(host, Device(1), FRAME), "cuda:1"),
    "freed": (lambda host, device, good: freed(device), "freed"),
    "an nv12 plane too small": (
        lambda host, device, good: DeviceNv12(
            on_gpu(host, device, FRAME[..., 0]), on_gpu(host, device, np.zeros((31, 40, 2), np.uint8))
        ),
        "uv",
    ),
    "an nv12 plane on the host": (
        lambda host, device, good: DeviceNv12(on_gpu(host, device, FRAME[..., 0]), np.zeros((32, 40, 2), np.uint8)),
        "uv",
    ),
}


def freed(device):
    buffer = Buffer(device, FRAME.nbytes)
    array = DeviceArray(device, buffer.pointer, FRAME.shape, np.uint8, owner=buffer)
    buffer.close()
    return array


def test_frames_that_are_none_are_refused_before_anything_is_launched(host, backend):
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        device = Device(0)
        good = on_gpu(host, device, FRAME)
        for what, (make, words) in BAD_FRAMES.items():
            before = host.cuda.calls["cuLaunchKernel"]
            with pytest.raises(InputError, match=words):
                enhancer.enhance_device(make(host, device, good), TWO, **CROP)
                pytest.fail(what)
            assert host.cuda.calls["cuLaunchKernel"] == before, what
        np.testing.assert_array_equal(good.copy_to_host(), FRAME)
        for stream in ("x", -1, object()):
            with pytest.raises(InputError, match="stream"):
                enhancer.enhance_device(good, TWO, stream=stream)
        enhancer.enhance_device(good, TWO, **CROP)
        near(good.copy_to_host(), reference(backend, TWO, **CROP)[1])


def test_boxes_that_are_none_get_a_result_and_leave_the_rest_alone(host, backend):
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        nan, inf = np.nan, np.inf
        bad = [[nan] * 4, [30, 20, 10, 40], [200, 200, 220, 220], [-90, -90, -80, -80], [0, 0, inf, inf], [5, 5, 5, 5],
               [1e300, 0, 2e300, 9], [10, 10, 10.2, 10.2], [-1e6, -1e6, 1e6, 1e6]]  # fmt: skip
        mixed = np.array([bad[0], TWO[0], *bad[1:], TWO[1]])
        wanted, rendered = reference(backend, mixed, **CROP)
        device = Device(0)
        for _ in range(3):
            frame = on_gpu(host, device, FRAME)
            found = enhancer.enhance_device(frame, mixed, **CROP)
            same(found, wanted)
            near(frame.copy_to_host(), rendered)
            same(enhancer.enhance(FRAME, mixed, **CROP), wanted)
        assert [one.status for one in found].count(FaceStatus.INVALID_BOX) == len(bad)
        frame = on_gpu(host, device, FRAME)
        for boxes in ([], bad):
            assert len(enhancer.enhance_device(frame, boxes)) == len(boxes)
        np.testing.assert_array_equal(frame.copy_to_host(), FRAME)


def test_more_faces_than_any_buffer_so_far(host, backend):
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        boxes = np.concatenate([TWO] * 10)  # 20: parts of 8, 8 and 4 rows
        device, (wanted, rendered) = Device(0), reference(backend, boxes, **CROP)
        for some, mine, picture in ((TWO, wanted[:2], None), (boxes, wanted, rendered), (TWO, wanted[:2], None)):
            frame = on_gpu(host, device, FRAME)
            same(enhancer.enhance_device(frame, some, **CROP), mine)
            if picture is not None:
                off = np.abs(frame.copy_to_host().astype(int) - picture)
                assert off.max() <= 10, "ten faces on one spot, each rounded once"


@contextlib.contextmanager
def failing(cuda, function, after, status):
    """The call of that number fails, and no other."""
    left = [after]

    def fault():
        left[0] -= 1
        return status if left[0] == -1 else None

    cuda.faults[function] = fault
    yield left
    del cuda.faults[function]


PLACES = [("cuLaunchKernel", 7), ("cuMemcpyHtoDAsync", 1), ("cuMemcpyDtoHAsync", 1), ("cuMemsetD8Async", 2),
          ("cuStreamSynchronize", 2), ("cuGraphLaunch", 1), ("cuMemAlloc", 3), ("cuMemHostAlloc", 2),
          ("cuEventCreate", 2), ("cuStreamWaitEvent", 2), ("cuStreamCreate", 2), ("cuGraphInstantiate", 1)]  # fmt: skip


@pytest.mark.parametrize(("function", "calls"), PLACES)
def test_a_failure_anywhere_poisons_nothing_that_follows(host, tmp_path, function, calls):
    """Of the first frame, of one that records, of one that replays: an error, or the right picture by another way."""
    backend, device = engine(tmp_path), Device(0)
    rendered = reference(backend, TWO, **CROP)[1]
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for earlier in (0, 1, 3):
            for number in range(calls):
                for _ in range(earlier):
                    enhancer.enhance_device(on_gpu(host, device, FRAME), TWO, **CROP)
                frame, failed = on_gpu(host, device, FRAME), False
                with failing(host.cuda, function, number, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
                    try:
                        enhancer.enhance_device(frame, TWO, **CROP)
                    except BackendError as error:
                        failed = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES" in str(error)
                        assert failed
                if not failed:
                    near(frame.copy_to_host(), rendered)
                frame = on_gpu(host, device, FRAME)
                enhancer.enhance_device(frame, TWO, **CROP)
                near(frame.copy_to_host(), rendered)
                earlier = 0
    backend.close()


def test_after_close_and_with_streams_that_are_gone(host, backend):
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        device = Device(0)
        frame = on_gpu(host, device, FRAME)
        with device.current():
            stream = Stream(device)
        enhancer.enhance_device(frame, TWO, stream=stream, **CROP)
        stream.close()
        with pytest.raises((BackendError, InputError)):
            enhancer.enhance_device(frame, TWO, stream=stream)
        host.cuda.problems.clear()  # the driver was asked about a stream that is not there
        enhancer.close()
        with pytest.raises(BackendError, match="close"):
            enhancer.enhance_device(frame, TWO)
        with pytest.raises(BackendError, match="close"):
            enhancer.enhance_aligned([FRAME[:9, :9]])
