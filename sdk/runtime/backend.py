"""open_backend(): a model file in, what runs it out. Which library that is, sdk.runtime.opening decides."""

from __future__ import annotations

from pathlib import Path

from sdk.runtime.opening import BACKENDS, open_network
from sdk.runtime.protocol import Backend

__all__ = ["BACKENDS", "Backend", "open_backend"]


def open_backend(
    path: str | Path,
    backend: str = "auto",
    *,
    device: str | None = None,  # "cpu", "cuda:0"; None: the first GPU that TensorRT can use, else the CPU
    threads: int | None = None,  # of onnxruntime; None: its default, one thread per physical core
    precision: str | None = None,  # "fp32", "fp16", "int8"; None: fp16 with TensorRT, fp32 with onnxruntime
) -> Backend:
    """Load a model file: .onnx, or an .engine with its manifest beside it. The first use may build an engine: minutes.

    Raises:
        ModelError: the file is not there, not a model or not ours. EngineError: the engine does not fit or is damaged.
        BackendError: a backend or device that is unknown or does not take this file. InputError: the precision.
        MissingPackageError: a library. BuildError, OutputError: no engine can be built, or kept in the cache.
    """
    return open_network(path, backend, device=device, threads=threads, precision=precision).network
