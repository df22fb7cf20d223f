"""One network from a frame on the GPU to landmarks and pictures: chains of kernels round the engine, see face_chain.

Nothing but windows, points, scores and, if asked for, pictures crosses; the host waits once a batch, and once a part
where a batch is larger than the engine's largest profile.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.runtime.device import Stream
from sdk.runtime.face_chain import FaceChain
from sdk.runtime.face_task import LaneMemory, Task, frames_of
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_decode import CENTROID_RADIUS, MAX_CELLS
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.kernel_tail import require_finite
from sdk.runtime.lane import Lane
from sdk.runtime.profiles import bucketed, split
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["FaceArrays", "FaceRunner", "PictureThere", "why_not"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FaceArrays:
    """What a network gave for n faces; the host's own memory."""

    points: F32 | None  # [n, K, 2] frame px; None without landmarks
    scores: F32 | None  # [n, K]
    spread: F32 | None  # [n, K] frame px
    images: U8 | None  # [n, S, S, 3] RGB; None when not asked for
    components: F32 | None = None  # [n, K, cells, cells] maps of parts of the face, with pictures
    there: tuple[PictureThere, ...] = ()  # in place of images, for Task.keep
    confidence: F32 | None = None  # [n] by which faces were painted; None: none was


class PictureThere:
    """One face's picture on the GPU, complete: a row of a batch [n, S, S, 3] uint8."""

    def __init__(self, batch: DeviceArray, row: int, *, bgr: bool, fetched: dict[DeviceArray, U8]) -> None:
        """fetched: what the pictures of the batch share: its copy on the host, once one was asked for."""
        self.batch, self.row, self.bgr = batch, row, bgr
        self._fetched = fetched

    @property
    def size(self) -> int:
        """px a side."""
        return self.batch.shape[1]

    @property
    def pointer(self) -> int:
        return self.batch.pointer + self.row * self.size_bytes

    @property
    def size_bytes(self) -> int:
        return self.size * self.size * 3

    def host(self) -> U8:
        """A copy on the host, [S, S, 3] RGB; waits for the whole batch the first time."""
        if self.batch not in self._fetched:
            self._fetched[self.batch] = self.batch.copy_to_host()
        found = self._fetched[self.batch][self.row]
        return np.ascontiguousarray(found[..., ::-1] if self.bgr else found).copy()


def why_not(backend: TrtBackend) -> str:
    """Why the kernels do not cover this network; "" when they do."""
    spec = backend.spec
    if "sr" not in spec.output_names:
        return "it gives no sr"
    if spec.heatmap_kind == "landmarks":
        if "heatmaps" not in spec.output_names:
            return "it decodes its landmarks itself"
        if spec.decoder == "centroid" and spec.decoder_radius != CENTROID_RADIUS:
            return f"its centroid has a radius of {spec.decoder_radius} cells, the kernel's {CENTROID_RADIUS}"
        if spec.heatmap_size > MAX_CELLS:
            return f"its heatmaps have {spec.heatmap_size} cells a side, the kernel takes {MAX_CELLS}"
    return ""


class FaceRunner:
    """A network that the kernels cover. Safe from several threads at once; close() after the backend."""

    def __init__(self, backend: TrtBackend, kernels: KernelSet) -> None:
        assert not why_not(backend), why_not(backend)
        self.backend, self.kernels = backend, kernels
        self._lock = threading.Lock()
        self._memories: weakref.WeakKeyDictionary[Lane, LaneMemory] = weakref.WeakKeyDictionary()

    def run(
        self,
        task: Task,
        windows: F64,  # [n, 4] edges in frame px, finite
        *,
        ready: Stream,  # the work there comes first
    ) -> FaceArrays:
        """Faces in the windows; waits for them. Raises BackendError, ModelError for pictures that are not finite."""
        spec = self.backend.spec
        with self.backend.lease() as lane:
            lane.stream.wait_for(ready.handle)
            task = replace(task, frames=frames_of(task.frames, lane))
            side = task.size * spec.scale if spec.input_upscaled else task.size
            parts = split((len(windows), spec.channels, side, side), lane.engine.profiles)
            if len(parts) > 1:  # pasted one after the other, they would be matched to each other's colours
                task = replace(task, paint=None)
            found: list[FaceArrays] = []
            for part in map(bucketed, parts):
                some = slice(part.start, part.start + part.count)
                frames = task.frames if len(task.frames) == 1 else task.frames[some]
                memory = self._memory(lane)
                chain = FaceChain(
                    spec,
                    self.kernels,
                    lane,
                    memory,
                    part=part,
                    windows=windows[some],
                    task=replace(task, frames=frames),
                )
                found.append(self._results(chain, windows[some]))
        return found[0] if len(found) == 1 else _joined(found)

    def close(self) -> None:
        """Free the memory of all lanes; twice is harmless."""
        with self._lock:
            for memory in self._memories.values():
                memory.close()

    def _memory(self, lane: Lane) -> LaneMemory:
        with self._lock:
            found = self._memories.get(lane)
            if found is None:
                found = self._memories[lane] = LaneMemory(lane)
            return found

    def _results(
        self,
        chain: FaceChain,
        windows: F64,  # [count, 4]
    ) -> FaceArrays:
        """Run it, wait, and copy what it found out of the lane's memory."""
        lane, rooms, count, task = chain.lane, chain.rooms, chain.part.count, chain.task
        chain.run()
        wanted = {"pictures": None if task.keep else chain.images, "components": self._components(chain)}
        fetched: dict[str, npt.NDArray[Any]] = {
            name: rooms.fetch(name, array.first(count), stream=lane.stream)
            for name, array in wanted.items()
            if array is not None
        }
        lane.settle()
        rooms.settle()
        here = chain.found.here
        if task.pictures:
            require_finite(here["status"][:count], self.backend.spec.name)
        own = {name: array.copy() for name, array in fetched.items()}
        there: tuple[PictureThere, ...] = ()
        if task.keep and chain.images is not None:
            shared: dict[DeviceArray, U8] = {}
            shape = (count, *chain.images.shape[1:])
            batch = DeviceArray(lane.engine.device, chain.images.pointer, shape, np.uint8, owner=chain.images)
            there = tuple(PictureThere(batch, i, bgr=task.bgr, fetched=shared) for i in range(count))
        found = FaceArrays(
            None,
            None,
            None,
            own.get("pictures"),
            components=own["components"].astype(np.float32) if "components" in own else None,
            there=there,
            confidence=here["confidence"][:count].copy() if chain.painted else None,
        )
        if chain.maps is None:
            return found
        marks = here["marks"][:count]
        cell_px = ((windows[:, 2] - windows[:, 0]) / chain.maps.shape[-1]).astype(np.float32)[:, None]
        spread = marks[..., 3] * cell_px
        return replace(found, points=marks[..., :2].copy(), scores=marks[..., 2].copy(), spread=spread)

    def _components(self, chain: FaceChain) -> DeviceArray | None:
        """Maps that are a result themselves."""
        wanted = self.backend.spec.heatmap_kind == "components" and chain.task.pictures
        return chain.tensors["heatmaps"] if wanted else None


def _joined(parts: Sequence[FaceArrays]) -> FaceArrays:
    """One after the other."""

    def all_of(name: str) -> Any:
        several = [getattr(one, name) for one in parts]
        return None if several[0] is None else np.concatenate(several)

    arrays = {name: all_of(name) for name in ("points", "scores", "spread", "images", "components", "confidence")}
    return FaceArrays(**arrays, there=tuple(one for part in parts for one in part.there))
