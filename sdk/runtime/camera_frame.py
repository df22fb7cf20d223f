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

from sdk.errors import BackendError
from sdk.result import FaceResult, FaceStatus
from sdk.runtime.face_runner import PictureThere
from sdk.runtime.gpu_faces import FrameOnGpu, GpuFaces, Slot
from sdk.runtime.interop import DeviceArray, from_device, stream_handle
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_frames import DeviceNv12, frame_fields
from sdk.runtime.kernel_paste import PLACED_BYTES, paste
from sdk.runtime.protocol import Backend

__all__ = ["CameraFrame", "borrowed"]


@contextlib.contextmanager
def borrowed(
    faces: GpuFaces, frame: object, color: str, *, stream: object | None
) -> Generator[CameraFrame, None, None]:
    """The caller's frame; our work starts after what is on `stream`, and is done when this ends. Raises InputError."""
    with faces.slot() as slot:
        if stream is not None:
            with faces.device.current():
                slot.stream.wait_for(stream_handle(stream))
        yield CameraFrame(faces, slot, frame, color)


class CameraFrame(FrameOnGpu):
    """See borrowed()."""

    keep = True

    def __init__(self, faces: GpuFaces, slot: Slot, frame: object, color: str) -> None:
        look = Arguments(faces.device, slot.stream)
        fields = frame_fields(look, frame, writable=True)
        if isinstance(frame, DeviceNv12):  # the kernels work on it in RGB
            array, color = replace(frame, y=_lent(faces, slot, frame.y), uv=_lent(faces, slot, frame.uv)), "rgb"
        else:
            array = _lent(faces, slot, frame)
        super().__init__(faces, slot, array, color)
        self.size_hw = (int(fields.pointers["height"]), int(fields.pointers["width"]))

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
        strength: float,
        pictures: bool,
        painted: Collection[FaceStatus],
    ) -> list[FaceResult]:
        """Paste the pictures of results with a status of `painted`, later ones on top; the results to give back."""
        pairs = [
            (one, cast("PictureThere", there)) for one, there in zip(results, found, strict=True) if there is not None
        ]
        wanted = [(one, there) for one, there in pairs if one.status in painted]
        with self._faces.device.current():
            for number, group in enumerate(_runs(wanted)):
                self._paste(number, group, strength)
        theirs = {id(one): there for one, there in pairs}
        return [self._given(one, theirs.get(id(one)), pictures) for one in results]

    def _given(self, result: FaceResult, there: PictureThere | None, pictures: bool) -> FaceResult:
        if not pictures or result.image is not None or there is None:
            return result if pictures else replace(result, image=None)
        rgb = there.host()
        return replace(result, image=rgb if self.color == "rgb" else np.ascontiguousarray(rgb[..., ::-1]))

    def _paste(self, number: int, group: Sequence[tuple[FaceResult, PictureThere]], strength: float) -> None:
        """Faces of one size, in one go."""
        rooms, stream = self._slot.rooms, self._slot.stream
        size, count = group[0][1].array.shape[0], len(group)
        faces = rooms.array(f"faces {number}", (count, size, size, 3), np.uint8, stream=stream)
        one_bytes = size * size * 3
        for i, (_, there) in enumerate(group):
            self._faces.device.copy(faces.pointer + i * one_bytes, there.array.pointer, one_bytes, stream)
        maps = np.stack([result.crop_to_frame for result, _ in group]).astype(np.float32)
        points = [result.landmarks for result, _ in group if result.landmarks is not None]
        marks = rooms.put(f"marks {number}", np.stack(points), stream=stream) if len(points) == count else None
        paste(
            self._faces.kernels,
            self.array,
            faces,
            rooms.put(f"maps {number}", maps, stream=stream),
            placed=rooms.array(f"placed {number}", (count, PLACED_BYTES), np.uint8, stream=stream),
            stream=stream,
            landmarks=marks,
            strength=strength,
        )


def _lent(faces: GpuFaces, slot: Slot, array: object) -> DeviceArray:
    with faces.device.current():
        found = from_device(array, faces.device, stream=slot.stream, writable=True)
    return found.written_on(slot.stream)


def _runs(pairs: Sequence[tuple[FaceResult, PictureThere]]) -> list[list[tuple[FaceResult, PictureThere]]]:
    """Runs of neighbours whose pictures are of one size: each is pasted in one call, in order."""
    runs: list[list[tuple[FaceResult, PictureThere]]] = []
    for pair in pairs:
        if runs and runs[-1][0][1].array.shape == pair[1].array.shape:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs
