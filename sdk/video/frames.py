"""What a stream is made of: frames with their time, and whatever yields them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError

__all__ = ["ArraySource", "Source", "VideoFrame", "as_source"]

U8 = npt.NDArray[np.uint8]
Own = TypeVar("Own", bound="Source")


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One picture of a stream. Its memory is its own: a source does not write into it again."""

    pixels: U8  # [H, W, 3] in the order of the enhancer's `color`
    index: int  # counted from 0 over all frames that the source gave, dropped ones too
    time_s: float  # presentation time by the stream's own clock
    camera: int = 0  # which of several sources


class Source(ABC):
    """Yields VideoFrames in the order of their times. close() may come from another thread and ends a wait."""

    @abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ArraySource(Source):
    """Frames of any Python iterable: arrays [H, W, 3], or pairs (array, time in seconds)."""

    def __init__(self, frames: Iterable[Any], *, fps: float = 30.0) -> None:
        """fps: the clock of arrays that come without a time. Raises InputError."""
        if not 0.0 < fps < float("inf"):
            raise InputError("fps as a finite number above 0", repr(fps), "leave it out for 30")
        self._frames, self._fps = frames, fps

    def __iter__(self) -> Iterator[VideoFrame]:
        for index, item in enumerate(self._frames):
            if isinstance(item, VideoFrame):
                yield item
                continue
            timed = cast("tuple[Any, Any]", item if isinstance(item, tuple) else (item, index / self._fps))
            yield VideoFrame(timed[0], index, float(timed[1]))

    def close(self) -> None:
        """Nothing to free: whoever made the iterable ends it."""


def as_source(frames: Any, *, fps: float) -> Source:
    """A Source as it is, any other iterable as an ArraySource. Raises InputError for what cannot be iterated."""
    if isinstance(frames, Source):
        return frames
    if isinstance(frames, (str, bytes)) or not isinstance(frames, Iterable):
        remedy = "open files and cameras with sdk.video.files.open_source(uri)"
        raise InputError("a source or an iterable of frames", type(frames).__name__, remedy)
    return ArraySource(cast("Iterable[Any]", frames), fps=fps)
