"""A look at the arrays that go to a kernel, before the launch: where they lie, what they hold, whether they fit.

Everything found wrong is an InputError that names the argument. After this a kernel cannot touch memory that is not
there: kernels themselves check nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.runtime.device import Device, Stream
from sdk.runtime.interop import DeviceArray, from_device

__all__ = ["MOST_ELEMENTS", "MOST_FACES", "Arguments", "check_numbers"]

MOST_FACES = 65535  # CUDA's limit of gridDim.y, which counts the faces; batches are hundreds at most
MOST_ELEMENTS = 2**31 - 1  # of what a kernel counts in int32: cells of a plane, pixels of a picture
ALIGNMENT_BYTES = 16  # of arrays that kernels read as vectors


class Arguments:
    """Arrays of one launch. Sizes named by a letter must be the same wherever the letter stands."""

    def __init__(self, device: Device, stream: Stream) -> None:
        """Raises InputError for a stream that is closed or of another GPU."""
        if stream.closed or stream.device.index != device.index:
            got = "a closed one" if stream.closed else f"one of cuda:{stream.device.index}"
            raise InputError(f"an open stream of cuda:{device.index}", got, "make one with sdk.runtime.device.Stream")
        self.device, self.stream = device, stream
        self.sizes: dict[str, int] = {}
        self._held: list[tuple[str, int, int, bool]] = []  # name, first and last address, written to

    def take(
        self,
        name: str,  # of the argument, for messages
        array: object,
        dtypes: npt.DTypeLike | Sequence[npt.DTypeLike],
        *shape: int | str,  # a number, or a letter that stands for one
        writable: bool = False,
        aligned: bool = False,  # to 16 bytes
    ) -> DeviceArray:
        """The array, C-contiguous on this GPU, of one of the types and of that shape. Raises InputError."""
        if isinstance(array, np.ndarray):
            got = "a NumPy array, in the memory of the host"
            raise InputError(f"{name} on the GPU", got, "copy it there, or use the function of sdk.image")
        try:
            found = from_device(array, self.device, stream=self.stream, writable=writable)
        except InputError as error:
            raise InputError(f"{name}: {error.expected}", error.got, error.remedy) from error
        if found.freed:
            raise InputError(f"{name} in memory of the GPU", "an array whose memory was freed", "keep its buffer open")
        allowed = _dtypes(dtypes)
        if found.dtype not in allowed:
            expected = f"{name} of {' or '.join(str(one) for one in allowed)}"
            raise InputError(expected, str(found.dtype), "convert it first")
        self._fit(name, found.shape, shape)
        if aligned and found.pointer % ALIGNMENT_BYTES:
            expected = f"{name} to begin at a multiple of {ALIGNMENT_BYTES} bytes"
            raise InputError(expected, f"{found.pointer:#x}", "pass a whole allocation, or a copy")
        self._apart(name, found, writable)
        return found

    def optional(
        self,
        name: str,
        array: object | None,
        dtype: npt.DTypeLike,
        *shape: int | str,
        writable: bool = True,
    ) -> int:
        """Address of an array, 0 for None. Raises InputError."""
        return 0 if array is None else self.take(name, array, dtype, *shape, writable=writable).pointer

    def faces(self, name: str, letter: str = "N") -> int:
        """The number of faces bound to the letter. Raises InputError beyond what a grid takes."""
        count = self.sizes[letter]
        if count > MOST_FACES:
            raise InputError(f"{name} of at most {MOST_FACES} faces", str(count), "launch in parts")
        return count

    def _apart(self, name: str, array: DeviceArray, written: bool) -> None:
        """Raises InputError when what is written lies where another argument does: threads would race."""
        if not array.size_bytes:
            return
        first, last = array.pointer, array.pointer + array.size_bytes - 1
        for other, low, high, also_written in self._held:
            if (written or also_written) and first <= high and low <= last:
                raise InputError(f"{name} apart from {other}", "memory that they share", "pass a copy of one")
        self._held.append((name, first, last, written))

    def _fit(self, name: str, shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> None:
        sizes = dict(self.sizes)
        fits = len(shape) == len(wanted)
        if fits:
            for size, one in zip(shape, wanted, strict=True):
                fits = fits and size == (one if isinstance(one, int) else sizes.setdefault(one, size))
        if not fits:
            text = ", ".join(f"{one}={self.sizes[one]}" if one in self.sizes else str(one) for one in wanted)
            raise InputError(f"{name} of shape [{text}]", f"shape {list(shape)}", "make it fit the other arguments")
        self.sizes = sizes


def check_numbers(**numbers: float) -> None:
    """Raises InputError for one that is NaN or infinite."""
    wrong = {name: value for name, value in numbers.items() if not math.isfinite(value)}
    if wrong:
        raise InputError(f"finite {', '.join(wrong)}", f"{wrong}", "see how the network was built")


def _dtypes(dtypes: Any) -> list[np.dtype[Any]]:
    several = cast("Sequence[Any]", dtypes if isinstance(dtypes, (list, tuple)) else (dtypes,))
    return [np.dtype(one) for one in several]
