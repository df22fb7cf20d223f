"""FaceEnhancer.render() on the GPU: the frame's rows that lie under faces go there, are pasted into and come back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.image.crop import apply_affine
from sdk.image.points68 import COUNT
from sdk.runtime.gpu_faces import GpuFaces, Slot
from sdk.runtime.kernel_paste import PLACED_BYTES, paste

__all__ = ["Group", "paste_there"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# Faces of one size: pictures [n, S, S, 3] in the frame's order, maps to the frame [n, 2, 3], landmarks [n, 68, 2].
Group = tuple[U8, F64, F32 | None]

log = logging.getLogger("facetrt")


def paste_there(
    faces: GpuFaces,
    canvas: U8,  # [H, W, 3], changed in place
    groups: Sequence[Group],  # later ones on top
    *,
    strength: float,
) -> bool:
    """sdk.image.paste.paste() of each group on the GPU.

    False, with the canvas as it was, for what the CPU has to do: after close(), frames or landmarks that the kernels do
    not take, an error of CUDA (the log says which).
    """
    first, last = _rows_under(groups, len(canvas))
    if faces.closed or any(points is not None and points.shape[1:] != (COUNT, 2) for _, _, points in groups):
        return False
    if first >= last:
        return True
    band = canvas[first:last]
    if not faces.takes(band):
        return False
    try:
        with faces.slot() as slot, faces.device.current():
            band[:] = _pasted(faces, slot, band, [_moved(one, first) for one in groups], strength)
    except BackendError as error:
        log.warning("faces are pasted on the CPU: %s", str(error))
        return False
    return True


def _pasted(
    faces: GpuFaces,
    slot: Slot,
    band: U8,  # [h, W, 3]
    groups: Sequence[Group],
    strength: float,
) -> U8:  # [h, W, 3], pinned: to be copied before the slot is given back
    rooms, stream = slot.rooms, slot.stream
    there = rooms.put("frames", np.ascontiguousarray(band), stream=stream)
    for number, (images, maps, points) in enumerate(groups):
        paste(
            faces.kernels,
            there,
            rooms.put(f"faces {number}", np.ascontiguousarray(images), stream=stream),
            rooms.put(f"maps {number}", maps.astype(np.float32), stream=stream),
            placed=rooms.array(f"placed {number}", (len(images), PLACED_BYTES), np.uint8, stream=stream),
            stream=stream,
            landmarks=None if points is None else rooms.put(f"marks {number}", points, stream=stream),
            strength=strength,
        )
    found = rooms.fetch("frames", there, stream=stream)
    stream.synchronize()
    return found


def _rows_under(groups: Sequence[Group], height: int) -> tuple[int, int]:
    """First and last + 1 row of the frame that a face may touch; a region then ends where it would in the frame."""
    rows: list[F64] = []
    for images, maps, _ in groups:
        last = images.shape[1] - 0.5
        corners = np.array([[[-0.5, -0.5], [last, -0.5], [-0.5, last], [last, last]]])
        rows.append(apply_affine(corners, maps)[..., 1].reshape(-1))  # [n * 4]
    found = np.concatenate(rows) if rows else np.zeros(0)
    found = found[np.isfinite(found)]  # what is not finite is not pasted
    if not len(found):
        return 0, 0
    low, high = np.clip([np.floor(found.min()) - 1, np.ceil(found.max()) + 2], 0, height)
    return int(low), int(high)


def _moved(group: Group, rows: int) -> Group:
    """In the coordinates of a frame without its first rows."""
    images, maps, points = group
    maps = maps.copy()
    maps[:, 1, 2] -= rows
    return images, maps, None if points is None else (points - np.array([0, rows])).astype(np.float32)
