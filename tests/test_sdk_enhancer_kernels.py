"""FaceEnhancer with frames on the GPU: real kernels (through g++), real backend, fake driver and TensorRT.

What is compared is the whole way from the frame: the CPU's crop, decoding and paste around the same networks.
"""

import base64
from concurrent.futures import ThreadPoolExecutor

import fake_host
import fake_tensorrt
import kernel_host
import numpy as np
import pytest
from tiny_onnx import save_tiny, tiny_spec

from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError, InputError
from sdk.runtime import kernel_files
from sdk.runtime.device import Device, Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.trt_backend import TrtBackend

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(8)
FRAME = np.clip(RNG.normal(120, 50, (24, 32, 3)).repeat(6, axis=0).repeat(6, axis=1), 0, 255).astype(np.uint8)
FRAME = np.clip(FRAME + RNG.normal(0, 6, FRAME.shape), 0, 255).astype(np.uint8)
BOXES = [[20.0, 30.0, 30.0, 40.0], [90.0, 20.0, 118.0, 52.0], [100.0, 30.0, 128.0, 60.0], [np.nan] * 4,
         [150.0, 100.0, 200.0, 150.0], [60.0, 60.0, 60.5, 60.5], [10.0, 40.0, 130.0, 140.0]]  # fmt: skip
POINTS_PX, LEVELS = 0.05, 1  # what the GPU may differ by


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as found:
        yield found


@pytest.fixture
def networks(host, tmp_path):
    """Engines that compute what small ONNX files say, at two input sizes and twice the second."""
    opened = []
    for name, spec in (("x8", tiny_spec(16, 8)), ("x4", tiny_spec(32, 4))):
        onnx = base64.b64encode(save_tiny(tmp_path / f"{name}.onnx", spec).read_bytes()).decode()
        plan = fake_tensorrt.make_plan(((1, 1), (2, 3)), (16, 64), onnx=onnx)
        engine = fake_tensorrt.write_toy(tmp_path / f"{name}.engine", plan, spec=spec)
        opened.append(TrtBackend(engine))
    yield opened
    for one in opened:
        one.close()


def same(found, wanted):
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.status, mine.model, mine.reason) == (theirs.status, theirs.model, theirs.reason)
        np.testing.assert_array_equal(mine.box_xyxy_px, theirs.box_xyxy_px)
        np.testing.assert_allclose(mine.window, theirs.window, atol=POINTS_PX)
        if theirs.landmarks is not None:
            np.testing.assert_allclose(mine.landmarks, theirs.landmarks, atol=POINTS_PX)
            np.testing.assert_allclose(mine.scores, theirs.scores, atol=2e-3)
            np.testing.assert_allclose(mine.spread, theirs.spread, atol=POINTS_PX)
        if theirs.image is not None and mine.image is not None:
            assert np.abs(mine.image.astype(int) - theirs.image).max() <= LEVELS


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("box_kind", ["face", "crop"])
def test_faces_equal_those_of_the_cpu(networks, color, box_kind):
    with FaceEnhancer(networks, color=color, kernels=False, min_confidence=0.1) as reference:
        wanted = reference.enhance(FRAME, BOXES, box_kind=box_kind)
        assert "kernels" not in reference.describe()
    with FaceEnhancer(networks, color=color, min_confidence=0.1) as enhancer:
        assert enhancer.describe().count("; faces on the GPU: kernels from ") == 2
        for _ in range(2):  # the second time with warm memory and CUDA graphs
            same(enhancer.enhance(FRAME, BOXES, box_kind=box_kind), wanted)
    assert len({one.status for one in wanted}) >= 3


def test_only_small_things_come_back(host, networks, monkeypatch):
    """16 bytes a landmark and a word or two a face, each rounded up to 256 bytes, and the picture asked for."""
    with FaceEnhancer(networks[:1], refine=0, min_confidence=0.1) as enhancer:
        copies = []
        real = Device.copy_out
        monkeypatch.setattr(Device, "copy_out", lambda *all_: (copies.append(all_[3]), real(*all_))[1])
        enhancer.enhance(FRAME, BOXES[:1])
    assert sorted(copies) == [1280 + 256 + 256, 128 * 128 * 3]


def on_gpu(host, device, array):
    array = np.ascontiguousarray(array)
    return DeviceArray(device, host.cuda.foreign(array), array.shape, array.dtype, owner=array)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_a_frame_on_the_gpu_is_enhanced_in_place(host, networks, color):
    """Equal to enhance() and render() of the CPU; later faces lie on top of earlier ones."""
    with FaceEnhancer(networks, color=color, kernels=False, min_confidence=0.1) as reference:
        wanted = reference.enhance(FRAME, BOXES)
        rendered = reference.render(FRAME, wanted, strength=0.75)
    device = Device(0)
    with FaceEnhancer(networks, color=color, min_confidence=0.1) as enhancer:
        for pictures in (False, True):
            frame = on_gpu(host, device, FRAME)
            found = enhancer.enhance_device(frame, BOXES, strength=0.75, pictures=pictures)
            same(found, wanted)
            assert all((one.image is not None) == (pictures and one.model is not None) for one in found)
            off = np.abs(frame.copy_to_host().astype(int) - rendered)
            assert off.max() <= 2 * LEVELS and (off > LEVELS).mean() < 1e-3  # two faces' rounding where they overlap
            host.cuda.memory.pop(frame.pointer)
    assert (rendered != FRAME).any()


def test_an_nv12_frame_is_enhanced_in_place(host, networks):
    """A grey scene, where NV12 holds what RGB does: the same pictures, pasted into both planes."""
    grey = np.repeat(FRAME[..., :1], 3, axis=2)
    with FaceEnhancer(networks, color="rgb", kernels=False, min_confidence=0.0) as reference:
        wanted = reference.enhance(grey, BOXES[:3], box_kind="crop")
    device, chroma = Device(0), np.full((72, 96, 2), 128, np.uint8)
    planes = [on_gpu(host, device, grey[..., 0]), on_gpu(host, device, chroma)]
    with FaceEnhancer(networks, color="bgr", min_confidence=0.0) as enhancer:
        frame = DeviceNv12(*planes, full_range=True)
        found = enhancer.enhance_device(frame, BOXES[:3], box_kind="crop", pictures=True)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.status, mine.model) == (theirs.status, theirs.model)
        assert np.abs(mine.image.astype(int) - theirs.image).max() <= LEVELS
    assert (planes[0].copy_to_host() != grey[..., 0]).any()
    for plane in planes:
        host.cuda.memory.pop(plane.pointer)


def test_the_callers_stream_comes_first(host, networks):
    """What the caller has put on its stream, and nobody has waited for, is seen."""
    device = Device(0)
    with device.current():
        theirs = Stream(device)
    frame, ready = on_gpu(host, device, np.zeros_like(FRAME)), on_gpu(host, device, FRAME)
    with FaceEnhancer(networks, min_confidence=0.1) as enhancer:
        wanted = enhancer.enhance(FRAME, BOXES)
        with device.current():
            device.copy(frame.pointer, ready.pointer, ready.size_bytes, theirs)
        same(enhancer.enhance_device(frame, BOXES, stream=theirs), wanted)
    theirs.close()
    for one in (frame, ready):
        host.cuda.memory.pop(one.pointer)


def test_threads_get_what_one_gets_alone(networks):
    with FaceEnhancer(networks, min_confidence=0.1) as enhancer:
        wanted = enhancer.enhance(FRAME, BOXES[:2])
        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(lambda _: enhancer.enhance(FRAME, BOXES[:2]), range(4)):
                same(found, wanted)


def test_no_faces(host, networks):
    device = Device(0)
    with FaceEnhancer(networks) as enhancer:
        assert enhancer.enhance(FRAME, []) == []
        frame = on_gpu(host, device, FRAME)
        assert enhancer.enhance_device(frame, []) == []
        np.testing.assert_array_equal(frame.copy_to_host(), FRAME)
        host.cuda.memory.pop(frame.pointer)


def test_bad_frames_on_the_gpu(host, networks):
    with FaceEnhancer(networks) as enhancer:
        with pytest.raises(InputError, match="frame on the GPU"):
            enhancer.enhance_device(FRAME, BOXES)
        with pytest.raises(InputError, match="strength"):
            enhancer.enhance_device(FRAME, BOXES, strength=2)
        with pytest.raises(InputError, match="boxes"):
            enhancer.enhance_device(FRAME, [[1, 2, 3]])
    with FaceEnhancer(networks, kernels=False) as enhancer, pytest.raises(BackendError, match="stay on a GPU"):
        enhancer.enhance_device(FRAME, BOXES)


def test_without_code_for_this_gpu_the_cpu_does_it(networks, monkeypatch, caplog):
    def none(folder):
        raise kernel_files.Problem("no built/index.json (it was lost)")

    def broken(source, sm):
        raise BackendError("NVRTC", "no compiler here", "install one")

    monkeypatch.setattr(kernel_files, "read_index", none)
    monkeypatch.setattr("sdk.runtime.gpu.compile_cuda", broken)
    with FaceEnhancer(networks, min_confidence=0.1) as enhancer:
        assert "faces on the CPU: no built/index.json (it was lost); and NVRTC: no compiler here" in enhancer.describe()
        assert len(enhancer.enhance(FRAME, BOXES)) == len(BOXES)
    assert "on the CPU" in caplog.text


def test_a_launch_that_fails_does_not_spoil_the_next_frame(host, networks):
    with FaceEnhancer(networks, min_confidence=0.1) as enhancer:
        wanted = enhancer.enhance(FRAME, BOXES)
        host.cuda.faults["cuLaunchKernel"] = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
        with pytest.raises(BackendError, match="CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
            enhancer.enhance(FRAME, BOXES)
        host.cuda.faults.clear()
        same(enhancer.enhance(FRAME, BOXES), wanted)
