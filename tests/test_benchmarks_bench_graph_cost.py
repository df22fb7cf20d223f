"""Counts of ONNX graphs: by hand on small ones, against torch's modules and the published counts on whole networks."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mac_counter import macs_of
from onnx import TensorProto, helper, numpy_helper
from paper_networks import COUNTS
from tiny_onnx import save_tiny, tiny_spec
from torch import nn

from benchmarks.bench.graph_cost import count
from export.to_onnx import export_graph
from sdk.errors import InputError, MissingPackageError, ModelError
from training.models.super_fan import Generator, GeneratorConfig

SUPER_FAN = ("superfan/G_12-3-2_with_2RB_at_x4", 1_431_811, 1.2994)  # counts.json: key, parameters, GMACs


def saved(path, nodes, inputs, outputs, **stored):
    """A file with these nodes; sizes that are texts are free. Stored: name -> shape."""
    values = {
        role: [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]
        for role, tensors in (("in", inputs), ("out", outputs))
    }
    kept = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in stored.items()]
    graph = helper.make_graph([helper.make_node(*n[:3], **n[3]) for n in nodes], "g", *values.values(), kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_a_residual_block_is_two_layers(tmp_path):
    """conv + relu, conv + sum: 9 x 2 x 4 and 9 x 4 x 2 multiply-adds a pixel, of 6 x 5 pixels and 3 faces."""
    nodes = [
        ("Conv", ["x", "w1", "b1"], ["a"], {"pads": [1] * 4}),
        ("Relu", ["a"], ["r"], {}),
        ("Conv", ["r", "w2"], ["c"], {"pads": [1] * 4}),
        ("Add", ["c", "x"], ["y"], {}),
    ]
    shape = ["N", 2, "h", "w"]
    path = saved(tmp_path / "block.onnx", nodes, {"x": shape}, {"y": shape}, w1=(4, 2, 3, 3), b1=(4,), w2=(2, 4, 3, 3))
    cost = count(path, batch=3, input_hw=(6, 5))
    first, second = cost.layers
    pixels = 3 * 6 * 5
    assert (first.macs, first.weights, first.read, first.written) == (pixels * 72, 76, pixels * 2, pixels * 4)
    assert (second.macs, second.weights, second.read, second.written) == (pixels * 72, 72, pixels * 6, pixels * 2)
    assert (first.rows, first.columns, first.depth) == (pixels, 4, 18)
    assert second.bytes("fp16") == 2 * (72 + pixels * 8)
    assert cost.least_bytes("int8") == 148 + pixels * 4
    assert cost.flop == 2 * pixels * 144


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(8, 12, 3, stride=2, groups=4), (8, 9, 7)),
        (nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1), (6, 5, 5)),
        (nn.Linear(10, 7), (3, 10)),
    ],
    ids=["grouped", "transposed", "linear"],
)
def test_products_count_as_the_modules_do(module, shape, tmp_path):
    weight = tuple(module.weight.shape)
    if isinstance(module, nn.Linear):
        node, stored = ("MatMul", ["x", "w"], ["y"], {}), weight[::-1]
    else:
        options = {"strides": list(module.stride), "group": module.groups, "pads": [module.padding[0]] * 4}
        kind = "ConvTranspose" if isinstance(module, nn.ConvTranspose2d) else "Conv"
        node, stored = (kind, ["x", "w"], ["y"], options), weight
    result = module(torch.zeros(2, *shape)).shape
    path = saved(tmp_path / "one.onnx", [node], {"x": ["N", *shape]}, {"y": list(result)}, w=stored)
    (layer,) = count(path, batch=2).layers
    assert layer.macs == macs_of(module, torch.zeros(2, *shape))
    assert layer.rows * layer.columns * layer.depth * layer.groups == layer.macs
    assert (layer.read, layer.written) == (2 * np.prod(shape), np.prod(result))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_super_fan_as_published(tmp_path):
    """The exported file: 39 convolutions and nothing else, with the parameters of folded batch norms."""
    key, parameters, giga_macs = SUPER_FAN
    model = Generator(GeneratorConfig(n3_blocks=2)).eval()

    class Named(nn.Module):
        def forward(self, lr):
            return {"sr": model(lr)}

    spec = tiny_spec(scale=4, any_size=False, output_names=("sr",), heatmap_kind=None, heatmap_count=0, heatmap_size=0)
    path = tmp_path / "super_fan.onnx"
    onnx.save(export_graph(Named(), spec), str(path))
    cost = count(path)
    assert cost.macs == macs_of(model, torch.zeros(1, 3, 16, 16))
    assert round(cost.macs / 1e9, 4) == giga_macs
    assert count(path, batch=8).macs == 8 * cost.macs
    assert [layer.macs > 0 for layer in cost.layers] == [True] * 39
    stored = [np.prod(t.dims) for t in onnx.load(str(path)).graph.initializer if t.data_type == TensorProto.FLOAT]
    assert cost.weights == sum(stored)
    assert 0.99 * parameters < cost.weights < parameters  # batch norms are folded into the convolutions
    assert cost.uncounted == ()
    if COUNTS.is_file():
        assert (json.loads(COUNTS.read_text())[key]["params"], giga_macs) == (parameters, giga_macs)


@pytest.mark.parametrize("name", ["picoface_x8", "picoface_x4"])
def test_int8_files_compute_what_their_fp32_file_does(name):
    plain = count(name)
    quantised = count(Path(__file__).parents[1] / "sdk" / "models" / f"{name}.int8.onnx")
    assert (quantised.macs, quantised.weights, quantised.edge) == (plain.macs, plain.weights, plain.edge)
    assert sorted(layer.macs for layer in quantised.layers) == sorted(layer.macs for layer in plain.layers)
    assert plain.inputs == {
        "lr": f"float32 [1,3,{16 if name.endswith('8') else 32},{16 if name.endswith('8') else 32}]"
    }


def test_any_size_scales_with_the_pixels():
    assert count("picoface_x4", input_hw=(64, 64)).macs == 4 * count("picoface_x4").macs


def test_what_cannot_be_counted_says_so(tmp_path, monkeypatch):
    foreign = saved(tmp_path / "f.onnx", [("Relu", ["x"], ["y"], {})], {"x": ["N", 3, "h", "w"]}, {"y": None})
    fixed = saved(tmp_path / "s.onnx", [("Relu", ["x"], ["y"], {})], {"x": [1, 3, 4, 4]}, {"y": None})
    einsum = [("Einsum", ["x", "x"], ["y"], {"equation": "ij,kj->ik"})]
    strange = saved(tmp_path / "e.onnx", einsum, {"x": [2, 4]}, {"y": [2, 2]})
    clash = [("MatMul", ["x", "w"], ["y"], {})]
    broken = saved(tmp_path / "b.onnx", clash, {"x": ["N", 5]}, {"y": None}, w=(4, 4))
    with pytest.raises(InputError, match="free dimension h"):
        count(foreign)
    with pytest.raises(InputError, match="takes 1 only"):
        count(fixed, batch=2)
    with pytest.raises(InputError, match="batch 0"):
        count(fixed, batch=0)
    with pytest.raises(ModelError, match="worked out"):
        count(broken)
    assert count(strange, batch=2).uncounted == ("Einsum",)
    (tmp_path / "no.onnx").write_bytes(b"\x08\x09junk" * 9)
    with pytest.raises(ModelError, match="no.onnx"):
        count(tmp_path / "no.onnx")
    with pytest.raises(ModelError, match="no file"):
        count(tmp_path / "none.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        count(save_tiny(tmp_path / "t.onnx") or tmp_path / "t.onnx")
