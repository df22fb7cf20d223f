"""A whole video file: every frame through the enhancer into a new file, with progress, JSON lines and a summary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sdk.errors import InputError, OutputError
from sdk.video.files import VideoFile
from sdk.video.stream import FaceStream, StreamCounts, StreamOptions, Streams
from sdk.video.views import VIEWS, view
from sdk.video.writing import SUFFIXES, VideoWriter

__all__ = ["VIDEO_SUFFIXES", "ClipOptions", "ClipSummary", "enhance_clip"]

VIDEO_SUFFIXES = (*SUFFIXES, ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
REPORT_EVERY_S = 0.5


@dataclass(frozen=True)
class ClipOptions:
    """view: one of sdk.video.views.VIEWS. fps: to state in the output; None: the source's."""

    stream: StreamOptions = field(default_factory=StreamOptions)
    view: str = "enhanced"
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise InputError(f"a view of {VIEWS}", repr(self.view), "pick one of those")


@dataclass(frozen=True)
class ClipSummary:
    """What was done."""

    counts: StreamCounts
    seconds: float
    broken: int  # packets of the source that did not decode

    @property
    def fps(self) -> float:
        """Frames a second of all stages together, end to end."""
        return self.counts.given / self.seconds if self.seconds > 0 else 0.0

    def text(self) -> str:
        """For people."""
        counts = self.counts
        made = f"{counts.given} frames with {counts.faces} faces in {self.seconds:.1f} s, {self.fps:.1f} a second"
        lost = [
            f"{number} {what}"
            for number, what in ((counts.dropped, "frames dropped"), (self.broken, "broken packets skipped"))
            if number
        ]
        return "; ".join([made, *lost])


def enhance_clip(
    source: str | Path,
    target: str | Path,
    enhancer: Streams,
    *,
    color: str,
    options: ClipOptions | None = None,
    lines: TextIO | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> ClipSummary:
    """Enhance a video file into another; sound is copied, times are kept.

    Args:
        color: the enhancer's.
        lines: gets a JSON object a frame: index, time_s, faces with their identity.
        progress: called now and then with a line: frames, frames a second, time left.

    Raises:
        InputError, OutputError (the source is the target; nothing can be written), StreamError, MissingPackageError.
        After any of them, and after Ctrl-C, what was written is whole up to there and lies beside the target as
        NAME.part.SUFFIX.
    """
    options = options or ClipOptions()
    if Path(source).exists() and Path(target).exists() and Path(source).samefile(target):
        raise OutputError("an output beside the input", f"{target} twice", "name another file")
    began_s = told_s = time.monotonic()
    with (
        VideoFile(source, color=color) as clip,
        VideoWriter(target, like=clip, fps=options.fps, color=color) as out,
        FaceStream(enhancer, clip, options.stream) as stream,
    ):
        for result in stream:
            shown = view(options.view, result.frame.pixels, result.picture, result.faces)
            out.write(shown, result.frame.time_s)
            if lines is not None:
                lines.write(json.dumps(_record(result), allow_nan=False) + "\n")
            now_s = time.monotonic()
            if now_s - told_s >= REPORT_EVERY_S:
                told_s = now_s
                progress(_progress(stream.counts.given, clip.frames, now_s - began_s))
        if not stream.counts.given:
            raise InputError("a video with frames", f"none in {source}", "try the file in a player")
    return ClipSummary(stream.counts, time.monotonic() - began_s, clip.broken)


def _record(result: Any) -> dict[str, Any]:
    faces = [{"identity": face.identity, **face.result.to_dict()} for face in result.faces]
    return {"frame": result.frame.index, "time_s": round(result.frame.time_s, 6), "faces": faces}


def _progress(done: int, frames: int | None, seconds: float) -> str:
    rate = done / seconds
    if not frames:
        return f"{done} frames, {rate:.1f} a second"
    left = max(0, round((frames - done) / rate)) if rate else 0
    return f"{done}/{frames} frames, {rate:.1f} a second, {left // 60}:{left % 60:02d} left"
