"""FaceEnhancer's way over the GPU: frames go there once, and only boxes, points, scores and pictures come back.

A network that the kernels do not cover runs as without them, and describe() says why; so does every network where the
kernels cannot be loaded.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.runtime.device import Device, Stream
from sdk.runtime.face_rooms import Packed, Rooms, rows_of
from sdk.runtime.face_runner import FaceArrays, FaceRunner, why_not
from sdk.runtime.face_task import Frame, Task
from sdk.runtime.kernel_crop import LEVELS, crop_norm
from sdk.runtime.kernel_frames import MAX_FRAME_PX
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.protocol import Backend
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["FrameOnGpu", "GpuFaces", "Slot"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

KERNELS = ("crop_norm", "enlarge", "heatmap_decode", "image_tail", "luma_tail", "paste_gate", "paste_match", "paste")
MOST_CROPS = 1024  # faces cut out in one launch: bounds the memory
CLOSE_TIMEOUT_S = 60.0  # far longer than any frame takes
MOST_PICTURE_BYTES = 256 << 20  # of pictures that are given one a face; more are cut on the host

log = logging.getLogger("facetrt")


class Slot:
    """A stream and the memory of one frame."""

    def __init__(self, device: Device) -> None:
        self.stream = Stream(device)
        self.rooms = Rooms(device)

    def close(self) -> None:
        self.stream.close()
        self.rooms.close()


class FrameOnGpu:
    """A frame that was uploaded, or one a face, for as long as GpuFaces.frames() lasts."""

    def __init__(self, faces: GpuFaces, slot: Slot, frames: Sequence[Frame], color: str) -> None:
        self.frames, self.color = frames, color  # each [H, W, 3] uint8
        self._faces, self._slot = faces, slot

    def cut(
        self,
        index: npt.NDArray[np.intp],  # [n] of the frames, where there is one a face
        windows: F64,  # [n, 4]
        size: int,
    ) -> F32:  # [n, size, size, 3] RGB, 0..255
        """As sdk.cutting.frame_cut(), for what is looked at on the host."""
        slot, kernels = self._slot, self._faces.kernels
        crops = np.empty((len(windows), size, size, 3), np.float32)
        levels = LEVELS if self.color == "rgb" else LEVELS[::-1]
        for start in range(0, len(windows), MOST_CROPS):
            some = windows[start : start + MOST_CROPS].astype(np.float32)
            with self._faces.device.current():
                boxes = slot.rooms.put("windows", some, stream=slot.stream)
                shape = (len(some), 3, size, size)
                out = slot.rooms.array("crops", shape, np.float32, stream=slot.stream)
                if len(self.frames) == 1:
                    crop_norm(kernels, self.frames[0], boxes, out=out, colours=levels, stream=slot.stream)
                else:
                    several: list[int] = index[start : start + MOST_CROPS].tolist()
                    for k, i in enumerate(several):
                        box, place = rows_of(boxes, k, 1), rows_of(out, k, 1)
                        crop_norm(kernels, self.frames[i], box, out=place, colours=levels, stream=slot.stream)
                found = slot.rooms.fetch("crops", out, stream=slot.stream)
                slot.stream.synchronize()
            crops[start : start + len(some)] = found.transpose(0, 2, 3, 1)
        return crops

    def covers(self, network: Backend) -> bool:
        """Do the kernels cover this network?"""
        return self._faces.runner(network) is not None

    def run(
        self,
        network: Backend,
        index: npt.NDArray[np.intp],  # [n] of the frames
        windows: F64,  # [n, 4]
        size: int,
        *,
        pictures: bool,
        least: float | None,  # confidence from which faces may go into the frame at once: for frames on loan
    ) -> FaceArrays:
        """See FaceRunner.run."""
        several: list[int] = index.tolist()
        frames = self.frames if len(self.frames) == 1 else [self.frames[i] for i in several]
        runner = self._faces.runner(network)
        assert runner is not None, network
        return runner.run(self.task(Task(frames, size, self.color, pictures), least), windows, ready=self._slot.stream)

    def task(self, task: Task, least: float | None) -> Task:
        """What else is to be done."""
        return task


class GpuFaces:
    """The networks of one FaceEnhancer that kernels can serve, all on one GPU. close() after the networks."""

    def __init__(self, device: Device, kernels: KernelSet, runners: dict[int, FaceRunner]) -> None:
        self.device, self.kernels = device, kernels
        self._runners = runners  # by id() of the network
        self._changed = threading.Condition()
        self._idle: list[Slot] = []
        self._busy = 0  # slots that are lent
        self._closed = False

    @classmethod
    def of(cls, networks: Sequence[Backend]) -> tuple[GpuFaces | None, dict[int, str]]:
        """Whatever of the networks can go this way, and by id() of each network how it goes, for people."""
        words = {id(one): "" for one in networks}  # "": nothing of a GPU, nothing to say
        covered: list[TrtBackend] = []
        for network in networks:
            if isinstance(network, TrtBackend):
                reason = why_not(network)
                if covered and network.device != covered[0].device:
                    reason = f"it is on {network.device}, others on {covered[0].device}"
                words[id(network)] = f"; faces on the CPU: {reason}"
                if not reason:
                    covered.append(network)
        if not covered:
            return None, words
        try:
            with covered[0].lease() as lane:
                device = lane.engine.device
            kernels = KernelSet(device)
            kernels.prepare(*KERNELS)
        except BackendError as error:
            log.warning("faces are cut, decoded and pasted on the CPU: %s", str(error))
            return None, {**words, **{id(one): f"; faces on the CPU: {error.got}" for one in covered}}
        origin = kernels.origin("crop_norm")
        words.update({id(one): f"; faces on the GPU: kernels from {origin}" for one in covered})
        return cls(device, kernels, {id(one): FaceRunner(one, kernels) for one in covered}), words

    def runner(self, network: Backend) -> FaceRunner | None:
        return self._runners.get(id(network))

    def takes(
        self,
        *frames: U8,  # [H, W, 3]
    ) -> bool:
        """Do the kernels take frames of these sizes, and is it open? Without any there is nothing to take."""
        total_bytes = sum(frame.nbytes for frame in frames)
        fits = len(frames) == 1 or 0 < total_bytes <= MOST_PICTURE_BYTES
        return fits and all(max(frame.shape[:2]) <= MAX_FRAME_PX for frame in frames)

    @property
    def closed(self) -> bool:
        return self._closed

    @contextlib.contextmanager
    def frames(self, frames: Sequence[U8], color: str) -> Generator[FrameOnGpu, None, None]:
        """Frames [H, W, 3] on the GPU, in one copy. Raises BackendError without memory, or after close()."""
        with self.slot() as slot:
            with self.device.current():
                fields = {str(i): (frame.shape, np.uint8) for i, frame in enumerate(frames)}
                packed = Packed(slot.rooms, "frames", fields, stream=slot.stream)
                for i, frame in enumerate(frames):
                    np.copyto(packed.here[str(i)], frame)
                packed.copy_in()
            yield FrameOnGpu(self, slot, list(packed.there.values()), color)

    @contextlib.contextmanager
    def slot(self) -> Generator[Slot, None, None]:
        """A stream with memory for this thread alone; its work is done when this ends. Raises BackendError."""
        slot = self._take()
        try:
            yield slot
        finally:
            self._give_back(slot)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Wait for the frames in work, then free everything; twice is harmless.

        What a thread still uses after the timeout (it hangs, or was killed) is left alone.
        """
        with self._changed:
            self._closed = True
            done = self._changed.wait_for(lambda: not self._busy, timeout_s)
            idle, self._idle = self._idle, []
        for slot in idle:
            slot.close()
        if not done:
            log.warning("closed while a thread had worked on a frame for over %.0f s", timeout_s)
            return
        for runner in self._runners.values():
            runner.close()
        self.kernels.close()

    def _take(self) -> Slot:
        with self._changed:
            if self._closed:
                raise BackendError("an open FaceEnhancer", "one after close()", "make a new one")
            self._busy += 1
            slot = self._idle.pop() if self._idle else None
        try:
            return slot or Slot(self.device)
        except BaseException:
            self._done(None)
            raise

    def _give_back(self, slot: Slot) -> None:
        """Wait for what was enqueued, also after an error, then keep the slot for the next frame."""
        usable = True
        try:
            with self.device.current():
                slot.stream.synchronize()
            slot.rooms.settle()
        except BackendError as error:
            log.warning("the memory of a frame is given up: %s", str(error))
            usable = False
        usable = usable and not self._closed
        if not usable:
            slot.close()
        self._done(slot if usable else None)

    def _done(self, slot: Slot | None) -> None:
        with self._changed:
            self._busy -= 1
            if slot is not None:
                self._idle.append(slot)
            self._changed.notify_all()
