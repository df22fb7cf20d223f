"""What the SDK needs of an ONNX file before any library opens it: its spec, and a digest of all of its weights.

Walks the protobuf fields by hand (onnx.proto: ModelProto 7 graph, 14 metadata_props; GraphProto 5 initializer;
TensorProto 8 name, 13 external_data; StringStringEntryProto 1 key, 2 value): neither onnx nor onnxruntime is needed,
and the weights are skipped, not read.

Weights may lie in files beside the graph (ONNX external data: location, offset, length). WEIGHTS_KEY of the metadata
holds their SHA-256 then: without it another network's weights of the same sizes would be taken for this one's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import ModelError
from sdk.spec import METADATA_KEY, ModelSpec

__all__ = ["WEIGHTS_KEY", "OnnxFile", "read_onnx", "weights_beside"]

WEIGHTS_KEY = "facetrt.weights"  # in metadata_props: SHA-256 of the files of weights, in the order of their names
GRAPH, METADATA, INITIALIZER, NAME, EXTERNAL_DATA, KEY, VALUE = 7, 14, 5, 8, 13, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
AGAIN = "export or download it again"


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file of ours."""

    path: Path  # absolute
    spec: ModelSpec
    sha256: str  # of the file, then of the files that hold its weights in the order of their names
    size_bytes: int  # of all of them


@dataclass(frozen=True)
class _Part:
    """Where one tensor's values lie in a file beside the graph."""

    tensor: str
    location: str  # name of the file
    end: int  # bytes the file has at least


def read_onnx(path: str | Path) -> OnnxFile:
    """Raises ModelError: unreadable, truncated, not ONNX, without our metadata, weights beside it missing or others."""
    path = Path(path).absolute()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError("a readable ONNX file", f"{path} ({error.strerror})", "check the path") from error
    try:
        metadata, parts = _scanned(data)
    except ValueError as error:  # UnicodeDecodeError too
        raise ModelError("an ONNX file", f"{path.name}: {error}", AGAIN) from error
    if METADATA_KEY not in metadata:
        remedy = "export it with: python -m export.to_onnx CKPT -o MODEL.onnx, which writes the key"
        raise ModelError(f"the metadata key {METADATA_KEY} in {path.name}", f"keys {sorted(metadata)}", remedy)
    digest, size_bytes = hashlib.sha256(data), len(data)
    for content in _read_parts(path, parts, metadata.get(WEIGHTS_KEY)).values():
        digest.update(content)
        size_bytes += len(content)
    return OnnxFile(path, ModelSpec.from_json(metadata[METADATA_KEY]), digest.hexdigest(), size_bytes)


def weights_beside(
    path: Path,
    data: bytes,  # what `path` holds
) -> dict[str, bytes]:
    """Contents of the files that hold weights of an ONNX file, by the names it gives them and in their order; empty
    without such files, and for what is no protobuf: whoever opens that says so.

    Raises ModelError: a file is missing, cut off, elsewhere, or of another network.
    """
    try:
        metadata, parts = _scanned(data)
    except ValueError:
        return {}
    return _read_parts(path, parts, metadata.get(WEIGHTS_KEY))


def _scanned(data: bytes) -> tuple[dict[str, str], list[_Part]]:
    """Metadata, and the tensors that lie in other files. Raises ValueError."""
    metadata: dict[str, str] = {}
    parts: list[_Part] = []
    for field, value in _fields(memoryview(data)):
        if field == METADATA:
            metadata.update([_entry(value)])
        elif field == GRAPH:
            parts += _external(value)
    return metadata, parts


def _read_parts(path: Path, parts: Sequence[_Part], expected_sha256: str | None) -> dict[str, bytes]:
    """The files of weights by name, each read once. Raises ModelError."""
    found: dict[str, bytes] = {}
    for name in sorted({part.location for part in parts}):
        where = f"the weights of {path.name} beside it"
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(where, f"{name!r}, which is elsewhere", AGAIN)
        try:
            if os.path.exists(path.parent / name) and not os.path.isfile(path.parent / name):
                raise ModelError(where, f"{name}, which is no file", AGAIN)  # a pipe would never end
            found[name] = (path.parent / name).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            got = f"{name}: {error.strerror if isinstance(error, OSError) else error}"
            raise ModelError(where, got, f"copy {name} into its folder") from error
        last = max((part for part in parts if part.location == name), key=lambda part: part.end)
        if last.end > len(found[name]):
            got = f"{len(found[name])} bytes, cut off before the end of {last.tensor}"
            raise ModelError(f"{last.end} bytes or more in {name}", got, f"copy or download {name} again")
    if expected_sha256 is not None and found:
        digest = hashlib.sha256()
        for content in found.values():
            digest.update(content)
        if digest.hexdigest() != expected_sha256:
            names = ", ".join(found)
            expected = f"the weights that {path.name} was written with (SHA-256 {expected_sha256[:12]}...) in {names}"
            got = f"others ({digest.hexdigest()[:12]}...): damaged, or of another network"
            raise ModelError(expected, got, f"copy both files again from where {path.name} came from")
    return found


def _external(graph: memoryview) -> list[_Part]:
    """The initialisers whose values lie in other files."""
    found: list[_Part] = []
    for field, tensor in _fields(graph):
        if field != INITIALIZER:
            continue
        fields = list(_fields(tensor))
        entries = dict(_entry(value) for number, value in fields if number == EXTERNAL_DATA)
        if "location" in entries:
            name = next((bytes(value).decode() for number, value in fields if number == NAME), "")
            end = max(0, int(entries.get("offset") or 0)) + max(0, int(entries.get("length") or 0))
            found.append(_Part(name, entries["location"], end))
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
