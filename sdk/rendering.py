"""Enhanced faces back into their frame, on the GPU where it is there, else on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.cutting import pasted_there
from sdk.image.paste import paste
from sdk.image.points68 import COUNT
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
    """Runs of neighbours whose pictures are of one size, all with paste()'s landmarks or none: paste() takes those in
    one call and keeps their order."""
    groups: list[list[FaceResult]] = []
    for result in results:
        if groups and _kind(groups[-1][0]) == _kind(result):
            groups[-1].append(result)
        else:
            groups.append([result])
    return groups


def _kind(result: FaceResult) -> tuple[tuple[int, ...], bool]:
    """Shape of the picture, and whether its points are those of the mask: other schemes (194, 19) leave the window."""
    return cast("U8", result.image).shape, result.landmarks is not None and len(result.landmarks) == COUNT


def _arrays(group: Sequence[FaceResult]) -> tuple[U8, F64, F32 | None]:
    """Pictures [n, S, S, 3], maps to the frame [n, 2, 3] and, where the group has them, landmarks [n, 68, 2]."""
    images = np.stack([cast("U8", result.image) for result in group])
    maps = np.stack([result.crop_to_frame for result in group])
    if not _kind(group[0])[1]:
        return images, maps, None
    return images, maps, np.stack([cast("F32", result.landmarks) for result in group])
