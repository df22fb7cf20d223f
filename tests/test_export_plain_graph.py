"""Graphs as other exporters write them: the same numbers, in the form that the rest of export/ reads."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import LR, save_small, small_graph, small_spec

from export.graph import read_model
from export.half import to_half
from export.plain_graph import made_plain
from export.precision import typed_graph
from export.quantise import quantisable
from sdk.spec import METADATA_KEY


def outputs(proto, batch):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"lr": batch})


def same(one, other):
    batch = np.random.default_rng(0).random((2, 3, LR, LR), np.float32)
    for a, b in zip(outputs(one, batch), outputs(other, batch), strict=True):
        np.testing.assert_array_equal(a, b)


def read(folder, proto):
    helper.set_model_props(proto, {METADATA_KEY: small_spec().to_json()})
    onnx.save(proto, str(folder / "other.onnx"))
    return read_model(folder / "other.onnx")


@pytest.mark.parametrize(
    "rename",
    [lambda i, name: "", lambda i, name: "same", lambda i, name: f"a [{name}]\nb {i}", lambda i, name: f"Conv_{8 - i}"],
    ids=["none", "one for all", "unreadable in a table", "like those we would give"],
)
def test_every_layer_can_be_asked_for_by_name(rename, tmp_path):
    proto = small_graph()
    for index, node in enumerate(proto.graph.node):
        node.name = rename(index, node.name)
    model = read(tmp_path, proto)
    names = [node.name for node in model.graph.graph.node]
    assert all(names) and len(set(names)) == len(names) and not any(set(name) & set("[]\n") for name in names)
    assert len(typed_graph(model, "fp16").asked) == 7 and len(quantisable(model)) == 4
    before = small_graph()
    for node in before.graph.node:
        node.name = ""
    same(before, model.graph)


def test_names_that_serve_stay():
    before = small_graph()
    assert [n.name for n in made_plain(before, reserved="x.").graph.node] == [n.name for n in before.graph.node]
    before.graph.node[0].name = before.graph.node[1].name = "x.[a]"
    assert made_plain(before, reserved="x.").graph.node[0].name == "x.[a]"


def as_constants(proto, names):
    """Initialisers as Constant nodes, as exporters without constant folding write them."""
    for tensor in [t for t in proto.graph.initializer if t.name in names]:
        proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        proto.graph.initializer.remove(tensor)
    return proto


def test_weights_of_constant_nodes_are_quantised_like_others(tmp_path):
    proto = as_constants(small_graph(), {"b0.conv1.w", "b1.conv2.w", "factors"})
    model = read(tmp_path, proto)
    assert quantisable(model) == ["b0.conv1", "b0.conv2", "b1.conv1", "b1.conv2"]
    same(small_graph(), model.graph)


def test_numbers_of_constants_however_they_are_spelled(tmp_path):
    proto = small_graph()
    number = helper.make_node("Constant", [], ["small"], value_float=0.05)
    numbers = helper.make_node("Constant", [], ["factors"], value_floats=[1.0, 1.0, 2.0, 2.0])
    for name in ("small", "factors"):
        proto.graph.initializer.remove(next(t for t in proto.graph.initializer if t.name == name))
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[0])
    axis = helper.make_node("Constant", [], ["axis"], value_int=0)
    for node in (number, numbers, axes, axis):
        proto.graph.node.insert(0, node)
    end = [helper.make_node("Unsqueeze", ["sr0", "axes"], ["sr1"]), helper.make_node("Gather", ["sr1", "axis"], ["sr"])]
    next(node for node in proto.graph.node if node.output[0] == "sr").output[0] = "sr0"
    proto.graph.node.extend(end)
    model = read(tmp_path, proto)
    assert not [node for node in model.graph.graph.node if node.op_type == "Constant"]
    same(small_graph(), model.graph)
    to_half(model, model.graph)  # whose checker would not take a float32 that was overlooked


def test_zeros_by_default_follow_the_precision(tmp_path):
    proto = small_graph()
    next(node for node in proto.graph.node if node.output[0] == "sr").output[0] = "sr0"
    proto.graph.node.extend(
        [
            helper.make_node("Shape", ["sr0"], ["shape"]),
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("Add", ["sr0", "zeros"], ["sr"]),
        ]
    )
    model = read(tmp_path, proto)
    same(small_graph(), model.graph)
    to_half(model, model.graph)


def test_what_no_output_needs_is_gone(tmp_path):
    proto = small_graph()
    proto.graph.node.append(helper.make_node("Conv", ["x2", "b0.conv1.w"], ["lost"], "lost", pads=[1, 1, 1, 1]))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(9, np.float32), "unread"))
    model = read(tmp_path, proto)
    assert "lost" not in typed_graph(model, "fp16").asked and len(model.graph.graph.initializer) == 16
    same(small_graph(), model.graph)


def test_weights_among_the_inputs_as_before_ir_4(tmp_path):
    proto = small_graph()
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims))
        proto.graph.input.insert(0, value)
    model = read(tmp_path, proto)
    assert model.input_name == "lr" and [value.name for value in model.graph.graph.input] == ["lr"]


def test_the_graph_it_was_given_stays(tmp_path):
    proto = onnx.load(save_small(tmp_path / "a.onnx"))
    before = proto.SerializeToString()
    made_plain(as_constants(proto, ()), reserved="x.")
    assert proto.SerializeToString() == before
