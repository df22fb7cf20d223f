"""What a chain of kernels is asked to do with a batch of faces, and the memory that the chains of a lane share."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdk.runtime.device import Graph
from sdk.runtime.face_rooms import Rooms
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.lane import Lane

__all__ = ["Frame", "LaneMemory", "Paint", "Task", "frames_of", "look_of"]

Frame = DeviceArray | DeviceNv12


@dataclass(frozen=True)
class Paint:
    """Faces go into the frame in the same go."""

    strength: float  # 0..1
    least: float  # mean score from which they do


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked of a batch."""

    frames: Sequence[Frame]  # the one that all faces are in, or one a face
    size: int  # px of the faces
    color: str  # of the frames; "rgb" for NV12
    pictures: bool
    keep: Rooms | None = None  # pictures stay there, in the order of `color`; None: they come to the host, RGB
    name: str = ""  # of the pictures there
    paint: Paint | None = None  # with one frame and `keep`

    @property
    def bgr(self) -> bool:
        """Order of the pictures."""
        return self.keep is not None and self.color == "bgr"


class LaneMemory:
    """What chains of one lane share: memory, and what graphs were last edited to."""

    def __init__(self, lane: Lane) -> None:
        user = weakref.ref(lane)  # no more: this goes when the lane does

        def moved() -> None:
            owner = user()
            if owner is not None:
                owner.forget_graphs()

        self.rooms = Rooms(lane.engine.device, moved=moved)
        self.token = object()  # whose graphs they are, in a lane that outlives this
        self.known: dict[Graph, Hashable] = {}  # graph -> what it was recorded with or edited to
        self.ran: set[Hashable] = set()  # chains that have run by single launches, which loads their kernels
        self._defined: dict[int, int] = {}  # address of inputs -> bytes that hold numbers

    def define(self, lane: Lane, address: int, size_bytes: int) -> None:
        """Rows past the faces are read by the engine: no chance bits in them."""
        if self._defined.get(address, 0) < size_bytes:
            lane.engine.device.fill_zero(address, size_bytes, lane.stream)
            self._defined = {address: size_bytes}

    def know(self, graph: Graph, what: Hashable) -> None:
        """A new graph; those that the lane has closed meanwhile are forgotten."""
        self.known = {one: it for one, it in self.known.items() if not one.closed} | {graph: what}

    def close(self) -> None:
        """Free all; twice is harmless."""
        for graph in self.known:
            graph.close()
        self.known = {}
        self.rooms.close()


def look_of(frame: Frame) -> Hashable:
    """What kernels are told of a frame."""
    if isinstance(frame, DeviceNv12):
        planes: list[Any] = [frame.y, frame.uv]
        return (*(one.pointer for one in planes), planes[0].shape, frame.matrix, frame.full_range, frame.siting)
    return frame.pointer, frame.shape


def frames_of(frames: Sequence[Frame], lane: Lane) -> list[Frame]:
    """The frames as arrays of the lane's stream, which has been made to wait for them."""
    found: list[Frame] = []
    for frame in frames:
        if isinstance(frame, DeviceNv12):
            y: Any = frame.y
            uv: Any = frame.uv
            found.append(replace(frame, y=y.written_on(lane.stream), uv=uv.written_on(lane.stream)))
        else:
            found.append(frame.written_on(lane.stream))
    return found
