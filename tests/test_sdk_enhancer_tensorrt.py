"""FaceEnhancer with TensorRT, from the model's name to the faces: real cache, child process and backend, fake GPU."""

import functools

import fake_builder
import fake_host
import numpy as np
import pytest
from tiny_onnx import save_tiny, tiny_spec

from sdk.enhancer import FaceEnhancer
from sdk.errors import BuildError, EngineError
from sdk.runtime import machine, trt_api
from sdk.runtime.onnx_file import read_onnx

FRAME = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOXES = [[20.0, 30.0, 30.0, 40.0], [90.0, 20.0, 130.0, 60.0]]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A machine with a GPU; install(version) puts a TensorRT on it, and a trt-build for that."""
    monkeypatch.delenv("FACETRT_BACKEND")

    def put(version):
        host.trt.__version__ = version
        monkeypatch.setattr(trt_api, "_loaded", functools.cache(trt_api._loaded.__wrapped__))
        fake_builder.install(monkeypatch, tmp_path, machine.this_machine("tensorrt"), mode="tensorrt")

    with fake_host.running(monkeypatch, tmp_path) as host:
        yield put


@pytest.fixture
def models(tmp_path):
    return [save_tiny(tmp_path / "x8.onnx"), save_tiny(tmp_path / "x4.onnx", tiny_spec(32, 4), seed=1)]


def test_faces_equal_those_of_onnxruntime(install, models, tmp_path):
    install("10.13.3")
    with FaceEnhancer(models, threads=1, backend="onnxruntime") as reference:
        wanted = reference.enhance(FRAME, BOXES)
    for kernels in (False, True):
        with FaceEnhancer(models, kernels=kernels) as enhancer:
            found = enhancer.enhance(FRAME, BOXES)
            lines = enhancer.describe().splitlines()
        assert [result.model for result in found] == [result.model for result in wanted]
        assert len({result.model for result in found}) == 2
        for mine, theirs in zip(found, wanted, strict=True):
            off = np.abs(mine.image.astype(int) - theirs.image).max()
            assert off <= (1 if kernels else 0)
            np.testing.assert_allclose(mine.landmarks, theirs.landmarks, rtol=0, atol=1e-3 if kernels else 0)
        assert lines[0].startswith("tiny_x8: TensorRT 10.13.3, fp16 on cuda:0, ") and "(found Fake GPU)" in lines[0]
    assert len(fake_builder.runs_of(tmp_path)) == 2  # one a network


def test_an_update_of_tensorrt_rebuilds_with_its_reason(install, models, tmp_path, caplog):
    install("10.3.0")
    FaceEnhancer(models[0]).close()
    install("10.13.2")
    with FaceEnhancer(models[0]) as enhancer:
        assert "TensorRT 10.13.2" in enhancer.describe() and len(enhancer.enhance(FRAME, BOXES)) == 2
    assert "built with TensorRT 10.3.0, installed is 10.13.2" in caplog.text
    assert len(fake_builder.runs_of(tmp_path)) == 2


def test_an_engine_file_from_another_version(install, models, tmp_path):
    install("10.3.0")
    with FaceEnhancer(models[0]) as enhancer:
        path = enhancer.describe().split(", ")[2].split(" (")[0]
    install("10.13.2")
    with pytest.raises(EngineError, match="built with TensorRT 10.3.0, installed is 10.13.2; .*trt-build MODEL"):
        FaceEnhancer(path)


def test_a_builder_that_fails(install, models, monkeypatch):
    install("10.13.3")
    monkeypatch.setenv("FAKE_MODE", "fail")
    with FaceEnhancer(models[0], threads=1) as enhancer:
        assert "onnxruntime, fp32 on cpu" in enhancer.describe() and "node /conv_7" in enhancer.describe()
        assert len(enhancer.enhance(FRAME, BOXES)) == 2
    with pytest.raises(BuildError, match="node /conv_7"):
        FaceEnhancer(models[0], backend="tensorrt")


def test_an_engine_that_was_not_verified(install, models, tmp_path):
    """Its gate failed and nobody allowed the loss: TensorRT never sees it."""
    install("10.13.3")
    here, path = vars(machine.this_machine("tensorrt")), tmp_path / "mine.engine"
    gate = {"ran": "engine", "passed": False, "allowed_loss": False}
    fake_builder.write_engine(path, read_onnx(models[0]), "int8", here, gate=gate, plan=b"no plan at all")
    with pytest.raises(EngineError, match="its gate failed and the loss was not allowed"):
        FaceEnhancer(path)
