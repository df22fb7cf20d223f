"""trt-build in a child process: its progress goes to the log, its errors come back as ours, its end is certain.

The child speaks one JSON object a line on its standard output (`trt-build --json`). A crash of the builder, its memory
peak and whatever it prints stay in the child; it ends with us, also when we are killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from sdk.errors import BuildError

__all__ = ["REFUSED", "Outcome", "builder_command", "run_builder"]

log = logging.getLogger("facetrt")

REFUSED = 3  # trt-build's exit code when the gate says no
PACKAGES = Path(__file__).resolve().parents[2]  # the folder that holds sdk/ and export/
TAIL_LINES = 12  # of what the child printed besides events, for the error
MAX_LINE_BYTES = 1 << 20  # a "line" longer than that is no event
REPORT_S = 5.0  # between two lines of progress in the log
PATIENCE_S = 5.0  # for a child that was told to end


@dataclass
class Outcome:
    """How the child ended."""

    code: int  # negative: the signal that ended it
    error: dict[str, Any] = field(default_factory=dict[str, Any])  # its "error" event, {} without one
    tail: deque[str] = field(default_factory=lambda: deque[str](maxlen=TAIL_LINES))  # its last other lines

    def failure(self, what: str) -> BuildError:
        """The child's own error, or what can be said without one."""
        if all(isinstance(self.error.get(part), str) for part in ("expected", "got", "remedy")):
            return BuildError(self.error["expected"], self.error["got"], self.error["remedy"])
        remedy = "run the command of the log by hand to see more"
        if self.code < 0:
            name = signal.Signals(-self.code).name if -self.code in set(signal.Signals) else str(-self.code)
            why = " (often: out of memory; close other programs or pass a smaller workspace)"
            got = f"a builder that was ended by {name}{why if self.code == -signal.SIGKILL else ''}"
        else:
            got = f"exit code {self.code} without a reason"
        last = "; ".join(self.tail)
        return BuildError(what, f"{got}; its last words: {last}"[:2000] if last else got, remedy)


def builder_command() -> list[str]:
    """What starts trt-build, to be followed by its arguments. Raises BuildError where there is no Python to run it."""
    if not sys.executable or getattr(sys, "frozen", False):
        got = "a program without one (frozen or embedded)"
        raise BuildError("a Python interpreter to run trt-build", got, "build beforehand and pass the .engine file")
    return [sys.executable, "-m", "export.cli"]


def run_builder(
    command: Sequence[str],
    *,
    title: str,  # of the build, for the log
    timeout_s: float,
    environment: dict[str, str],  # on top of ours
    keep_open: Sequence[int] = (),  # file descriptors the child inherits: it holds the lock as long as we do
) -> Outcome:
    """Run the builder to its end. Raises BuildError after timeout_s; however this ends, the child is gone then."""
    script = str(Path(__file__).with_name("die_with_parent.py"))
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=PACKAGES,  # -m looks there first: a folder named export/ of the app is not taken for ours
            env={**os.environ, **ours, **environment},
            pass_fds=tuple(keep_open),
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we end the child
        )
    except OSError as error:  # no memory for another process, no such interpreter
        raise BuildError(f"to start the builder of {title}", str(error), "build it by hand") from error
    try:
        return _follow(process, title=title, timeout_s=timeout_s)
    finally:
        _end(process)


def _follow(process: subprocess.Popen[bytes], *, title: str, timeout_s: float) -> Outcome:
    outcome, progress = Outcome(0), _Progress(title)
    deadline_s = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        rests: dict[Any, bytes] = {process.stdout: b"", process.stderr: b""}
        for pipe in rests:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(timeout=max(0.0, min(1.0, deadline_s - time.monotonic())))
            if not ready and process.poll() is not None:  # what it started still holds the pipes
                break
            for key, _ in ready:
                pipe = cast("IO[bytes]", key.fileobj)
                chunk = os.read(pipe.fileno(), 65536)
                *lines, rests[pipe] = (rests[pipe] + chunk).split(b"\n")
                if not chunk:
                    selector.unregister(pipe)
                    lines, rests[pipe] = [rests[pipe]], b""
                for line in lines:
                    _take(line, outcome, progress)
                rests[pipe] = b"" if len(rests[pipe]) > MAX_LINE_BYTES else rests[pipe]
            if time.monotonic() > deadline_s:
                raise BuildError(f"{title} to be built within {timeout_s:.0f} s", "no end by then", "build it by hand")
    try:
        outcome.code = process.wait(max(1.0, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise BuildError(f"{title} to be built within {timeout_s:.0f} s", "no end by then", "build by hand") from None
    return outcome


def _take(line: bytes, outcome: Outcome, progress: _Progress) -> None:
    """One line of the child: an event, or words to remember."""
    text = line.decode(errors="replace").strip()
    try:
        event: Any = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict) or "event" not in event:
        if text:
            outcome.tail.append(text[:500])
            log.debug("trt-build: %s", text[:500])
        return
    event = cast("dict[str, Any]", event)
    if event["event"] == "error":
        outcome.error = event
    else:
        progress.tell(event)


class _Progress:
    """The child's stages and progress as lines of the log, a few a minute."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._told_s = 0.0

    def tell(self, event: dict[str, Any]) -> None:
        stage, eta_s, now_s = event["event"] == "stage", event.get("eta_s"), time.monotonic()
        if event["event"] not in ("stage", "progress") or not (stage or now_s - self._told_s >= REPORT_S):
            return
        self._told_s = now_s
        fraction = event.get("fraction")
        share = f" {100 * fraction:.0f} %" if isinstance(fraction, (int, float)) else ""
        index = f" ({event.get('index')} of {event.get('of')})" if stage else ""
        left = f", about {eta_s:.0f} s left" if isinstance(eta_s, (int, float)) else ""
        log.info("%s: %s%s%s%s", self._title, event.get("name"), index, share, left)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The child and what it started are gone afterwards, its pipes closed."""
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, end)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the rule: nothing is left of its group
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
