"""A graph in the one form that the rest of export/ reads: as other exporters write it, but without their liberties.

Every node has a name of its own that TensorRT's tables can be searched for, constants are initialisers whoever computed
them, and nothing is left that no output needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["made_plain"]

UNREADABLE = re.compile(r"[\[\]\x00-\x1f\x7f]")  # in a layer's "[ONNX Layer: NAME]", and in a log of lines
CONSTANTS: dict[str, Any] = {  # attributes of Constant that hold numbers -> their type; "value" is a tensor already
    "value": None,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def made_plain(
    proto: onnx.ModelProto,  # checked, without nested graphs
    *,
    reserved: str,  # nodes whose names begin so are left as they are
) -> onnx.ModelProto:
    """A copy that computes the same."""
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    _name_nodes(plain, reserved)
    _store_constants(plain, reserved)
    _spell_defaults_out(plain)
    _drop_unused(plain)
    return plain


def _name_nodes(graph: onnx.ModelProto, reserved: str) -> None:
    """Unique names: exporters leave them out or give them twice, and precisions are asked for and read back by name."""
    taken: set[str] = set()
    for index, node in enumerate(graph.graph.node):
        name = UNREADABLE.sub("_", node.name) if not node.name.startswith(reserved) else node.name
        if not name or name in taken:
            name = _free(f"{name or node.op_type}_{index}", taken | {other.name for other in graph.graph.node})
        taken.add(name)
        node.name = name


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _store_constants(graph: onnx.ModelProto, reserved: str) -> None:
    kept: list[onnx.NodeProto] = []
    outputs = {value.name for value in graph.graph.output}
    for node in graph.graph.node:
        attribute = node.attribute[0] if node.op_type == "Constant" and len(node.attribute) == 1 else None
        ours = node.name.startswith(reserved) or (bool(node.output) and node.output[0] in outputs)
        if attribute is None or ours or attribute.name not in CONSTANTS:
            kept.append(node)
            continue
        value = helper.get_attribute_value(attribute)
        kind = CONSTANTS[attribute.name]
        tensor = numpy_helper.from_array(np.asarray(value, kind)) if kind is not None else value
        graph.graph.initializer.add().CopyFrom(tensor)
        graph.graph.initializer[-1].name = node.output[0]
    _replace(graph, kept)


def _spell_defaults_out(graph: onnx.ModelProto) -> None:
    """ConstantOfShape gives fp32 zeros unless told otherwise: a default that a change of types would overlook."""
    for node in graph.graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float32))))


def _drop_unused(graph: onnx.ModelProto) -> None:
    """Without nodes and weights that no output needs: an engine does not have them, so nobody could find them there."""
    needed = {value.name for value in graph.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.graph.node):  # ONNX lists nodes in an order that respects the data flow
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    _replace(graph, kept[::-1])
    names = {tensor.name for tensor in graph.graph.initializer}
    stored = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(stored)
    inputs = [value for value in graph.graph.input if value.name not in names]  # before IR 4 all weights were inputs
    del graph.graph.input[:]
    graph.graph.input.extend(inputs)
    graph.ir_version = max(graph.ir_version, 4)


def _replace(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
