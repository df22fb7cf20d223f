"""config.pbtxt of Triton's TensorRT backend, from the inputs and outputs of an ONNX file.

    models/picoface_x8/config.pbtxt     this file
    models/picoface_x8/1/model.plan     trt-build M.onnx --batches 8 -o models/picoface_x8/1/model.plan

Triton counts the batch apart: it is max_batch_size, and no shape below names it.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto

from sdk.errors import InputError, ModelError
from sdk.pictures import write_file

__all__ = ["config", "write_config"]

KINDS = {TensorProto.FLOAT: "TYPE_FP32", TensorProto.UINT8: "TYPE_UINT8"}
ANY = -1  # Triton's word for a size that may differ from call to call


def config(
    graph: onnx.ModelProto,
    *,
    max_batch: int,
    name: str = "",  # of the model; "": that of its folder
) -> str:
    """The text of config.pbtxt. Raises InputError for a batch below 1, ModelError for a type that Triton lacks."""
    if max_batch < 1:
        raise InputError("a largest batch of 1 or more", str(max_batch), "give another --max-batch")
    stored = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in stored]
    head = [f'name: "{name}"'] if name else []
    head += ['platform: "tensorrt_plan"', f"max_batch_size: {max_batch}"]
    return "\n".join([*head, _tensors("input", inputs), _tensors("output", list(graph.graph.output)), ""])


def _tensors(what: str, values: list[onnx.ValueInfoProto]) -> str:
    entries: list[str] = []
    for value in values:
        kind = value.type.tensor_type.elem_type
        if kind not in KINDS:
            got = f"{TensorProto.DataType.Name(kind)} of {value.name}"
            raise ModelError("inputs and outputs of float32 or uint8", got, "export the network again")
        dims = [dim.dim_value if dim.HasField("dim_value") else ANY for dim in value.type.tensor_type.shape.dim[1:]]
        entries.append(f'  {{ name: "{value.name}", data_type: {KINDS[kind]}, dims: {dims} }}')
    return f"{what} [\n" + ",\n".join(entries) + "\n]"


def write_config(path: Path, graph: onnx.ModelProto, *, max_batch: int) -> None:
    """Raises OutputError, and what config() does."""
    write_file(path, config(graph, max_batch=max_batch).encode())
