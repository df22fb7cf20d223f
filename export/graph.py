"""An ONNX file as a build starts from it: fp32 throughout, with its ModelSpec, checked before time is spent on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from export.plain_graph import made_plain
from export.tail import Tail, detached, inner_spec, watched
from export.tail_nodes import PREFIX
from sdk.errors import ModelError
from sdk.runtime.onnx_file import weights_beside
from sdk.spec import METADATA_KEY, ModelSpec
from sdk.zoo import model_path

__all__ = ["Model", "constants", "fold_stored_weights", "model_file", "producers", "read_model"]

NESTED = ("If", "Loop", "Scan")  # operators with graphs of their own inside
EXPORT_AGAIN = "export or download it again"


@dataclass(frozen=True, eq=False)
class Model:
    """A network as fp32 ONNX graph. `graph` is never changed by those it is handed to; they copy it."""

    graph: onnx.ModelProto  # without the tail
    spec: ModelSpec  # of `graph`
    path: Path
    sha256: str  # of the file, external data included
    tail: Tail | None = None  # what computes `image` and `landmarks` in a file that has them

    @property
    def input_name(self) -> str:
        """Name of the one input, float32 [N, C, h, w]."""
        return str(self.graph.graph.input[0].name)

    @property
    def file_spec(self) -> ModelSpec:
        """The spec of the file, and of what is built from it: with the outputs of the tail."""
        return self.spec if self.tail is None else self.tail.spec


def model_file(name_or_path: str | Path) -> Path:
    """File of a shipped name or a path. Raises ModelError: no such file, or a checkpoint."""
    path = Path(name_or_path)
    if path.suffix.lower() in (".pt", ".pth", ".ckpt"):
        remedy = f"make one with: python -m export.to_onnx {path} -o {path.with_suffix('.onnx')}"
        raise ModelError("an ONNX file", f"the checkpoint {path.name}", remedy)
    return model_path(name_or_path)


def read_model(path: str | Path) -> Model:
    """Read and check a file.

    Raises:
        ModelError: no such file, a checkpoint, damaged or truncated, external data missing, an unknown operator, no
            or another ModelSpec, inputs or outputs that differ from it, NaN or infinite weights.
    """
    path = model_file(path)
    proto, digest = _load(path)
    _check_operators(proto, path)  # first: the checker does not say which node it is
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker raises several classes without a common base of its own
        raise ModelError(f"a valid ONNX graph in {path.name}", _first_line(error), EXPORT_AGAIN) from error
    spec = _spec_of(proto, path)
    _check_edges(proto, spec, path)
    plain = made_plain(watched(proto), reserved=PREFIX)  # watched: no layer is dropped because a tail leaves it out
    graph, tail = detached(fold_stored_weights(plain), spec)
    _check_weights(graph, path)
    return Model(graph, inner_spec(spec), path, digest, tail)


def _load(path: Path) -> tuple[onnx.ModelProto, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError("a readable ONNX file", f"{path} ({error.strerror})", "check the path") from error
    try:
        proto = onnx.load_from_string(data)
    except DecodeError as error:
        got = f"{path.name} with {len(data)} bytes, truncated or not ONNX"
        raise ModelError("an ONNX file", got, EXPORT_AGAIN) from error
    if not proto.graph.node:
        raise ModelError("an ONNX file with a graph", f"{path.name} without nodes", EXPORT_AGAIN)
    digest = hashlib.sha256(data)
    stored_apart = weights_beside(path, data)
    for content in stored_apart.values():
        digest.update(content)
    if stored_apart:
        try:
            onnx.load_external_data_for_model(proto, str(path.parent))
        except Exception as error:  # as for the checker
            raise ModelError(
                f"the weights of {path.name} in {list(stored_apart)}", _first_line(error), EXPORT_AGAIN
            ) from error
    return proto, digest.hexdigest()


def _check_operators(proto: onnx.ModelProto, path: Path) -> None:
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for node in proto.graph.node:
        name = node.name or ", ".join(node.output)
        where = f"the node {name} with the operator {node.domain or 'ai.onnx'}::{node.op_type}"
        if node.op_type in NESTED:
            remedy = "export the network without control flow"
            raise ModelError(f"a graph without nested graphs in {path.name}", where, remedy)
        known = onnx.defs.has(node.op_type, node.domain)
        if not known or node.domain not in versions and not (node.domain == "" and "ai.onnx" in versions):
            remedy = "replace it by standard operators and export again"
            raise ModelError(f"standard ONNX operators in {path.name}", where, remedy)


def _spec_of(proto: onnx.ModelProto, path: Path) -> ModelSpec:
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    if METADATA_KEY not in entries:
        remedy = "export it with: python -m export.to_onnx CKPT -o MODEL.onnx, which writes the key"
        raise ModelError(f"the metadata key {METADATA_KEY} in {path.name}", f"keys {sorted(entries)}", remedy)
    return ModelSpec.from_json(entries[METADATA_KEY])


def _check_edges(proto: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    seen = [(v.type.tensor_type.elem_type, len(v.type.tensor_type.shape.dim)) for v in inputs]
    if seen != [(TensorProto.FLOAT, 4)]:
        got = ", ".join(f"{v.name} {TensorProto.DataType.Name(v.type.tensor_type.elem_type)}" for v in inputs)
        got = f"{len(inputs)} inputs: {got}, of {[rank for _, rank in seen]} dimensions"
        raise ModelError(f"one input float32 [N, C, h, w] in {path.name}", got, EXPORT_AGAIN)
    _check_sizes(inputs[0], spec, path)
    present = {value.name for value in proto.graph.output}
    missing = sorted(set(spec.output_names) - present)
    if missing:
        got = f"none named {missing} among {sorted(present)}"
        raise ModelError(f"outputs {list(spec.output_names)} in {path.name}", got, EXPORT_AGAIN)


def _check_sizes(value: onnx.ValueInfoProto, spec: ModelSpec, path: Path) -> None:
    """The batch is free, as calibration, the gate and the profiles need it; the rest is free or the spec's."""
    dims = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    side = None if spec.any_size else spec.input_size
    shape = "x".join("any" if size is None else str(size) for size in dims)
    if dims[0] is not None:
        remedy = "export it with a dynamic first dimension, as python -m export.to_onnx does"
        raise ModelError(f"an input of any batch in {path.name}", f"{value.name} of {shape}", remedy)
    if any(have not in (None, want) for have, want in zip(dims[1:], (spec.channels, side, side), strict=True)):
        wanted = "x".join("any" if size is None else str(size) for size in (None, spec.channels, side, side))
        remedy = "export it again: graph and metadata are of different models"
        raise ModelError(f"an input of {wanted} in {path.name}", f"{value.name} of {shape}", remedy)


def _check_weights(graph: onnx.ModelProto, path: Path) -> None:
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            got = f"{int(np.size(values) - np.isfinite(values).sum())} NaN or infinite in {tensor.name}"
            raise ModelError(f"finite weights in {path.name}", got, "train or export it again from a sound checkpoint")


def fold_stored_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights stored in fewer bits behind a Cast, or a Cast and a Mul by their scales, are plain fp32
    initialisers again, value for value; see export.weights_apart."""
    folded = onnx.ModelProto()
    folded.CopyFrom(proto)
    stored = {tensor.name: tensor for tensor in folded.graph.initializer}
    values: dict[str, npt.NDArray[np.float32]] = {}  # what the nodes that go away compute
    nodes: list[onnx.NodeProto] = []
    for node in folded.graph.node:  # in an order that respects the data flow
        cast = node.op_type == "Cast" and node.input[0] in stored
        if cast and helper.get_node_attr_value(node, "to") == TensorProto.FLOAT:
            values[node.output[0]] = _widened(stored[node.input[0]])
        elif node.op_type == "Mul" and node.input[0] in values and node.input[1] in stored:
            values[node.output[0]] = values[node.input[0]] * _widened(stored[node.input[1]])
        else:
            nodes.append(node)
    if not values:
        return folded
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in folded.graph.initializer if tensor.name in used]
    wide = [numpy_helper.from_array(value, name) for name, value in values.items() if name in used]
    del folded.graph.initializer[:]
    folded.graph.initializer.extend([*kept, *wide])
    return folded


def _widened(tensor: TensorProto) -> npt.NDArray[np.float32]:
    return numpy_helper.to_array(tensor).astype(np.float32)


def constants(graph: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Values of the initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def producers(graph: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that computes a tensor, by the tensor's name."""
    return {name: node for node in graph.graph.node for name in node.output}


def _first_line(error: Exception) -> str:
    """What the checker found, and behind "==> Context:" at which node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join([*lines[:1], *(line for line in lines[1:] if "Name:" in line)])[:300] or type(error).__name__
