"""sdk.runtime and sdk.zoo: onnxruntime gives what a bare session gives; every wrong file has its message."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from tiny_onnx import save_tiny, tiny_graph, tiny_spec

from sdk import zoo
from sdk.errors import BackendError, MissingPackageError, ModelError
from sdk.runtime.backend import Backend, open_backend
from sdk.spec import METADATA_KEY


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny.onnx")


def test_equals_a_bare_session(model):
    batch = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(["sr", "heatmaps"], {"lr": batch})
    backend = open_backend(model, threads=1)
    assert isinstance(backend, Backend) and backend.spec == tiny_spec()
    outputs = backend.run(batch)
    np.testing.assert_array_equal(outputs["sr"], expected[0])
    np.testing.assert_array_equal(outputs["heatmaps"], expected[1])
    second = backend.run(batch + 1)  # results are the caller's own
    np.testing.assert_array_equal(outputs["sr"], expected[0])
    assert not np.shares_memory(outputs["sr"], second["sr"])


def test_after_close_it_says_so(model):
    backend = open_backend(model)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=r"after close\(\)"):
        backend.run(np.zeros((1, 3, 16, 16), np.float32))


def test_a_wrong_batch_is_an_error_with_its_shape(model):
    with pytest.raises(BackendError, match=r"float32 \(1, 4, 16, 16\)"):
        open_backend(model).run(np.zeros((1, 4, 16, 16), np.float32))


def test_missing_and_damaged_files(tmp_path, model):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:500])
    text = tmp_path / "text.onnx"
    text.write_text("this is no model")
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for path in (cut, text, empty):
        with pytest.raises(ModelError, match=f"expected .*{path.name}.*; .*again"):
            open_backend(path)
    with pytest.raises(ModelError, match="no file at"):
        open_backend(tmp_path / "absent.onnx")
    (tmp_path / "a.pt").touch()
    with pytest.raises(ModelError, match=r"python -m export\.to_onnx"):
        open_backend(tmp_path / "a.pt")


def test_onnx_without_our_metadata(tmp_path):
    path = save_tiny(tmp_path / "stranger.onnx", metadata=False)
    with pytest.raises(ModelError, match=rf"metadata key {METADATA_KEY} in stranger\.onnx; got keys \[\]; export"):
        open_backend(path)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (tiny_spec(output_names=("sr", "heatmaps", "parsing"), parsing_count=11), r"none named \['parsing'\]"),
        (tiny_spec(channels=1, colour="y"), "input of 1 channels"),
    ],
)
def test_metadata_of_another_graph(tmp_path, spec, words):
    model = tiny_graph(tiny_spec())
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=words):
        open_backend(tmp_path / "a.onnx")


def test_broken_metadata_names_the_file(tmp_path):
    model = tiny_graph(tiny_spec())
    helper.set_model_props(model, {METADATA_KEY: '{"version": 1, "name": "a", "lr_size": 16, "scale": 8, "typo": 1}'})
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(ModelError, match=r"in odd\.onnx; got unknown \['typo'\]"):
        open_backend(tmp_path / "odd.onnx")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(backend="tensorflow"), "backend among"),
        (dict(backend=None), "backend among"),
        (dict(threads=0), "threads"),
        (dict(device="gpu"), "a device like"),
        (dict(device="cpu:1"), "a device like"),
        (dict(device="cuda:x"), "a device like"),
    ],
)
def test_wrong_options(model, options, words):
    with pytest.raises(BackendError, match=words):
        open_backend(model, **options)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_cuda_without_its_provider(model):
    with pytest.raises(BackendError, match="onnxruntime-gpu"):
        open_backend(model, device="cuda:0")


def test_without_onnxruntime(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="pip install onnxruntime"):
        open_backend(model)


def test_zoo_names_what_it_knows(tmp_path, model, monkeypatch):
    with pytest.raises(ModelError, match="picoface_x8, picoface_x4"):
        zoo.model_path("picoface_x9")
    assert zoo.model_path(str(model)) == model
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    with pytest.raises(ModelError, match="install facetrt again"):
        zoo.model_path("picoface_x8")
    with pytest.raises(ModelError, match="none of"):
        zoo.shipped_paths()
