"""One CUDA graph from the frame to the paste: real kernels (through g++), fake driver and TensorRT, CPU to compare."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import fake_host
import kernel_host
import numpy as np
import pytest
from chain_host import BOXES, FRAME, counted, engine, near, on_gpu, reference, same

from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError
from sdk.runtime.device import Device
from sdk.runtime.kernel_frames import DeviceNv12

pytestmark = kernel_host.needs_compiler
PAINTED_CHAIN = ["crop_norm_bgr_f32_nchw", "heatmap_decode_f32_nchw", "image_tail_f32_nchw_r1", "paste_gate",
                 "paste_match_bgr", "paste_bgr"]  # fmt: skip

CROP = dict(box_kind="crop")  # windows that the host need not look at


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as found:
        yield found


@pytest.fixture
def backend(host, tmp_path):
    one = engine(tmp_path)
    yield one
    one.close()


def test_one_graph_serves_a_changing_number_of_faces(host, backend):
    """Three, four and again three faces: a bucket of four, captured once, one launch from then on."""
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        wanted = {faces: reference(backend, BOXES[:faces], **CROP)[0] for faces in (3, 4)}
        for turn, faces in enumerate((4, 3, 4, 3)):
            calls = counted(host.cuda)
            same(enhancer.enhance(FRAME, BOXES[:faces], **CROP), wanted[faces])
            if turn >= 2:
                assert calls.of("cuStreamBeginCapture") == 0 and calls.of("cuGraphLaunch") == 1
                assert calls.of("cuLaunchKernel") == 0 and calls.of("cuMemAlloc") == 0
        assert {shape for shape in host.trt.inferences if shape[0] == 4}
        assert host.cuda.edits == 0, "frames that are uploaded come to the same place"


def test_graph_and_single_launches_give_the_same_bits(host, tmp_path):
    plain, graphed = engine(tmp_path, "plain", graphs=False), engine(tmp_path, "graphed")
    found = []
    for backend in (plain, graphed):
        with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
            found.append([enhancer.enhance(FRAME, BOXES[:3]) for _ in range(3)][-1])
        backend.close()
    for mine, theirs in zip(*found, strict=True):
        for name in ("image", "landmarks", "scores", "spread"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))


def test_a_frame_on_the_gpu_goes_through_one_graph_wherever_it_lies(host, backend):
    """Pools of decoders, another size, another strength: edited, not recorded anew; nothing launched one by one."""
    device, smaller = Device(0), np.ascontiguousarray(FRAME[:56, :76])
    wanted, rendered = reference(backend, BOXES, **CROP)
    half = reference(backend, BOXES, frame=smaller, strength=0.5, **CROP)[1]
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for turn in range(4):
            frame = on_gpu(host, device, FRAME)
            calls, before = counted(host.cuda), len(host.cuda.launches)
            same(enhancer.enhance_device(frame, BOXES, **CROP), wanted)
            near(frame.copy_to_host(), rendered)
            assert [name for name, *_ in host.cuda.launches[before:]] == PAINTED_CHAIN
            if turn >= 2:
                assert calls.of("cuStreamBeginCapture") == calls.of("cuLaunchKernel") == calls.of("cuMemAlloc") == 0
                assert calls.of("cuGraphLaunch") == 1
                assert calls.of("cuStreamSynchronize") == 3, "the batch, the frame at the end, copy_to_host()"
        edits = host.cuda.edits
        frame = on_gpu(host, device, smaller)
        enhancer.enhance_device(frame, BOXES, strength=0.5, **CROP)
        near(frame.copy_to_host(), half)
        assert host.cuda.edits == edits + 5, "crop, tail, gate and paste know what changed"


def test_nv12_frames_have_a_graph_of_their_own(host, backend):
    device = Device(0)
    grey, chroma = np.ascontiguousarray(FRAME[..., 1]), np.full((32, 40, 2), 128, np.uint8)
    planes = []
    with FaceEnhancer(backend, min_confidence=0.1, refine=0) as enhancer:
        for _ in range(3):
            planes.append([on_gpu(host, device, one) for one in (grey, chroma)])
            enhancer.enhance_device(DeviceNv12(*planes[-1], full_range=True), BOXES, **CROP)
            enhancer.enhance_device(on_gpu(host, device, FRAME), BOXES, **CROP)
    first = [one.copy_to_host() for one in planes[0]]
    for later in planes[1:]:
        for one, other in zip(first, later, strict=True):
            np.testing.assert_array_equal(one, other.copy_to_host())
    assert (first[0] != grey).any()


FAULTS = {
    "cuStreamBeginCapture": "without a CUDA graph",
    "cuGraphInstantiate": "without a CUDA graph",
    "cuGraphKernelNodeGetParams": "recorded anew for another frame: the driver does not show its kernels",
    "cuGraphExecKernelNodeSetParams": "recorded anew for another frame: expected cuGraphExecKernelNodeSetParams",
}


@pytest.mark.parametrize("function", [*FAULTS, "engine"])
def test_where_no_graph_can_be_had_the_same_is_launched_one_by_one(host, tmp_path, caplog, function):
    backend, device = engine(tmp_path), Device(0)
    reason = FAULTS.get(function, "not permitted when stream is capturing")
    with FaceEnhancer(backend, min_confidence=0.1, refine=0) as enhancer:
        frame = on_gpu(host, device, FRAME)
        enhancer.enhance_device(frame, BOXES[:2], **CROP)
        wanted = frame.copy_to_host()
        if function == "engine":
            host.trt.faults["capture"] = 99
        else:
            host.cuda.faults[function] = "CUDA_ERROR_INVALID_VALUE"
        for _ in range(4):
            frame = on_gpu(host, device, FRAME)
            enhancer.enhance_device(frame, BOXES[:2], **CROP)
            np.testing.assert_array_equal(frame.copy_to_host(), wanted)
    assert reason in caplog.text
    host.cuda.faults.clear()
    backend.close()


def test_more_faces_move_the_memory_and_graphs_are_recorded_anew(host, backend):
    with (
        FaceEnhancer(backend, min_confidence=0.1, refine=0) as enhancer,
        FaceEnhancer(backend, kernels=False, min_confidence=0.1, refine=0) as cpu,
    ):
        for faces in (1, 1, 5, 1, 1, 5, 5):
            same(enhancer.enhance(FRAME, BOXES[:faces]), cpu.enhance(FRAME, BOXES[:faces]))
        assert enhancer.enhance(FRAME, []) == []


def test_memory_of_the_chain_alone_moves(host, backend):
    """The engine's is large enough already: graphs that know the chain's old places are forgotten all the same."""
    backend.run(np.zeros((8, 3, 8, 8), np.float32))
    wanted = reference(backend, BOXES, **CROP)[0]
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for faces in (1, 1, 1, 5, 1, 1, 1):
            same(enhancer.enhance(FRAME, BOXES[:faces], **CROP), wanted[:faces])


def test_fewer_faces_than_before_are_pasted_and_no_more(host, backend):
    device = Device(0)
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for faces in (4, 4, 3, 4, 3):
            frame = on_gpu(host, device, FRAME)
            enhancer.enhance_device(frame, BOXES[:faces], **CROP)
            near(frame.copy_to_host(), reference(backend, BOXES[:faces], **CROP)[1])


def test_more_faces_than_the_largest_profile_go_in_parts(host, tmp_path):
    """Pasted in one go afterwards, so that colours are matched to the frame as it came."""
    backend, device = engine(tmp_path, profiles=((1, 2),)), Device(0)
    with (
        FaceEnhancer(backend, min_confidence=0.1, refine=0) as enhancer,
        FaceEnhancer(backend, kernels=False, min_confidence=0.1, refine=0) as cpu,
    ):
        wanted = cpu.enhance(FRAME, BOXES)
        for _ in range(2):
            frame = on_gpu(host, device, FRAME)
            same(enhancer.enhance_device(frame, BOXES, pictures=True), wanted)
            near(frame.copy_to_host(), cpu.render(FRAME, wanted))
    backend.close()


def test_faces_of_low_confidence_stay_out_of_the_frame(host, backend):
    """Decided on the GPU, told by the same number on the host, also on the border itself."""
    device = Device(0)
    with FaceEnhancer(backend, min_confidence=0.0) as enhancer:
        first = enhancer.enhance_device(on_gpu(host, device, FRAME), BOXES, **CROP)
        scores = [one.confidence for one in first]
        for least in (sorted(scores)[2], np.nextafter(sorted(scores)[2], 1), 0.55):
            enhancer.min_confidence = least
            frame = on_gpu(host, device, FRAME)
            found = enhancer.enhance_device(frame, BOXES, pictures=True, **CROP)
            assert [one.status.name == "LOW_CONFIDENCE" for one in found] == [one < least for one in scores]
            near(frame.copy_to_host(), enhancer.render(FRAME, found))


def test_the_host_looks_at_large_windows_in_one_go(host, backend):
    """Two cuts and a copy of pictures however many faces; then pasted by two launches."""
    device, (wanted, rendered) = Device(0), reference(backend, BOXES)
    with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
        for _ in range(3):
            frame = on_gpu(host, device, FRAME)
            calls = counted(host.cuda)
            same(enhancer.enhance_device(frame, BOXES), wanted)
        assert calls.of("cuLaunchKernel") == 4 and calls.of("cuGraphLaunch") == 2
        assert calls.of("cuStreamSynchronize") == 2 + 2 + 1 + 1, "passes, cuts, pictures, the frame"
        near(frame.copy_to_host(), rendered)


def test_enhancers_come_and_go_round_a_network_that_stays(host, backend, caplog):
    """What one recorded is gone with it, and none takes a graph of another for its own."""
    wanted = reference(backend, BOXES[:1], **CROP)[0]
    for _ in range(4):
        with FaceEnhancer(backend, min_confidence=0.1) as enhancer:
            for _ in range(3):
                same(enhancer.enhance(FRAME, BOXES[:1], **CROP), wanted)
        del enhancer
        gc.collect()
    with backend.lease() as lane:
        assert all(len(bucket.longer) <= 1 for bucket in lane._buckets.values())
    assert len(host.cuda.graphs) <= 1 and not caplog.text


def test_closing_waits_for_the_frames_in_work(host, backend, caplog):
    """From another thread, in the middle of a frame: that frame ends as if nothing had been, the next is refused."""
    wanted = reference(backend, BOXES[:1], **CROP)[0]
    enhancer = FaceEnhancer(backend, min_confidence=0.1, refine=0)
    begun, going = threading.Event(), threading.Event()

    def detector(frame):
        return BOXES[:1]

    real = enhancer._gpu.runner(backend).run

    def slow(*all_, **rest):
        begun.set()
        going.wait(60)
        return real(*all_, **rest)

    enhancer._gpu.runner(backend).run = slow
    with ThreadPoolExecutor(2) as pool:
        frame = pool.submit(enhancer.enhance, FRAME, detector, **CROP)
        assert begun.wait(60)
        closing = pool.submit(enhancer.close)
        assert not closing.done()
        going.set()
        same(frame.result(), wanted)
        closing.result()
    assert not caplog.text
    with pytest.raises(BackendError, match="close"):
        enhancer.enhance(FRAME, BOXES[:1])
