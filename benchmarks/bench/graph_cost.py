"""Arithmetic and memory traffic of an ONNX graph, layer by layer, read from the file alone.

A layer is what an engine runs as one kernel: a convolution or matrix product with the element-wise operators behind it
(bias, activation, residual sum), or one other operator that moves data. What a loader folds away (constants, casts of
weights, Q/DQ pairs, views) is no layer. Arithmetic is that of convolutions, transposed convolutions and products, two
operations a multiply-add, as the papers count it; everything else is bound by memory long before.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.graph_file import sized_graph
from benchmarks.bench.graph_layers import BYTES, LayerCost, layers_of
from sdk.errors import InputError

__all__ = ["BYTES", "GraphCost", "LayerCost", "count"]


@dataclass(frozen=True)
class GraphCost:
    """A network for a batch."""

    name: str
    batch: int
    layers: tuple[LayerCost, ...]
    weights: int  # stored numbers, each once
    inputs: dict[str, str]  # name -> "float32 [8,3,16,16]"
    edge: int  # numbers of all inputs and outputs
    uncounted: tuple[str, ...] = ()  # operators whose arithmetic nobody here knows; the floor is then too low

    @property
    def macs(self) -> int:
        """Multiply-adds of the batch."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flop(self) -> int:
        """Two operations a multiply-add."""
        return 2 * self.macs

    def least_bytes(self, precision: str) -> int:
        """What must cross the memory bus however large the caches are: weights once, inputs and outputs."""
        return (self.weights + self.edge) * BYTES[precision]


def count(
    path: str | Path,
    *,
    batch: int = 1,  # faces
    input_hw: tuple[int, int] | None = None,  # rows and columns, for graphs with free sizes; None: as its spec says
) -> GraphCost:
    """Cost of the network in a file.

    Raises:
        InputError: batch or sizes below 1, or a free size that neither the file nor `input_hw` gives.
        ModelError: no such file, damaged, or shapes that cannot be worked out.
        MissingPackageError: without onnx.
    """
    if batch < 1 or (input_hw is not None and min(input_hw) < 1):
        raise InputError("a batch and sizes of 1 or more", f"batch {batch}, size {input_hw}", "pass positive numbers")
    graph = sized_graph(path, batch=batch, input_hw=input_hw)
    layers, weights, uncounted = layers_of(graph)
    edge = sum(graph.elements(name) for name in (*graph.inputs, *graph.outputs))
    return GraphCost(graph.name, batch, layers, weights, graph.described_inputs(), edge, uncounted)
