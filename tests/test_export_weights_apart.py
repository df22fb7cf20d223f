"""Weights beside the graph: safetensors' own reader, onnxruntime and TensorRT's parser find what we wrote; whoever
opens the file with a missing, cut or foreign file of weights hears which one and what to do."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from small_network import small_graph, small_spec

from export.cli import main as trt_build
from export.graph import read_model
from export.weights_apart import safetensors_bytes, taken_apart
from sdk.enhancer import FaceEnhancer
from sdk.errors import ModelError
from sdk.runtime.backend import open_backend
from sdk.runtime.onnx_file import read_onnx
from sdk.spec import METADATA_KEY

STORES = ("fp16", "int8")


def write(folder, *, seed=0, store="fp16", name="tiny"):
    """Both files; the graph with its weights inside."""
    graph = small_graph(seed=seed)
    onnx.helper.set_model_props(graph, {METADATA_KEY: small_spec().to_json()})
    apart = taken_apart(graph, name=name, store=store, metadata={"name": name})
    (folder / f"{name}.onnx").write_bytes(apart.onnx)
    (folder / f"{name}.safetensors").write_bytes(apart.weights)
    return folder / f"{name}.onnx", graph


def run(source, batch):
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(["heatmaps"], {"lr": batch})[0]


def test_a_safetensors_file_by_hand():
    data, places = safetensors_bytes({"b": np.int8([[1, -2]]), "a": np.float32([0.5])}, metadata={"who": "us"})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["a"] == {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    assert header["b"] == {"dtype": "I8", "shape": [1, 2], "data_offsets": [4, 6]}, "larger types first"
    start = places["a"][0]
    assert start % 64 == 0 and places == {"a": (start, 4), "b": (start + 4, 2)}
    assert data[start:] == np.float32([0.5]).tobytes() + b"\x01\xfe"


@pytest.mark.parametrize("store", STORES)
def test_the_safetensors_library_reads_the_weights(tmp_path, store):
    library = pytest.importorskip("safetensors", reason="pip install safetensors")
    path, graph = write(tmp_path, store=store)
    with library.safe_open(str(path.with_suffix(".safetensors")), framework="np") as file:
        assert file.metadata() == {"name": "tiny"}
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name not in found:
            continue
        if values.size < 256 or values.ndim < 2:
            assert np.array_equal(found[tensor.name], values)
        elif store == "fp16":
            assert np.array_equal(found[tensor.name], values.astype(np.float16))
        else:
            scale = found[f"{tensor.name}.scale"]
            assert np.abs(found[tensor.name] * scale - values).max() <= 0.5001 * scale.max()
    assert any(values.dtype == {"fp16": np.float16, "int8": np.int8}[store] for values in found.values())


@pytest.mark.parametrize("store", STORES)
def test_three_readers_compute_the_same(tmp_path, store):
    path, graph = write(tmp_path, store=store)
    batch = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    inside, by_path = run(graph.SerializeToString(), batch), run(str(path), batch)
    assert np.abs(by_path - inside).max() < {"fp16": 1e-3, "int8": 1e-2}[store]
    backend = open_backend(path, "onnxruntime")
    assert np.array_equal(backend.run(batch)["heatmaps"], by_path)
    backend.close()
    folded = read_model(path).graph
    assert np.array_equal(run(folded.SerializeToString(), batch), by_path), "what trt-build starts from"
    assert len(folded.graph.node) == len(graph.graph.node), "the nodes that widen weights are gone"


def test_transposed_convolutions_have_their_output_channels_second(tmp_path):
    weight = np.ones((8, 16, 3, 3), np.float32) * np.linspace(0.01, 5, 16, dtype=np.float32)[:, None, None]
    helper = onnx.helper
    value = [helper.make_tensor_value_info(name, 1, ["n", c, "h", "w"]) for name, c in (("x", 8), ("y", 16))]
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", value[:1], value[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    apart = taken_apart(model, name="t", store="int8", metadata={})
    (tmp_path / "t.onnx").write_bytes(apart.onnx)
    (tmp_path / "t.safetensors").write_bytes(apart.weights)
    onnx.checker.check_model(str(tmp_path / "t.onnx"), full_check=True)
    x = np.random.default_rng(1).random((1, 8, 4, 4), np.float32)
    ours = onnxruntime.InferenceSession(str(tmp_path / "t.onnx")).run(None, {"x": x})[0]
    exact = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    assert np.abs(ours - exact).max() < 1e-4, "one scale a channel holds a constant channel exactly"


def test_weights_that_fp16_cannot_hold():
    graph = small_graph(gains={"b0.conv1.w": 1e8})
    with pytest.raises(ModelError, match="weights that fp16 can hold, up to 65504; got .* in b0.conv1.w"):
        taken_apart(graph, name="tiny", store="fp16", metadata={})


def missing(weights, other):
    weights.unlink()
    return r"the weights of tiny\.onnx beside it; got tiny\.safetensors: No such file.*; copy tiny\.safetensors"


def cut(weights, other):
    weights.write_bytes(weights.read_bytes()[:-7])
    return r"\d+ bytes or more in tiny\.safetensors; got \d+ bytes, cut off before the end of \S+; copy or"


def swapped(weights, other):
    weights.write_bytes(other.read_bytes())
    return r"the weights that tiny\.onnx was written with .* in tiny\.safetensors; got others .*another network; copy"


def flipped(weights, other):
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    return "got others .*damaged"


@pytest.mark.parametrize("harm", [missing, cut, swapped, flipped])
def test_every_reader_says_what_is_wrong_with_the_weights(tmp_path, harm, capsys):
    path, _ = write(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = write(tmp_path / "other", seed=1)
    words = harm(path.with_suffix(".safetensors"), other.with_suffix(".safetensors"))
    readers = (read_onnx, read_model, lambda p: open_backend(p, "onnxruntime"), lambda p: FaceEnhancer(p))
    for reader in readers:
        with pytest.raises(ModelError, match=words):
            reader(path)
    assert trt_build([str(path), "--precision", "int8", "--target", "cpu", "-o", str(tmp_path / "o.onnx")]) == 2
    assert "tiny.safetensors" in capsys.readouterr().err and not (tmp_path / "o.onnx").exists()


def test_the_parser_of_tensorrt_takes_them(tmp_path):
    """By its own reading of the path, as trtexec does, and by the bytes that trt-build hands it."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    path, _ = write(tmp_path)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    for source in (str(path), read_model(path).graph.SerializeToString()):
        network = builder.create_network(typed)
        parser = trt.OnnxParser(network, logger)
        took = parser.parse_from_file(source) if isinstance(source, str) else parser.parse(source)
        assert took, [parser.get_error(i).desc() for i in range(parser.num_errors)]
        assert network.num_layers > 10 and {network.get_output(i).name for i in range(2)} == {"sr", "heatmaps"}


def test_the_cpu_int8_of_trt_build_starts_from_them(tmp_path, capsys):
    path, _ = write(tmp_path)
    out = tmp_path / "small.int8.onnx"
    words = ["--precision", "int8", "--target", "cpu", "--calib-count", "64", "--allow-loss", "--quiet"]
    assert trt_build([str(path), *words, "-o", str(out)]) == 0, capsys.readouterr().err
    assert read_onnx(path).sha256 == json.loads((tmp_path / "small.int8.onnx.json").read_text())["onnx_sha256"]
