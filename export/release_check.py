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
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.metrics import nme
from sdk.image.pixels import from_network, to_network
from sdk.runtime.backend import open_backend
from sdk.spec import ModelSpec

__all__ = ["Found", "Points", "measured", "points_of"]

LIMITS = {"fp16": (0.5, 0.05), "int8": (2.0, 0.25)}  # mean grey levels; root mean square of maps over their spread
CONFIDENT = 0.65  # of the median face's mean heatmap peak: about what the SDK's 0.55 is for PicoFace
LOST = 20.0  # percent of the eye distance: points that far from another network's have not been learned
COMPARED = 3  # faces: SRINC takes seconds for one
DO_NOT_SHIP = "do not ship it; store it in more bits, or try another onnxruntime release"


@dataclass(frozen=True)
class Found:
    """How far the released file is from torch, on COMPARED faces."""

    faces: int
    levels_mean: float  # grey levels of the pictures
    levels_max: int
    maps_relative: float  # of heatmaps and parsing: root mean square of the difference over the maps' spread
    sdk_max: float  # SDK against onnxruntime

    def line(self) -> str:
        changed = f"pictures within {self.levels_max} grey levels of torch's, {self.levels_mean:.3f} on average"
        return f"{changed}, maps by {100 * self.maps_relative:.2f} %; SDK from onnxruntime {self.sdk_max:.1e}"

    def as_dict(self) -> dict[str, Any]:
        numbers = asdict(self)
        return {name: float(f"{one:.4g}") if isinstance(one, float) else one for name, one in numbers.items()}


@dataclass(frozen=True)
class Points:
    """A network's landmarks on drawn faces."""

    faces: int
    median_peak: float  # of the faces' mean heatmap peaks
    min_confidence: float  # below which a face is none, for the spec
    nme_percent: float | None  # from picoface_x4's points, which are no truth; None: another scheme of points

    def line(self) -> str:
        if self.nme_percent is None:
            return "points of another scheme, not compared"
        told = f"points {self.nme_percent:.1f} % of the eye distance from picoface_x4's on drawn faces"
        return told + (", NOT LEARNED: leave its landmarks alone" if self.nme_percent > LOST else "")


def points_of(
    spec: ModelSpec,
    maps: npt.NDArray[np.float32],  # [N, K, h, w] of the faces
    faces: Faces,  # with points
) -> Points:
    """How high the peaks are, and how far the points lie from those that came with the faces."""
    found = decode(maps, mode=spec.decoder, radius=spec.decoder_radius)
    peak = float(np.median(found.scores.mean(axis=1)))
    error = None
    if faces.points is not None and found.points.shape[1] == faces.points.shape[1]:
        side = faces.hr.shape[1]
        error = 100.0 * float(nme(cells_to_image(found.points, maps.shape[2:], (side, side)), faces.points).mean())
        error = float(f"{error:.4g}")
    enough = round(float(np.clip(CONFIDENT * peak, 0.0, 1.0)), 3)
    return Points(len(maps), float(f"{peak:.4g}"), enough, error)


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
    maps = [_relative(ours[name], wanted[name]) for name in spec.output_names if name != "sr"]
    pictures = [from_network(found["sr"], spec, lr=crops).astype(int) for found in (ours, wanted)]
    levels = np.abs(pictures[0] - pictures[1])
    found = Found(len(crops), float(levels.mean()), int(levels.max()), max(maps, default=0.0), sdk_max)
    most_levels, most_maps = LIMITS[store]
    if not (found.levels_mean <= most_levels and found.maps_relative <= most_maps):
        expected = f"{path.name} in {store} within {most_levels:g} grey levels and {100 * most_maps:g} % of torch"
        raise ModelError(expected, found.line(), DO_NOT_SHIP)
    return found


def _relative(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """Root mean square of the difference, over how far the values spread."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / max(float(wanted.std()), 1e-9))


def _as_any_program(path: Path, batch: npt.NDArray[np.float32], spec: ModelSpec) -> dict[str, npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = session.run(list(spec.output_names), {session.get_inputs()[0].name: batch})
    return dict(zip(spec.output_names, found, strict=True))
