"""Layers of a sized graph: which operators run together, what each computes, reads and writes."""

import math
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bench.graph_file import SizedGraph

__all__ = ["BYTES", "LayerCost", "layers_of"]

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of one number, weights and activations alike
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1}  # operator -> place of its weights
PRODUCTS = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "FusedMatMul": 1}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Cast"}
QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}  # part of the kernels beside them
SHAPE_OPERATORS = {"Shape", "Size", "ConstantOfShape", "Constant", "Range"}  # known before the first run
ELEMENTWISE = {
    *("Relu", "PRelu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "Clip", "HardSigmoid", "HardSwish", "Gelu", "Erf"),
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Neg", "Abs", "Min", "Max", "Where", "BatchNormalization"),
    *("Softplus", "Selu", "Mish", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"),
}
MOVES = {  # their time is that of their bytes; the few operations a number do not count
    *("Transpose", "DepthToSpace", "SpaceToDepth", "Pad", "Concat", "Split", "Slice", "Resize", "Upsample", "Gather"),
    *("Expand", "Tile", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Softmax", "LogSoftmax"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ArgMax", "ArgMin", "TopK"),
    *("GridSample", "AffineGrid", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "Floor"),
    *("ScatterND", "GatherND", "GatherElements", "ScatterElements", "Round", "Ceil", "Equal", "Greater", "Less"),
    *("GreaterOrEqual", "LessOrEqual", "And", "Or", "Not", "IsNaN", "IsInf", "CumSum", "Trilu", "NonZero", "OneHot"),
    *("Mod", "Sum", "Mean", "Reciprocal", "Sin", "Cos", "Log", "LpNormalization", "QLinearConcat"),
    *("DynamicQuantizeLinear", "NonMaxSuppression", "Col2Im", "CenterCropPad", "Sign", "Atan", "Xor", "BitShift"),
}


@dataclass(frozen=True)
class LayerCost:
    """One layer for the whole batch; counts are of numbers, not of bytes."""

    name: str
    op: str  # of the operator that leads it, "Conv"
    macs: int  # multiply-adds
    weights: int  # stored numbers read: kernel, bias, slopes
    read: int  # activations
    written: int  # activations
    rows: int = 0  # as matrix product [rows, depth] x [depth, columns], each of `groups`; 0: it is none
    columns: int = 0
    depth: int = 0
    groups: int = 1
    names: tuple[str, ...] = ()  # of all operators in it and of what they write: runtimes call it by any of these

    @property
    def flop(self) -> int:
        """Two operations a multiply-add."""
        return 2 * self.macs

    def bytes(self, precision: str) -> int:
        """Traffic when every number is of `precision` and nothing stays in a cache."""
        return (self.weights + self.read + self.written) * BYTES[precision]


@dataclass
class _Layer:
    """A LayerCost while operators are still added."""

    name: str
    op: str
    reads: list[str]
    writes: list[str]
    weights: int
    names: list[str]
    macs: int = 0
    product: tuple[int, int, int, int] = (0, 0, 0, 1)  # rows, columns, depth, groups


@dataclass
class _Reading:
    graph: SizedGraph
    constant: set[str]
    alias: dict[str, str] = field(default_factory=dict)  # view -> tensor it shows
    layers: list[_Layer] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)

    def root(self, tensor: str) -> str:
        while tensor in self.alias:
            tensor = self.alias[tensor]
        return tensor

    def split(self, node: Any) -> tuple[list[str], int]:  # node: onnx.NodeProto
        """(tensors it reads, stored numbers it reads)."""
        names = [name for name in node.input if name]
        reads = [self.root(name) for name in names if name not in self.constant]
        return reads, sum(self.graph.elements(name) for name in names if name in self.constant)


def layers_of(graph: SizedGraph) -> tuple[tuple[LayerCost, ...], int, tuple[str, ...]]:
    """Layers in the order they run, stored numbers that they use (each once), operators of unknown arithmetic."""
    reading = _Reading(graph, set(graph.stored))
    used: set[str] = set()
    uses = _uses(graph)
    for node in graph.nodes:
        outputs = [name for name in node.output if name]
        if node.op_type in SHAPE_OPERATORS or all(name in reading.constant for name in node.input if name):
            reading.constant |= set(outputs)
            continue
        if node.op_type in VIEWS | QUANTISERS:
            reading.alias[outputs[0]] = node.input[0]
            continue
        used |= {name for name in node.input if name in reading.constant}
        if node.op_type in ELEMENTWISE and _joins(reading, node, uses):
            continue
        _append(reading, node, outputs)
    costs = tuple(_cost(reading, layer) for layer in reading.layers)
    return costs, sum(graph.elements(name) for name in used), tuple(sorted(reading.uncounted))


def _uses(graph: SizedGraph) -> dict[str, int]:
    """How often each tensor is read; views and quantisers hand their use on to what they show."""
    uses: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for node in reversed(graph.nodes):
        through = node.op_type in VIEWS | QUANTISERS
        for place, name in enumerate(node.input):
            more = sum(uses.get(out, 0) for out in node.output) if through and place == 0 else 1
            uses[name] = uses.get(name, 0) + more
    return uses


def _joins(reading: _Reading, node: Any, uses: dict[str, int]) -> bool:  # node: onnx.NodeProto
    """Appends an element-wise operator to the last layer whose only reader it is; False: there is none."""
    candidates = {
        reading.root(name)
        for name in node.input
        if name and name not in reading.constant and uses.get(reading.root(name), 0) == 1
    }
    for layer in reversed(reading.layers):
        if layer.writes[0] not in candidates or len(layer.writes) != 1:
            continue
        reads, stored = reading.split(node)
        reads.remove(layer.writes[0])
        layer.reads += [name for name in reads if name not in layer.reads]
        layer.weights += stored
        layer.writes = [node.output[0]]
        layer.names += [node.name, node.output[0]]
        return True
    return False


def _append(reading: _Reading, node: Any, outputs: list[str]) -> None:  # node: onnx.NodeProto
    reads, stored = reading.split(node)
    names = [node.name, *outputs]
    layer = _Layer(node.name or outputs[0], node.op_type, list(dict.fromkeys(reads)), outputs, stored, names)
    if node.op_type in CONVOLUTIONS:
        layer.product = _convolution(reading.graph, node, CONVOLUTIONS[node.op_type])
    elif node.op_type == "ConvTranspose":
        layer.product = _transposed(reading.graph, node)
    elif node.op_type in PRODUCTS:
        layer.product = _matrix(reading.graph, node, PRODUCTS[node.op_type])
    elif node.op_type not in MOVES | ELEMENTWISE:
        reading.uncounted.add(node.op_type)
    layer.macs = math.prod(layer.product)
    reading.layers.append(layer)


def _groups(node: Any) -> int:  # node: onnx.NodeProto
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _convolution(graph: SizedGraph, node: Any, place: int) -> tuple[int, int, int, int]:  # node: onnx.NodeProto
    """(N * H' * W', channels out / groups, channels in / groups * kernel, groups)"""
    out, kernel, groups = graph.shape(node.output[0]), graph.shape(node.input[place]), _groups(node)
    return out[0] * math.prod(out[2:]), kernel[0] // groups, math.prod(kernel[1:]), groups


def _transposed(graph: SizedGraph, node: Any) -> tuple[int, int, int, int]:  # node: onnx.NodeProto
    """As the product of every input pixel with the kernel: (N * H * W, channels out / groups * kernel, in / groups)."""
    source, kernel, groups = graph.shape(node.input[0]), graph.shape(node.input[1]), _groups(node)
    return source[0] * math.prod(source[2:]), math.prod(kernel[1:]), kernel[0] // groups, groups


def _matrix(graph: SizedGraph, node: Any, place: int) -> tuple[int, int, int, int]:  # node: onnx.NodeProto
    """[rows, depth] x [depth, columns]; a stack of products with different right sides counts as groups."""
    left, right, out = graph.shape(node.input[0]), graph.shape(node.input[place]), graph.shape(node.output[0])
    flags = {a.name: a.i for a in node.attribute}
    depth = left[-2] if flags.get("transA") and len(left) > 1 else left[-1]
    columns = out[-1] if len(right) > 1 else 1
    groups = math.prod(right[:-2])
    return math.prod(out) // (columns * groups), columns, depth, groups


def _cost(reading: _Reading, layer: _Layer) -> LayerCost:
    elements = reading.graph.elements
    rows, columns, depth, groups = layer.product
    read, written = sum(map(elements, layer.reads)), sum(map(elements, layer.writes))
    groups = groups if rows else 1
    names = tuple(dict.fromkeys(name for name in layer.names if name))
    return LayerCost(
        layer.name, layer.op, layer.macs, layer.weights, read, written, rows, columns, depth, groups, names
    )
