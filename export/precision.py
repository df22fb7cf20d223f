"""Precision as a property of the graph: the one contract over TensorRT 8.5 to 11 and TensorRT-RTX.

TensorRT 11 has no precision flags left; a strongly typed network runs in the types its tensors have. So fp16 and INT8
are written into the ONNX graph here, and nowhere else. The dialect "flags" serves TensorRT 8.5 and 8.6, which know no
strong typing: there INT8 graphs stay fp32 around their Q/DQ, and builder flags allow fp16 for the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from export.faces import Faces
from export.graph import Model, producers
from export.half import to_half
from export.quantise import tensorrt_int8
from export.tail import attached
from sdk.errors import InputError

__all__ = ["DIALECTS", "PRECISIONS", "QUANTISERS", "Typed", "typed_graph"]

PRECISIONS = ("fp32", "fp16", "int8", "fp8")
DIALECTS = ("typed", "flags")
QUANTISERS = ("onnxruntime", "modelopt")
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")  # operators whose precision is asked for and read back


@dataclass(frozen=True, eq=False)
class Typed:
    """A graph to build from. fp32 inputs and outputs in every precision, and an fp32 tail where the model has one."""

    graph: onnx.ModelProto
    asked: dict[str, str]  # node name -> "fp32" | "fp16" | "int8" | "fp8", for every Conv, ConvTranspose, MatMul, Gemm


def typed_graph(
    model: Model,
    precision: str,
    *,
    calibration: Faces | None = None,  # needed by int8 and fp8
    keep_fp16: Collection[str] = (),  # layers of an int8 or fp8 build that stay in fp16
    dialect: str = "typed",
    quantiser: str = "onnxruntime",
) -> Typed:
    """The model in a precision; the graph's metadata (its spec) comes along.

    Raises:
        InputError: an unknown precision, dialect or quantiser, fp8 with another quantiser than modelopt, no faces.
        BuildError: weights beyond fp16's range, nothing to quantise. MissingPackageError: modelopt is not installed.
    """
    for value, known, what in (
        (precision, PRECISIONS, "precision"),
        (dialect, DIALECTS, "dialect"),
        (quantiser, QUANTISERS, "quantizer"),
    ):
        if value not in known:
            raise InputError(f"a {what} of {known}", repr(value), "pass one of those")
    if precision == "fp8" and (quantiser != "modelopt" or dialect != "typed"):
        got = f"--quantizer {quantiser}" if dialect == "typed" else "a TensorRT without strong typing"
        raise InputError(
            "modelopt and TensorRT 10 or newer for fp8", got, "use --precision int8, or --quantizer modelopt"
        )
    if precision in ("fp32", "fp16"):
        graph = model.graph if precision == "fp32" else to_half(model, model.graph)
    elif calibration is None:
        raise InputError(f"calibration faces for {precision}", "none", "pass --calib builtin, a folder or an archive")
    else:
        graph = _quantised(model, precision, calibration, keep_fp16=keep_fp16, quantiser=quantiser)
        graph = to_half(model, graph) if dialect == "typed" else graph
    return Typed(attached(graph, model.tail), _asked(model, graph, precision))


def _quantised(
    model: Model, precision: str, calibration: Faces, *, keep_fp16: Collection[str], quantiser: str
) -> onnx.ModelProto:
    if quantiser == "onnxruntime":
        return tensorrt_int8(model, calibration, keep=keep_fp16)
    from export.modelopt_process import modelopt_quantised  # late: it starts a process with an optional package

    return modelopt_quantised(model, precision, calibration, keep=keep_fp16)


def _asked(model: Model, graph: onnx.ModelProto, precision: str) -> dict[str, str]:
    """What each weighted node is to run in: quantised where its input comes from a DequantizeLinear."""
    made = producers(graph)
    asked: dict[str, str] = {}
    for node in graph.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        source = made.get(node.input[0])
        dequantised = source is not None and source.op_type == "DequantizeLinear"
        wide = "fp32" if precision == "fp32" else "fp16"
        asked[node.name] = precision if dequantised else wide
    return asked
