"""DLPack capsules, made and taken through ctypes: the C structures of dlpack.h (ABI 0, capsules named "dltensor").

A capsule is taken once: it is renamed to "used_dltensor", and whoever took it calls the deleter when done. One that
nobody takes calls the deleter itself when it goes.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from typing import Any

import numpy as np

from sdk.errors import InputError

__all__ = ["CUDA", "CUDA_MANAGED", "TakenTensor", "make_capsule", "take_capsule"]

CUDA, CUDA_MANAGED = 2, 13  # DLDeviceType
NAME, USED = b"dltensor", b"used_dltensor"
KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}  # NumPy's kind -> DLDataTypeCode
LETTERS = {code: kind for kind, code in KINDS.items()}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),  # elements; null: C order
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _DLTensor), ("manager", ctypes.c_void_p), ("deleter", _Deleter))


_CapsuleDestructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_python = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _CapsuleDestructor)(
    ("PyCapsule_New", _python)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _python))
# The same two for a dying capsule, which must not be made a Python object again.
_is_valid_raw = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_pointer_raw = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))

_lent: dict[int, tuple[Any, ...]] = {}  # number of a capsule -> structure, its arrays and the owner, until deleted
_numbers = itertools.count(1)  # no lock: a capsule may die in the middle of anything, also of what a lock would guard


@_Deleter
def _delete(address: int) -> None:
    """Called by the reader, from any thread, with or without a Python thread state of its own."""
    _lent.pop(_Managed.from_address(address).manager, None)


@_CapsuleDestructor
def _destroy(capsule: int) -> None:
    if _is_valid_raw(capsule, NAME):  # nobody took it
        _delete(_pointer_raw(capsule, NAME))


def make_capsule(
    owner: object,  # kept alive until the reader is done
    pointer: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    device: int,  # number of the GPU
    kind: int = CUDA,  # DLDeviceType
) -> Any:
    """A capsule "dltensor" of a C-contiguous array."""
    extents = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    bits = dtype.itemsize * 8
    tensor = _DLTensor(pointer, kind, device, len(shape), KINDS[dtype.kind], bits, 1, extents, None, 0)
    number = next(_numbers)
    managed = _Managed(tensor, number, _delete)
    _lent[number] = (managed, extents, owner)
    return _new(ctypes.addressof(managed), NAME, _destroy)


class TakenTensor:
    """What a capsule held. The lender's memory stays valid as long as this object lives."""

    def __init__(self, address: int) -> None:
        managed = _Managed.from_address(address)
        tensor = managed.tensor
        self.pointer = int(tensor.data or 0) + int(tensor.byte_offset)
        self.shape = tuple(int(tensor.shape[axis]) for axis in range(tensor.ndim))
        if managed.deleter:
            weakref.finalize(self, managed.deleter, address).atexit = False  # the lender may be gone by then
        if tensor.lanes != 1 or tensor.code not in LETTERS:
            got = f"DLPack type code {tensor.code} of {tensor.bits} bits, {tensor.lanes} lanes"
            raise InputError("an array of plain numbers", got, "convert it to float32")
        self.dtype: np.dtype[Any] = np.dtype(f"{LETTERS[tensor.code]}{tensor.bits // 8}")
        self.strides_bytes: tuple[int, ...] | None = None
        if tensor.strides:
            self.strides_bytes = tuple(int(tensor.strides[axis]) * self.dtype.itemsize for axis in range(tensor.ndim))


def take_capsule(capsule: Any) -> TakenTensor:
    """Take a capsule over. Raises InputError for one already taken, and for anything else."""
    if not _is_valid(capsule, NAME):
        remedy = "pass the array itself, or a fresh capsule"
        raise InputError('a DLPack capsule "dltensor" that nobody took yet', repr(capsule), remedy)
    address = _pointer(capsule, NAME)
    _rename(capsule, USED)
    return TakenTensor(address)
