"""FaceEnhancer's backend, precision and device, what describe() says of them, whose networks close() closes."""

import logging

import fake_builder
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from tiny_onnx import save_tiny, tiny_spec

from sdk import zoo
from sdk.cli import main
from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError, BuildError, InputError
from sdk.runtime.backend import open_backend
from sdk.runtime.machine import Machine
from sdk.runtime.manifest import read_engine
from sdk.runtime.onnx_file import read_onnx

FRAME = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOX = [20.0, 30.0, 40.0, 50.0]
CPU = Machine("onnxruntime", "", None, None, None, None, None, "x86_64")


@pytest.fixture
def model(tmp_path):
    return save_tiny(tmp_path / "tiny.onnx")


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """trt-build for the CPU, faked: the "int8" file holds the model itself."""
    fake_builder.install(monkeypatch, tmp_path, CPU, mode="cpu")


def test_describe_names_every_network(model, tmp_path):
    second = save_tiny(tmp_path / "other.onnx", tiny_spec(32, 4))
    with FaceEnhancer([model, second]) as enhancer:
        lines = enhancer.describe().splitlines()
    assert lines[0] == f"tiny_x8: onnxruntime, fp32 on cpu, {model} ($FACETRT_BACKEND is onnxruntime)"
    assert lines[1].startswith("tiny_x4: onnxruntime, fp32 on cpu") and len(lines) == 2


def test_auto_says_why_it_is_onnxruntime(model, monkeypatch):
    """On this machine, whatever it is."""
    monkeypatch.delenv("FACETRT_BACKEND")
    with FaceEnhancer(model, device="cpu") as enhancer:
        assert enhancer.describe().endswith('(device="cpu" was asked for)')
    monkeypatch.setattr("sdk.runtime.gpu.LIBRARY", "libcuda_absent.so.1")
    with FaceEnhancer(model) as enhancer:
        assert "onnxruntime, fp32 on cpu" in enhancer.describe()
        assert "(no NVIDIA driver: libcuda_absent.so.1" in enhancer.describe()
    with pytest.raises(BackendError, match="a GPU for TensorRT; got no NVIDIA driver"):
        FaceEnhancer(model, backend="tensorrt")


def test_int8_is_built_once_and_used(model, builder, tmp_path):
    for _ in range(2):
        with FaceEnhancer(model, precision="int8") as enhancer, FaceEnhancer(model) as fp32:
            assert "onnxruntime, int8 on cpu" in enhancer.describe() and "cpu-int8.onnx" in enhancer.describe()
            result, wanted = (one.enhance(FRAME, [BOX])[0] for one in (enhancer, fp32))
        np.testing.assert_array_equal(result.image, wanted.image)
    assert len(fake_builder.runs_of(tmp_path)) == 1


def test_int8_that_cannot_be_built_is_an_error(model, builder, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "refuse")
    with pytest.raises(BuildError, match="PSNR 31.2 dB"):
        FaceEnhancer(model, precision="int8")


@pytest.mark.parametrize("name", zoo.SHIPPED)
def test_shipped_models_bring_their_int8_file(name):
    path = zoo.model_path(name)
    shipped = path.with_suffix(".int8.onnx")
    assert zoo.int8_path(path) == shipped
    _, manifest = read_engine(shipped)
    assert manifest.verified and manifest.onnx_sha256 == read_onnx(path).sha256  # made from this very file
    with FaceEnhancer(name, precision="int8") as enhancer:
        assert str(shipped) in enhancer.describe()


def test_networks_of_the_caller_stay_open(model):
    backend = open_backend(model)
    batch = np.zeros((1, 3, 16, 16), np.float32)
    with FaceEnhancer([backend, model]) as enhancer:
        first, second = enhancer.describe().splitlines()
    assert first == "tiny_x8: OrtBackend (the caller passed it in)" and "was asked for" not in second
    assert backend.run(batch)["sr"].shape == (1, 3, 128, 128)
    with pytest.raises(InputError, match="a model as a name, a path or a Backend; got 5"):
        FaceEnhancer([backend, 5])
    assert backend.run(batch)
    backend.close()


@pytest.mark.parametrize("value", ["x", None, 1.5, [1], True, -1, np.float32(1)])
def test_refine_of_a_wrong_kind(model, value):
    with pytest.raises(InputError, match="refine as a whole number of 0 or more"):
        FaceEnhancer(model, refine=value)


@pytest.mark.parametrize("value", ["0.5", float("nan"), 2, -0.1, True, 1j, [0.5]])
def test_min_confidence_of_a_wrong_kind(model, value):
    with pytest.raises(InputError, match=r"min_confidence as a number in \[0, 1\]"):
        FaceEnhancer(model, min_confidence=value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(threads="2"), "threads as a whole number or None; got '2'"),
        (dict(threads=1.0), "threads as a whole number"),
        (dict(device=0), "device as a text"),
        (dict(color=["bgr"]), "color among"),
        (dict(precision="int4"), "a precision among"),
        (dict(precision=8), "a precision among"),
        (dict(model=3), "a model as a name"),
        (dict(model={"a": 1}), "a model as a name"),
    ],
)
def test_options_of_a_wrong_kind(model, options, words):
    with pytest.raises(InputError, match=words):
        FaceEnhancer(**{"model": model, **options})


def test_numbers_of_numpy_are_options_too(model):
    options = dict(threads=np.int64(1), refine=np.int32(0), min_confidence=np.float32(0.5))
    with FaceEnhancer(model, **options) as enhancer:
        results = enhancer.enhance(FRAME, [BOX])
        assert enhancer.render(FRAME, results, strength=np.float32(0.5)).shape == FRAME.shape
        for strength in ("x", None):
            with pytest.raises(InputError, match="strength as a number"):
                enhancer.render(FRAME, results, strength=strength)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_cuda_that_nobody_can_use_names_both_reasons(model, monkeypatch):
    monkeypatch.delenv("FACETRT_BACKEND")
    monkeypatch.setattr("sdk.runtime.gpu.LIBRARY", "libcuda_absent.so.1")
    with pytest.raises(BackendError, match="onnxruntime's CUDA provider; got .* and no NVIDIA driver"):
        FaceEnhancer(model, device="cuda:0")


def test_command_line(model, builder, tmp_path, capsys):
    Image.fromarray(FRAME).save(tmp_path / "a.png")
    common = [str(tmp_path / "a.png"), "--model", str(model), "--threads", "1", "--boxes", "20,30,40,50"]
    assert main([*common, "-o", str(tmp_path / "b.png"), "--precision", "int8", "--device", "cpu"]) == 0
    said, errors = capsys.readouterr()
    assert "1 face" in said and "face-enhance: building tiny_x8 in int8 for the CPU, which may take minutes" in errors
    assert main([*common, "-o", str(tmp_path / "c.png"), "--precision", "int8", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "") and logging.getLogger("facetrt").handlers == []
    assert main([*common, "-o", str(tmp_path / "d.png"), "--precision", "fp16"]) == 2
    assert "fp32 or int8 with onnxruntime; got precision='fp16'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*common, "-o", "e.png", "--precision", "int4"])
    assert sorted(path.name for path in tmp_path.glob("?.png")) == ["a.png", "b.png", "c.png"]
