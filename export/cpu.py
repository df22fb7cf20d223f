"""`--target cpu`: an int8 ONNX file for onnxruntime on the processor, with the same gate and manifest as an engine."""

from __future__ import annotations

import platform
import time

import onnxruntime

from export.faces import Faces
from export.graph import Model, producers
from export.precision import WEIGHTED, Typed
from export.quantise import cpu_int8
from export.tail import attached
from sdk.runtime.machine import Machine, jetpack_release

__all__ = ["cpu_machine", "cpu_typed"]


def cpu_machine() -> Machine:
    """The processor as a Machine: an ONNX file is tied to nothing of it."""
    return Machine(
        flavour="onnxruntime",
        tensorrt=onnxruntime.__version__,
        driver=None,
        cuda=None,
        gpu=None,
        sm=None,
        jetpack=jetpack_release(),
        platform=platform.machine(),
    )


def cpu_typed(model: Model, calibration: Faces) -> tuple[Typed, float]:
    """The quantised graph with what each of its layers runs in, and the seconds it took."""
    started_s = time.monotonic()
    graph = cpu_int8(model, calibration)
    made = producers(graph)
    asked: dict[str, str] = {}
    for node in graph.graph.node:
        if node.op_type in WEIGHTED:
            sources = [made[name].op_type for name in node.input[:2] if name in made]
            asked[node.name] = "int8" if sources == ["DequantizeLinear"] * 2 else "fp32"
    return Typed(attached(graph, model.tail), asked), time.monotonic() - started_s
