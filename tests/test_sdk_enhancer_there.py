"""render(), enhance_aligned(), luminance, maps of components and NaN on the GPU path; what it does with bad input."""

import gc
import threading

import chain_host
import fake_host
import kernel_host
import numpy as np
import pytest
from chain_host import BOXES, FRAME, LUMA, counted, engine, near, on_gpu, reference, same
from onnx import numpy_helper
from tiny_onnx import tiny_graph, tiny_spec

from sdk.enhancer import FaceEnhancer
from sdk.errors import InputError, ModelError
from sdk.runtime.device import Device

pytestmark = kernel_host.needs_compiler
CROP = dict(box_kind="crop")


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as found:
        yield found


@pytest.fixture
def backend(host, tmp_path):
    one = engine(tmp_path)
    yield one
    one.close()


def test_render_pastes_on_the_gpu(host, backend, caplog):
    """Only the rows under faces cross; with an error of CUDA, or after close(), the CPU does it."""
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        results = enhancer.enhance(FRAME, [*BOXES[1:3], [30.0, -6, 41, 5]], **CROP)
        with FaceEnhancer(backend, kernels=False) as cpu:
            wanted = cpu.render(FRAME, results, strength=0.75)
        calls, before = counted(host.cuda), len(host.cuda.launches)
        near(enhancer.render(FRAME, results, strength=np.float32(0.75)), wanted)
        assert [name for name, *_ in host.cuda.launches[before:]] == ["paste_match_bgr", "paste_bgr"]
        near(enhancer.render(FRAME[:, :, ::-1], results[:2]), reference_render(backend, FRAME[:, :, ::-1], results[:2]))
        np.testing.assert_array_equal(enhancer.render(FRAME, []), FRAME)
        assert calls.of("cuStreamSynchronize") == 4, "each render() and giving its slot back"
        host.cuda.faults["cuLaunchKernel"] = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
        np.testing.assert_array_equal(enhancer.render(FRAME, results, strength=0.75), wanted)
        assert "pasted on the CPU: expected cuLaunchKernel" in caplog.text
        host.cuda.faults.clear()
    np.testing.assert_array_equal(enhancer.render(FRAME, results, strength=0.75), wanted)
    assert (wanted != FRAME).any()


def reference_render(backend, frame, results):
    with FaceEnhancer(backend, kernels=False) as cpu:
        return cpu.render(frame, results)


def test_results_that_are_not_finite_stay_out(backend):
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        (one,) = enhancer.enhance(FRAME, BOXES[:1], **CROP)
        object.__setattr__(one, "landmarks", np.full((68, 2), np.nan, np.float32))
        np.testing.assert_array_equal(enhancer.render(FRAME, [one]), FRAME)
        object.__setattr__(one, "crop_to_frame", np.full((2, 3), np.nan))
        np.testing.assert_array_equal(enhancer.render(FRAME, [one]), FRAME)


@pytest.mark.parametrize("box_kind", ["crop", "landmarks"])
def test_points_of_another_scheme_leave_the_window_as_mask(host, tmp_path, box_kind):
    """Pasted in the graph, and after the host has looked at larger windows."""
    proto, spec = with_points(tiny_graph(tiny_spec(8, 2, heatmap_size=8)), 19), points_spec(19)
    backend, device = engine(tmp_path, spec=spec, proto=proto), Device(0)
    boxes, kind = BOXES[1:3], dict(box_kind=box_kind)
    with FaceEnhancer(backend, kernels=False, min_confidence=0.0) as cpu:
        wanted = cpu.enhance(FRAME, boxes, **kind)
        rendered = cpu.render(FRAME, wanted)
    with FaceEnhancer(backend, min_confidence=0.0) as enhancer:
        frame = on_gpu(host, device, FRAME)
        same(enhancer.enhance_device(frame, boxes, **kind), wanted)
        near(frame.copy_to_host(), rendered)
        near(enhancer.render(FRAME, wanted), rendered)
    backend.close()


def points_spec(K):
    return tiny_spec(8, 2, any_size=False, heatmap_size=8, heatmap_count=K, landmark_scheme="other")


def with_points(proto, K):
    """The first K of the maps."""
    for one in proto.graph.initializer:
        if one.name == "weights":
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[:K].copy(), "weights"))
    return proto


def test_aligned_faces(host, backend):
    """Pictures of any size, each its own frame with its own edges."""
    pictures = [np.ascontiguousarray(FRAME[:side, 3 : 3 + side]) for side in (8, 11, 40, 9, 1)]
    with FaceEnhancer(backend, kernels=False, min_confidence=0.1) as cpu:
        wanted = cpu.enhance_aligned(pictures)
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for _ in range(3):
            calls = counted(host.cuda)
            same(enhancer.enhance_aligned(pictures), wanted)
        assert calls.of("cuGraphLaunch") == 1 and not calls.of("cuStreamBeginCapture")
        same(enhancer.enhance_aligned(pictures[1:2]), wanted[1:2])
        assert enhancer.enhance_aligned([]) == []
        with pytest.raises(InputError, match="square"):
            enhancer.enhance_aligned([FRAME])


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_networks_of_luminance(host, tmp_path, color):
    """One channel at two sizes, colours from the crop: through the GPU, a grey level from the CPU's."""
    backend, device = engine(tmp_path, spec=LUMA, proto=chain_host.luma_graph()), Device(0)
    with FaceEnhancer(backend, kernels=False, color=color) as cpu, FaceEnhancer(backend, color=color) as enhancer:
        wanted = cpu.enhance(FRAME, BOXES)
        assert "faces on the GPU" in enhancer.describe()
        for _ in range(3):
            found = enhancer.enhance(FRAME, BOXES)
            same(found, wanted)
        frame = on_gpu(host, device, FRAME)
        same(enhancer.enhance_device(frame, BOXES, pictures=True), wanted)
        near(frame.copy_to_host(), cpu.render(FRAME, wanted))
    assert {one.image.shape for one in found} == {(16, 16, 3), (32, 32, 3)}
    assert np.ptp(found[0].image.astype(int) - found[0].image[..., :1]) > 20, "in colour"
    backend.close()


def test_maps_of_components_come_with_the_picture(host, tmp_path):
    spec = tiny_spec(8, 2, any_size=False, heatmap_size=8, heatmap_kind="components", heatmap_count=68)
    backend = engine(tmp_path, spec=spec)
    wanted = reference(backend, BOXES[:2], **CROP)[0]
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        found = enhancer.enhance(FRAME, BOXES[:2], **CROP)
        same(found, wanted)
        assert found[1].components.flags.owndata and found[1].components.shape == (68, 8, 8)
    backend.close()


def test_nan_in_a_picture_is_the_cpus_error_and_leaves_the_frame_alone(host, tmp_path):
    spec = tiny_spec(8, 2, any_size=False, heatmap_size=8)
    backend, device = engine(tmp_path, spec=spec, proto=chain_host.with_log(tiny_graph(spec))), Device(0)
    bright = np.maximum(FRAME, 110)
    dark = bright.copy()
    dark[36:, 4:16] = 5
    messages = []
    with FaceEnhancer(backend, kernels=False, min_confidence=0.1) as cpu, pytest.raises(ModelError) as caught:
        cpu.enhance(dark, BOXES, **CROP)
    messages.append(str(caught.value))
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for _ in range(3):
            with pytest.raises(ModelError) as caught:
                enhancer.enhance(dark, BOXES, **CROP)
            messages.append(str(caught.value))
            frame = on_gpu(host, device, dark)
            with pytest.raises(ModelError) as caught:
                enhancer.enhance_device(frame, BOXES, **CROP)
            messages.append(str(caught.value))
            np.testing.assert_array_equal(frame.copy_to_host(), dark)
            same(enhancer.enhance(bright, BOXES[1:3], **CROP), reference(backend, BOXES[1:3], frame=bright, **CROP)[0])
    assert set(messages) == {messages[0]} and "NaN or infinity" in messages[0]
    backend.close()


def test_memory_of_threads_that_have_ended_comes_back(host, backend):
    """Their lanes go at the next use, and with them what the chains had there."""
    with FaceEnhancer(backend, min_confidence=0.1, refine=0) as enhancer:
        together = threading.Barrier(3)

        def work():
            with backend.lease():  # nobody takes another's lane
                together.wait(60)
            enhancer.enhance(FRAME, BOXES[:1], **CROP)
            together.wait(60)  # none ends before all have had a lane: the next use would take an ended one's back

        threads = [threading.Thread(target=work) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        memories = enhancer._gpu.runner(backend)._memories
        most, held = host.cuda.used_bytes(), len(memories)
        enhancer.enhance(FRAME, BOXES[:1], **CROP)
        gc.collect()
        assert held == 3 and len(memories) < held and host.cuda.used_bytes() < most
