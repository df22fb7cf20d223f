"""The kit for GPU hosts: what it holds agrees with the models it was made from."""

import json

import numpy as np
import onnx
import pytest

from benchmarks.gpu_engines import Kit
from export import gpu_kit
from sdk.errors import EngineError
from sdk.image.pixels import from_network
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    gpu_kit.write_kit(folder, models=["picoface_x8"], precisions=["fp32", "fp16"], calibration_faces=64)
    return folder


def test_the_check_reads_what_was_written(folder):
    kit = Kit(folder)
    assert (
        [entry["precision"] for entry in kit.graphs("typed")]
        == ["fp32", "fp16"]
        == [entry["precision"] for entry in kit.graphs("flags")]
    )
    backend = open_backend(model_path("picoface_x8"), "onnxruntime")
    assert kit.spec("picoface_x8") == backend.spec
    stored = kit.arrays("picoface_x8")
    assert stored["batch"].shape == (16, 3, 16, 16) and stored["hr"].shape == (16, 128, 128, 3)
    assert stored["points"].shape == (16, 68, 2)
    for name, expected in backend.run(stored["batch"]).items():  # the kit's come from the graph with folded weights
        np.testing.assert_allclose(stored[f"out_{name}"], expected, atol=1e-4)
    pictures = from_network(stored["out_sr"], backend.spec).astype(np.float64)
    psnr = -10 * np.log10(np.square((pictures - stored["hr"]) / 255).mean())
    assert psnr > 18  # dB: these are the same faces


def test_graphs_are_in_their_precision_with_float_edges(folder):
    for entry in Kit(folder).graphs("typed"):
        graph = onnx.load(str(folder / entry["file"])).graph
        halves = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.initializer)
        assert (halves > 10) == (entry["precision"] == "fp16")
        assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
        assert set(entry["asked"]) <= {node.name for node in graph.node} and len(entry["nodes"]) == len(graph.node)
        assert [profile[graph.input[0].name][2][0] for profile in entry["profiles"]] == [1, 8, 64]


def test_graphs_that_end_in_pictures_and_points(folder):
    kit = Kit(folder)
    assert [entry["precision"] for entry in kit.tails] == ["fp32", "fp16"]
    for entry in kit.tails:
        graph = onnx.load(str(folder / entry["file"])).graph
        assert [value.name for value in graph.output] == entry["spec"]["output_names"] == ["image", "landmarks"]
        assert any(node.name.startswith(entry["fp32_from"]) for node in graph.node)
        assert set(entry["asked"]) == set(kit.graphs("typed")[0]["asked"])


def test_a_changed_file_is_noticed(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "picoface_x8.fp16.onnx").write_bytes(b"short")
    with pytest.raises(EngineError, match="picoface_x8.fp16.onnx as the kit was written"):
        Kit(tmp_path)
    about = json.loads((tmp_path / "kit.json").read_text())
    (tmp_path / "kit.json").write_text(json.dumps({**about, "version": 99}))
    with pytest.raises(EngineError, match="version 99"):
        Kit(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert gpu_kit.main([str(tmp_path / "file" / "kit")]) == 1
    assert "to make the folder" in capsys.readouterr().err
