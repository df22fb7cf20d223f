"""fp16 written into the graph, and what onnxruntime is made to show of it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_network import LR, replaced_weight, small_graph, small_model, small_spec

from export.faces import load_faces
from export.graph import Model, read_model
from export.half import to_half
from export.precision import typed_graph
from export.simulate import simulated
from sdk.errors import BuildError
from sdk.spec import METADATA_KEY


def run(graph, batch):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["sr", "heatmaps"], {"lr": batch})


def kinds_of(graph):
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    return {v.name: v.type.tensor_type.elem_type for v in values}


@pytest.fixture
def batch():
    return np.random.default_rng(1).random((3, 3, LR, LR), np.float32)


def test_everything_inside_is_fp16_and_the_edges_are_fp32(tmp_path):
    model = small_model(tmp_path)
    half = to_half(model, model.graph)
    kinds = kinds_of(half)
    assert {kinds[name] for name in ("lr", "sr", "heatmaps")} == {TensorProto.FLOAT}
    inside = {kinds[name] for node in half.graph.node if node.op_type != "Cast" for name in node.output}
    assert inside == {TensorProto.FLOAT16}
    assert [n.op_type for n in half.graph.node].count("Cast") == 3  # one in, two out
    assert [n.name for n in half.graph.node if n.op_type == "Conv"] == [
        n.name for n in model.graph.graph.node if n.op_type == "Conv"
    ]


def test_operands_that_onnx_knows_in_fp32_only_stay_fp32(tmp_path):
    model = small_model(tmp_path)
    factors = next(t for t in to_half(model, model.graph).graph.initializer if t.name == "factors")
    assert factors.data_type == TensorProto.FLOAT  # the scales of Resize


def test_simulation_shows_the_rounding_that_a_real_fp16_evaluation_has(tmp_path, batch):
    """ONNX's own reference evaluator computes in NumPy's float16; onnxruntime alone would hide nearly all of it."""
    model = small_model(tmp_path)
    half = to_half(model, model.graph)
    exact = run(model.graph, batch)
    real = ReferenceEvaluator(half).run(["sr", "heatmaps"], {"lr": batch})
    shown = run(simulated(half), batch)
    for a, b, c in zip(exact, real, shown, strict=True):
        error, seen = np.abs(b - a).mean(), np.abs(c - a).mean()
        assert error / 3 < seen < 3 * error, (seen, error)
        np.testing.assert_allclose(c, b, atol=4e-3)  # a few fp16 steps at 1: the order of the sums differs
    flattering = run(half, batch)
    assert np.abs(flattering[1] - exact[1]).mean() < 0.9 * np.abs(shown[1] - exact[1]).mean()


def test_simulation_overflows_where_fp16_does(tmp_path, batch):
    model = small_model(tmp_path, gains={"stem.w": 1.5e5})
    assert np.isfinite(run(model.graph, batch)[1]).all()
    half = to_half(model, model.graph)
    assert not np.isfinite(run(simulated(half), batch)[1]).all()


def test_simulation_of_an_fp32_graph_changes_nothing(tmp_path):
    model = small_model(tmp_path)
    assert simulated(model.graph).SerializeToString() == model.graph.SerializeToString()


def test_weights_beyond_fp16_are_refused_by_name(tmp_path):
    proto = small_graph()
    replaced_weight(proto, "out.b", [7e4] * 12)
    model = small_model(tmp_path)
    with pytest.raises(BuildError, match=r"up to 65504.*70000 in out\.b.*--precision fp32"):
        to_half(Model(proto, model.spec, model.path, model.sha256), proto)


@pytest.mark.parametrize("kept", [["b0.conv1"], ["stem", "out"], ["maps"], ["enlarge", "sum"]])
def test_nodes_kept_in_fp32_stand_between_casts(tmp_path, batch, kept):
    model = small_model(tmp_path)
    half = to_half(model, model.graph, keep_fp32=kept)
    kinds = kinds_of(half)
    for node in half.graph.node:
        if node.name in kept:
            assert kinds[node.output[0]] == TensorProto.FLOAT, node.name
    for a, b in zip(run(model.graph, batch), run(simulated(half), batch), strict=True):
        np.testing.assert_allclose(b, a, atol=4e-3)


def test_int8_scales_below_fp16_are_refused_by_name(tmp_path):
    model = small_model(tmp_path, gains={"b0.conv1.w": 1e-7})
    faces = load_faces("builtin", spec=model.spec, count=64)
    with pytest.raises(BuildError, match=r"INT8 scales of small.onnx of 5.96.*e-08.* in b0.conv1.w.*--keep-fp16"):
        typed_graph(model, "int8", calibration=faces)
    typed_graph(model, "int8", calibration=faces, keep_fp16=["b0.conv1"])


@pytest.mark.parametrize("operator", ["GroupNormalization", "RandomNormalLike"])
def test_an_operator_without_a_place_in_fp16_is_an_error_of_ours(operator, tmp_path):
    proto = small_graph()
    next(node for node in proto.graph.node if node.output[0] == "h0").output[0] = "x"
    if operator == "GroupNormalization":
        proto.opset_import[0].version = 21
        proto.graph.initializer.extend(numpy_helper.from_array(np.ones(8, np.float32), name) for name in "gb")
        proto.graph.node.insert(2, helper.make_node(operator, ["x", "g", "b"], ["h0"], num_groups=4))
    else:
        proto.graph.node.insert(2, helper.make_node(operator, ["x"], ["noise"], dtype=TensorProto.FLOAT))
        proto.graph.node.insert(3, helper.make_node("Add", ["x", "noise"], ["h0"], "noisy"))
    helper.set_model_props(proto, {METADATA_KEY: small_spec().to_json()})
    onnx.save(proto, str(tmp_path / "a.onnx"))
    model = read_model(tmp_path / "a.onnx")
    with pytest.raises(BuildError, match="a graph with fp16 tensors of a.onnx; .*--precision fp32"):
        to_half(model, model.graph)
