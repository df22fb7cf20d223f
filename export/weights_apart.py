"""An ONNX graph and its weights apart: NAME.onnx, a few hundred kB, points into NAME.safetensors.

A safetensors file is its header's length (8 bytes, little endian), a JSON header, then the tensors without gaps; ONNX
external data is a file name, an offset and a length. One file is both, and either library reads it without the other.
Larger types come first, so that every tensor is aligned. Stored in fewer bits, weights become fp32 again inside the
graph, by nodes that runtimes fold while loading:

    fp16    T.fp16 ─ Cast ─> T
    int8    T.int8 ─ Cast ─> T.levels ─ Mul by T.scale ─> T    one scale an output channel: max |T| / 127
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdk.errors import ModelError
from sdk.runtime.onnx_file import WEIGHTS_KEY

__all__ = ["STORES", "Apart", "safetensors_bytes", "taken_apart"]

STORES = ("fp16", "int8")
SMALL = 256  # elements; smaller tensors, and those of one dimension, stay fp32: biases, scales, slopes
SHAPING = ("Resize", "Clip", "Pad")  # their constants decide shapes or bounds and stay inside the graph
NAMES = {"float16": "F16", "float32": "F32", "int8": "I8"}  # dtype -> what safetensors calls it
ALIGNED = 64  # bytes that the header is filled up to


@dataclass(frozen=True)
class Apart:
    """The two files."""

    onnx: bytes
    weights: bytes


def safetensors_bytes(
    tensors: dict[str, npt.NDArray[Any]],
    *,
    metadata: dict[str, str],
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A safetensors file, and where in it each tensor's values lie: (offset from its first byte, length)."""
    header: dict[str, Any] = {"__metadata__": metadata}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    at = 0
    for name, values in ordered:
        header[name] = {"dtype": NAMES[values.dtype.name], "shape": list(values.shape)}
        header[name]["data_offsets"] = [at, at + values.nbytes]
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)  # the format allows spaces there
    start = 8 + len(text)
    places = {name: (start + header[name]["data_offsets"][0], values.nbytes) for name, values in ordered}
    content = b"".join(np.ascontiguousarray(values).tobytes() for _, values in ordered)
    return struct.pack("<Q", len(text)) + text + content, places


def taken_apart(
    graph: onnx.ModelProto,  # fp32, its weights inside
    *,
    name: str,  # of the files, without suffix
    store: str,  # of STORES
    metadata: dict[str, str],  # of the safetensors file
) -> Apart:
    """Raises ModelError for weights that fp16 cannot hold."""
    apart = onnx.ModelProto()
    apart.CopyFrom(graph)
    users = _users(graph)
    tensors: dict[str, npt.NDArray[Any]] = {}  # by name in the safetensors file
    placed: dict[str, str] = {}  # initialiser -> tensor
    kept: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or users.get(tensor.name, set()) & set(SHAPING):
            kept.append(tensor)
            continue
        stored, widening = _stored(tensor, store, turned="ConvTranspose" in users.get(tensor.name, set()))
        nodes += widening
        for initialiser, (key, values) in stored.items():
            tensors[key], placed[initialiser] = values, key
    data, places = safetensors_bytes(tensors, metadata=metadata)
    for initialiser, key in placed.items():
        kept.append(_outside(initialiser, tensors[key], f"{name}.safetensors", places[key]))
    del apart.graph.initializer[:]
    apart.graph.initializer.extend(kept)
    inner = list(apart.graph.node)
    del apart.graph.node[:]
    apart.graph.node.extend([*nodes, *inner])
    entry = apart.metadata_props.add()
    entry.key, entry.value = WEIGHTS_KEY, hashlib.sha256(data).hexdigest()
    return Apart(apart.SerializeToString(), data)


def _users(graph: onnx.ModelProto) -> dict[str, set[str]]:
    """Operators that read a tensor, by its name."""
    users: dict[str, set[str]] = {}
    for node in graph.graph.node:
        for name in node.input:
            users.setdefault(name, set()).add(node.op_type)
    return users


Stored = dict[str, tuple[str, npt.NDArray[Any]]]  # initialiser -> (name in the safetensors file, values)


def _stored(tensor: TensorProto, store: str, *, turned: bool) -> tuple[Stored, list[onnx.NodeProto]]:
    """What is kept of a tensor, and the nodes that make it fp32 again; turned: output channels are the second axis."""
    name, values = tensor.name, numpy_helper.to_array(tensor)
    if values.ndim < 2 or values.size < SMALL:
        return {name: (name, values)}, []
    if store == "int8":
        rest = tuple(axis for axis in range(values.ndim) if axis != int(turned))
        scale = np.abs(values).max(axis=rest, keepdims=True) / 127.0
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        levels = np.rint(values / scale).astype(np.int8)
        cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.levels"], to=TensorProto.FLOAT)
        widened = helper.make_node("Mul", [f"{name}.levels", f"{name}.scale"], [name])
        return {f"{name}.int8": (name, levels), f"{name}.scale": (f"{name}.scale", scale)}, [cast, widened]
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        got = f"{float(np.abs(values).max()):.3g} in {name}"
        raise ModelError("weights that fp16 can hold, up to 65504", got, "train it longer, or with a lower rate")
    cast = helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT)
    return {f"{name}.fp16": (name, half)}, [cast]


def _outside(initialiser: str, values: npt.NDArray[Any], location: str, place: tuple[int, int]) -> TensorProto:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = TensorProto(name=initialiser, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(place[0])), ("length", str(place[1]))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor
