"""A progress bar on stderr: redrawn in place on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

__all__ = ["Progress"]

WIDTH = 24  # characters of the bar
REDRAW_S = 0.1
LINE_S = 5.0  # between lines when stderr is a file


class Progress:
    """Counts finished files; say() prints lines without tearing the bar."""

    def __init__(self, total: int, stream: TextIO, *, show: bool = True) -> None:
        self._total = total
        self._stream = stream
        self._show = show and total > 1
        self._terminal = stream.isatty()
        self._started_s = self._drawn_s = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """One more file is finished."""
        self._done += 1
        now_s = time.monotonic()
        pause_s = REDRAW_S if self._terminal else LINE_S
        if self._show and (now_s - self._drawn_s >= pause_s or self._done == self._total):
            self._drawn_s = now_s
            end = "\r" if self._terminal and self._done < self._total else "\n"
            self._stream.write(self._text(now_s) + end)
            self._stream.flush()

    def say(self, text: str, stream: TextIO) -> None:
        """A line on `stream`, above the bar."""
        if self._show and self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        stream.write(text + "\n")
        stream.flush()

    def _text(self, now_s: float) -> str:
        filled = WIDTH * self._done // self._total
        left_s = (now_s - self._started_s) / self._done * (self._total - self._done)
        minutes, seconds = divmod(round(left_s), 60)
        bar = "#" * filled + "." * (WIDTH - filled)
        return f"[{bar}] {self._done}/{self._total} files, {minutes}:{seconds:02d} left"
