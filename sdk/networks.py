"""The networks that a FaceEnhancer works with: shipped ones by default, names, paths, or a caller's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdk.errors import InputError
from sdk.routing import check_outputs
from sdk.runtime.backend import Backend
from sdk.runtime.onnx_file import read_onnx
from sdk.runtime.opening import Opened, open_network
from sdk.zoo import model_path, shipped_paths

__all__ = ["Model", "open_all"]

Model = str | Path | Backend


def open_all(
    model: Model | Sequence[Model] | None,
    backend: str,
    *,
    device: str | None,
    threads: int | None,
    precision: str | None,
) -> list[Opened]:
    """The networks to use; those opened here before one fails are closed again."""
    if model is None:
        models: Sequence[Any] = shipped_paths()
    elif isinstance(model, Sequence) and not isinstance(model, str):
        models = model
    else:
        models = [model]
    if not models:
        raise InputError("at least one model", "an empty sequence", "leave model out for the shipped ones")
    opened: list[Opened] = []
    try:
        for one in models:
            if isinstance(one, Backend):
                opened.append(Opened(one, type(one).__name__, "", "", None, "the caller passed it in", ours=False))
                check_outputs(one.spec)
                continue
            if not isinstance(one, (str, Path)):
                remedy = "leave model out for the shipped ones"
                raise InputError("a model as a name, a path or a Backend", repr(one), remedy)
            path = model_path(one)
            if path.suffix.lower() == ".onnx" and path.is_file():
                check_outputs(read_onnx(path).spec)  # now, not after minutes of building an engine
            opened.append(open_network(path, backend, device=device, threads=threads, precision=precision))
            check_outputs(opened[-1].network.spec)
    except BaseException:
        for one in opened:
            if one.ours:
                one.network.close()
        raise
    return opened
