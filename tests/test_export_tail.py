"""The tail of a graph put on and taken off, whatever precision the network gets in between."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from small_network import LR, MAPS, SCALE, save_small, small_model, small_spec

from export.faces import load_faces
from export.gate import judge, onnx_runner
from export.graph import read_model
from export.precision import typed_graph
from export.tail import attached, detached, inner_spec, make_tail, watched
from export.tail_nodes import PREFIX
from sdk.errors import InputError, ModelError
from sdk.runtime.onnx_file import read_onnx
from sdk.spec import ModelSpec

BOTH = ["image", "landmarks"]
SIDE = LR * SCALE


@pytest.fixture
def model(tmp_path):
    """Read from a file with a tail."""
    plain = small_model(tmp_path)
    whole = attached(plain.graph, make_tail(plain.graph, plain.spec, names=BOTH))
    onnx.save(whole, str(tmp_path / "tail.onnx"))
    return read_model(tmp_path / "tail.onnx")


def shapes_of(graph):
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in graph.graph.output
    }


def test_a_file_says_what_it_puts_out(model):
    whole = onnx.load(model.path)
    assert shapes_of(whole) == {
        "image": (TensorProto.UINT8, ["batch", SIDE, SIDE, 3]),
        "landmarks": (TensorProto.FLOAT, ["batch", MAPS, 3]),
    }
    assert read_onnx(model.path).spec.output_names == model.file_spec.output_names == ("image", "landmarks")


def test_what_is_put_on_comes_off_again(model, tmp_path):
    plain = read_model(tmp_path / "small.onnx")
    assert (model.spec, model.graph.graph) == (plain.spec, plain.graph.graph) and plain.tail is None
    assert attached(model.graph, model.tail).graph == onnx.load(model.path).graph
    assert attached(plain.graph, None) is plain.graph


def test_it_comes_off_a_file_whose_value_infos_are_lost(model):
    bare = onnx.load(model.path)
    del bare.graph.value_info[:]
    inner, _ = detached(bare, model.file_spec)
    assert shapes_of(inner)["heatmaps"] == (TensorProto.FLOAT, ["batch", MAPS, LR, LR])


@pytest.mark.parametrize(
    "names", [["sr", "landmarks"], ["image", "heatmaps"], ["sr", "image", "heatmaps", "landmarks"]]
)
def test_any_mixture(model, names, tmp_path):
    whole = attached(model.graph, make_tail(model.graph, model.spec, names=names))
    assert [value.name for value in whole.graph.output] == sorted(names, key=["sr", "heatmaps", *BOTH].index)
    onnx.save(whole, str(tmp_path / "again.onnx"))
    assert read_model(tmp_path / "again.onnx").spec.output_names == ("sr", "heatmaps")
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    assert len(session.run(None, {"lr": np.zeros((2, 3, LR, LR), np.float32)})) == len(names)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("dialect", ["typed", "flags"])
def test_the_tail_stays_fp32(model, precision, dialect):
    calibration = load_faces("builtin", spec=model.spec, count=64) if precision == "int8" else None
    typed = typed_graph(model, precision, dialect=dialect, calibration=calibration)
    inferred = onnx.shape_inference.infer_shapes(typed.graph, strict_mode=True).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.output]}
    written = {kinds[name] for node in typed.graph.graph.node if node.name.startswith(PREFIX) for name in node.output}
    assert written & {TensorProto.FLOAT, TensorProto.FLOAT16} == {TensorProto.FLOAT}
    half = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16}
    assert bool(half) == (precision == "fp16" or (precision, dialect) == ("int8", "typed"))
    assert not any(name.startswith(PREFIX) for name in typed.asked), "nobody asks for the tail's precision"
    assert {tensor.data_type for tensor in typed.graph.graph.initializer if tensor.name.startswith(PREFIX)} <= {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }


def test_the_gate_sees_through_it(model):
    faces = load_faces("builtin", spec=model.spec, count=64).take(slice(0, 8))
    whole = typed_graph(model, "fp32").graph
    inside = judge(model, onnx_runner(watched(whole)), faces, precision="fp32")
    assert inside.passed and inside.numbers["psnr_fp32_db"] == 150.0 and inside.numbers["moved_pt"] < 1e-4
    outside = judge(model, onnx_runner(whole), faces, precision="fp32")  # as an engine: image and landmarks alone
    assert outside.passed and outside.numbers["max_error_sr"] == 0.0 and "max_error_heatmaps" not in outside.numbers

    def off(batch):
        found = onnx_runner(whole)(batch)
        return {"image": 255 - found["image"], "landmarks": found["landmarks"] + np.float32([2, 0, 0])}

    reasons = judge(model, off, faces, precision="fp16").reasons
    assert any("PSNR" in reason for reason in reasons) and any("NME" in reason for reason in reasons)
    lost = judge(
        model,
        lambda b: {**onnx_runner(whole)(b), "landmarks": np.full((len(b), MAPS, 3), np.nan)},
        faces,
        precision="fp16",
    )
    assert "NaN" in lost.reasons[0]


@pytest.mark.parametrize(
    ("names", "changes", "words"),
    [
        (["image"], {}, "sr or image, heatmaps or landmarks; or landmarks alone; got image;"),
        (["image", "points"], {}, "among sr,heatmaps,parsing,image,landmarks, each once; got image,points;"),
        (["image", "image", "landmarks"], {}, "each once"),
        ([], {}, "got none;"),
        (["sr", "parsing", "heatmaps"], {}, "sr or image, heatmaps or landmarks; or landmarks alone; got"),
        (BOTH, {"channels": 1, "colour": "y"}, "three channels .* luminance alone; ask for sr"),
        (BOTH, {"heatmap_kind": "components"}, "heatmaps of landmarks .* has components; leave landmarks out"),
    ],
)
def test_outputs_that_cannot_be_had(model, names, changes, words):
    with pytest.raises(InputError, match=words):
        make_tail(model.graph, dataclasses.replace(model.spec, **changes), names=names)


def test_an_unknown_type_of_picture(model):
    with pytest.raises(InputError, match="'int4'"):
        make_tail(model.graph, model.spec, names=BOTH, image_type="int4")


def test_nodes_that_another_tool_renamed_are_missed(model, tmp_path):
    renamed = onnx.load(model.path)
    for node in renamed.graph.node:
        node.name = node.name.replace(PREFIX, "other.")
    onnx.save(renamed, str(tmp_path / "renamed.onnx"))
    with pytest.raises(ModelError, match=r"compute image, landmarks; got no node .*facetrt\.tail\..*renamed them"):
        read_model(tmp_path / "renamed.onnx")


def test_specs_know_both_kinds_of_outputs():
    spec = small_spec(output_names=("image", "landmarks"))
    assert ModelSpec.from_json(spec.to_json()) == spec and inner_spec(spec) == small_spec()
    assert inner_spec(small_spec()) == small_spec()
    for wrong in (
        dict(output_names=("image",)),
        dict(output_names=("image", "landmarks"), channels=1, colour="y"),
        dict(output_names=("sr", "heatmaps", "landmarks"), heatmap_kind="components"),
    ):
        with pytest.raises(ModelError, match="output_names of a ModelSpec"):
            small_spec(**wrong)


def test_a_plain_file_is_read_as_before(tmp_path):
    model = read_model(save_small(tmp_path / "m.onnx"))
    assert model.tail is None and model.file_spec is model.spec and watched(model.graph) is model.graph
