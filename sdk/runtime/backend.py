"""What runs a network: the Backend protocol, and open_backend(), which picks one by the model file's suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, ModelError
from sdk.spec import ModelSpec

__all__ = ["BACKENDS", "Backend", "open_backend"]

BACKENDS = ("auto", "onnxruntime")  # names that `backend=` takes; "auto": what fits the file's suffix


@runtime_checkable
class Backend(Protocol):
    """A loaded network. run() may be called from several threads at once; close() frees it, twice is harmless."""

    @property
    def spec(self) -> ModelSpec:
        """What the network takes and gives."""
        ...

    def run(
        self,
        batch: npt.NDArray[np.float32],  # [N, C, h, w] in the spec's colour order, range and size
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Outputs by name: "sr" [N, C, H, W], "heatmaps" [N, K, hm, wm]. New arrays that later calls leave alone.

        Raises BackendError when the library fails or after close().
        """
        ...

    def close(self) -> None: ...


def open_backend(
    path: str | Path,
    backend: str = "auto",
    *,
    device: str | None = None,  # "cpu", "cuda:0"; None: the CPU
    threads: int | None = None,  # None: the library's default, one thread per physical core
) -> Backend:
    """Load a model file. A file that is not there, not a model or not ours raises ModelError.

    A backend that is unknown or does not take this file raises BackendError, a missing library MissingPackageError.
    """
    path = Path(path)
    if backend not in BACKENDS:
        raise BackendError(f"a backend among {BACKENDS}", repr(backend), "pass one of those")
    if threads is not None and threads < 1:
        raise BackendError("threads to be None or at least 1", str(threads), "leave it out for the default")
    if not path.is_file():
        raise ModelError("a model file", f"no file at {path}", "check the path, or name a shipped model")
    if path.suffix.lower() != ".onnx":
        remedy = "export a checkpoint with: python -m export.to_onnx CKPT -o MODEL.onnx"
        raise ModelError("a model file ending in .onnx", path.name, remedy)
    from sdk.runtime.ort_backend import OrtBackend  # late: onnxruntime takes 0.2 s to import

    return OrtBackend(path, device=device, threads=threads)
