"""TrtBackend on the fakes: results, profiles, graphs, errors, and that nothing stays behind."""

import base64

import fake_host
import fake_tensorrt
import numpy as np
import pytest
from fake_host import assert_toy, faces
from fake_tensorrt import make_plan, toy_spec, write_toy

from sdk.errors import BackendError, EngineError, InputError, MissingPackageError
from sdk.runtime.backend import Backend
from sdk.runtime.trt_backend import TrtBackend


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as one:
        yield one


def test_results_are_those_of_the_network_and_stay(host):
    backend = host.open()
    assert isinstance(backend, Backend) and backend.spec == toy_spec() and backend.device == "cuda:0"
    kept = [(batch, backend.run(batch)) for batch in (faces(3, seed=seed) for seed in range(6))]
    for batch, outputs in kept:
        assert_toy(outputs, batch)


def test_equals_onnxruntime_on_the_same_graph(host, tmp_path):
    tiny_onnx = pytest.importorskip("tiny_onnx", reason="needs onnx")
    from sdk.runtime.ort_backend import OrtBackend

    spec = tiny_onnx.tiny_spec()
    path = tiny_onnx.save_tiny(tmp_path / "tiny.onnx", spec)
    plan = make_plan(sizes=(16, 16), onnx=base64.b64encode(path.read_bytes()).decode())
    backend, batch = host.open(plan, spec=spec), faces(5, 16)
    reference = OrtBackend(path, threads=1)
    for _ in range(3):
        outputs = backend.run(batch)
        for name, expected in reference.run(batch).items():
            np.testing.assert_array_equal(outputs[name], expected)


def test_one_synchronisation_a_run_at_its_end(host):
    backend = host.open()
    for N in (1, 8, 64, 130, 3, 1, 200):  # also first uses, growing buffers and batches in parts
        before = host.cuda.calls.copy()
        assert_toy(backend.run(faces(N)), faces(N))
        spent = host.cuda.calls - before
        assert spent["cuStreamSynchronize"] == 1 and not spent["cuEventSynchronize"]
    assert host.cuda.calls["cuMemFree"] and host.cuda.implicit_waits == 0


def test_a_warm_backend_only_copies_and_launches(host):
    backend = host.open()
    for _ in range(3):
        backend.run(faces(5))
    before = host.cuda.calls.copy()
    backend.run(faces(5))
    assert dict(host.cuda.calls - before) == {
        "cuCtxPushCurrent": 1,
        "cuMemcpyHtoDAsync": 1,
        "cuGraphLaunch": 1,
        "cuMemcpyDtoHAsync": 2,
        "cuStreamSynchronize": 1,
        "cuCtxPopCurrent": 1,
    }


def test_graphs_are_captured_after_one_plain_run_of_a_shape(host):
    backend = host.open()
    counts = []
    backend.run(faces(4))  # as large as buffers will have to be
    for N in (2, 2, 2, 3, 2, 3, 3):
        backend.run(faces(N))
        counts.append((host.cuda.calls["cuStreamBeginCapture"], host.cuda.calls["cuGraphLaunch"]))
    assert counts == [(0, 0), (1, 1), (1, 2), (1, 2), (1, 3), (2, 4), (2, 5)]
    assert host.trt.contexts == 3


def test_graphs_can_be_left_out(host):
    backend = host.open(graphs=False)
    for _ in range(4):
        assert_toy(backend.run(faces(2)), faces(2))
    assert host.cuda.calls["cuStreamBeginCapture"] == 0


def test_an_engine_that_cannot_be_captured_runs_plainly_with_a_warning(host, caplog):
    backend = host.open()
    host.trt.faults["capture"] = 99
    for _ in range(4):
        assert_toy(backend.run(faces(2)), faces(2))
    assert host.cuda.calls["cuStreamBeginCapture"] == 1
    assert "toy.engine runs without a CUDA graph for (2, 3, 4, 4)" in caplog.text
    assert "not permitted when stream is capturing" in caplog.text


@pytest.mark.parametrize("function", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_a_driver_that_cannot_capture(host, caplog, function):
    backend = host.open()
    backend.run(faces(2))
    host.cuda.faults[function] = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    if function == "cuStreamEndCapture":  # the real one ends the capture in any case
        host.cuda.faults[function] = lambda: host.cuda.do_stream_end_capture(max(host.cuda.streams)) and 901
    for _ in range(3):
        assert_toy(backend.run(faces(2)), faces(2))
    assert caplog.text.count("runs without a CUDA graph") == 1
    host.cuda.graphs.clear()  # the one that the fault above has cut off


def test_more_shapes_than_contexts_take_turns(host):
    backend = host.open()
    for N in [*range(1, 20)] * 2 + [19, 19, 19]:
        assert_toy(backend.run(faces(N)), faces(N))
    assert host.trt.contexts == 8
    for side in (4, 8, 12, 16):
        for _ in range(3):
            assert_toy(backend.run(faces(2, side)), faces(2, side))


def test_growing_buffers_forget_graphs_that_know_the_old_ones(host):
    backend = host.open()
    for N in (1, 1, 1, 64, 1, 1, 1, 64):
        assert_toy(backend.run(faces(N)), faces(N))
    sizes = sorted(size for _, size, kind, *_ in host.cuda.memory.values() if kind == "device")
    assert sum(sizes) < 2 * (faces(64).nbytes * (1 + 4 + 1 / 3) + 4096), sizes


def test_before_tensorrt_10_a_profile_is_in_one_context(host, monkeypatch):
    trt = fake_tensorrt.install(monkeypatch, host.cuda, "8.6.0")
    backend = host.open(make_plan([(1, 1), (1, 8)]))
    for N in (1, 2, 3, 1, 2, 2, 2, 17, 1):
        assert_toy(backend.run(faces(N)), faces(N))
    assert trt.contexts == 2


def test_padding_for_an_engine_of_a_fixed_batch(host):
    backend = host.open(make_plan([(8, 8)]))
    for N in (3, 8, 11, 3):
        assert_toy(backend.run(faces(N)), faces(N))
        np.testing.assert_array_equal(host.trt.last_input[N % 8 or 8 :], 0)  # not what the memory held before
    assert {shape[0] for shape in host.trt.inferences} == {8}


def test_an_engine_of_one_fixed_shape_without_profiles(host):
    backend = host.open(make_plan([], shape=[2, 3, 4, 4]), spec=toy_spec(any_size=False))
    assert_toy(backend.run(faces(5)), faces(5))


def test_half_precision_at_the_edges(host):
    halves = {"inputs": {"lr": "HALF"}, "outputs": {"sr": "HALF", "heatmaps": "HALF"}}
    backend, batch = host.open(make_plan(**halves)), faces(3)
    for _ in range(3):
        assert_toy(backend.run(batch), batch)


def test_outputs_that_the_spec_does_not_name_are_left_on_the_gpu(host):
    backend = host.open(spec=toy_spec(heatmap_kind=None, heatmap_count=0, heatmap_size=0, output_names=("sr",)))
    assert list(backend.run(faces(2))) == ["sr"]


def test_nan_is_passed_on_and_does_not_spread(host):
    backend, batch = host.open(), faces(3)
    batch[1, 0, 2, 2] = np.nan
    sr = backend.run(batch)["sr"]
    assert np.isnan(sr[1]).sum() == 4 and not np.isnan(sr[[0, 2]]).any()


def test_batches_that_do_not_lie_in_c_order(host):
    backend = host.open()
    batch = faces(3).transpose(0, 1, 3, 2)
    assert_toy(backend.run(batch), batch)
    assert_toy(backend.run(faces(6)[::-2]), faces(6)[::-2])


@pytest.mark.parametrize(
    "batch",
    [
        faces(2).astype(np.float64),
        (faces(2) * 255).astype(np.uint8),
        faces(2)[0],
        faces(0),
        faces(2)[:, :1],
        np.zeros((1, 3, 5, 4), np.float32),
    ],
    ids=["float64", "uint8", "3-D", "no face", "one channel", "not square"],
)
def test_other_arrays_are_refused_before_the_gpu_sees_them(host, batch):
    backend = host.open(spec=toy_spec(any_size=False))
    with pytest.raises(InputError, match=r"float32 \[N >= 1, 3, 4, 4\].*toy.engine"):
        backend.run(batch)
    assert host.cuda.calls["cuStreamCreate"] == 0


def test_faces_outside_all_profiles(host):
    backend = host.open()
    with pytest.raises(BackendError, match=r"3 x 4..16 x 4..16; got 3 x 17 x 17.*trt-build"):
        backend.run(faces(1, 17))
    assert_toy(backend.run(faces(1, 16)), faces(1, 16))


def test_without_cuda_python(host, monkeypatch):
    import sys

    path = write_toy(host.path)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", None)
    with pytest.raises(MissingPackageError, match="cuda-python"):
        TrtBackend(path)


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"device": "cuda:x"}, {"device": "cuda:3"}, {"lanes": 0}])
def test_wrong_options(host, options):
    with pytest.raises(BackendError, match=str(*options.values())):
        host.open(**options)


def test_an_engine_that_tensorrt_refuses_is_named_with_the_reason(host):
    host.trt.faults["engine"] = 1
    with pytest.raises(EngineError, match=r"toy.engine.*another version.*trt-build"):
        host.open()
