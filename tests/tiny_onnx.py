"""A network of a few thousand weights in place of the trained ones: enlarges, and finds points on bright pixels.

"sr" is the bicubic enlargement (a = -0.5) of the input, so that its right answer is known from elsewhere; "heatmaps"
are a seeded convolution, enlarged, with peaks around 0.9 on noise: landmarks anywhere, but always the same.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdk.spec import METADATA_KEY, ModelSpec


def tiny_spec(lr_size=16, scale=8, **changes):
    values = dict(
        name=f"tiny_x{scale}",
        lr_size=lr_size,
        scale=scale,
        any_size=scale == 4,
        heatmap_kind="landmarks",
        heatmap_count=68,
        heatmap_size=32,
        decoder="centroid",
        output_names=("sr", "heatmaps"),
        licence="none",
    )
    return ModelSpec(**{**values, **changes})


def tiny_graph(spec, *, seed=0, peak=1.3):
    """ModelProto with dynamic batch, height and width, no metadata. `peak`: the highest heatmap value possible."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1, (68, 3, 3, 3)).astype(np.float32)
    weights *= peak / weights.sum(axis=(1, 2, 3), keepdims=True)
    cells = spec.heatmap_size // spec.lr_size
    scales = {"up": [1, 1, spec.scale, spec.scale], "cells": [1, 1, cells, cells]}
    constants = [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in scales.items()]
    resize = dict(mode="cubic", cubic_coeff_a=-0.5, coordinate_transformation_mode="half_pixel", exclude_outside=1)
    nodes = [
        helper.make_node("Resize", ["lr", "", "up"], ["sr"], **resize),
        helper.make_node("Conv", ["lr", "weights"], ["found"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["found", "", "cells"], ["heatmaps"], mode="nearest"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["N", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("sr", "heatmaps")],
        [*constants, numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save_tiny(path, spec=None, *, metadata=True, **graph):
    """Writes a tiny network and returns its path."""
    spec = tiny_spec() if spec is None else spec
    model = tiny_graph(spec, **graph)
    if metadata:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return path
