"""INT8 graphs: arithmetic against NumPy, Q/DQ where TensorRT fuses them, and what calibration may not break."""

from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import LR, replaced_weight, small_model

from export.faces import load_faces, lr_batch
from export.graph import Model, constants, producers
from export.precision import typed_graph
from export.quantise import check_placement, cpu_int8, edge_convolutions, quantisable, tensorrt_int8
from sdk.errors import BuildError, InputError, MissingPackageError

INNER = ["b0.conv1", "b0.conv2", "b1.conv1", "b1.conv2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def calibration(model):
    return load_faces("builtin", spec=model.spec, count=64)


def run(graph, batch, outputs=("sr", "heatmaps")):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {"lr": batch})


def test_first_and_last_convolutions_are_found_by_the_flow_of_data(model):
    assert edge_convolutions(model) == (["stem"], ["maps", "out"])
    assert quantisable(model) == INNER


def test_every_rule_of_placement_holds(model, calibration):
    graph = tensorrt_int8(model, calibration)
    check_placement(graph)
    made, values = producers(graph), constants(graph)
    for node in graph.graph.node:
        sources = [made[name].op_type if name in made else "" for name in node.input]
        if node.name in INNER:
            assert sources[:2] == ["DequantizeLinear"] * 2, node.name
            assert node.input[2] in values, "the bias is no Q/DQ"
        elif node.op_type == "Conv":
            assert "DequantizeLinear" not in sources, node.name
        elif node.op_type == "Add" and node.name.endswith(".add"):
            assert sorted(sources) == ["Conv", "DequantizeLinear"], node.name
        elif node.op_type == "Relu":
            assert sources == ["Conv"]
        elif node.op_type == "QuantizeLinear":
            zero = values[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
    assert "DepthToSpace" in {made[name].op_type for node in graph.graph.node for name in node.input if name in made}


def test_scales_and_rounding_are_those_of_a_symmetric_quantiser_in_numpy(model, calibration):
    """Weights: max|w| / 127 by output channel. Activations: max|x| / 127 over the calibration faces."""
    graph = tensorrt_int8(model, calibration)
    values, made = constants(graph), producers(graph)
    node = next(n for n in graph.graph.node if n.name == "b0.conv1")
    weight_q = made[made[node.input[1]].input[0]]
    weights = constants(model.graph)["b0.conv1.w"]
    np.testing.assert_allclose(
        values[weight_q.input[1]], np.abs(weights).max(axis=(1, 2, 3)) / 127, rtol=1e-2
    )  # onnxruntime divides by 127 or 127.5, depending on its release
    batch = lr_batch(calibration, model.spec)
    probe = onnx.ModelProto()
    probe.CopyFrom(model.graph)
    probe.graph.output.append(helper.make_tensor_value_info("x0", TensorProto.FLOAT, None))
    (x0,) = run(probe, batch, ["x0"])
    activation_q = made[made[node.input[0]].input[0]]
    assert float(values[activation_q.input[1]]) == pytest.approx(np.abs(x0).max() / 127, rel=1e-2)


def test_layers_to_keep_stay_unquantised(model, calibration):
    graph = tensorrt_int8(model, calibration, keep=["b0.conv1", "b1.conv2"])
    made = producers(graph)
    quantised = [
        n.name
        for n in graph.graph.node
        if n.op_type == "Conv" and n.input[0] in made and made[n.input[0]].op_type == "DequantizeLinear"
    ]
    assert quantised == ["b0.conv2", "b1.conv1"]
    with pytest.raises(InputError, match=r"unknown \['nonsense'\].*--explain"):
        tensorrt_int8(model, calibration, keep=["nonsense"])
    with pytest.raises(BuildError, match="none left of 4.*--precision fp16"):
        tensorrt_int8(model, calibration, keep=INNER)


def test_the_same_faces_give_the_same_graph(model, calibration):
    first, second = (tensorrt_int8(model, calibration).SerializeToString() for _ in range(2))
    assert first == second


def test_the_model_is_left_as_it_was(model, calibration):
    before = model.graph.SerializeToString()
    tensorrt_int8(model, calibration)
    cpu_int8(model, calibration)
    assert model.graph.SerializeToString() == before


def test_activations_without_variance_give_a_finite_network(tmp_path, calibration):
    """A dead ReLU: everything behind it is constant, its range is a point."""
    model = small_model(tmp_path)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.graph)
    replaced_weight(proto, "b0.conv1.b", [-1e3] * 8)
    replaced_weight(proto, "b1.conv1.w", np.zeros((8, 8, 3, 3)))
    dead = Model(proto, model.spec, model.path, model.sha256)
    batch = lr_batch(calibration, model.spec)[:4]
    for graph in (
        tensorrt_int8(dead, calibration),
        typed_graph(dead, "int8", calibration=calibration).graph,
        cpu_int8(dead, calibration),
    ):
        for array, exact in zip(run(graph, batch), run(proto, batch), strict=True):
            assert np.isfinite(array).all()
            np.testing.assert_allclose(array, exact, atol=0.1)


@pytest.mark.parametrize("violation", ["zero point", "two operands", "before relu", "weights alone"])
def test_the_check_of_placement_sees_each_violation(model, calibration, violation):
    graph = tensorrt_int8(model, calibration)
    nodes = {n.name: n for n in graph.graph.node if n.op_type != "DequantizeLinear"}
    quantised = next(n for n in graph.graph.node if n.op_type == "DequantizeLinear").output[0]
    if violation == "zero point":
        name = next(n for n in graph.graph.node if n.op_type == "QuantizeLinear").input[2]
        tensor = next(t for t in graph.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(tensor), 3), name))
    elif violation == "two operands":
        nodes["b0.add"].input[1] = nodes["b0.add"].input[0]
    elif violation == "before relu":
        nodes["b0.relu"].input[0] = quantised
    else:
        nodes["b0.conv1"].input[1] = "b0.conv1.w"
    with pytest.raises(BuildError):
        check_placement(graph)


def test_the_recipe_for_the_cpu_is_another_one(model, calibration):
    graph = cpu_int8(model, calibration)
    zeros = [constants(graph)[n.input[2]].dtype for n in graph.graph.node if n.op_type == "QuantizeLinear"]
    assert np.uint8 in zeros  # activations
    batch = lr_batch(calibration, model.spec)[:4]
    for array, exact in zip(run(graph, batch), run(model.graph, batch), strict=True):
        np.testing.assert_allclose(array, exact, atol=0.05)
    assert [p.key for p in graph.metadata_props] == [p.key for p in model.graph.metadata_props]


@pytest.mark.parametrize("dialect", ["typed", "flags"])
def test_typed_graphs_say_what_each_layer_is_to_run_in(model, calibration, dialect):
    typed = typed_graph(model, "int8", calibration=calibration, dialect=dialect, keep_fp16=["b1.conv1"])
    expected = dict.fromkeys([*INNER, "stem", "out", "maps"], "int8") | dict.fromkeys(
        ["stem", "out", "maps", "b1.conv1"], "fp16"
    )
    assert typed.asked == expected
    scales = {constants(typed.graph)[n.input[1]].dtype for n in typed.graph.graph.node if n.op_type == "QuantizeLinear"}
    assert scales == {np.dtype(np.float16 if dialect == "typed" else np.float32)}
    assert {v.type.tensor_type.elem_type for v in [*typed.graph.graph.input, *typed.graph.graph.output]} == {
        TensorProto.FLOAT
    }


def test_fp32_and_fp16_are_asked_for_everywhere(model):
    for precision in ("fp32", "fp16"):
        assert set(typed_graph(model, precision).asked.values()) == {precision}
        assert len(typed_graph(model, precision).asked) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(precision="int4"), "a precision of"),
        (dict(precision="int8"), "calibration faces for int8"),
        (dict(precision="fp16", dialect="loose"), "a dialect of"),
        (dict(precision="int8", quantiser="magic"), "a quantizer of"),
        (dict(precision="fp8"), "modelopt and TensorRT 10"),
        (dict(precision="fp8", quantiser="modelopt", dialect="flags"), "without strong typing"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(model, options, message):
    with pytest.raises(InputError, match=message):
        typed_graph(model, **options)


def test_modelopt_is_asked_for_by_name_when_it_is_absent(model, calibration):
    if find_spec("modelopt") is None:
        with pytest.raises(MissingPackageError, match="pip install .*modelopt"):
            typed_graph(model, "int8", calibration=calibration, quantiser="modelopt")
        return
    typed = typed_graph(model, "int8", calibration=calibration, quantiser="modelopt")
    assert set(typed.asked[name] for name in INNER) == {"int8"}
    assert run(typed.graph, np.zeros((1, 3, LR, LR), np.float32))
