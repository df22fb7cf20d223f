"""What the SDK needs of an ONNX file before any library opens it: its spec, and a digest of all of its weights.

Walks the protobuf fields by hand (onnx.proto: ModelProto 7 graph, 14 metadata_props; GraphProto 5 initializer;
TensorProto 13 external_data; StringStringEntryProto 1 key, 2 value): neither onnx nor onnxruntime is needed, and the
weights are skipped, not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import ModelError
from sdk.spec import METADATA_KEY, ModelSpec

__all__ = ["OnnxFile", "read_onnx"]

GRAPH, METADATA, INITIALIZER, EXTERNAL_DATA, KEY, VALUE = 7, 14, 5, 13, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
AGAIN = "export or download it again"


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file of ours."""

    path: Path  # absolute
    spec: ModelSpec
    sha256: str  # of the file, then of the files that hold its weights in the order of their names
    size_bytes: int  # of all of them


def read_onnx(path: str | Path) -> OnnxFile:
    """Raises ModelError: unreadable, truncated, not ONNX, without our metadata, weights beside it missing."""
    path = Path(path).absolute()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError("a readable ONNX file", f"{path} ({error.strerror})", "check the path") from error
    metadata: dict[str, str] = {}
    weights: set[str] = set()
    try:
        for field, value in _fields(memoryview(data)):
            if field == METADATA:
                metadata.update([_entry(value)])
            elif field == GRAPH:
                weights |= _external(value)
    except ValueError as error:  # UnicodeDecodeError too
        raise ModelError("an ONNX file", f"{path.name}: {error}", AGAIN) from error
    if METADATA_KEY not in metadata:
        remedy = "export it with: python -m export.to_onnx CKPT -o MODEL.onnx, which writes the key"
        raise ModelError(f"the metadata key {METADATA_KEY} in {path.name}", f"keys {sorted(metadata)}", remedy)
    digest, size_bytes = hashlib.sha256(data), len(data)
    for name in sorted(weights):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(f"the weights of {path.name} beside it", f"{name!r}, which is elsewhere", AGAIN)
        try:
            part = (path.parent / name).read_bytes()
        except OSError as error:
            got = f"{name}: {error.strerror}"
            raise ModelError(f"the weights of {path.name} beside it", got, f"copy {name} into its folder") from error
        digest.update(part)
        size_bytes += len(part)
    return OnnxFile(path, ModelSpec.from_json(metadata[METADATA_KEY]), digest.hexdigest(), size_bytes)


def _external(graph: memoryview) -> set[str]:
    """Names of the files that hold weights."""
    found: set[str] = set()
    for field, tensor in _fields(graph):
        if field == INITIALIZER:
            entries = dict(_entry(value) for number, value in _fields(tensor) if number == EXTERNAL_DATA)
            found |= {entries["location"]} if "location" in entries else set()
    return found


def _entry(message: memoryview) -> tuple[str, str]:
    values = {field: bytes(value).decode() for field, value in _fields(message) if field in (KEY, VALUE)}
    return values.get(KEY, ""), values.get(VALUE, "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields that hold bytes; numbers are skipped. Raises ValueError for what is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError(f"truncated: {at + size - len(message)} bytes are missing")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError("bytes that are no protobuf")
    if at > len(message):
        raise ValueError("truncated")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("truncated")
        value |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return value, at
    raise ValueError("bytes that are no protobuf")
