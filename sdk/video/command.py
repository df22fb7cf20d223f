"""The part of face-enhance that takes a video: its options, and what it says while it works."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sdk.errors import InputError, OutputError, StreamError
from sdk.video.clip import VIDEO_SUFFIXES, ClipOptions, enhance_clip
from sdk.video.following import FollowRule
from sdk.video.stream import StreamOptions
from sdk.video.views import VIEWS

if TYPE_CHECKING:
    from sdk.enhancer import FaceEnhancer

__all__ = ["add_clip_options", "is_clip", "run_clip"]

DONE, FAILED, INTERRUPTED = 0, 1, 130
DETECT_EVERY = 5  # a face that enters waits a sixth of a second for its first frame
WRONG_WITH_CLIPS = ("aligned", "boxes", "no_paste", "compare")


def is_clip(inputs: Sequence[str]) -> bool:
    """Whether the first input is a video, by its suffix or because it is an address."""
    return "://" in inputs[0] or Path(inputs[0]).suffix.lower() in VIDEO_SUFFIXES


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("video").add_argument
    add("--detect-every", type=int, default=DETECT_EVERY, metavar="N", help="frames from one detection to the next")
    add("--max-faces", type=int, metavar="N", help="only the largest faces of a frame")
    add("--no-smooth", action="store_true", help="each frame by itself: no steady points, no steady pictures")
    add("--view", choices=VIEWS, default=VIEWS[0], help="what the output shows")
    add("--fps", type=float, metavar="RATE", help="rate to state in the output; default: the input's")


def run_clip(options: argparse.Namespace, open_enhancer: Callable[[argparse.Namespace], FaceEnhancer]) -> int:
    """The exit code: 0 done, 1 failed on the way, 130 interrupted; what was written stays beside the output as .part.

    Raises FaceTRTError for what keeps the run from starting.
    """
    _check(options)
    target = Path(options.out)
    if target.exists() and not options.force:
        _say(options, f"{target} is already there; --force does it again")
        return DONE
    follow = FollowRule(max_faces=options.max_faces)
    if options.no_smooth:
        follow = replace(follow, smoothing=None, steadiness=None)
    stream = StreamOptions(detect_every=options.detect_every, follow=follow, strength=options.strength)
    clip = ClipOptions(stream=stream, view=options.view, fps=options.fps)
    show = sys.stderr.isatty() and not options.quiet
    with open_enhancer(options) as enhancer, _lines(options.json) as lines:
        try:
            summary = enhance_clip(
                options.inputs[0], target, enhancer, color="rgb", options=clip, lines=lines,
                progress=_shown if show else _nothing,
            )  # fmt: skip
        except KeyboardInterrupt:
            _say(options, "interrupted; what is done lies beside the output as .part")
            return INTERRUPTED
        except (StreamError, OutputError) as error:
            sys.stderr.write(f"face-enhance: {error}\n")
            return FAILED
    _say(options, summary.text())
    return DONE


def _check(options: argparse.Namespace) -> None:
    """Raises InputError for options that pictures alone have, and for numbers out of range."""
    if len(options.inputs) != 1:
        raise InputError("one video", f"{len(options.inputs)} inputs", "run the command once for each")
    wrong = [name for name in WRONG_WITH_CLIPS if getattr(options, name)]
    if wrong:
        name = "--" + wrong[0].replace("_", "-")
        raise InputError("options that a video has", name, f"leave {name} out")
    if not 0.0 <= options.strength <= 1.0:
        raise InputError("--strength in 0..1", str(options.strength), "use 1 for the full effect")
    if options.max_faces is not None and options.max_faces < 1:
        raise InputError("--max-faces of 1 or more", str(options.max_faces), "leave it out for all")
    if options.fps is not None and not 0.0 < options.fps <= 1000.0:
        raise InputError("--fps above 0 and up to 1000", str(options.fps), "leave it out for the input's")


def _lines(path: str | None) -> contextlib.AbstractContextManager[TextIO | None]:
    """The file of JSON lines. Raises OutputError."""
    if not path:
        return contextlib.nullcontext()
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"to write {path}", error.strerror or str(error), "give another file") from error


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        sys.stderr.write(f"\r\x1b[Kface-enhance: {text}\n" if sys.stderr.isatty() else f"face-enhance: {text}\n")


def _shown(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def _nothing(text: str) -> None:
    """Where stderr is a file, the summary is enough."""
