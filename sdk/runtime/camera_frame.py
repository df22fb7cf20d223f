"""A frame of a camera or decoder that is on the GPU already: faces are cut out of it and pasted into it in place.

Pictures stay on the GPU until they are pasted; the host sees windows, points and scores, and a picture only where it
is asked for, or where a large window has to be compared with the frame's own detail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.image.points68 import COUNT
from sdk.result import FaceResult, FaceStatus
from sdk.runtime.face_runner import FaceArrays, PictureThere
from sdk.runtime.face_task import Paint, Task
from sdk.runtime.gpu_faces import FrameOnGpu, GpuFaces, Slot
from sdk.runtime.interop import DeviceArray, from_device, stream_handle
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_frames import DeviceNv12, frame_fields
from sdk.runtime.kernel_paste import PLACED_BYTES, paste
from sdk.runtime.protocol import Backend

__all__ = ["CameraFrame", "borrowed"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


@contextlib.contextmanager
def borrowed(
    faces: GpuFaces, frame: object, color: str, *, strength: float, stream: object | None
) -> Generator[CameraFrame, None, None]:
    """The caller's frame; our work starts after what is on `stream`, and is done when this ends. Raises InputError."""
    with faces.slot() as slot:
        if stream is not None:
            with faces.device.current():
                slot.stream.wait_for(stream_handle(stream))
        yield CameraFrame(faces, slot, frame, color, strength=strength)


class CameraFrame(FrameOnGpu):
    """See borrowed()."""

    def __init__(self, faces: GpuFaces, slot: Slot, frame: object, color: str, *, strength: float) -> None:
        look = Arguments(faces.device, slot.stream)
        fields = frame_fields(look, frame, writable=True)
        if isinstance(frame, DeviceNv12):  # the kernels work on it in RGB
            array, color = replace(frame, y=_lent(faces, slot, frame.y), uv=_lent(faces, slot, frame.uv)), "rgb"
        else:
            array = _lent(faces, slot, frame)
        super().__init__(faces, slot, [array], color)
        self.size_hw = (int(fields.pointers["height"]), int(fields.pointers["width"]))
        self._strength = strength
        self._batches = 0  # of pictures: each has memory of its own
        self._painted = False

    def run(
        self, network: Backend, index: Index, windows: F64, size: int, *, pictures: bool, least: float | None
    ) -> FaceArrays:
        """See FaceRunner.run; a batch that is alone goes into the frame at once."""
        found = super().run(network, index, windows, size, pictures=pictures, least=least)
        self._painted = self._painted or found.confidence is not None
        return found

    def task(self, task: Task, least: float | None) -> Task:
        """Pictures stay on the GPU."""
        self._batches += task.pictures
        paint = None if least is None or not task.pictures else Paint(self._strength, _float32_from(least))
        return replace(task, keep=self._slot.rooms, name=f"pictures {self._batches}", paint=paint)

    def require(self, networks: Sequence[Backend]) -> None:
        """Raises BackendError unless the kernels cover all of them: pictures have to stay on the GPU."""
        others = [one.spec.name for one in networks if not self.covers(one)]
        if others:
            remedy = "describe() says why; use enhance() and render()"
            raise BackendError("networks that our kernels cover", f"also {', '.join(sorted(set(others)))}", remedy)

    def finish(
        self,
        results: Sequence[FaceResult],
        found: Sequence[object],  # PictureThere or None, one a result
        *,
        pictures: bool,
        painted: Collection[FaceStatus],
    ) -> list[FaceResult]:
        """Paste the pictures of results with a status of `painted`, later ones on top; the results to give back."""
        pairs = [
            (one, cast("PictureThere", there)) for one, there in zip(results, found, strict=True) if there is not None
        ]
        wanted = [(one, there) for one, there in pairs if one.status in painted]
        with self._faces.device.current():
            if not self._painted:
                for number, group in enumerate(_runs(wanted)):
                    self._paste(number, group)
            if not pictures:
                return [replace(one, image=None) for one in results]
            theirs = {id(one): there for one, there in pairs if one.image is None}
            images = self._fetched(list(theirs.values()))
        return [replace(one, image=images[theirs[id(one)]]) if id(one) in theirs else one for one in results]

    def _fetched(self, there: Sequence[PictureThere]) -> dict[PictureThere, U8]:
        """Copies on the host, in the enhancer's order of colours, through pinned memory; one wait for all."""
        rooms, stream = self._slot.rooms, self._slot.stream
        batches = {one.batch: f"host {number}" for number, one in enumerate(there)}  # the last of each counts
        pinned = {batch: rooms.fetch(name, batch, stream=stream) for batch, name in batches.items()}
        stream.synchronize()
        return {one: np.ascontiguousarray(pinned[one.batch][one.row]).copy() for one in there}

    def _paste(self, number: int, group: Sequence[tuple[FaceResult, PictureThere]]) -> None:
        """Faces of one size, in one go."""
        rooms, stream = self._slot.rooms, self._slot.stream
        size, count = group[0][1].size, len(group)
        faces = rooms.array(f"faces {number}", (count, size, size, 3), np.uint8, stream=stream)
        for i, (_, there) in enumerate(group):
            self._faces.device.copy(faces.pointer + i * there.size_bytes, there.pointer, there.size_bytes, stream)
        maps = np.stack([result.crop_to_frame for result, _ in group]).astype(np.float32)
        points = [result.landmarks for result, _ in group if _has_mask(result)]
        marks = rooms.put(f"marks {number}", np.stack(cast("list[F32]", points)), stream=stream) if points else None
        paste(
            self._faces.kernels,
            self.frames[0],
            faces,
            rooms.put(f"maps {number}", maps, stream=stream),
            placed=rooms.array(f"placed {number}", (count, PLACED_BYTES), np.uint8, stream=stream),
            stream=stream,
            landmarks=marks,
            strength=self._strength,
        )


def _float32_from(value: float) -> float:
    """The smallest float32 that is not below: comparing with it, as the GPU does, is comparing with the value."""
    near = np.float32(value)
    return float(near if float(near) >= value else np.nextafter(near, np.float32(np.inf)))


def _lent(faces: GpuFaces, slot: Slot, array: object) -> DeviceArray:
    with faces.device.current():
        found = from_device(array, faces.device, stream=slot.stream, writable=True)
    return found.written_on(slot.stream)


def _runs(pairs: Sequence[tuple[FaceResult, PictureThere]]) -> list[list[tuple[FaceResult, PictureThere]]]:
    """Runs of neighbours of one size, all with a mask's points or none: each is pasted in one call, in order."""
    runs: list[list[tuple[FaceResult, PictureThere]]] = []
    for pair in pairs:
        if runs and _kind(runs[-1][0]) == _kind(pair):
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs


def _kind(pair: tuple[FaceResult, PictureThere]) -> tuple[int, bool]:
    return pair[1].size, _has_mask(pair[0])


def _has_mask(result: FaceResult) -> bool:
    """Are its points those of paste()'s mask? Others, and none, leave the window."""
    return result.landmarks is not None and len(result.landmarks) == COUNT
