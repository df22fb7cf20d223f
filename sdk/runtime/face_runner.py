"""One network from a frame on the GPU to landmarks and pictures: crop_norm, engine, decode and tail on one stream.

    frame -> crop_norm -> engine -> heatmap_decode -> [n, K, 4] to the host
                                 -> image_tail     -> [n, S, S, 3] to the host, if asked for

Nothing else crosses; the host waits once a batch.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.image.crop import window_affine
from sdk.runtime.device import Stream
from sdk.runtime.face_rooms import Rooms, rows_of
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_crop import LEVELS, crop_norm, network_colours
from sdk.runtime.kernel_decode import CENTROID_RADIUS, MAX_CELLS, heatmap_decode
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.kernel_tail import enlarge, image_tail, picture_levels
from sdk.runtime.lane import Bucket, Lane
from sdk.runtime.profiles import Part, split
from sdk.runtime.trt_api import IoTensor
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["FaceArrays", "FaceRunner", "PictureThere", "why_not"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaceArrays:
    """What a network gave for n faces; the host's own memory."""

    points: F32 | None  # [n, K, 2] frame px; None without landmarks
    scores: F32 | None  # [n, K]
    spread: F32 | None  # [n, K] frame px
    images: npt.NDArray[np.uint8] | None  # [n, S, S, 3] RGB; None when not asked for
    there: tuple[PictureThere, ...] = ()  # in place of images, for run(keep=True)


class PictureThere:
    """One face's picture on the GPU: [S, S, 3] uint8 in the order that run() was asked for."""

    def __init__(self, array: DeviceArray, *, bgr: bool) -> None:
        self.array, self._bgr = array, bgr

    def host(self) -> npt.NDArray[np.uint8]:
        """A copy on the host, [S, S, 3] RGB."""
        found = self.array.copy_to_host()
        return np.ascontiguousarray(found[..., ::-1]) if self._bgr else found


def why_not(backend: TrtBackend) -> str:
    """Why the kernels do not cover this network; "" when they do."""
    spec = backend.spec
    if spec.channels != 3:
        return "colours of a luminance network come from the crop"
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
        self._rooms: weakref.WeakKeyDictionary[Lane, Rooms] = weakref.WeakKeyDictionary()

    def run(
        self,
        frame: DeviceArray | DeviceNv12,  # [H, W, 3] uint8
        windows: F64,  # [n, 4] edges in frame px, finite
        *,
        ready: Stream,  # the work there comes first
        size: int,  # px of the network's input
        color: str,  # of the frame; "rgb" for NV12
        pictures: bool,
        keep: bool = False,  # pictures stay on the GPU, in memory of their own, in the order of `color`
    ) -> FaceArrays:
        """Faces in the windows; waits for them. NaN in a picture becomes black. Raises BackendError."""
        with self.backend.lease() as lane:
            lane.stream.wait_for(ready.handle)
            batch = _Batch(self, lane, frame=frame, windows=windows, color=color)
            return batch.run(size, pictures=pictures, keep=keep)

    def close(self) -> None:
        """Free the memory of all lanes; twice is harmless."""
        with self._lock:
            for rooms in self._rooms.values():
                rooms.close()

    def rooms_of(self, lane: Lane) -> Rooms:
        """Memory that belongs to a lane."""
        with self._lock:
            return self._rooms.setdefault(lane, Rooms(lane.engine.device))


class _Batch:
    """One call of run(): a lane and the arrays of its faces."""

    def __init__(
        self, runner: FaceRunner, lane: Lane, *, frame: DeviceArray | DeviceNv12, windows: F64, color: str
    ) -> None:
        self.kernels, self.spec = runner.kernels, runner.backend.spec
        self.lane, self.rooms = lane, runner.rooms_of(lane)
        self.frame, self.windows, self.color = frame, windows, color
        self.engine = lane.engine
        self.tensors = {one.name: one for one in self.engine.outputs}
        self.cells = 0  # a side of the heatmaps
        self.bgr = False  # order of the pictures

    def run(self, size: int, *, pictures: bool, keep: bool) -> FaceArrays:
        self.bgr = keep and self.color == "bgr"
        spec, stream = self.spec, self.lane.stream
        side = size * spec.scale if spec.input_upscaled else size
        face = (spec.channels, side, side)
        boxes = self.rooms.put("windows", self.windows.astype(np.float32), stream=stream)
        marks: DeviceArray | None = None
        images: DeviceArray | None = None
        matrices: DeviceArray | None = None
        for part in split((len(self.windows), *face), self.engine.profiles):
            bucket = self.lane.bucket(part, face)
            tensors = (self.engine.source, *self.engine.outputs)
            addresses = {one.name: self.lane.room(bucket, one) for one in tensors}
            self._cut(part, bucket, rows_of(boxes, part.start, part.count), addresses[self.engine.source.name])
            bucket.enqueue(addresses, fixed=True)
            if spec.heatmap_kind == "landmarks":
                maps = self._output("heatmaps", part, bucket, addresses)
                if marks is None or matrices is None:
                    marks = self._room("landmarks", (maps.shape[1], 4), np.float32)
                    self.cells = maps.shape[-1]
                    to_frame = window_affine(self.windows, size=self.cells).astype(np.float32)
                    matrices = self.rooms.put("matrices", to_frame, stream=stream)
                self._decode(part, maps, marks, matrices)
            if pictures:
                sr = self._output("sr", part, bucket, addresses)
                if images is None:
                    row = (*sr.shape[2:], 3)
                    shape = (len(self.windows), *row)
                    own = DeviceArray.empty(self.engine.device, shape, np.uint8, stream=stream) if keep else None
                    images = own or self._room("images", row, np.uint8)
                self._picture(part, sr, images)
        return self._results(marks, images, keep=keep)

    def _cut(self, part: Part, bucket: Bucket, boxes: DeviceArray, address: int) -> None:
        """The network's input; rows past the faces are zero."""
        engine, stream = self.engine, self.lane.stream
        source, row_bytes = engine.source, bucket.row_bytes(engine.source)
        shape = (part.count, *bucket.shape[1:])
        target = DeviceArray(engine.device, address, shape, source.dtype, owner=self.lane, stream=stream)
        if self.spec.input_upscaled:
            self._cut_and_enlarge(boxes, target)
        else:
            colours = network_colours(self.spec, self.color)
            crop_norm(self.kernels, self.frame, boxes, out=target, colours=colours, stream=stream)
        if part.rows > part.count:
            rest = (part.rows - part.count) * row_bytes
            engine.device.fill_zero(address + part.count * row_bytes, rest, stream)

    def _cut_and_enlarge(self, boxes: DeviceArray, target: DeviceArray) -> None:
        stream, side = self.lane.stream, target.shape[-1] // self.spec.scale
        shape = (len(self.windows), 3, side, side)
        lr = rows_of(self.rooms.array("lr", shape, np.float32, stream=stream), 0, target.shape[0])
        levels = LEVELS if self.color == "rgb" else LEVELS[::-1]
        crop_norm(self.kernels, self.frame, boxes, out=lr, colours=levels, stream=stream)
        enlarge(self.kernels, lr, out=target, colours=network_colours(self.spec, "rgb"), stream=stream)

    def _decode(self, part: Part, maps: DeviceArray, marks: DeviceArray, matrices: DeviceArray) -> None:
        heatmap_decode(
            self.kernels,
            maps,
            out=rows_of(marks, part.start, part.count),
            stream=self.lane.stream,
            mode=self.spec.decoder,
            matrices=rows_of(matrices, part.start, part.count),
        )

    def _picture(self, part: Part, sr: DeviceArray, images: DeviceArray) -> None:
        gain, shift = picture_levels(self.spec.value_range)
        image_tail(
            self.kernels,
            sr,
            out=rows_of(images, part.start, part.count),
            stream=self.lane.stream,
            gain=gain,
            shift=shift,
            bgr=(self.spec.colour == "bgr") != self.bgr,
        )

    def _output(self, name: str, part: Part, bucket: Bucket, addresses: dict[str, int]) -> DeviceArray:
        tensor: IoTensor = self.tensors[name]
        shape = (part.count, *bucket.output_shapes[name][1:])
        stream = self.lane.stream
        return DeviceArray(self.engine.device, addresses[name], shape, tensor.dtype, owner=self.lane, stream=stream)

    def _room(self, name: str, row: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        return self.rooms.array(name, (len(self.windows), *row), dtype, stream=self.lane.stream)

    def _results(self, marks: DeviceArray | None, images: DeviceArray | None, *, keep: bool) -> FaceArrays:
        stream = self.lane.stream
        wanted = {"landmarks": marks, "images": None if keep else images}
        host: dict[str, Any] = {
            name: self.rooms.fetch(name, array, stream=stream) for name, array in wanted.items() if array is not None
        }
        self.lane.settle()
        self.rooms.settle()
        found: Any = host.get("landmarks")
        pictures = host["images"].copy() if "images" in host else None
        there: tuple[PictureThere, ...] = ()
        if keep and images is not None:
            one = images.shape[1:]
            rows = [rows_of(images, i, 1) for i in range(len(self.windows))]
            there = tuple(
                PictureThere(DeviceArray(row.device, row.pointer, one, np.uint8, owner=row), bgr=self.bgr)
                for row in rows
            )
        if found is None:
            return FaceArrays(None, None, None, pictures, there)
        cell_px = ((self.windows[:, 2] - self.windows[:, 0]) / self.cells).astype(np.float32)[:, None]
        return FaceArrays(found[..., :2].copy(), found[..., 2].copy(), found[..., 3] * cell_px, pictures, there)
