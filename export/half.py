"""fp32 graph to fp16 graph, the types written into it: what strongly typed TensorRT builds take as the precision.

Every floating tensor becomes fp16, inputs and outputs stay fp32 behind one Cast each. Operators whose ONNX schema knows
no fp16 for an operand (the scales of Resize, for one) keep that operand in fp32. Node names stay as they were.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph import Model
from sdk.errors import BuildError

__all__ = ["to_half"]

LARGEST = float(np.finfo(np.float16).max)  # 65504
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)  # 6e-8
FLOAT16 = "tensor(float16)"
OPSET_OF_HALF_QDQ = 19  # the first whose QuantizeLinear and DequantizeLinear take fp16 scales


def to_half(
    model: Model,
    graph: onnx.ModelProto,  # fp32, of the model; with or without Q/DQ
    *,
    keep_fp32: Collection[str] = (),  # names of nodes that stay in fp32 between two Casts
) -> onnx.ModelProto:
    """A typed copy.

    Raises BuildError for weights beyond fp16's range and scales below it, naming the tensor, and for operators that
    have no place in fp16.
    """
    half = onnx.ModelProto()
    half.CopyFrom(graph)
    _raise_opset(half)
    kinds = _float_tensors(model, half)
    weights = {t.name: t for t in half.graph.initializer}
    wide_inputs = _wide_operands(half, kinds, keep_fp32)  # (node index, operand index)
    shared = {half.graph.node[i].input[k] for i, k in wide_inputs if half.graph.node[i].input[k] in weights}
    _narrow_weights(model, half, keep=shared)
    nodes: list[onnx.NodeProto] = []
    narrow = {name: f"{name}.fp16" for name in _graph_inputs(half) if name in kinds}
    nodes += [_cast(name, new, TensorProto.FLOAT16) for name, new in narrow.items()]
    widened: dict[str, str] = {}
    for i, node in enumerate(half.graph.node):
        for k, name in enumerate(node.input):
            if (i, k) in wide_inputs:
                if name in shared or name in _graph_inputs(half):
                    continue
                if name not in widened:
                    widened[name] = f"{name}.fp32"
                    nodes.append(_cast(name, widened[name], TensorProto.FLOAT))
                node.input[k] = widened[name]
            elif name in shared:
                node.input[k] = f"{name}.fp16"
            else:
                node.input[k] = narrow.get(name, name)
        nodes += _narrow_results(node, kinds, keep_fp32)
    _close(half, nodes, kinds)
    try:
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:  # the checker raises several classes without a common base of its own
        raise _untyped(model, error) from error
    return half


def _untyped(model: Model, error: Exception) -> BuildError:
    got = " ".join(str(error).split())[:300]
    return BuildError(f"a graph with fp16 tensors of {model.path.name}", got, "build with --precision fp32")


def _raise_opset(graph: onnx.ModelProto) -> None:
    """Q/DQ with fp16 scales need opset 19; nothing else that our networks use changed between 18 and 19."""
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        for entry in graph.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = max(entry.version, OPSET_OF_HALF_QDQ)
        graph.ir_version = max(graph.ir_version, 9)


def _float_tensors(model: Model, graph: onnx.ModelProto) -> set[str]:
    """Names of all fp32 tensors: inputs, weights and what nodes compute."""
    try:
        inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:  # GroupNormalization, for one
        raise _untyped(model, error) from error
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    kinds = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return kinds | {t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT}


def _graph_inputs(graph: onnx.ModelProto) -> list[str]:
    stored = {t.name for t in graph.graph.initializer}
    return [value.name for value in graph.graph.input if value.name not in stored]


def _wide_operands(graph: onnx.ModelProto, kinds: set[str], keep_fp32: Collection[str]) -> set[tuple[int, int]]:
    """(node, operand) pairs that must stay fp32: the schema knows no fp16 there, or the node is to be kept."""
    versions = {entry.domain: entry.version for entry in graph.opset_import}
    wide: set[tuple[int, int]] = set()
    for i, node in enumerate(graph.graph.node):
        schema = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        for k, name in enumerate(node.input):
            if name not in kinds:
                continue
            formal = schema.inputs[min(k, len(schema.inputs) - 1)]
            if node.name in keep_fp32 or FLOAT16 not in allowed.get(formal.type_str, [formal.type_str]):
                wide.add((i, k))
    return wide


def _narrow_weights(model: Model, graph: onnx.ModelProto, *, keep: set[str]) -> None:
    """Initialisers to fp16; those in `keep` stay and get an fp16 twin for their other readers."""
    stored = list(graph.graph.initializer)
    readers = {name for node in graph.graph.node for name in node.input}
    scales = {node.input[1] for node in graph.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    del graph.graph.initializer[:]
    for tensor in stored:
        if tensor.data_type != TensorProto.FLOAT or tensor.name not in readers:
            graph.graph.initializer.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        largest = float(np.abs(values).max(initial=0.0))
        if largest > LARGEST and tensor.name not in keep:
            expected = f"weights of {model.path.name} up to {LARGEST:g}, the largest fp16 number"
            raise BuildError(expected, f"{largest:g} in {tensor.name}", "build with --precision fp32")
        if tensor.name in scales and not values.astype(np.float16).all():
            expected = f"INT8 scales of {model.path.name} of {SMALLEST:g}, the smallest fp16 number, or more"
            remedy = "leave its layer out with --keep-fp16, or build with --precision fp16"
            raise BuildError(expected, f"{float(values.min()):g} in {tensor.name}", remedy)
        if tensor.name in keep:
            graph.graph.initializer.append(tensor)
        name = f"{tensor.name}.fp16" if tensor.name in keep else tensor.name
        graph.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))


def _narrow_results(node: onnx.NodeProto, kinds: set[str], keep_fp32: Collection[str]) -> list[onnx.NodeProto]:
    """The node, writing fp16: constants and casts say it themselves, a node kept in fp32 is followed by Casts."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
    if node.name not in keep_fp32:
        return [node]
    casts: list[onnx.NodeProto] = []
    for k, name in enumerate(node.output):
        if name in kinds:
            node.output[k] = f"{name}.wide"
            casts.append(_cast(f"{name}.wide", name, TensorProto.FLOAT16))
            casts[-1].name = f"narrow.{name}"  # an output's own Cast has the other name
    return [node, *casts]


def _close(graph: onnx.ModelProto, nodes: list[onnx.NodeProto], kinds: set[str]) -> None:
    """fp32 outputs: what computed them now writes NAME.fp16, and a Cast writes NAME."""
    for value in graph.graph.output:
        if value.name not in kinds:
            continue
        inner = f"{value.name}.fp16"
        for node in nodes:
            for names in (node.input, node.output):
                for k, name in enumerate(names):
                    if name == value.name:
                        names[k] = inner
        nodes.append(_cast(inner, value.name, TensorProto.FLOAT))
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    del graph.graph.value_info[:]


def _cast(source: str, target: str, kind: Any) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast.{target}", to=kind)
