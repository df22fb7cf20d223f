"""INT8 by post-training quantisation: two recipes, since TensorRT and a CPU want opposite things.

    tensorrt_int8   Q/DQ for TensorRT to fuse: signed and symmetric, every zero point 0, weights per output channel with
                    Q and DQ of their own, biases left alone, one pair before each quantised convolution and none behind
                    it, so that Conv + Add + ReLU stay one kernel and a residual sum has one quantised operand.
    cpu_int8        Q/DQ for onnxruntime's CPU kernels: unsigned activations, everything quantised that can be.

Ranges come from faces that went through sdk.image.crop and sdk.image.pixels. The quantiser is onnxruntime's.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.faces import Faces, lr_batch
from export.graph import Model, constants, producers
from sdk.errors import BuildError, InputError

__all__ = ["check_placement", "cpu_int8", "edge_convolutions", "quantisable", "tensorrt_int8"]

F32 = npt.NDArray[np.float32]

CONVOLUTIONS = ("Conv",)  # what is quantised; ConvTranspose, MatMul and Gemm stay in fp16
BATCH = 8  # calibration faces a call
TENSORRT_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,  # TensorRT 8's parser takes no int8 initialisers
    "QuantizeBias": False,  # nor an int32 DequantizeLinear
    "OpTypesToExcludeOutputQuantization": list(CONVOLUTIONS),
}


def edge_convolutions(model: Model) -> tuple[list[str], list[str]]:
    """Names of the first and of the last convolutions: no other one lies between them and an input or output.

    They stay in fp16: the first see pixels, whose 8 bits quantisation would round twice, and have too few input
    channels to gain; the last write pixels and heatmaps, where every rounding shows.
    """
    nodes = list(model.graph.graph.node)
    made = producers(model.graph)
    before = {model.input_name}  # tensors that no convolution has touched yet
    for node in nodes:  # ONNX lists nodes in an order that respects the data flow
        if node.op_type not in CONVOLUTIONS and any(name in before for name in node.input):
            before.update(node.output)
    first = [n.name for n in nodes if n.op_type in CONVOLUTIONS and n.input[0] in before]
    queue = [value.name for value in model.graph.graph.output]
    last: dict[str, None] = {}
    seen: set[str] = set()
    while queue:
        name = queue.pop()
        node = made.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in CONVOLUTIONS:
            last[node.name] = None
        else:
            queue.extend(node.input)
    return first, sorted(last)


def quantisable(model: Model) -> list[str]:
    """Names of the convolutions that tensorrt_int8() quantises when told to keep none, in the graph's order."""
    first, last = edge_convolutions(model)
    stay = {*first, *last}
    weights = constants(model.graph)
    return [
        node.name
        for node in model.graph.graph.node
        if node.op_type in CONVOLUTIONS and node.name not in stay and node.input[1] in weights
    ]


def tensorrt_int8(
    model: Model,
    calibration: Faces,
    *,
    keep: Collection[str] = (),  # convolutions to leave alone, besides the first and last
) -> onnx.ModelProto:
    """An fp32 graph with Q/DQ placed the way TensorRT fuses it.

    Raises:
        InputError: a name in `keep` that the graph does not have. BuildError: nothing is left to quantise, or the
            quantiser put a pair where TensorRT would not fuse it.
    """
    names = {node.name for node in model.graph.graph.node}
    unknown = sorted(set(keep) - names)
    if unknown:
        raise InputError(f"layers of {model.path.name}", f"unknown {unknown}", "trt-build --explain lists the names")
    chosen = [name for name in quantisable(model) if name not in set(keep)]
    if not chosen:
        got = f"none left of {len(quantisable(model))}"
        raise BuildError(f"convolutions to quantise in {model.path.name}", got, "build with --precision fp16")
    graph = _quantised(
        model,
        calibration,
        activation_type=QuantType.QInt8,
        nodes_to_quantize=chosen,
        op_types_to_quantize=list(CONVOLUTIONS),
        extra_options=TENSORRT_OPTIONS,
    )
    check_placement(graph)
    return graph


def cpu_int8(model: Model, calibration: Faces) -> onnx.ModelProto:
    """An INT8 graph for onnxruntime on a CPU; its own recipe, since TensorRT's is slower than fp32 there.

    Only convolutions that are first and last at once stay in fp32: the one path that carries the picture itself.
    Weights have 7 bits: x86 processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow.
    """
    first, last = edge_convolutions(model)
    graph = _quantised(
        model,
        calibration,
        activation_type=QuantType.QUInt8,
        nodes_to_exclude=sorted(set(first) & set(last)),
        reduce_range=True,
        extra_options={},
    )
    return graph


def _quantised(model: Model, calibration: Faces, **options: Any) -> onnx.ModelProto:
    """quantize_static with ranges from the faces, at every size the network is used at. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="facetrt-") as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model.graph, source)  # a file, since the quantiser changes a graph that it is handed
        try:
            quantize_static(
                source,
                target,
                _Batches(model, calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                **options,
            )
        except Exception as error:  # assertions, ValueErrors, onnxruntime's own: ranges that are none, layers it lacks
            got = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            expected = f"a network that onnxruntime can quantise: {model.path.name}"
            raise BuildError(expected, got, "build with --precision fp16") from error
        graph = onnx.load(target)
    del graph.metadata_props[:]
    graph.metadata_props.extend(model.graph.metadata_props)
    graph.producer_name = "facetrt"
    return graph


class _Batches(CalibrationDataReader):
    """The network's inputs, batch by batch; networks of any size see twice their own size too, as routing feeds it."""

    def __init__(self, model: Model, faces: Faces) -> None:
        spec = model.spec
        sizes = (spec.lr_size, 2 * spec.lr_size) if spec.any_size and not spec.input_upscaled else (spec.lr_size,)
        self._name = model.input_name
        self._batches = (
            batch[i : i + BATCH]
            for batch in (lr_batch(faces, spec, lr_size=size) for size in sizes)
            for i in range(0, len(batch) - len(batch) % BATCH, BATCH)
        )

    def get_next(self) -> dict[str, F32] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to pre-process a graph that already is: it logs that through the root logger."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def check_placement(graph: onnx.ModelProto) -> None:
    """Holds the rules of TensorRT's fusion. Raises BuildError naming the node that breaks one."""
    made, values = producers(graph), constants(graph)
    for node in graph.graph.node:
        where = f"the node {node.name or node.output[0]}"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values.get(node.input[2]) if len(node.input) > 2 else None
            if zero is not None and (zero.dtype != np.int8 or zero.any()):
                _misplaced("zero points of 0 in int8", f"{zero.dtype} up to {int(np.abs(zero).max())} at {where}")
        sources = [made[name].op_type for name in node.input if name in made]
        dequantised = sources.count("DequantizeLinear")
        if node.op_type == "Add" and dequantised > 1:
            _misplaced("at most one quantised operand of a sum", f"{dequantised} at {where}")
        if node.op_type == "Relu" and dequantised:
            _misplaced("no Q/DQ between a convolution and its ReLU", where)
        if node.op_type in CONVOLUTIONS and dequantised == 1:
            _misplaced("input and weights of a convolution quantised together", f"one of them at {where}")


def _misplaced(expected: str, got: str) -> None:
    raise BuildError(expected, got, "use the default --quantizer, or keep that layer in fp16 with --keep-fp16")
