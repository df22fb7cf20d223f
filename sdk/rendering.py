"""Enhanced faces back into their frame, on the GPU where it is there, else on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.cutting import pasted_there
from sdk.image.paste import paste
from sdk.result import FaceResult

__all__ = ["put_back"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def put_back(
    canvas: U8,  # [H, W, 3] in the order of the results' pictures, changed in place
    results: Sequence[FaceResult],  # with pictures; later ones on top
    *,
    strength: float,
    gpu: Any,  # GpuFaces; None: on the host
) -> None:
    """sdk.image.paste.paste() of all results. Raises InputError for results that do not fit together."""
    groups = [_arrays(group) for group in _same_size(results)]
    if not pasted_there(gpu, canvas, groups, strength=strength):
        for images, maps, landmarks in groups:
            paste(canvas, images, maps, landmarks=landmarks, strength=strength, out=canvas)


def _same_size(results: Sequence[FaceResult]) -> list[list[FaceResult]]:
    """Runs of neighbours whose pictures are of one size: paste() takes those in one call and keeps their order."""
    groups: list[list[FaceResult]] = []
    for result in results:
        size = cast("U8", result.image).shape
        if groups and cast("U8", groups[-1][0].image).shape == size:
            groups[-1].append(result)
        else:
            groups.append([result])
    return groups


def _arrays(group: Sequence[FaceResult]) -> tuple[U8, F64, F32 | None]:
    """Pictures [n, S, S, 3], maps to the frame [n, 2, 3] and, where all have them, landmarks [n, K, 2]."""
    images = np.stack([cast("U8", result.image) for result in group])
    maps = np.stack([result.crop_to_frame for result in group])
    points = [result.landmarks for result in group if result.landmarks is not None]
    return images, maps, np.stack(points) if len(points) == len(group) else None
