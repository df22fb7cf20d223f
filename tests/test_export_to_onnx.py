"""Export: the file explains itself, computes what torch computes, and refuses what it should."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from export import to_onnx
from sdk.errors import ModelError
from sdk.runtime.backend import open_backend
from sdk.spec import METADATA_KEY, ModelSpec
from training import checkpoint
from training.models.picoface import PicoFace, PicoFaceConfig

NARROW = {"channels": 16, "blocks": 1, "tail_channels": 16, "head_channels": 16, "head_blocks": (1, 1, 1)}
CONFIGS = {
    "fixed": PicoFaceConfig(scale=8, lr_size=16, **NARROW),
    "any_size": PicoFaceConfig(scale=4, lr_size=32, head_unshuffle=2, head_upscale=1, **NARROW),
}

# torch's exporter and onnx's own helpers warn of their own deprecations
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(params=sorted(CONFIGS))
def saved(request, tmp_path) -> Path:
    torch.manual_seed(0)
    model = PicoFace(CONFIGS[request.param])
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn_like(value))
    path = tmp_path / f"{request.param}.pt"
    checkpoint.save(
        path,
        {
            "model": "picoface",
            "config": model.config.as_dict(),
            "weights": model.state_dict(),
            "spec": model.spec(request.param, licence="test").to_json(),
        },
    )
    return path


@pytest.mark.parametrize("store", ["fp32", "fp16"])
def test_the_file_computes_what_torch_computes_at_any_batch(saved, tmp_path, store):
    target = tmp_path / "out" / "model.onnx"
    line = to_onnx.convert(saved, target, store=store)
    assert "within" in line
    graph = onnx.load(target)
    assert graph.opset_import[0].version == 18
    spec = ModelSpec.from_json({p.key: p.value for p in graph.metadata_props}[METADATA_KEY])
    model = checkpoint.build(checkpoint.load(saved))
    session = onnxruntime.InferenceSession(target.read_bytes())
    # fp16 weights differ from the checkpoint's by 2^-11 of themselves, through a few layers
    tolerance = 1e-4 if store == "fp32" else 5e-3
    for size in (32, 64) if spec.any_size else (16,):
        for batch in (1, 2, 5, 7):
            lr = np.random.default_rng(batch).random((batch, 3, size, size), np.float32)
            with torch.inference_mode():
                expected = model(torch.from_numpy(lr))
            for name, got in zip(spec.output_names, session.run(list(spec.output_names), {"lr": lr}), strict=True):
                np.testing.assert_allclose(got, expected[name].numpy(), atol=tolerance, rtol=0)


def test_the_graph_is_plain_and_small(saved, tmp_path):
    to_onnx.convert(saved, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    allowed = {
        "Conv",
        "Relu",
        "Add",
        "Sub",
        "Mul",
        "DepthToSpace",
        "Pad",
        "Concat",
        "Shape",
        "Transpose",
        "Reshape",
        "Div",
    }
    assert {node.op_type for node in graph.node} <= allowed
    assert all(b"CRD" in node.SerializeToString() for node in graph.node if node.op_type == "DepthToSpace")
    assert not [node for node in graph.node if node.doc_string or node.metadata_props]


def test_fp16_storage_halves_the_file_and_keeps_fp32_arithmetic(saved, tmp_path):
    to_onnx.convert(saved, tmp_path / "a.onnx")
    to_onnx.convert(saved, tmp_path / "b.onnx", store="fp16")
    assert (tmp_path / "b.onnx").stat().st_size < 0.75 * (tmp_path / "a.onnx").stat().st_size
    graph = onnx.load(tmp_path / "b.onnx").graph
    assert all(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in [*graph.input, *graph.output])


def test_the_sdk_opens_the_file(saved, tmp_path):
    to_onnx.convert(saved, tmp_path / "model.onnx")
    backend = open_backend(tmp_path / "model.onnx")
    size = backend.spec.lr_size
    outputs = backend.run(np.zeros((3, 3, size, size), np.float32))
    cells = backend.spec.heatmap_cells(size)
    assert outputs["sr"].shape == (3, 3, backend.spec.hr_size, backend.spec.hr_size)
    assert outputs["heatmaps"].shape == (3, 68, cells, cells)
    backend.close()


def test_a_graph_that_disagrees_with_torch_is_not_written(saved, tmp_path, monkeypatch):
    def spoil(graph: onnx.ModelProto) -> onnx.ModelProto:
        bias = next(t for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT and t.name.endswith("bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
        return graph

    honest = to_onnx.export_graph
    monkeypatch.setattr(to_onnx, "export_graph", lambda model, spec: spoil(honest(model, spec)))
    with pytest.raises(ModelError, match="of torch"):
        to_onnx.convert(saved, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx*"))


def test_a_run_in_progress_is_refused(saved, tmp_path):
    unfinished = {k: v for k, v in checkpoint.load(saved).items() if k != "spec"}
    checkpoint.save(tmp_path / "last.pt", unfinished)
    with pytest.raises(ModelError, match=r"training\.join"):
        to_onnx.convert(tmp_path / "last.pt", tmp_path / "model.onnx")
