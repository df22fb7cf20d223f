"""One batch of faces through one network: on the host, or where the frame is on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.cutting import Cut, Gpu, Picture
from sdk.image.crop import apply_affine, window_affine
from sdk.image.heatmap import decode
from sdk.image.pixels import from_network, not_finite, to_network
from sdk.routing import Route
from sdk.spec import ModelSpec

__all__ = ["MIN_CONFIDENCE", "Face", "least_of", "run_batch", "run_there"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

# Mean heatmap peak. With picoface_x8 all of 100 validation faces of HELEN have 0.77 or more from 16 px, faces of video
# frames 0.73 from 24 px, faces under noise of 20 levels 0.59 from 16 px; half of random windows without a face have
# less than 0.5. What the detector takes for a face by mistake looks like one to the network too (0.53 to 0.77).
MIN_CONFIDENCE = 0.55


@dataclass(frozen=True, eq=False)
class Face:
    """What a network gave for one window."""

    route: Route
    image: U8 | None  # [S, S, 3] RGB; None when only landmarks were asked for, or when the picture is `there`
    landmarks: F32 | None  # [K, 2] frame px
    scores: F32 | None  # [K]
    spread: F32 | None  # [K] frame px
    confidence: float  # mean heatmap peak, NaN without landmarks
    there: Picture | None = None  # a picture that stays on the GPU
    components: F32 | None = None  # [K, cells, cells] maps of parts of the face

    def least(self, asked: float | None) -> float:
        """Confidence below which it is no face."""
        return asked if asked is not None else least_of(self.route.backend.spec, None)


def least_of(spec: ModelSpec, asked: float | None) -> float:
    """Confidence below which it is no face: as asked for, else what the network's spec says, else the SDK's."""
    if asked is not None:
        return asked
    return MIN_CONFIDENCE if spec.min_confidence is None else spec.min_confidence


def run_batch(
    route: Route,
    index: Index,  # [n]
    windows: F64,  # [n, 4]
    cut: Cut,
    *,
    pictures: bool,
) -> list[Face]:
    """One call of a network, with crops, pictures and landmarks made here. Raises ModelError, and as Backend.run."""
    spec = route.backend.spec
    crops = cut(index, windows, route.lr_size)  # [n, lr, lr, 3] RGB
    outputs = route.backend.run(to_network(crops, spec))
    images: Sequence[U8 | None] = [None] * len(index)
    if pictures:
        if not np.isfinite(outputs["sr"]).all():
            raise not_finite(spec.name)
        images = [image.copy() for image in from_network(outputs["sr"], spec, lr=crops)]  # each its own memory
    if spec.heatmap_kind != "landmarks":
        maps = [one.astype(np.float32) for one in outputs["heatmaps"]] if spec.heatmap_kind else [None] * len(index)
        none = (None, None, None, float("nan"), None)
        return [Face(route, image, *none, some) for image, some in zip(images, maps, strict=True)]
    heatmaps = outputs["heatmaps"]  # [n, K, cells, cells]
    cells = heatmaps.shape[-1]
    decoded = decode(heatmaps, mode=spec.decoder, radius=spec.decoder_radius)
    # A cell's centre is a pixel's centre of the window cut at `cells` px: one map from cells to frame pixels.
    points = apply_affine(decoded.points, window_affine(windows, size=cells)).astype(np.float32)  # [n, K, 2]
    cell_px = ((windows[:, 2] - windows[:, 0]) / cells)[:, None]  # [n, 1]
    spread = (decoded.spread * cell_px).astype(np.float32)  # [n, K]
    return _faces(route, images, points, decoded.scores.astype(np.float32), spread)


def run_there(
    route: Route,
    index: Index,  # [n]
    windows: F64,  # [n, 4]
    gpu: Gpu,
    *,
    pictures: bool,
    least: float | None,  # confidence from which faces may go into the frame at once; None: they may not
) -> list[Face]:
    """As run_batch, with the crops, pictures and landmarks made on the GPU."""
    found = gpu.run(route.backend, index, windows, route.lr_size, pictures=pictures, least=least)
    nothing: Sequence[Any] = [None] * len(windows)
    images: Sequence[U8 | None] = nothing
    if found.images is not None:
        images = [image.copy() for image in found.images]  # each its own memory
    if found.points is None:
        maps = nothing if found.components is None else [one.copy() for one in found.components]
        none = (None, None, None, float("nan"), None)
        faces = [Face(route, image, *none, some) for image, some in zip(images, maps, strict=True)]
    else:
        faces = _faces(route, images, found.points, found.scores, found.spread)
    if found.confidence is not None and found.points is not None:  # what the GPU has decided by
        faces = [replace(face, confidence=float(one)) for face, one in zip(faces, found.confidence, strict=True)]
    return [replace(face, there=one) for face, one in zip(faces, found.there, strict=True)] if found.there else faces


def _faces(
    route: Route,
    images: Sequence[U8 | None],  # n, each [S, S, 3]
    points: F32,  # [n, K, 2]
    scores: F32,  # [n, K]
    spread: F32,  # [n, K]
) -> list[Face]:
    """Each with its own memory; means by face: the same bits in any batch."""
    return [
        Face(route, image, points[i].copy(), scores[i].copy(), spread[i].copy(), float(scores[i].mean()))
        for i, image in enumerate(images)
    ]
