"""MATLAB files of version 5 (also v6 and the compressed v7): numeric arrays, text and cells, by NumPy alone.

Layout: MathWorks, "MAT-File Format" (level 5). A 128-byte header, then elements of a type, a size and data padded to
8 bytes; small ones pack type and size into 4 bytes. Version 7.3 files are HDF5 and are refused with the way out.
"""

import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from training.data.formats.sample import BadSampleError

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # mi types
TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # mx
CELL, CHARACTERS = 1, 4
COMPLEX = 0x0800
LARGEST = 1 << 31  # bytes of one unpacked array; more is no annotation


@dataclass(frozen=True)
class Opaque:
    """An array of a class that is not read: a structure, an object, a sparse or a complex one."""

    matlab_class: int


def read_mat(path: Path) -> dict[str, Any]:
    """Arrays by name: numbers [rows, columns, ...], text as str, cells as object arrays; other classes as Opaque.

    Raises:
        BadSampleError: absent, cut off, damaged, or of version 7.3.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSampleError(f"cannot be read ({error.strerror})") from error
    if data[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in data[:128]:
        raise BadSampleError("a MAT file of version 7.3; save it again with: save(name, '-v7')")
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise BadSampleError("no MAT file of version 5")
    order = "<" if data[126:128] == b"IM" else ">"
    found: dict[str, Any] = {}
    try:
        position = 128
        while position < len(data):
            kind, body, position = _element(data, position, order)
            if kind == COMPRESSED:
                kind, body, _ = _element(_inflate(body), 0, order)
            if kind == MATRIX:
                name, value = _matrix(body, order)
                found[name] = value
    except (struct.error, zlib.error, ValueError, KeyError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise BadSampleError(f"a damaged MAT file ({error})") from error
    return found


def _inflate(body: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(body, LARGEST)
    if not unpacker.eof:
        raise ValueError("compressed data cut off or too large")
    return data


def _element(data: bytes, position: int, order: str) -> tuple[int, bytes, int]:
    """Type, data and the position behind one element."""
    (first,) = struct.unpack_from(order + "I", data, position)
    if first >> 16:  # small: 2 bytes of size above 2 bytes of type
        kind, size, start = first & 0xFFFF, first >> 16, position + 4
        stop, after = start + size, position + 8
        if size > 4:
            raise ValueError("a small element of more than 4 bytes")
    else:
        kind, size = struct.unpack_from(order + "2I", data, position)
        start = position + 8
        stop = start + size
        after = stop if kind == COMPRESSED else start + (size + 7) // 8 * 8
    if stop > len(data):
        raise ValueError("cut off")
    return kind, data[start:stop], after


def _values(kind: int, body: bytes, order: str) -> np.ndarray:
    return np.frombuffer(body, np.dtype(NUMBERS[kind]).newbyteorder(order))


def _matrix(body: bytes, order: str) -> tuple[str, Any]:
    """Name and value of one array."""
    if not body:
        return "", np.zeros((0, 0))
    _, flags, position = _element(body, 0, order)
    (word,) = struct.unpack_from(order + "I", flags)
    matlab_class = word & 0xFF
    kind, sizes, position = _element(body, position, order)
    shape = tuple(int(n) for n in _values(kind, sizes, order))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"sizes {shape}")
    _, raw_name, position = _element(body, position, order)
    name = raw_name.decode("latin-1").rstrip("\0")
    if matlab_class == CELL:
        return name, _cells(body, position, shape, order)
    if (matlab_class not in CLASSES and matlab_class != CHARACTERS) or word & COMPLEX:
        return name, Opaque(matlab_class)
    kind, content, _ = _element(body, position, order)
    if matlab_class == CHARACTERS:
        return name, _text(kind, content, shape, order)
    values = _values(kind, content, order)
    if values.size != prod(shape):
        raise ValueError(f"{values.size} values in an array {shape}")
    return name, values.astype(np.dtype(CLASSES[matlab_class])).reshape(shape, order="F")


def _cells(body: bytes, position: int, shape: tuple[int, ...], order: str) -> np.ndarray:
    count = prod(shape)
    if count * 8 > len(body):
        raise ValueError(f"{count} cells in {len(body)} bytes")
    cells = np.empty(count, object)
    for i in range(count):
        _, inner, position = _element(body, position, order)
        cells[i] = _matrix(inner, order)[1]
    return cells.reshape(shape, order="F")


def _text(kind: int, content: bytes, shape: tuple[int, ...], order: str) -> str:
    """One row of text; several rows are joined by line ends."""
    if kind in TEXTS:
        ending = "" if kind == 16 else ("-le" if order == "<" else "-be")
        letters = list(content.decode(TEXTS[kind] + ending))
    else:
        letters = [chr(int(v)) for v in _values(kind, content, order)]
    rows = shape[0]
    return "\n".join("".join(letters[row::rows]) for row in range(rows)) if rows else ""


def numeric(arrays: dict[str, Any], name: str) -> np.ndarray:
    """One numeric array of a file, float64. Raises BadSampleError where there is none of that name."""
    value = arrays.get(name)
    if not isinstance(value, np.ndarray) or value.dtype == object:
        names = ", ".join(sorted(k for k in arrays if k)) or "nothing"
        raise BadSampleError(f"no numeric array {name!r}; the file holds {names}")
    return value.astype(np.float64)
