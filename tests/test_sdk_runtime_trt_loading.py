"""Engines that TrtBackend does not open, and why: the manifest first, then the engine's own inputs and outputs."""

import json
import logging

import fake_cuda
import fake_host
import pytest
from fake_host import assert_toy, faces
from fake_tensorrt import make_plan, toy_spec, write_toy

from sdk.errors import BackendError, EngineError
from sdk.runtime import gpu
from sdk.runtime.trt_backend import TrtBackend


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sm": "sm_89"}, "built for sm_89.*this GPU is sm_86"),
        ({"tensorrt": "10.3.0"}, "built with TensorRT 10.3.0, installed is 10.13.3.9"),
        ({"platform": "riscv"}, "built on riscv"),
        ({"gate": {"ran": "engine", "passed": False, "allowed_loss": False}}, "gate failed"),
    ],
    ids=["another GPU", "another TensorRT", "another processor", "not verified"],
)
def test_a_manifest_that_does_not_fit_keeps_tensorrt_from_seeing_the_plan(host, changes, words):
    with pytest.raises(EngineError, match=rf"toy.engine to fit this machine.*{words}.*trt-build"):
        host.open(manifest=changes)
    assert len(host.trt.engines) == 0 and host.cuda.calls["cuDevicePrimaryCtxRetain"] == 0


def test_another_driver_is_only_noted(host, monkeypatch, tmp_path, caplog):
    (tmp_path / "version").write_text("580.65.06")
    monkeypatch.setattr(gpu, "VERSION_FILES", (tmp_path / "version",))
    with caplog.at_level(logging.INFO, "facetrt"):
        backend = host.open(manifest={"driver": "535.1.2"})
    assert "toy.engine: built under driver 535.1.2, this is 580.65.06" in caplog.text
    assert_toy(backend.run(faces(1)), faces(1))


def test_an_onnx_file_of_the_cpu_under_another_name(host):
    with pytest.raises(EngineError, match="ONNX file of the CPU"):
        host.open(manifest={"flavour": "onnxruntime"})


def test_damaged_files(host):
    path = write_toy(host.path)
    plan = bytearray(path.read_bytes())
    for broken, words in ((plan[:-20], "bytes"), (plan[:-1] + b"X", "SHA-256"), (b"", "0 bytes")):
        path.write_bytes(bytes(broken))
        with pytest.raises(EngineError, match=words):
            TrtBackend(path)
    manifest = path.with_name("toy.engine.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "precision": "fp32"}))
    with pytest.raises(EngineError):
        TrtBackend(path)
    manifest.unlink()
    with pytest.raises(EngineError, match=r"toy.engine.json.*no such file"):
        TrtBackend(path)
    assert len(host.trt.engines) == 0


def test_without_a_gpu(host, monkeypatch):
    path = write_toy(host.path)
    monkeypatch.setattr(gpu, "_open_library", lambda: fake_cuda.FakeLibrary(init=100))
    with pytest.raises(EngineError, match="no usable GPU"):
        TrtBackend(path)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (dict(inputs={"lr": "FLOAT", "more": "FLOAT"}), r"one input \[N, C, h, w\].*lr .*more"),
        (dict(shape=[-1, 48]), r"one input \[N, C, h, w\].*lr \[-1, 48\]"),
        (dict(inputs={"lr": "INT32"}), "float32 or float16 in toy.engine; got lr int32"),
        (dict(outputs={"sr": "FLOAT", "heatmaps": "INT32"}), "got heatmaps int32"),
        (dict(outputs={"sr": "BF16", "heatmaps": "FLOAT"}), "type that NumPy has"),
        (dict(outputs={"sr": "FLOAT"}), r"none named \['heatmaps'\]"),
        (dict(profiles=[]), r"optimisation profiles in toy.engine; got none"),
    ],
)
def test_inputs_and_outputs_that_are_not_the_specs(host, plan, words):
    with pytest.raises(EngineError, match=words):
        host.open(make_plan(**plan))


def test_an_engine_for_faces_of_another_size(host):
    with pytest.raises(EngineError, match=r"3 channels and 4 x 4 px"):
        host.open(make_plan(sizes=(8, 16)), spec=toy_spec(any_size=False))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("context", "an execution context; got TensorRT 10.13.3.9: out of memory"),
        ("profile", "optimisation profile 1.*in use by another context"),
        ("shape", "shape of sr to follow"),
        ("enqueue", "an inference to be enqueued.*enqueue failed"),
    ],
)
def test_calls_of_tensorrt_that_fail_once_do_no_lasting_harm(host, fault, words):
    backend = host.open()
    host.trt.faults[fault] = 1
    with pytest.raises(BackendError, match=words):
        backend.run(faces(2))
    for _ in range(3):
        assert_toy(backend.run(faces(2)), faces(2))


@pytest.mark.parametrize("function", ["cuMemAlloc", "cuMemHostAlloc"])
def test_out_of_memory_names_the_sizes(host, function):
    backend = host.open()
    backend.run(faces(2))
    host.cuda.faults[function] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(BackendError) as caught:
        backend.run(faces(64, 16))
    memory = r"0.2 MiB of 1024 MiB GPU memory" if function == "cuMemAlloc" else "0.2 MiB of pinned host memory"
    assert memory in caught.value.expected and "CUDA_ERROR_OUT_OF_MEMORY" in caught.value.got
    host.cuda.faults.clear()
    for N in (2, 64, 2, 2):
        assert_toy(backend.run(faces(N)), faces(N))


def test_an_error_of_the_gpu_itself_is_reported_and_close_still_ends(host, caplog):
    backend = host.open()
    backend.run(faces(2))
    host.cuda.faults["cuStreamSynchronize"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(BackendError, match="CUDA_ERROR_ILLEGAL_ADDRESS.*compute-sanitizer"):
        backend.run(faces(2))
    assert "a lane of toy.engine is given up" in caplog.text and backend.lanes == 0
    backend.close()


def test_the_second_gpu(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path, gpus=2) as host:
        backend = host.open(device="cuda:1")
        assert backend.device == "cuda:1"
        assert_toy(backend.run(faces(2)), faces(2))
        homes = {entry[3] for entry in host.cuda.memory.values() if entry[2] == "device"}
        assert homes == {1} and host.cuda.retained == {1: 1}
