"""A video file out: the times of the frames as they were, sound copied packet by packet, colours as tagged.

Written in fragments, so that what is on the disk can be played at any moment, also after a crash; beside the name asked
for (NAME.part.SUFFIX) and renamed at the end, so that a finished name means a finished file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, OutputError
from sdk.video.files import VideoFile, pyav

__all__ = ["SUFFIXES", "VideoWriter"]

U8 = npt.NDArray[np.uint8]

SUFFIXES = (".mp4", ".mov", ".mkv", ".m4v")
FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}  # playable while it is being written
CODECS = ("libx264", "mpeg4")  # the first that this FFmpeg has
QUALITY = {"libx264": {"crf": "18", "preset": "veryfast"}, "mpeg4": {"q": "3"}}
TIME_BASE = Fraction(1, 90_000)  # of sources that have none; MPEG's own clock
KEYFRAME_EVERY = 60  # frames: what is lost at most of a file whose writer was killed


class VideoWriter:
    """Writes frames [H, W, 3] uint8 with their times. Use it as a context manager.

    Args:
        path: .mp4, .mov, .m4v or .mkv.
        like: the file the frames come from: its sound, time base, rate and colour tags are taken over.
        fps: rate to state, where there is no `like`; frames keep their own times all the same.
        color: "bgr" or "rgb", order of the frames.

    Frames of another size than the first are scaled to it; an odd side is made even by repeating its last line, since
    4:2:0 needs that.

    Raises:
        InputError: another suffix, a frame that is no picture. OutputError: nothing can be written there, or the disk
        is full; what was written stays beside the name, as .part. MissingPackageError.
    """

    def __init__(
        self, path: str | Path, *, like: VideoFile | None = None, fps: float | None = None, color: str = "bgr"
    ) -> None:
        self.path, self._like, self._color = Path(path), like, color
        if self.path.suffix.lower() not in SUFFIXES:
            raise InputError(f"an output that ends in {', '.join(SUFFIXES)}", str(path), "rename it")
        self.part = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self._av = pyav()
        rate = fps or (like.fps if like is not None else None) or 30.0
        self._rate = Fraction(rate).limit_denominator(1001 * 60)
        self._base = like.time_base if like is not None else TIME_BASE
        self._last, self._closed = -1, False  # pts
        self._video: Any = None
        self._matrix = 0  # of the colours, for swscale
        self._sound: Iterator[Any] = iter(())
        self._held: Any = None  # the next packet of sound
        self._output: Any = self._opened()

    def _opened(self) -> Any:
        options = FRAGMENTED if self.path.suffix.lower() != ".mkv" else {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._av.open(str(self.part), "w", options=options)
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        remedy = f"free space or give another folder; what was written is in {self.part.name}"
        return OutputError(f"to write {self.path}", f"{type(error).__name__}: {error}", remedy)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(finished=error is None)

    def write(
        self,
        frame: U8,  # [H, W, 3]
        time_s: float,
    ) -> None:
        """One frame. Its time is kept to the time base; one that does not rise is moved behind the last."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f"{frame.dtype} {frame.shape}"
            raise InputError("a frame as uint8 [H, W, 3]", got, "convert it, for example with enhancer.render")
        try:
            video = self._video or self._start(frame.shape[1], frame.shape[0])
            # From BGR swscale's fast way to 4:2:0 cuts fractions off, half a grey level on average; from RGB it rounds.
            rgb = frame if self._color == "rgb" else frame[..., ::-1]
            if frame.shape[0] % 2 or frame.shape[1] % 2:
                rgb = np.pad(rgb, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge")
            picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            picture = self._as_coded(picture)
            picture.pts = self._last = max(self._last + 1, round(Fraction(time_s) / self._base))
            picture.time_base = self._base
            for packet in video.encode(picture):
                self._sound_until(float(packet.dts * packet.time_base))
                self._output.mux(packet)
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def _as_coded(self, picture: Any) -> Any:
        context = self._video.codec_context
        return picture.reformat(
            width=context.width, height=context.height, format="yuv420p", dst_colorspace=self._matrix or None
        )

    def _start(self, width: int, height: int) -> Any:
        """The streams, once the size is known; sound follows the pictures' times."""
        name = next((codec for codec in CODECS if codec in self._av.codecs_available), None)
        if name is None:
            raise InputError(f"an FFmpeg with one of {', '.join(CODECS)}", "neither", "install PyAV's own build")
        video = self._output.add_stream(name, rate=self._rate, options=QUALITY[name])
        video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        video.codec_context.time_base, video.time_base = self._base, self._base
        video.codec_context.gop_size = KEYFRAME_EVERY
        video.codec_context.max_b_frames = 0  # decoding order is display order: a cut file ends cleanly
        if self._like is not None:
            source = self._like.stream.codec_context
            for tag in ("color_primaries", "color_trc", "colorspace"):
                setattr(video.codec_context, tag, getattr(source, tag))
            self._matrix = _swscale_matrix(int(source.colorspace or 2))
        self._video = video
        if self._like is not None and self._like.has_audio:
            self._sound = self._sound_packets(self._like.uri)
            self._held = next(self._sound, None)
        return video

    def _sound_packets(self, uri: str) -> Iterator[Any]:
        """Packets of the source's first sound track, copied: they are never decoded."""
        given = self._av.open(uri)
        track = given.streams.audio[0]
        copied = self._output.add_stream_from_template(track)
        try:
            for packet in given.demux(track):
                if packet.dts is not None:
                    packet.stream = copied
                    yield packet
        finally:
            given.close()

    def _sound_until(self, time_s: float) -> None:
        """Sound up to the time of a picture goes before it: players read both from one place."""
        while self._held is not None and float(self._held.dts * self._held.time_base) <= time_s:
            self._output.mux(self._held)
            self._held = next(self._sound, None)

    def close(self, *, finished: bool = True) -> None:
        """The rest of pictures and sound; then the file gets its name, unless `finished` is False. Twice is harmless.

        Raises OutputError.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._video is not None:
                for packet in self._video.encode(None):
                    self._output.mux(packet)
                self._sound_until(float("inf") if finished else float(self._last * self._base))
            self._output.close()
            if self._video is None:
                self.part.unlink(missing_ok=True)  # not a single frame
            elif finished:
                os.replace(self.part, self.path)
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._failed(error) from error


def _swscale_matrix(h273: int) -> int:
    """FFmpeg's number of swscale for a matrix of H.273; 0: leave it to swscale."""
    return {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}.get(h273, 0)
