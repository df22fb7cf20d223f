"""Landmarks inside the graph built for real, with TensorRT-RTX, which needs no GPU for that."""

import io
import re

import numpy as np
import onnx
import pytest
from small_network import save_small, small_spec

from export import outputs, pipeline, prepare
from export.arguments import parse
from export.layers import check_fp32, found_layers
from export.progress import Progress
from export.tail_nodes import PREFIX
from sdk.errors import BuildError
from sdk.image.heatmap import DECODE_MODES
from sdk.runtime.manifest import read_engine

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
TARGETS = ["sm_86", "sm_89", "sm_120"]


def build(model, out, *words):
    """(the manifest on disk, the build's log)"""
    line = [model, "-o", out, "--flavour", "tensorrt_rtx", "--calib-count", "64", *words]
    options, lines = parse([str(word) for word in line]), []
    setup = prepare.prepare(options)
    progress = Progress(prepare.stages_for(options, runs=False), kind="text", out=io.StringIO(), err=io.StringIO())
    pipeline.run_build(setup, progress, on_log=lambda severity, text: lines.append(text))
    return read_engine(out)[1], "\n".join(lines)


def edges_of(log):
    return dict(re.findall(r"Name: (\w+), IOMode: \w+, DataType: (\w+),", log))


def free_sides(path):
    """Let the file take faces of any size."""
    proto = onnx.load(path)
    for value in [*proto.graph.input, *proto.graph.output]:
        for axis in (2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    onnx.save(proto, path)


def tail_of(log):
    """Layers with nodes of the tail."""
    return [layer for layer in found_layers(log) if any(node.startswith(PREFIX) for node in layer.nodes)]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "x8.onnx"
    assert outputs.main(["picoface_x8", "-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_shipped_network_for_three_generations(shipped, tmp_path, precision):
    manifest, log = build(shipped, tmp_path / "x.engine", "--precision", precision, "--targets", ",".join(TARGETS))
    assert manifest.model_spec.output_names == ("image", "landmarks") and manifest.targets == TARGETS
    assert edges_of(log) == {"lr": "Float", "image": "UInt8", "landmarks": "Float"}
    assert manifest.gate["passed"] and manifest.gate["numbers"]["dnme_pt"] <= 0.25
    assert set(manifest.found) == {"fp32": {"fp32"}, "fp16": {"fp16"}, "int8": {"int8", "fp16"}}[precision]
    tail = tail_of(log)
    written = {word for layer in tail for word in layer.outputs}
    assert written == {"fp32", "unknown"}, "floats, and masks and the picture"
    assert len({node for layer in tail for node in layer.nodes if node.startswith(PREFIX)}) > 40
    whole = [layer for layer in tail if all(node.startswith(PREFIX) for node in layer.nodes)]
    assert whole and not {word for layer in whole for word in layer.inputs} & {"fp16", "int8"}


@pytest.mark.parametrize(("mode", "any_size"), [*((mode, True) for mode in DECODE_MODES), ("dark", False)])
def test_every_way_to_decode(tmp_path, mode, any_size):
    spec = small_spec(decoder=mode, any_size=any_size, colour="bgr", value_range=(-1.0, 1.0))
    source, path = save_small(tmp_path / "s.onnx", spec=spec), tmp_path / "m.onnx"
    if any_size:
        free_sides(source)
    assert outputs.main([str(source), "-o", str(path)]) == 0
    sizes = ("--sizes", "8,16") if any_size else ()
    manifest, log = build(path, tmp_path / "x.engine", "--targets", "sm_86", "--allow-loss", *sizes)
    assert edges_of(log)["image"] == "UInt8" and tail_of(log) and np.isfinite(manifest.build_s)


def test_landmarks_alone(tmp_path):
    """The picture's layers are in the file, for the gate, and not in the engine."""
    source, path = save_small(tmp_path / "s.onnx"), tmp_path / "m.onnx"
    assert outputs.main([str(source), "-o", str(path), "--outputs", "landmarks"]) == 0
    manifest, log = build(path, tmp_path / "x.engine", "--fp16", "--targets", "sm_86", "--allow-loss")
    assert edges_of(log) == {"lr": "Float", "landmarks": "Float"}
    assert manifest.model_spec.output_names == ("landmarks",) and tail_of(log)
    assert "moved_pt" in manifest.gate["numbers"]


def test_a_tail_in_fp16_is_noticed(shipped, tmp_path):
    _, log = build(shipped, tmp_path / "x.engine", "--fp16", "--targets", "sm_86")
    layers = found_layers(log)
    check_fp32(layers, PREFIX)
    with pytest.raises(BuildError, match="decoded in fp32; got .* write fp16, for example"):
        check_fp32(found_layers(log.replace("Datatype: Float", "Datatype: Half")), PREFIX)
