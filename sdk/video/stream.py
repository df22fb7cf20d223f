"""A camera or clip through detection, enhancement and pasting, with the stages at work at the same time.

    source ─► [read] ─► queue ─► [detect] ─► queue ─► [enhance] ─► queue ─► [paste] ─► queue ─► the caller's loop

Each stage is a thread; NumPy, OpenCV, onnxruntime, TensorRT and FFmpeg let go of Python's lock while they work. Queues
are short and bounded: a slow consumer slows the source down (policy "all"), or old frames make room for new ones
(policy "latest"). Frames come out in the order they went in; every frame that does not is counted.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, StreamError
from sdk.result import FaceResult
from sdk.video.following import Enhances, Follower, FollowRule, TrackedFace
from sdk.video.frames import Source, VideoFrame, as_source

__all__ = ["FaceStream", "StreamCounts", "StreamOptions", "StreamResult"]

U8 = npt.NDArray[np.uint8]

POLICIES = ("all", "latest")
WAKE_S = 0.05  # how often a waiting stage looks whether it should stop
JOIN_S = 10.0  # for a stage to end after close(); a source that hangs in its driver is left behind as a daemon
END: Any = object()  # behind the last frame


class Streams(Enhances, Protocol):
    """What of FaceEnhancer is used."""

    def detect(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.float64]: ...

    def render(self, frame: npt.NDArray[Any], results: list[FaceResult], *, strength: float = 1.0) -> U8: ...


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is worked on.

    detect_every: the detector looks at every n-th frame; between, faces are followed by their landmarks.
    policy: "all" works on every frame and slows the source down; "latest" drops what waits too long, for live use.
    max_delay_s: frames older than that when their turn comes are dropped too; None: no limit.
    queue: frames that wait between two stages, at most.
    render: paste the faces into a copy of the frame; without it `picture` of a result is the frame itself.
    fps: clock of sources whose frames have no time.
    """

    detect_every: int = 1
    follow: FollowRule = field(default_factory=FollowRule)
    policy: str = "all"
    max_delay_s: float | None = None
    queue: int = 3
    render: bool = True
    strength: float = 1.0
    fps: float = 30.0

    def __post_init__(self) -> None:
        for name in ("detect_every", "queue"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} as a whole number of 1 or more", repr(value), "leave it out for the default")
        if self.policy not in POLICIES:
            raise InputError(f"policy among {POLICIES}", repr(self.policy), 'use "latest" for cameras')
        if self.max_delay_s is not None and not self.max_delay_s > 0.0:
            raise InputError("max_delay_s above 0, or None", repr(self.max_delay_s), "leave it out for no limit")


@dataclass(frozen=True, eq=False)
class StreamResult:
    """One frame that went through. `dropped` frames of the source were left out before it, since the last result."""

    frame: VideoFrame
    picture: U8  # [H, W, 3] with the faces pasted in
    faces: list[TrackedFace]
    dropped: int
    delay_s: float  # from the source's hand to here


@dataclass
class StreamCounts:
    """What happened to the frames so far: read = given + dropped + on their way."""

    read: int = 0
    given: int = 0  # to the caller
    dropped_full: int = 0  # a newer frame took its place in a full queue
    dropped_late: int = 0  # older than max_delay_s
    faces: int = 0
    remade: int = 0  # faces whose picture was made anew
    seconds: dict[str, float] = field(default_factory=dict[str, float])  # of work, by stage

    @property
    def dropped(self) -> int:
        return self.dropped_full + self.dropped_late


@dataclass(eq=False)
class _Job:
    """A frame on its way."""

    frame: VideoFrame
    read_at: float
    boxes: Any = None
    faces: list[TrackedFace] = field(default_factory=list[TrackedFace])
    picture: U8 | None = None


class FaceStream:
    """Iterate over it once; leave the loop or call close() to stop early. Also a context manager.

    Raises, from the loop: StreamError naming the stage in which an exception was raised, with it as its cause.
    """

    def __init__(self, enhancer: Streams, source: Any, options: StreamOptions | None = None) -> None:
        """source: a Source (sdk.video.open_source), or an iterable of frames. Raises InputError."""
        self.options = options or StreamOptions()
        self.counts = StreamCounts()
        self._enhancer = enhancer
        self._source: Source = as_source(source, fps=self.options.fps)
        self._follower = Follower(enhancer, self.options.follow)
        self._stop = threading.Event()
        self._failure: StreamError | None = None
        self._lock = threading.Lock()
        self._queues = [queue.Queue[Any](self.options.queue) for _ in range(4)]
        self._threads: list[threading.Thread] = []
        self._given_dropped = 0
        self._looks_due = 0  # frames until the detector looks again

    def __enter__(self) -> FaceStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops all stages and the source. Results stay valid; closing twice is harmless."""
        self._stop.set()
        self._source.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(JOIN_S)

    def __iter__(self) -> Iterator[StreamResult]:
        if self._threads or self._stop.is_set():
            raise InputError("a stream that was not begun", "one that was read or closed before", "make a new one")
        first, second, third, last = self._queues
        stages: list[tuple[str, Callable[[], None]]] = [
            ("read", lambda: self._read(first)),
            ("detect", lambda: self._stage("detect", self._detect, first, second)),
            ("enhance", lambda: self._stage("enhance", self._enhance, second, third)),
            ("paste", lambda: self._stage("paste", self._paste, third, last)),
        ]
        for name, work in stages:
            thread = threading.Thread(target=self._guarded, args=(name, work), name=f"facetrt-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self._results(last)

    def _results(self, last: queue.Queue[Any]) -> Iterator[StreamResult]:
        try:
            while (job := self._take(last)) is not END:
                yield self._given(job)
            if self._failure is not None:
                raise self._failure
        finally:
            self.close()

    def _given(self, job: _Job) -> StreamResult:
        assert job.picture is not None
        with self._lock:
            self.counts.given += 1
            self.counts.faces += len(job.faces)
            self.counts.remade += sum(face.remade for face in job.faces)
            dropped = self.counts.dropped
        since, self._given_dropped = dropped - self._given_dropped, dropped
        return StreamResult(job.frame, job.picture, job.faces, since, time.monotonic() - job.read_at)

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """Runs a stage; its failure ends the stream, and the caller hears of it behind the frames that were done."""
        try:
            work()
        except Exception as error:
            failure = StreamError.of(name, error)
            with self._lock:
                self._failure = self._failure or failure
        finally:
            following = {"read": 0, "detect": 1, "enhance": 2, "paste": 3}[name]
            self._put(self._queues[following], END)

    def _read(self, out: queue.Queue[Any]) -> None:
        frames = iter(self._source)
        while not self._stop.is_set() and self._failure is None:
            begun = time.monotonic()
            frame = next(frames, None)
            if frame is None:
                return
            self._worked("read", begun)
            with self._lock:
                self.counts.read += 1
            job = _Job(frame, time.monotonic())
            if self.options.policy == "latest":
                self._put_newest(out, job)
            else:
                self._put(out, job)

    def _stage(self, name: str, work: Callable[[_Job], bool], given: queue.Queue[Any], out: queue.Queue[Any]) -> None:
        """Jobs of one queue into the next, until the end or a stop."""
        while (job := self._take(given)) is not END:
            begun = time.monotonic()
            kept = work(job)
            self._worked(name, begun)
            if kept:
                self._put(out, job)

    def _detect(self, job: _Job) -> bool:
        if self._looks_due <= 0:
            job.boxes = self._enhancer.detect(job.frame.pixels)
            self._looks_due = self.options.detect_every
        self._looks_due -= 1
        return True

    def _enhance(self, job: _Job) -> bool:
        limit = self.options.max_delay_s
        if limit is not None and time.monotonic() - job.read_at > limit:
            with self._lock:
                self.counts.dropped_late += 1
            if job.boxes is not None:
                self._looks_due = 0  # what the detector found goes with the frame: it looks at the next one
            return False
        job.faces = self._follower(job.frame.pixels, job.boxes, job.frame.time_s)
        return True

    def _paste(self, job: _Job) -> bool:
        job.picture = job.frame.pixels
        if self.options.render:
            results = [face.result for face in job.faces]
            job.picture = self._enhancer.render(job.frame.pixels, results, strength=self.options.strength)
        return True

    def _worked(self, name: str, begun: float) -> None:
        spent = time.monotonic() - begun
        with self._lock:
            self.counts.seconds[name] = self.counts.seconds.get(name, 0.0) + spent

    def _take(self, given: queue.Queue[Any]) -> Any:
        while not self._stop.is_set():
            try:
                return given.get(timeout=WAKE_S)
            except queue.Empty:
                continue
        return END

    def _put(self, out: queue.Queue[Any], job: Any) -> None:
        while not self._stop.is_set():
            try:
                return out.put(job, timeout=WAKE_S)
            except queue.Full:
                continue

    def _put_newest(self, out: queue.Queue[Any], job: Any) -> None:
        """Into the queue at once; the oldest frame there makes room."""
        while not self._stop.is_set():
            try:
                return out.put_nowait(job)
            except queue.Full:
                try:
                    out.get_nowait()
                except queue.Empty:  # the next stage was quicker
                    continue
                with self._lock:
                    self.counts.dropped_full += 1
