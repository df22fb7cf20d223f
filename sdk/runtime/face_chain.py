"""One batch from the frame to pictures, points and paste: everything on one stream, from its second run one CUDA graph.

    copy in     face count, windows, matrices                     pinned memory -> GPU, one copy
    crop_norm   (enlarge)                                         frame -> network's input
    engine
    heatmap_decode, image_tail or luma_tail                       outputs -> points, 8-bit pictures
    paste_gate, paste_match, paste                                where the faces go into a frame on the GPU
    copy out    points, scores, spreads, status                   GPU -> pinned memory, one copy

Rows are powers of two, so that one graph serves a changing number of faces: blocks of kernels past the count exit, and
the engine's rows past it compute what nobody reads. What a graph cannot know beforehand (the frame's address and size,
where pictures go, strength) is edited in it when it changes. Where nothing can be recorded the same launches are made
one by one; the log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.image.crop import window_affine
from sdk.image.points68 import COUNT
from sdk.runtime.device import Graph
from sdk.runtime.face_rooms import Packed, rows_of
from sdk.runtime.face_task import LaneMemory, Task, look_of
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_crop import LEVELS, crop_norm, network_colours
from sdk.runtime.kernel_decode import heatmap_decode
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.kernel_gate import paste_gate
from sdk.runtime.kernel_luma import luma_tail
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.kernel_paste import PLACED_BYTES, paste
from sdk.runtime.kernel_tail import enlarge, image_tail, picture_levels
from sdk.runtime.lane import Lane
from sdk.runtime.noted_launches import edit
from sdk.runtime.profiles import Part
from sdk.spec import ModelSpec

__all__ = ["FaceChain"]

F64 = npt.NDArray[np.float64]

log = logging.getLogger("facetrt")


class FaceChain:
    """A part of a batch, and its arrays. Make it, run(), settle the lane, then read `found`."""

    def __init__(
        self,
        spec: ModelSpec,
        kernels: KernelSet,
        lane: Lane,
        memory: LaneMemory,
        *,
        part: Part,
        windows: F64,  # [part.count, 4]
        task: Task,
    ) -> None:
        self.spec, self.kernels, self.lane, self.memory, self.part, self.task = spec, kernels, lane, memory, part, task
        self.stream, self.device, self.rooms = lane.stream, lane.engine.device, memory.rooms
        side = task.size * spec.scale if spec.input_upscaled else task.size
        self.bucket = lane.bucket(part, (spec.channels, side, side))
        engine = lane.engine
        self._addresses = {one.name: lane.room(self.bucket, one) for one in (engine.source, *engine.outputs)}
        self.tensors = {one.name: self._tensor(one.name, one.dtype) for one in (engine.source, *engine.outputs)}
        self.input, self.sr = self.tensors[engine.source.name], self.tensors["sr"]
        self.maps = self.tensors["heatmaps"] if spec.heatmap_kind == "landmarks" else None
        K = 0 if self.maps is None else self.maps.shape[1]
        self.painted = task.paint is not None
        rows = part.rows
        given = dict(count=((1,), np.int32), windows=((rows, 4), np.float32), cells=((rows, 2, 3), np.float32))
        self.given = Packed(self.rooms, "given", {**given, "maps": ((rows, 2, 3), np.float32)}, stream=self.stream)
        found = dict(marks=((rows, K, 4), np.float32), status=((rows,), np.uint32), confidence=((rows,), np.float32))
        self.found = Packed(self.rooms, "found", found, stream=self.stream)
        self._reserve(rows, K)
        memory.define(lane, self._addresses[engine.source.name], self.bucket.size_bytes(engine.source))
        self._fill(windows)

    def run(self) -> None:
        """Put it all on the stream. Raises BackendError."""
        if len(self.task.frames) != 1:  # frames that are as many as faces: their crops stay out of the graph
            self.given.copy_in()
            self._cut(self.kernels)
        key = (self.memory.token, *self._shape())
        graph = self.bucket.longer.get(key)
        ready = (self.bucket.shape, *key) in self.memory.ran  # code may not be loaded in a recording
        if graph is None and ready and self.bucket.recordable:
            graph = self.bucket.record(lambda: self._steps(self.kernels), editable=True)
            if graph is not None:
                held = self.bucket.longer
                self.bucket.longer = {one: it for one, it in held.items() if not it.closed} | {key: graph}
                self.memory.know(graph, self._changing())
        elif graph is not None and self.memory.known.get(graph) != self._changing():
            graph = self._edited(key, graph)
        if graph is None:
            self._steps(self.kernels)
            self.memory.ran.add((self.bucket.shape, *key))
        else:
            graph.launch()

    def _shape(self) -> tuple[Hashable, ...]:
        """What decides which kernels a graph holds."""
        frame = self.task.frames[0] if len(self.task.frames) == 1 else None
        kind = "" if frame is None else "nv12" if isinstance(frame, DeviceNv12) else "bgr"
        return kind, self.task.color, self.task.pictures, self.task.keep is not None, self.painted

    def _changing(self) -> Hashable:
        """What may differ from one launch of a graph to the next."""
        frames = [look_of(one) for one in self.task.frames] if len(self.task.frames) == 1 else []
        pointer = 0 if self.images is None else self.images.pointer
        return (*frames, pointer, self.task.paint)

    def _edited(self, key: Hashable, graph: Graph) -> Graph | None:
        """The graph for other memory; None, and it is forgotten, when that cannot be."""
        try:
            if edit(graph, self.kernels, self._launch_changing):
                self.memory.known[graph] = self._changing()
                return graph
            reason = "the driver does not show its kernels"
        except BackendError as error:
            reason = str(error)
        log.warning("%s: a CUDA graph is recorded anew for another frame: %s", self.lane.engine.name, reason)
        del self.bucket.longer[key]
        self.memory.known.pop(graph, None)
        graph.close()
        return None

    def _launch_changing(self, kernels: KernelSet) -> None:
        if len(self.task.frames) == 1:
            self._cut(kernels, changing=True)
        if self.task.pictures:
            self._picture(kernels)
        if self.painted:
            self._paint(kernels)

    def _steps(self, kernels: KernelSet) -> None:
        if len(self.task.frames) == 1:
            self.given.copy_in()
            self._cut(kernels)
        self.bucket.enqueue_plain(self._addresses)
        if self.maps is not None:
            there = self.given.there
            heatmap_decode(
                kernels,
                self.maps,
                out=self.found.there["marks"],
                stream=self.stream,
                mode=self.spec.decoder,
                matrices=there["cells"],
                count=there["count"],
            )
        if self.task.pictures:
            status = self.found.there["status"]
            self.device.fill_zero(status.pointer, status.size_bytes, self.stream)
            self._picture(kernels)
        if self.painted:
            self._paint(kernels)
        self.found.copy_out()

    def _cut(self, kernels: KernelSet, *, changing: bool = False) -> None:
        """The network's input. `changing`: the launch that knows the frame, alone."""
        task, there = self.task, self.given.there
        if self.lr is None:
            target, colours = self.input, network_colours(self.spec, task.color)
        else:
            target, colours = self.lr, LEVELS if task.color == "rgb" else LEVELS[::-1]
        if len(task.frames) == 1:
            count = there["count"]
            crop_norm(
                kernels, task.frames[0], there["windows"], out=target, colours=colours, stream=self.stream, count=count
            )
        else:
            for i, frame in enumerate(task.frames):
                one = rows_of(there["windows"], i, 1)
                crop_norm(kernels, frame, one, out=rows_of(target, i, 1), colours=colours, stream=self.stream)
        if self.lr is not None and not changing:
            colours = network_colours(self.spec, "rgb")
            enlarge(kernels, self.lr, out=self.input, colours=colours, stream=self.stream, count=there["count"])

    def _picture(self, kernels: KernelSet) -> None:
        assert self.images is not None, self.task
        gain, shift = picture_levels(self.spec.value_range)
        common: dict[str, Any] = dict(count=self.given.there["count"], status=self.found.there["status"])
        common.update(out=self.images, stream=self.stream, gain=gain, shift=shift)
        if self.spec.colour == "y":
            luma_tail(kernels, self.sr, self.lr, bgr=self.task.bgr, **common)
        else:
            image_tail(kernels, self.sr, bgr=(self.spec.colour == "bgr") != self.task.bgr, **common)

    def _paint(self, kernels: KernelSet) -> None:
        """Those of enough confidence into the frame."""
        assert self.task.paint is not None and self.images is not None, self.task
        there, found, stream = self.given.there, self.found.there, self.stream
        paste_gate(
            kernels,
            None if self.maps is None else found["marks"],
            points=self.points,
            strength=self.strengths,
            confidence=found["confidence"],
            status=found["status"],
            count=there["count"],
            amount=self.task.paint.strength,
            least=self.task.paint.least,
            stream=stream,
        )
        paste(
            kernels,
            self.task.frames[0],
            self.images,
            there["maps"],
            placed=self.placed,
            stream=stream,
            landmarks=self.points if self.points is not None and self.points.shape[1] == COUNT else None,
            strength=self.strengths,
            count=there["count"],
        )

    def _reserve(self, rows: int, K: int) -> None:
        """All other memory, before a graph is looked for: what has to move makes graphs forgotten."""
        task, rooms, stream = self.task, self.rooms, self.stream
        through_lr = self.spec.input_upscaled or self.spec.colour == "y"
        small = (rows, 3, task.size, task.size)
        self.lr = rooms.array("lr", small, np.float32, stream=stream) if through_lr else None
        self.images: DeviceArray | None = None
        if task.pictures:
            shape = (rows, *self.sr.shape[2:], 3)
            name = f"{task.name} {self.part.start}" if task.keep else "pictures"
            self.images = (task.keep or rooms).array(name, shape, np.uint8, stream=stream).written_on(stream)
        self.points: DeviceArray | None = None
        if self.painted:
            self.strengths = rooms.array("strengths", (rows,), np.float32, stream=stream)
            self.placed = rooms.array("placed", (rows, PLACED_BYTES), np.uint8, stream=stream)
            if K:
                self.points = rooms.array("points", (rows, K, 2), np.float32, stream=stream)

    def _fill(self, windows: F64) -> None:
        count, here = self.part.count, self.given.here
        here["count"][0] = count
        here["windows"][:count] = windows
        if self.maps is not None:
            here["cells"][:count] = window_affine(windows, size=self.maps.shape[-1])
        if self.painted:
            here["maps"][:count] = window_affine(windows, size=self.sr.shape[-1])

    def _tensor(self, name: str, dtype: npt.DTypeLike) -> DeviceArray:
        shape = self.bucket.output_shapes.get(name, self.bucket.shape)
        return DeviceArray(self.device, self._addresses[name], shape, dtype, owner=self.lane, stream=self.stream)
