"""Torch7's binary `.t7` files, as far as annotations use them: tensors, numbers, text and tables, by NumPy alone.

Layout: torch7 File.lua and generic/Tensor.c, little endian. An object is an int32 type; a Torch class then has an
index, "V 1", its class name and its content. A tensor has its sizes, strides, an offset counted from 1, and a storage.
Nothing is executed: functions and classes that are not tensors are refused.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from training.data.formats.sample import BadSampleError

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN = range(6)
TYPES = {
    "Double": "<f8",
    "Float": "<f4",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "<i1",
    "Byte": "<u1",
    "CudaDouble": "<f8",
    "Cuda": "<f4",
}
MAX_DIMENSIONS = 16


def read_t7(path: Path) -> Any:  # noqa: ANN401
    """A tensor as an array, a table as a dict, or a number, text, truth or None.

    Raises:
        BadSampleError: absent, cut off, damaged, written as text, or of a class that is not read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSampleError(f"cannot be read ({error.strerror})") from error
    try:
        return _Reader(data).object()
    except (struct.error, ValueError, OverflowError, UnicodeDecodeError, RecursionError) as error:
        raise BadSampleError(f"no binary Torch7 file, or a damaged one ({error})") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.known: dict[int, Any] = {}

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def text(self) -> str:
        (size,) = self.take("i")
        return self.block(size).decode("utf-8")

    def block(self, size: int) -> bytes:
        stop = self.position + size
        if size < 0 or stop > len(self.data):
            raise ValueError("cut off")
        found, self.position = self.data[self.position : stop], stop
        return found

    def object(self) -> Any:  # noqa: ANN401
        (kind,) = self.take("i")
        if kind == NIL:
            return None
        if kind == NUMBER:
            return self.take("d")[0]
        if kind == STRING:
            return self.text()
        if kind == BOOLEAN:
            return bool(self.take("i")[0])
        if kind not in (TABLE, TORCH):
            raise ValueError(f"an object of type {kind}")
        (index,) = self.take("i")
        if index not in self.known:
            self.known[index] = {} if kind == TABLE else None
            if kind == TORCH:
                self.known[index] = self.torch()
            else:
                (count,) = self.take("i")
                for _ in range(count):
                    key = self.object()
                    if isinstance(key, dict | np.ndarray):
                        raise ValueError("a table with a table as key")
                    self.known[index][key] = self.object()
        return self.known[index]

    def torch(self) -> np.ndarray:
        name = self.text()
        if name.startswith("V "):
            name = self.text()
        prefix, _, short = name.partition(".")
        dtype = TYPES.get(short.removesuffix("Tensor").removesuffix("Storage"))
        if prefix != "torch" or dtype is None:
            raise ValueError(f"class {name!r}")
        if short.endswith("Storage"):
            (size,) = self.take("q")
            return np.frombuffer(self.block(size * np.dtype(dtype).itemsize), dtype)
        (dimensions,) = self.take("i")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"{dimensions} dimensions")
        sizes, strides = self.take(f"{dimensions}q"), self.take(f"{dimensions}q")
        (offset,) = self.take("q")
        storage = self.object()
        if storage is None or dimensions == 0:
            return np.zeros(0, dtype)
        if not isinstance(storage, np.ndarray) or min(*sizes, *strides, offset - 1) < 0:
            raise ValueError(f"a tensor of sizes {sizes}, strides {strides}, offset {offset}")
        last = offset - 1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        if 0 not in sizes and last >= len(storage):
            raise ValueError("a tensor larger than its storage")
        steps = [s * storage.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(storage[offset - 1 :], sizes, steps).copy()
