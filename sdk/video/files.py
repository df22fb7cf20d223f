"""Video files, cameras and network streams through FFmpeg (PyAV), the only file that imports it.

A file is read frame by frame with the times it states; broken packets are skipped and counted; a picture that the
container wants turned is turned. What FFmpeg opens is opened: mp4, mkv, avi, rtsp://, http://, v4l2 devices.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, MissingPackageError
from sdk.video.frames import Source, VideoFrame

__all__ = ["VideoFile", "pyav"]

U8 = npt.NDArray[np.uint8]

PIP = 'pip install "facetrt[video]"'
MAX_BROKEN = 300  # packets in a row that do not decode: ten seconds of nothing is the end of a stream
OPEN_TIMEOUT_S = 10.0  # for a network stream to answer
READ_TIMEOUT_S = 10.0  # for its next packet
HDR_CURVES = {16: "PQ (HDR10)", 18: "HLG"}  # numbers of ITU-T H.273
LOG = logging.getLogger("facetrt")


def pyav() -> Any:
    """The av module. Raises MissingPackageError."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingPackageError("reading and writing video", "av", PIP) from error


class VideoFile(Source):
    """Frames of a file, a device or a network stream.

    Args:
        uri: a path, or an address that FFmpeg knows.
        color: "bgr" or "rgb", the order of the frames' channels.
        options: FFmpeg's own, such as {"rtsp_transport": "tcp"}.
        container: FFmpeg's name of the format where it cannot be guessed, such as "v4l2".

    Attributes: width, height (as shown, after turning), fps (mean rate, None if not stated), frames (as the container
    states, None if it does not), duration_s, has_audio, broken (packets skipped so far).

    Raises:
        InputError: nothing there, not a video, no picture stream, a codec that is missing. MissingPackageError.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        color: str = "bgr",
        options: dict[str, str] | None = None,
        container: str | None = None,
    ) -> None:
        self.uri, self._color = str(uri), color
        if "://" not in self.uri and container is None and not Path(self.uri).is_file():
            raise InputError("a video file", f"{self.uri!r}, where there is no file", "correct the path")
        self._av = pyav()
        timeout = (OPEN_TIMEOUT_S, READ_TIMEOUT_S) if "://" in self.uri else None
        try:
            self._container: Any = self._av.open(self.uri, format=container, options=options or {}, timeout=timeout)
        except (self._av.error.FFmpegError, ValueError) as error:
            raise self._refused(error) from error
        if not self._container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "nothing"
            self._container.close()
            raise InputError("a video", f"{self.uri}, which holds {kinds} alone", "pass a file with pictures")
        self.stream: Any = self._container.streams.video[0]
        if self.stream.codec_context is None:
            self._container.close()
            raise InputError("a codec that FFmpeg has", f"{self.uri} with an unknown one", "convert the file first")
        self.stream.thread_type = "AUTO"
        self._closing, self._reading = threading.Event(), threading.Lock()
        self._describe()

    def _refused(self, error: Exception) -> InputError:
        reason = f"{type(error).__name__}: {error}"
        if Path(self.uri).is_file() and Path(self.uri).stat().st_size == 0:
            reason = "the file is empty"
        return InputError("a video that FFmpeg can read", f"{self.uri} ({reason})", "try it in a player, or convert it")

    def _describe(self) -> None:
        stream, context = self.stream, self.stream.codec_context
        self.width, self.height = int(context.width), int(context.height)
        rate = stream.average_rate or stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.frames = int(stream.frames) or None
        length = self._container.duration
        self.duration_s = length / self._av.time_base if length else None
        self.has_audio = bool(self._container.streams.audio)
        self.time_base: Fraction = stream.time_base or Fraction(1, 90_000)
        self.broken = 0
        self.turned = 0  # quarter turns, known with the first frame
        curve = HDR_CURVES.get(int(context.color_trc or 0))
        if curve:
            LOG.warning("%s is HDR, %s: shown without tone mapping it looks flat", self.uri, curve)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Raises InputError when nothing decodes any more. At its end, and after close(), the file is closed."""
        with self._reading:
            try:
                yield from self._frames()
            except self._av.error.FFmpegError as error:
                raise self._refused(error) from error
            finally:
                self._container.close()

    def _frames(self) -> Iterator[VideoFrame]:
        index, last_s, row = 0, -1.0, 0
        step_s = 1.0 / self.fps if self.fps else 1.0 / 30.0
        for packet in self._container.demux(self.stream):
            if self._closing.is_set():
                return
            try:
                pictures = packet.decode()
            except self._av.error.InvalidDataError:
                self.broken, row = self.broken + 1, row + 1
                if row > MAX_BROKEN:
                    got = f"{row} broken packets in a row in {self.uri}"
                    raise InputError("packets that decode", got, "the file is damaged beyond here") from None
                continue
            row = 0
            for picture in pictures:
                time_s = last_s + step_s if picture.time is None else float(picture.time)
                last_s = time_s
                yield VideoFrame(self._pixels(picture), index, time_s)
                index += 1

    def _pixels(self, picture: Any) -> U8:
        pixels: U8 = picture.to_ndarray(format=f"{self._color}24")
        turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
        self.turned = turns
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def close(self) -> None:
        """Closes file and decoder, or has the thread that reads do so at its next packet."""
        self._closing.set()
        if self._reading.acquire(blocking=False):  # FFmpeg must not be closed under a reader
            self._container.close()
            self._reading.release()
