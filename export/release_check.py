"""Is a released file the network that was trained? Its answers on drawn faces, from three sides.

    torch         the checkpoint's folded network, its weights as trained
    onnxruntime   NAME.onnx by its path, as any program would open it: must be what the SDK gives
    SDK           sdk.runtime.backend.open_backend: weights handed over from memory

What torch and the others differ by is what storing weights in fewer bits costs: LIMITS bound it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from export import to_onnx
from export.faces import Faces, lr_crops
from sdk.errors import ModelError
from sdk.image.pixels import from_network, to_network
from sdk.runtime.backend import open_backend
from sdk.spec import ModelSpec

__all__ = ["Found", "measured"]

LIMITS = {"fp16": 0.01, "int8": 0.10}  # largest difference of an output, over its largest value in torch
COMPARED = 3  # faces: SRINC takes seconds for one
DO_NOT_SHIP = "do not ship it; store it in more bits, or try another onnxruntime release"


@dataclass(frozen=True)
class Found:
    """How far the released file is from torch, on COMPARED faces."""

    faces: int
    levels_mean: float  # grey levels of the pictures
    levels_max: int
    relative_max: float  # of all outputs: largest difference over the largest value
    sdk_max: float  # SDK against onnxruntime

    def line(self) -> str:
        changed = f"pictures within {self.levels_max} grey levels of torch's, {self.levels_mean:.3f} on average"
        return f"{changed}, outputs within {100 * self.relative_max:.2f} %; SDK from onnxruntime {self.sdk_max:.1e}"

    def as_dict(self) -> dict[str, Any]:
        numbers = asdict(self)
        return {name: float(f"{one:.4g}") if isinstance(one, float) else one for name, one in numbers.items()}


def measured(path: Path, model: Any, spec: ModelSpec, *, store: str, faces: Faces) -> Found:  # noqa: ANN401
    """`model` is the folded network. Raises ModelError when an answer is not what it should be."""
    crops = lr_crops(faces.take(slice(0, COMPARED)), spec.lr_size)
    batch = to_network(crops, spec)
    wanted = to_onnx.answers(model, spec, batch)
    backend = open_backend(path, "onnxruntime")
    try:
        ours = backend.run(batch)
    finally:
        backend.close()
    theirs = _as_any_program(path, batch, spec)
    sdk_max = max(float(np.abs(ours[name] - theirs[name]).max()) for name in spec.output_names)
    if not sdk_max <= to_onnx.TOLERANCE:
        raise ModelError(f"the SDK and onnxruntime to agree on {path.name}", f"{sdk_max:.2e} apart", DO_NOT_SHIP)
    relative = max(_relative(ours[name], wanted[name]) for name in spec.output_names)
    if not relative <= LIMITS[store]:
        expected = f"{path.name} in {store} within {100 * LIMITS[store]:g} % of torch"
        raise ModelError(expected, f"{100 * relative:.2g} %", DO_NOT_SHIP)
    pictures = [from_network(found["sr"], spec, lr=crops).astype(int) for found in (ours, wanted)]
    levels = np.abs(pictures[0] - pictures[1])
    return Found(len(crops), float(levels.mean()), int(levels.max()), relative, sdk_max)


def _relative(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """Largest difference over the largest value."""
    return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-6))


def _as_any_program(path: Path, batch: npt.NDArray[np.float32], spec: ModelSpec) -> dict[str, npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = session.run(list(spec.output_names), {session.get_inputs()[0].name: batch})
    return dict(zip(spec.output_names, found, strict=True))
