"""sdk.runtime.onnx_file: spec and digest without any library; what is no sound ONNX file of ours is said to be none."""

import hashlib
import os
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_onnx import save_tiny, tiny_graph, tiny_spec

from export.graph import read_model
from sdk import zoo
from sdk.errors import ModelError
from sdk.runtime.onnx_file import read_onnx
from sdk.spec import METADATA_KEY


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


def save_apart(path):
    """A network whose weights lie in a file beside it."""
    proto = tiny_graph(tiny_spec())
    onnx.helper.set_model_props(proto, {METADATA_KEY: tiny_spec().to_json()})
    onnx.save(proto, str(path), save_as_external_data=True, location="tiny.weights", size_threshold=0)
    return path


def test_small_file(model, monkeypatch):
    found = read_onnx(model)
    data = model.read_bytes()
    assert (found.spec, found.path, found.size_bytes) == (tiny_spec(), model, len(data))
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    monkeypatch.chdir(model.parent)
    assert read_onnx("tiny.onnx") == found


@pytest.mark.parametrize("name", zoo.SHIPPED)
def test_same_digest_as_the_builder(name):
    found, built = read_onnx(zoo.model_path(name)), read_model(zoo.model_path(name))
    assert (found.sha256, found.spec) == (built.sha256, built.spec) and found.spec.name == name


def test_weights_beside_the_file_count(tmp_path):
    path = save_apart(tmp_path / "tiny.onnx")
    found, weights = read_onnx(path), tmp_path / "tiny.weights"
    assert found.sha256 == hashlib.sha256(path.read_bytes() + weights.read_bytes()).hexdigest()
    assert found.size_bytes == path.stat().st_size + weights.stat().st_size
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    assert read_onnx(path).sha256 != found.sha256


def test_external_data_file_missing(tmp_path):
    path = save_apart(tmp_path / "tiny.onnx")
    (tmp_path / "tiny.weights").unlink()
    with pytest.raises(ModelError, match=r"tiny\.weights: No such file.*; copy tiny\.weights into its folder"):
        read_onnx(path)


def test_external_data_that_is_a_pipe(tmp_path):
    path = save_apart(tmp_path / "tiny.onnx")
    (tmp_path / "tiny.weights").unlink()
    os.mkfifo(tmp_path / "tiny.weights")
    with pytest.raises(ModelError, match=r"tiny\.weights, which is no file"):
        read_onnx(path)


@pytest.mark.parametrize("location", ["/dev/zero", "../tiny.weights"])
def test_external_data_elsewhere(tmp_path, location):
    path = save_apart(tmp_path / "tiny.onnx")
    proto = onnx.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = location
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="which is elsewhere"):
        read_onnx(path)


def test_truncated_onnx(model, tmp_path):
    data = model.read_bytes()
    for size in (len(data) - 1, len(data) // 2, 100, 3):
        (tmp_path / "cut.onnx").write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"an ONNX file; got cut\.onnx: truncated|the metadata key"):
            read_onnx(tmp_path / "cut.onnx")


def test_files_that_are_no_onnx_of_ours(tmp_path):
    save_tiny(tmp_path / "stranger.onnx", metadata=False)
    for name, content, words in (
        ("text.onnx", b"this is no model", "an ONNX file; got text.onnx"),
        ("empty.onnx", b"", "metadata key"),
        ("ones.onnx", b"\xff" * 99, "an ONNX file"),
        ("stranger.onnx", None, r"the metadata key facetrt\.spec in stranger\.onnx; got keys \[\]; export"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=words):
            read_onnx(tmp_path / name)
    for path in (tmp_path, tmp_path / "absent.onnx"):
        with pytest.raises(ModelError, match="a readable ONNX file"):
            read_onnx(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, 2000), st.integers(0, 255))))
def test_any_damage_ends_in_an_answer(model, tmp_path, damage):
    """Random bytes, or one byte of a sound file replaced: an OnnxFile or a ModelError, nothing else."""
    data = damage
    if isinstance(damage, tuple):
        sound = bytearray(model.read_bytes())
        sound[-1 - damage[0] % len(sound)] = damage[1]
        data = bytes(sound)
    path = Path(tmp_path / "damaged.onnx")
    path.write_bytes(data)
    try:
        assert read_onnx(path).spec
    except ModelError as error:
        assert error.expected and error.got and error.remedy
