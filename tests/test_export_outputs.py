"""Files for users without our Python: what the SDK computes, from the shipped networks and from checkpoints."""

import numpy as np
import onnx
import onnxruntime
import pytest
from small_network import LR, save_small, small_spec
from test_export_to_onnx import pytestmark as torch_warnings
from test_export_to_onnx import saved  # noqa: F401  (a fixture: checkpoints of fixed and of any size)

from export import gate, outputs, to_onnx, triton_config
from export.faces import load_faces, lr_batch
from export.graph import read_model
from sdk import networks
from sdk.enhancer import FaceEnhancer
from sdk.errors import ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path

pytestmark = torch_warnings
NAMES = ["image", "landmarks"]


def ours(*words):
    return outputs.main([str(word) for word in words])


@pytest.mark.parametrize("name", ["picoface_x8", "picoface_x4"])
def test_shipped_networks_on_faces(name, tmp_path):
    path, shipped = tmp_path / "m.onnx", model_path(name)
    assert ours(name, "-o", path) == 0
    spec = read_model(shipped).spec
    plain, whole = (open_backend(one, "onnxruntime") for one in (shipped, path))
    for size in (spec.lr_size, 2 * spec.lr_size) if spec.any_size else (spec.lr_size,):
        batch = lr_batch(load_faces("builtin", spec=spec, count=64), spec, lr_size=size)[:16]
        want, got = plain.run(batch), whole.run(batch)
        maps, side = want["heatmaps"], size * spec.scale
        decoded = decode(maps, mode=spec.decoder, radius=spec.decoder_radius)
        points = cells_to_image(decoded.points, maps.shape[2:], (side, side))
        cell_px = side / maps.shape[3]
        assert np.abs(got["landmarks"][..., :2] - points).max() < 1e-4 * cell_px, "0.02 cells are promised"
        np.testing.assert_allclose(got["landmarks"][..., 2], decoded.scores, atol=1e-6)
        assert got["image"].dtype == np.uint8 and got["image"].shape == (16, side, side, 3)
        assert np.abs(got["image"].astype(int) - from_network(want["sr"], spec)).max() <= 1
    plain.close(), whole.close()


def test_landmarks_alone_and_the_whole_network_from_such_a_file(tmp_path, capsys):
    model, alone, back = save_small(tmp_path / "m.onnx"), tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert ours(model, "-o", alone, "--outputs", "landmarks", "--triton", tmp_path / "config.pbtxt") == 0
    assert "a.onnx: landmarks, 0.0" in capsys.readouterr().out
    assert ours(alone, "-o", back) == 0
    batch = np.random.default_rng(0).random((4, 3, LR, LR), np.float32)
    both, points = (onnxruntime.InferenceSession(path).run(None, {"lr": batch}) for path in (back, alone))
    assert len(points) == 1
    np.testing.assert_array_equal(points[0], both[1])
    assert (tmp_path / "config.pbtxt").read_text().count("name:") == 2, "its input and one output"
    inner = read_model(alone)
    assert inner.spec.output_names == ("sr", "heatmaps") and inner.file_spec.output_names == ("landmarks",)
    with pytest.raises(ModelError, match="small_x2 with the outputs of the network itself; got landmarks instead"):
        FaceEnhancer(alone, backend="onnxruntime")


def test_a_network_of_points_alone_is_judged_by_them(tmp_path):
    model = save_small(tmp_path / "m.onnx")
    assert ours(model, "-o", tmp_path / "a.onnx", "--outputs", "landmarks") == 0
    read = read_model(tmp_path / "a.onnx")
    faces = load_faces("builtin", spec=read.spec, count=64)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    moved = {}
    for shift in (0.0, 1.0):

        def run(batch, shift=shift):
            return {"landmarks": session.run(None, {"lr": batch})[0] + np.float32([shift, 0, 0])}

        verdict = gate.judge(read, run, faces, precision="fp16")
        assert verdict.numbers["psnr_fp32_db"] == 150.0
        moved[shift] = verdict.numbers["moved_pt"]
    assert moved[0.0] < 0.01 < 0.1 < moved[1.0]


def test_another_choice_from_a_file_that_has_one_and_fp16_inside(tmp_path, capsys):
    model = save_small(tmp_path / "m.onnx")
    assert ours(model, "-o", tmp_path / "a.onnx", "--outputs", "image,landmarks") == 0
    line = (tmp_path / "a.onnx", "-o", tmp_path / "b.onnx", "--outputs", "landmarks,sr", "--precision", "fp16")
    assert ours(*line) == 0
    assert "b.onnx: sr, landmarks, 0.0" in capsys.readouterr().out
    batch = np.random.default_rng(0).random((4, 3, LR, LR), np.float32)
    wide, narrow = (onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in "ab")
    points = [s.run(["landmarks"], {"lr": batch})[0] for s in (wide, narrow)]
    assert np.isfinite(points[1]).all() and np.abs(points[0][..., 2] - points[1][..., 2]).max() < 5e-3
    assert onnx.load(tmp_path / "b.onnx").graph.output[1].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_picture_as_float(tmp_path):
    assert ours(save_small(tmp_path / "m.onnx"), "-o", tmp_path / "a.onnx", "--image-type", "float32") == 0
    image = open_backend(tmp_path / "a.onnx", "onnxruntime").run(np.full((1, 3, LR, LR), 0.5, np.float32))["image"]
    assert image.dtype == np.float32 and (image == np.floor(image)).all() and image.max() > 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "a.onnx", "--outputs", "image"], "sr or image, heatmaps or landmarks"),
        (["-o", "a.plan"], "an output ending in .onnx"),
        (["-o", "a.onnx", "--triton", "c.pbtxt", "--max-batch", "0"], "a largest batch of 1 or more"),
    ],
)
def test_wrong_use(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ours(save_small(tmp_path / "m.onnx"), *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "c.pbtxt").exists()


def test_a_tail_that_is_off_is_not_written(tmp_path, monkeypatch, capsys):
    model = save_small(tmp_path / "m.onnx")
    monkeypatch.setattr(outputs, "cells_to_image", lambda points, cells, size: points + 1)
    assert ours(model, "-o", tmp_path / "a.onnx") == 2
    assert "do not ship this file" in capsys.readouterr().err and not (tmp_path / "a.onnx").exists()


def test_checkpoints(saved, tmp_path):  # noqa: F811
    line = [str(saved), "-o", str(tmp_path / "m.onnx"), "--outputs", "image,landmarks", "--store", "fp16"]
    assert to_onnx.main(line) == 0
    assert read_model(tmp_path / "m.onnx").file_spec.output_names == ("image", "landmarks")
    assert to_onnx.main([*line[:4], "points"]) == 2


def test_triton_is_told_names_types_and_shapes(tmp_path):
    assert (
        ours(save_small(tmp_path / "m.onnx"), "-o", tmp_path / "a.onnx", "--triton", tmp_path / "x8/config.pbtxt") == 0
    )
    assert (tmp_path / "x8/config.pbtxt").read_text().splitlines() == [
        'platform: "tensorrt_plan"',
        "max_batch_size: 8",
        "input [",
        '  { name: "lr", data_type: TYPE_FP32, dims: [3, 8, 8] }',
        "]",
        "output [",
        '  { name: "image", data_type: TYPE_UINT8, dims: [16, 16, 3] },',
        '  { name: "landmarks", data_type: TYPE_FP32, dims: [4, 3] }',
        "]",
    ]
    any_size = triton_config.config(onnx.load(model_path("picoface_x4")), max_batch=4, name="x4")
    assert any_size.startswith('name: "x4"\n') and "dims: [3, -1, -1] }" in any_size
    graph = onnx.load(tmp_path / "a.onnx")
    graph.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(ModelError, match="INT64 of landmarks"):
        triton_config.config(graph, max_batch=1)


def test_face_enhancer_names_the_file_to_open_instead(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    assert ours(save_small(tmp_path / "m.onnx", spec=small_spec()), "-o", path) == 0
    words = "got image instead of sr, landmarks instead of heatmaps; open the file it was made from"
    with monkeypatch.context() as patch:
        patch.setattr(networks, "open_network", None)  # it might build an engine, for minutes
        with pytest.raises(ModelError, match=words):
            FaceEnhancer(path)
    backend = open_backend(path, "onnxruntime")
    with pytest.raises(ModelError, match=words):
        FaceEnhancer([backend])
    assert backend.run(np.zeros((1, 3, LR, LR), np.float32))["landmarks"].shape == (1, 4, 3), "not closed: not ours"
