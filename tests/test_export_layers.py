"""Layer precisions out of both sources, and the comparison that a silent fp32 engine does not survive."""

import json

import pytest

from export.layers import check_fp32, compare, explained_rows, explanation, found_layers
from export.sensitivity import LayerLoss
from sdk.errors import BuildError

ROW = (
    "Name: {name}, LayerType: {kind}, Inputs: [ {{ Name: x, Dimensions: [8,64,16,16], Strides: [1,2,3,4], "
    "Datatype: {dtype}, Format: (NHWC) Channel major format }}, {{ Name: skip, Datatype: Half, Format: (Linear) }}], "
    "Constants: [ {{ Name: w, Dimensions: [64,64,3,3], Datatype: {dtype}, Format: (NHWC) }}], "
    "Outputs: [ {{ Name: y, Dimensions: [8,64,16,16], Datatype: Half, Format: (NHWC) }}], "
    "TacticName: sm80_xmma_fprop, StreamId: 0, Metadata: {metadata}"
)


def log(*rows):
    table = "\n".join(ROW.format(name=n, kind=k, dtype=d, metadata=m) for n, k, d, m in rows)
    return f"Applying generic optimizations\nLayers:\n not these\nEngine Layer Information\nLayers:\n{table}\n\nI/O:\n"


def inspector(*layers):
    """As TensorRT 8 and 10 write it: (name, type, format of the input, metadata)."""

    def tensor(text):
        return {"Name": "x", "Location": "Device", "Dimensions": [8, 64, 16, 16], "Format/Datatype": text}

    rows = [
        {"Name": n, "LayerType": k, "Inputs": [tensor(f)], "Outputs": [tensor(f)], "TacticName": "t", "Metadata": m}
        for n, k, f, m in layers
    ]
    return json.dumps({"Layers": rows, "Bindings": ["lr", "sr"]})


def test_a_row_of_the_build_log():
    metadata = "[ONNX Layer: conv1][ONNX Layer: relu]"
    (layer,) = found_layers(log(("conv1 [profile 1]_myl1_4", "correlation", "Int8", metadata)))
    assert (layer.name, layer.kind, layer.tactic) == ("conv1 [profile 1]_myl1_4", "correlation", "sm80_xmma_fprop")
    assert layer.inputs == ("int8", "fp16") and layer.constants == ("int8",) and layer.outputs == ("fp16",)
    assert layer.nodes == ("conv1", "relu") and layer.precision == "int8"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Row major linear FP32", "fp32"),
        ("Float", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Half", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("FP8", "fp8"),
        ("BFloat16", "bf16"),
        ("Int32", "unknown"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_words_of_all_releases(text, word):
    (layer,) = found_layers(inspector(("conv1", "CaskConvolution", text, "[ONNX Layer: conv1]")))
    assert layer.precision == word


def test_newer_inspectors_write_the_type_apart():
    row = {"Name": "a", "LayerType": "kgen", "Inputs": [{"Datatype": "Half", "Format": "Row major linear"}]}
    (layer,) = found_layers(json.dumps({"Layers": [row]}))
    assert layer.precision == "fp16" and layer.outputs == ()


def test_where_shapes_are_dynamic_the_weights_tell():
    row = {"Name": "a", "LayerType": "Conv", "Inputs": [{"Format/Datatype": "N/A"}], "Weights": {"Type": "Half"}}
    (layer,) = found_layers(json.dumps({"Layers": [row]}))
    assert layer.precision == "fp16"


def test_before_metadata_the_name_lists_the_nodes():
    fused = "conv1 + PWN(relu1) [profile 2]"
    (layer,) = found_layers(inspector((fused, "CaskConvolution", "Half", "")))
    assert layer.nodes == ("conv1", "relu1")


@pytest.mark.parametrize("text", ["", "no table here", '{"Layers": []}', '{"Layers": ["conv1"]}', '{"Layers"'])
def test_no_table_is_an_error(text):
    with pytest.raises(BuildError, match="layers"):
        found_layers(text)


def test_asked_and_found_agree():
    layers = found_layers(
        log(
            ("conv1_0", "correlation", "Int8", "[ONNX Layer: conv1]"),
            ("conv1_1", "correlation", "Int8", "[ONNX Layer: conv1]"),  # another profile
            ("cast", "kgen", "Float", "[ONNX Layer: conv1][ONNX Layer: quantise]"),  # does no convolution
            ("conv2", "gemm", "Half", "[ONNX Layer: conv2]"),
            ("__myl_CastConc_myl0_0", "kgen", "Float", "[ONNX Layer: first]"),  # RTX 1.7.1 of a conv and its scale
            ("__myl_CorrMulAdd_myl0_1", "runtime_fusion", "Half", "[ONNX Layer: first][ONNX Layer: mul]"),
            ("dense", "kgen", "Half", "[ONNX Layer: dense]"),  # fused into something else: taken where nothing computes
        )
    )
    asked = {"conv1": "int8", "conv2": "fp16", "first": "fp16", "dense": "fp16"}
    found = compare(asked, layers)
    assert found.found == {"fp16": 3, "int8": 1} and found.layers == asked


def test_a_silent_fp32_engine_is_an_error():
    """What PEERS of ours ship: fp16 asked for, fp32 got."""
    rows = [(f"conv{i}", "CaskConvolution", "Row major linear FP32", f"[ONNX Layer: conv{i}]") for i in range(9)]
    with pytest.raises(BuildError, match=r"9 of 9 in another type: conv0 in fp32 instead of fp16.*\.\.\."):
        compare({f"conv{i}": "fp16" for i in range(9)}, found_layers(inspector(*rows)))


@pytest.mark.parametrize(("asked", "dtype"), [("int8", "Half"), ("fp16", "Float"), ("fp32", "Half"), ("fp16", "Int8")])
def test_one_layer_in_another_type_is_an_error(asked, dtype):
    rows = [("a", "correlation", "Half", "[ONNX Layer: a]"), ("b", "correlation", dtype, "[ONNX Layer: b]")]
    with pytest.raises(BuildError, match=f"1 of 2 in another type: b in fp.. instead of {asked}|b in int8 instead"):
        compare({"a": "fp16", "b": asked}, found_layers(log(*rows)))


def test_one_profile_in_another_type_is_an_error():
    rows = [("a", "correlation", dtype, "[ONNX Layer: a]") for dtype in ("Int8", "Half")]
    with pytest.raises(BuildError, match="a in fp16/int8 instead of int8"):
        compare({"a": "int8"}, found_layers(log(*rows)))


def test_a_table_without_our_layers_is_an_error_and_few_missing_ones_are_counted():
    layers = found_layers(log(("a", "correlation", "Half", "[ONNX Layer: a]")))
    assert compare({"a": "fp16", "gone": "fp16"}, layers).found == {"fp16": 1, "unknown": 1}
    with pytest.raises(BuildError, match="2 of 3 layers are not in the engine's table, for example b"):
        compare({"a": "fp16", "b": "fp16", "c": "fp16"}, layers)


def test_layers_on_a_dla_are_counted_as_such():
    row = {"Name": "{ForeignNode[a...b]}", "LayerType": "DLA", "Metadata": "[ONNX Layer: a][ONNX Layer: b]"}
    assert compare({"a": "int8", "b": "fp16"}, found_layers(json.dumps({"Layers": [row]}))).found == {"dla": 2}


@pytest.mark.parametrize("kind", ["Myelin", "ForeignNode"])
def test_a_subgraph_does_not_tell_and_is_not_believed(kind):
    row = ("{ForeignNode[a...b]}", kind, "Row major linear FP32", "[ONNX Layer: a][ONNX Layer: b]")
    other = [(f"c{i}", "CaskConvolution", "Half", f"[ONNX Layer: c{i}]") for i in range(3)]
    asked = {"a": "fp16", "b": "int8", **{f"c{i}": "fp16" for i in range(3)}}
    assert compare(asked, found_layers(inspector(row, *other))).found == {"fp16": 3, "unknown": 2}
    with pytest.raises(BuildError, match="2 of 2 layers are not in the engine's table"):
        compare({"a": "fp16", "b": "int8"}, found_layers(inspector(row)))


def test_the_table_of_explain():
    asked, found = {"conv1": "int8", "last": "fp16"}, {"conv1": "int8", "last": "fp16"}
    plain = explanation(asked, found)
    assert plain == ["layer  asked  found", "conv1  int8   int8", "last   fp16   fp16"]
    head, first, last = explanation(asked, found, [LayerLoss("conv1", 51.25, 0.012, -0.003, 0.1)])
    assert "PSNR lost" in head
    assert " ".join(first.split()) == "conv1 int8 int8 51.2 dB +0.012 dB -0.003 pt"
    assert last.split() == ["last", "fp16", "fp16"]
    assert explained_rows(asked, found, [LayerLoss("conv1", float("nan"), 0.012, -0.003, 0.1)]) == [
        dict(name="conv1", asked="int8", found="int8", psnr_fp32_db=None, dpsnr_db=0.012, dnme_pt=-0.003),
        dict(name="last", asked="fp16", found="fp16"),
    ]


def test_narrow_floats_where_fp32_was_promised():
    wide = ("fused", "Myelin", "Row major Half", "[ONNX Layer: conv1][ONNX Layer: tail.0]")
    check_fp32(
        found_layers(inspector(wide, ("mul", "PointWise", "Row major linear FP32", "[ONNX Layer: tail.1]"))), "tail."
    )
    narrow = found_layers(inspector(wide, ("mul", "PointWise", "Row major Half", "[ONNX Layer: tail.1]")))
    with pytest.raises(BuildError, match="decoded in fp32; got 1 of 1 write fp16, for example mul; build with"):
        check_fp32(narrow, "tail.")
