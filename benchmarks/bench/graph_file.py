"""An ONNX file with every shape worked out for one batch and size. Imports onnx, late."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.errors import InputError, MissingPackageError, ModelError
from sdk.spec import METADATA_KEY
from sdk.zoo import model_path

__all__ = ["SizedGraph", "sized_graph"]

AGAIN = "export or download it again"


@dataclass(frozen=True, eq=False)
class SizedGraph:
    """Nodes in the order they run, and the shape of every tensor."""

    name: str
    nodes: tuple[Any, ...]  # onnx.NodeProto
    shapes: dict[str, tuple[int, ...]]  # tensor -> shape
    stored: frozenset[str]  # tensors that the file holds
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kinds: dict[str, str]  # input -> "float32"

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Raises ModelError for a tensor whose shape nobody knows."""
        if tensor not in self.shapes:
            remedy = "export it with fixed sizes, or simplify it with onnxsim"
            raise ModelError(f"shapes that can be worked out in {self.name}", f"none for the tensor {tensor}", remedy)
        return self.shapes[tensor]

    def elements(self, tensor: str) -> int:
        """Numbers in a tensor."""
        return math.prod(self.shape(tensor))

    def described_inputs(self) -> dict[str, str]:
        """Input -> "float32 [8,3,16,16]"."""
        return {name: f"{self.kinds[name]} [{','.join(map(str, self.shape(name)))}]" for name in self.inputs}


def sized_graph(path: str | Path, *, batch: int, input_hw: tuple[int, int] | None) -> SizedGraph:
    """See graph_cost.count for arguments and errors."""
    onnx = _onnx()
    path = model_path(path)  # a shipped name, or the file itself
    try:
        proto = onnx.load_from_string(path.read_bytes())  # without weights stored apart: their shapes are here
    except OSError as error:
        raise ModelError("a readable ONNX file", f"{path}: {error.strerror}", "check the path") from error
    except Exception as error:  # protobuf's DecodeError, whose package is not ours to import
        raise ModelError("an ONNX file", f"{path.name}: {_first_line(error)}", AGAIN) from error
    if not proto.graph.node:
        raise ModelError("an ONNX file with a graph", f"{path.name} without nodes", AGAIN)
    stored = {tensor.name: tuple(int(d) for d in tensor.dims) for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    size = input_hw or _spec_size(proto)
    for value in inputs:
        _fix(value, batch, size, path.name)
    for value in (*proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")  # else free sizes of the file stand against the fixed ones
    del proto.graph.value_info[:]
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # of several classes without a common base
        raise ModelError(f"shapes that fit each other in {path.name}", _first_line(error), AGAIN) from error
    kinds = {v.name: _kind(onnx, v) for v in inputs}
    values = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    shapes = {v.name: shape for v in values if (shape := _known_shape(v)) is not None} | stored
    names = tuple(value.name for value in inputs)
    outputs = tuple(value.name for value in proto.graph.output)
    return SizedGraph(path.stem, tuple(proto.graph.node), shapes, frozenset(stored), names, outputs, kinds)


def _onnx() -> Any:
    try:
        import onnx
        import onnx.shape_inference
    except ImportError as error:
        raise MissingPackageError("counting a network's operations", "onnx", "pip install 'facetrt[bench]'") from error
    return onnx


def _spec_size(proto: Any) -> tuple[int, int] | None:  # proto: onnx.ModelProto
    """Rows and columns of the input, of a file with our metadata."""
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                spec = json.loads(entry.value)
                size = int(spec["lr_size"]) * (int(spec["scale"]) if spec.get("input_upscaled") else 1)
            except (ValueError, KeyError, TypeError):  # not ours after all; sizes may be fixed in the graph
                return None
            return size, size
    return None


def _fix(value: Any, batch: int, size: tuple[int, int] | None, name: str) -> None:  # value: onnx.ValueInfoProto
    """Writes batch, rows and columns into an input's free dimensions."""
    dims = value.type.tensor_type.shape.dim
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            if axis == 0 and len(dims) > 1 and dim.dim_value != batch:
                got = f"batch {batch}, but {value.name} of {name} takes {dim.dim_value} only"
                raise InputError("a batch that the graph takes", got, "export it with a free batch")
            continue
        if axis == 0:
            dim.dim_value = batch
        elif len(dims) == 4 and axis in (2, 3) and size is not None:
            dim.dim_value = size[axis - 2]
        else:
            got = f"the free dimension {dim.dim_param or axis} of {value.name}"
            raise InputError(f"the size of the input of {name}", got, "give it: input_hw=(rows, columns)")


def _known_shape(value: Any) -> tuple[int, ...] | None:  # value: onnx.ValueInfoProto
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(int(dim.dim_value) for dim in tensor.shape.dim)


def _kind(onnx: Any, value: Any) -> str:  # the module; onnx.ValueInfoProto
    """numpy's name of an input's type."""
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    except (KeyError, TypeError):
        return "unknown"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
