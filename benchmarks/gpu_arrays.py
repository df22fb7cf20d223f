"""Arrays of torch, cupy and pycuda through sdk.runtime.interop, for benchmarks.gpu_check: with an engine and without.

Each library stands alone: one that is not installed, or has no GPU, is not run, and the report says why.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_engines import Broken
from sdk.runtime.device import Device, Stream
from sdk.runtime.interop import DeviceArray, from_device
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["LIBRARIES", "Library", "NotPossible", "library", "round_trip", "with_engine"]

F32 = npt.NDArray[np.float32]


class NotPossible(Exception):  # noqa: N818 - nothing is wrong, something is missing
    """A check cannot run here; says what it lacks."""


@dataclass(frozen=True)
class Library:
    """How a library takes arrays to the GPU and back, and what stands for its current stream."""

    to_gpu: Callable[[F32], Any]
    adopt: Callable[[DeviceArray], Any]  # without a copy
    to_host: Callable[[Any], F32]  # in order after what is on its stream
    pointer: Callable[[Any], int]
    stream: Callable[[], Any]


def _torch() -> Library:
    torch: Any = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise NotPossible("this torch sees no GPU")
    return Library(
        to_gpu=lambda array: torch.from_numpy(array).cuda(),
        adopt=torch.from_dlpack,
        to_host=lambda tensor: tensor.cpu().numpy(),
        pointer=lambda tensor: tensor.data_ptr(),
        stream=torch.cuda.current_stream,
    )


def _cupy() -> Library:
    cupy: Any = importlib.import_module("cupy")
    return Library(
        to_gpu=cupy.asarray,
        adopt=cupy.asarray,
        to_host=cupy.asnumpy,
        pointer=lambda array: array.data.ptr,
        stream=cupy.cuda.get_current_stream,
    )


def _pycuda() -> Library:
    """Without autoinit: its context would be another one than everybody else's."""
    driver: Any = importlib.import_module("pycuda.driver")
    gpuarray: Any = importlib.import_module("pycuda.gpuarray")
    driver.init()
    context = driver.Device(0).retain_primary_context()

    def inside(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            context.push()
            try:
                return call(*arguments)
            finally:
                context.pop()

        return wrapped

    return Library(
        to_gpu=inside(gpuarray.to_gpu),
        adopt=inside(lambda array: gpuarray.GPUArray(array.shape, array.dtype, base=array, gpudata=array.pointer)),
        to_host=inside(lambda array: array.get()),
        pointer=lambda array: int(array.gpudata),
        stream=lambda: 0,  # the default stream
    )


LIBRARIES: dict[str, Callable[[], Library]] = {"torch": _torch, "cupy": _cupy, "pycuda": _pycuda}


def library(name: str) -> Library:
    """Raises NotPossible where it is not installed or does not work."""
    try:
        return LIBRARIES[name]()
    except ImportError as error:
        raise NotPossible(f"{name} cannot be imported: {error}") from error


def round_trip(name: str) -> dict[str, Any]:
    """Borrow an array, copy it on a stream of ours, have the library adopt the copy. No TensorRT needed."""
    theirs, device = library(name), Device()
    array = np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32)
    lent = theirs.to_gpu(array)
    with device.current():
        stream = Stream(device)
        borrowed = from_device(lent, device, stream=stream)
        if borrowed.pointer != theirs.pointer(lent):
            raise Broken(f"{name}: the array was copied on its way in")
        copy = DeviceArray.empty(device, array.shape, array.dtype, stream=stream)
        device.copy(copy.pointer, borrowed.pointer, array.nbytes, stream)
        stream.make_wait(1)  # pycuda's adoption knows no handshake
    adopted = theirs.adopt(copy)
    if theirs.pointer(adopted) != copy.pointer:
        raise Broken(f"{name}: the array was copied on its way out")
    del copy, borrowed
    if not np.array_equal(theirs.to_host(adopted), array):
        raise Broken(f"{name}: other numbers came back")
    return {"bytes": array.nbytes, "copies": 0}


def with_engine(name: str, path: Path, batch: F32, *, runs: int = 50) -> dict[str, Any]:
    """run_device() from the library's array into the library's array, on its own stream, equal to run()."""
    theirs = library(name)
    with contextlib.closing(TrtBackend(path)) as backend:
        for number in range(runs):
            faces = np.ascontiguousarray(np.roll(batch, number, axis=0))
            expected = backend.run(faces)
            lent = theirs.to_gpu(faces)
            results = backend.run_device(lent, stream=theirs.stream())
            target = theirs.to_gpu(np.zeros_like(expected["sr"]))
            backend.run_device(lent, out={"sr": target}, stream=theirs.stream())
            for what, found in (("adopted", theirs.adopt(results["sr"])), ("written", target)):
                if not np.array_equal(theirs.to_host(found), expected["sr"]):
                    raise Broken(f"{name}: {what} results of run {number} differ from run()'s")
    return {"runs": runs}
