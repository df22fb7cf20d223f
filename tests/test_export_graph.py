"""Reading an ONNX file: what is sound comes back as fp32, what is not is refused with the reason."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import replaced_weight, save_small, small_graph, small_spec

from export.graph import fold_stored_weights, read_model
from sdk.errors import ModelError
from sdk.runtime.onnx_file import read_onnx
from sdk.spec import METADATA_KEY
from sdk.zoo import SHIPPED, model_path


def save(path, proto):
    if not proto.metadata_props:
        helper.set_model_props(proto, {METADATA_KEY: small_spec().to_json()})
    onnx.save(proto, str(path))
    return path


def test_a_sound_file_comes_back_with_spec_and_digest(tmp_path):
    path = save_small(tmp_path / "small.onnx")
    model = read_model(path)
    assert model.spec == small_spec()
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.input_name == "lr"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_weights_stored_as_fp16_become_fp32_value_for_value(name):
    stored = onnx.load(model_path(name))
    half = {t.name: t for t in stored.graph.initializer if t.data_type == TensorProto.FLOAT16}
    wide = {node.output[0]: node.input[0] for node in stored.graph.node if node.op_type == "Cast"}
    assert len(wide) > 30  # else this shows nothing
    folded = read_model(model_path(name)).graph
    assert not [n for n in folded.graph.node if n.op_type == "Cast"]
    for tensor in folded.graph.initializer:
        assert tensor.data_type != TensorProto.FLOAT16, tensor.name
        if tensor.name in wide:
            expected = numpy_helper.to_array(half[wide[tensor.name]])
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), expected.astype(np.float32))


def test_folding_leaves_the_graph_it_was_given_alone(tmp_path):
    proto = small_graph()
    before = proto.SerializeToString()
    fold_stored_weights(proto)
    assert proto.SerializeToString() == before


def test_a_checkpoint_is_answered_with_the_command_that_exports_it(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"python -m export\.to_onnx .*net\.pt -o .*net\.onnx"):
        read_model(path)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "bits"])
def test_a_corrupt_or_truncated_file_is_refused(tmp_path, damage):
    whole = save_small(tmp_path / "small.onnx").read_bytes()
    data = {"empty": b"", "text": b"not a model\n" * 50, "half": whole[: len(whole) // 2]}
    data["bits"] = bytes(b ^ 0x5A for b in whole)
    path = tmp_path / "bad.onnx"
    path.write_bytes(data[damage])
    with pytest.raises(ModelError, match="got .*bad.onnx"):
        read_model(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="where there is no file"):
        read_model(tmp_path / "none.onnx")


def test_missing_external_data_is_named(tmp_path):
    proto = small_graph()
    helper.set_model_props(proto, {METADATA_KEY: small_spec().to_json()})
    path = tmp_path / "apart.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="apart.bin", size_threshold=0)
    together = read_model(path)
    assert {t.name for t in together.graph.graph.initializer} == {t.name for t in small_graph().graph.initializer}
    digest = together.sha256
    data = bytearray((tmp_path / "apart.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "apart.bin").write_bytes(data)
    assert read_model(path).sha256 != digest, "the digest covers the weights that lie apart"
    (tmp_path / "apart.bin").unlink()
    with pytest.raises(ModelError, match=r"weights of apart\.onnx beside it; got apart\.bin: No such file"):
        read_model(path)


def test_an_unknown_operator_is_named_with_its_node(tmp_path):
    proto = small_graph()
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "FancyAttention", "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(ModelError, match=r"b0\.conv1.*com\.example::FancyAttention"):
        read_model(save(tmp_path / "custom.onnx", proto))


def test_a_file_without_our_metadata_says_how_to_export_it(tmp_path):
    path = tmp_path / "bare.onnx"
    onnx.save(small_graph(), str(path))
    with pytest.raises(ModelError, match=r"metadata key facetrt\.spec.*export\.to_onnx"):
        read_model(path)


def test_an_output_that_the_spec_names_and_the_graph_lacks(tmp_path):
    proto = small_graph()
    proto.graph.output[1].name = "maps_renamed"
    next(n for n in proto.graph.node if n.name == "maps").output[0] = "maps_renamed"
    with pytest.raises(ModelError, match=r"none named \['heatmaps'\]"):
        read_model(save(tmp_path / "renamed.onnx", proto))


def test_two_inputs_are_refused(tmp_path):
    proto = small_graph()
    proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 1, 8, 8]))
    with pytest.raises(ModelError, match="2 inputs: lr FLOAT, mask FLOAT"):
        read_model(save(tmp_path / "two.onnx", proto))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_counted_and_named(tmp_path, value):
    proto = small_graph()
    replaced_weight(proto, "out.b", [value] * 12)
    with pytest.raises(ModelError, match=r"12 NaN or infinite in out\.b"):
        read_model(save(tmp_path / "nan.onnx", proto))


@pytest.mark.parametrize(
    ("sizes", "spec", "words"),
    [
        (
            [4, 3, 8, 8],
            small_spec(),
            r"an input of any batch in small.onnx; got lr of 4x3x8x8; export it with a dynamic",
        ),
        (["b", 3, 8, 8], small_spec(lr_size=16, heatmap_size=16), "anyx3x16x16 in small.onnx; got lr of anyx3x8x8"),
        (
            ["b", 3, 8, 8],
            small_spec(any_size=True),
            "anyx3xanyxany in small.onnx; got lr of anyx3x8x8; export it again",
        ),
        (["b", 1, 8, 8], small_spec(), "anyx3x8x8"),
    ],
)
def test_an_input_of_another_size_than_the_specs(sizes, spec, words, tmp_path):
    proto = small_graph() if sizes[1] == 3 else one_channel()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("lr", TensorProto.FLOAT, sizes))
    for value in proto.graph.output:
        value.type.tensor_type.shape.dim[0].CopyFrom(proto.graph.input[0].type.tensor_type.shape.dim[0])
    helper.set_model_props(proto, {METADATA_KEY: spec.to_json()})
    with pytest.raises(ModelError, match=words):
        read_model(save(tmp_path / "small.onnx", proto))


def one_channel():
    proto = small_graph()
    replaced_weight(proto, "stem.w", np.zeros((8, 1, 3, 3)))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "any"
    return proto


def test_external_weights_whatever_the_order_of_their_entries(tmp_path):
    """And the digest is the engine cache's, which would else build again at every start."""
    path = tmp_path / "a.onnx"
    proto = small_graph()
    helper.set_model_props(proto, {METADATA_KEY: small_spec().to_json()})
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    stored = onnx.load(path, load_external_data=False)
    for tensor in stored.graph.initializer:
        entries = list(tensor.external_data)[::-1]
        del tensor.external_data[:]
        tensor.external_data.extend(entries)
    path.write_bytes(stored.SerializeToString())
    assert stored.graph.initializer[0].external_data[0].key != "location"
    assert read_model(path).sha256 == read_onnx(path).sha256


def test_a_cast_to_integers_is_no_stored_weight():
    """`saturate`, of value 1 as FLOAT is, may come before `to`."""
    proto = small_graph()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2.0], np.float16), "stored"))
    cast = helper.make_node("Cast", ["stored"], ["whole"], saturate=1, to=TensorProto.INT64)
    assert cast.attribute[0].name == "saturate"
    proto.graph.node.insert(0, cast)
    assert fold_stored_weights(proto).graph.node[0].op_type == "Cast"


@pytest.mark.parametrize("named", [True, False])
def test_an_operator_that_onnx_does_not_know_is_named_with_its_node(named, tmp_path):
    proto = small_graph()
    proto.graph.node[1].op_type = "Frobnicate"
    proto.graph.node[1].name = "mine" if named else ""
    with pytest.raises(ModelError, match=f"the node {'mine' if named else 'h0'} with .* ai.onnx::Frobnicate"):
        read_model(save(tmp_path / "a.onnx", proto))


def test_the_checkers_complaint_says_at_which_node(tmp_path):
    proto = small_graph()
    next(n for n in proto.graph.node if n.name == "shuffle").attribute.append(helper.make_attribute("colour", 1))
    with pytest.raises(ModelError, match="Unrecognized attribute: colour .* Name: shuffle"):
        read_model(save(tmp_path / "a.onnx", proto))
