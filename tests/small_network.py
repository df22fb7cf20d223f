"""A residual network of a few thousand weights as ONNX, for the tests of precision: 8 px in, 16 px and 4 maps out.

lr -> stem conv -> [x + conv(relu(conv x))] x blocks -> out conv -> shuffle 2 (+ nearest of lr) -> sr
                                                     -> maps conv -> heatmaps
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph import Model, read_model
from sdk.spec import METADATA_KEY, ModelSpec

LR, SCALE, MAPS = 8, 2, 4


def small_spec(**changes):
    values = dict(
        name="small_x2",
        lr_size=LR,
        scale=SCALE,
        heatmap_kind="landmarks",
        heatmap_count=MAPS,
        heatmap_size=LR,
        decoder="centroid",
        output_names=("sr", "heatmaps"),
        licence="none",
    )
    return ModelSpec(**{**values, **changes})


def small_graph(*, blocks=2, width=8, seed=0, gains=None):
    """ModelProto with a dynamic batch. gains: {initialiser name: factor}, to make a layer misbehave."""
    rng = np.random.default_rng(seed)
    weights, nodes = {}, []

    def conv(name, source, target, inputs, outputs):
        weights[f"{name}.w"] = rng.normal(0, 0.6 / np.sqrt(9 * inputs), (outputs, inputs, 3, 3))
        weights[f"{name}.b"] = rng.normal(0, 0.05, outputs)
        operands = [source, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", operands, [target], name=name, pads=[1, 1, 1, 1]))

    conv("stem", "lr", "x0", 3, width)
    for i in range(blocks):
        conv(f"b{i}.conv1", f"x{i}", f"h{i}", width, width)
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"], name=f"b{i}.relu"))
        conv(f"b{i}.conv2", f"r{i}", f"y{i}", width, width)
        nodes.append(helper.make_node("Add", [f"x{i}", f"y{i}"], [f"x{i + 1}"], name=f"b{i}.add"))
    conv("out", f"x{blocks}", "wide", width, 3 * SCALE**2)
    nodes.append(helper.make_node("DepthToSpace", ["wide"], ["detail"], name="shuffle", blocksize=SCALE, mode="CRD"))
    nodes.append(helper.make_node("Resize", ["lr", "", "factors"], ["near"], name="enlarge", mode="nearest"))
    nodes.append(helper.make_node("Mul", ["detail", "small"], ["residual"], name="damp"))
    nodes.append(helper.make_node("Add", ["near", "residual"], ["sr"], name="sum"))
    conv("maps", f"x{blocks}", "heatmaps", width, MAPS)
    weights |= {"factors": np.array([1, 1, SCALE, SCALE]), "small": np.array(0.05)}
    for name, factor in (gains or {}).items():
        weights[name] = weights[name] * factor
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["batch", 3, LR, LR])],
        [
            helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["batch", 3, LR * SCALE, LR * SCALE]),
            helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["batch", MAPS, LR, LR]),
        ],
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save_small(path: Path, *, spec=None, **options) -> Path:
    proto = small_graph(**options)
    helper.set_model_props(proto, {METADATA_KEY: (spec or small_spec()).to_json()})
    onnx.save(proto, str(path))
    return path


def small_model(folder: Path, **options) -> Model:
    return read_model(save_small(folder / "small.onnx", **options))


def replaced_weight(proto, name, values):
    """Overwrite an initialiser in place."""
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), name))
