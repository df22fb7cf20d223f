"""A typed graph as onnxruntime's CPU provider can run it without flattering it.

That provider computes fp16 nodes in fp32 and takes away the casts between them, so that no activation is ever rounded:
the error it shows for an fp16 network is a thirtieth of the real one (onnxruntime 1.31). Here every fp16 tensor is an
fp32 one that was cast to fp16 and back, which it keeps, and which also overflows to infinity where fp16 does.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["simulated"]


def simulated(typed: onnx.ModelProto) -> onnx.ModelProto:
    """An fp32 copy with the rounding of every fp16 tensor written out; Q/DQ stay. Without fp16 an equal graph."""
    graph = onnx.ModelProto()
    graph.CopyFrom(typed)
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    half = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    half |= {t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT16}
    if not half:
        return graph
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values32 = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values32, tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.graph.node:
        nodes += _rounded(node, half)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    del graph.graph.value_info[:]
    for value in [*graph.graph.input, *graph.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _rounded(node: onnx.NodeProto, half: set[str]) -> list[onnx.NodeProto]:
    """The node in fp32, followed by the rounding of what it writes. Casts between the two types become that alone."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
        elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
    followers: list[onnx.NodeProto] = []
    for k, name in enumerate(node.output):
        if name not in half:
            continue
        node.output[k] = f"{name}.raw"
        followers.append(helper.make_node("Cast", [f"{name}.raw"], [f"{name}.half"], to=TensorProto.FLOAT16))
        followers.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    return [node, *followers]
