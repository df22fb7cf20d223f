"""What a build is doing and how long it will take: a line on a terminal, JSON lines for programs, or nothing.

{"event": "stage", "name": ..., "index": i, "of": n, "eta_s": ...}
{"event": "progress", "name": ..., "fraction": 0..1, "eta_s": ...}
{"event": "note", "text": ...}: what a terminal would show besides
{"event": "layers", "layers": [{"name": ..., "asked": ..., "found": ..., ...}]}: the table of --explain
{"event": "done", "engine": path, "manifest": {...}}
{"event": "error", "expected": ..., "got": ..., "remedy": ..., "exit": code}
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = ["Progress", "Stage"]

PAUSE_S = 0.5  # between two signs of progress
REDRAW_S = 0.1  # on a terminal
LINE_S = 10.0  # between two lines where stderr is none
WIDTH = 20  # characters of the bar
KINDS = ("text", "json", "quiet")


@dataclass(frozen=True)
class Stage:
    """A step of the build and how long it takes, roughly: only the ratios matter."""

    name: str
    weight_s: float


class Progress:
    """Tells the stages in their order. Only the thread that made it may call it."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        kind: str,  # one of KINDS
        out: TextIO,  # JSON lines
        err: TextIO,  # text
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert kind in KINDS, kind
        self._stages, self._kind, self._out, self._err, self._clock = list(stages), kind, out, err, clock
        self._terminal = err.isatty()
        self._started_s = self._told_s = clock()
        self._index, self._fraction = -1, 0.0
        self._drawn = False

    @property
    def eta_s(self) -> float:
        """Seconds left: the weights still to come, at the pace of those behind us (as planned until there are some)."""
        done = sum(stage.weight_s for stage in self._stages[: max(self._index, 0)])
        here = self._stages[self._index].weight_s if self._index >= 0 else 0.0
        done += self._fraction * here
        total = sum(stage.weight_s for stage in self._stages)
        spent_s = self._clock() - self._started_s
        pace = spent_s / done if done > 0.05 * total else 1.0
        return max(0.0, pace * (total - done))

    def stage(self, name: str) -> None:
        """The next stage begins. A name out of order is a mistake of ours."""
        names = [stage.name for stage in self._stages]
        assert name in names[self._index + 1 :], (name, names, self._index)
        self._index, self._fraction = names.index(name), 0.0
        self._told_s = self._clock()
        self._event("stage", name=name, index=self._index + 1, of=len(self._stages), eta_s=round(self.eta_s, 1))
        if self._terminal:
            self._draw()
        else:
            self._line("")

    def fraction(self, fraction: float) -> None:
        """How much of the stage is done, 0 to 1; never goes back."""
        self._fraction = max(self._fraction, min(1.0, fraction))
        now_s = self._clock()
        pause_s = PAUSE_S if self._kind == "json" else REDRAW_S if self._terminal else LINE_S
        if now_s - self._told_s < pause_s:
            return
        self._told_s = now_s
        name = self._stages[self._index].name
        self._event("progress", name=name, fraction=round(self._fraction, 3), eta_s=round(self.eta_s, 1))
        if self._terminal:
            self._draw()
        else:
            self._line(f" {100 * self._fraction:.0f} %")

    def say(self, text: str) -> None:
        """Lines for people, above the bar."""
        self._event("note", text=text)
        self._write(text)

    def layers(self, text: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of layers: as text for people, as rows for programs."""
        self._event("layers", layers=[dict(row) for row in rows])
        self._write(text)

    def _write(self, text: str) -> None:
        if self._kind == "text":
            self._clear()
            self._err.write(text + "\n")
            self._err.flush()

    def done(self, engine: str, manifest: Mapping[str, Any]) -> None:
        """The end of the JSON lines."""
        self._clear()
        self._event("done", engine=engine, manifest=dict(manifest))

    def close(self) -> None:
        """Leaves the terminal clean, whatever happened."""
        self._clear()

    def _event(self, event: str, **values: Any) -> None:
        if self._kind == "json":
            self._out.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
            self._out.flush()

    def _line(self, share: str) -> None:
        if self._kind == "text":
            stage = self._stages[self._index].name
            place = f"[{self._index + 1}/{len(self._stages)}]"
            self._err.write(f"{place} {stage}{share}, about {self.eta_s:.0f} s left\n")
            self._err.flush()

    def _draw(self) -> None:
        if self._kind != "text":
            return
        stage = self._stages[self._index]
        filled = round(WIDTH * self._fraction)
        minutes, seconds = divmod(round(self.eta_s), 60)
        bar = "#" * filled + "." * (WIDTH - filled)
        text = f"[{self._index + 1}/{len(self._stages)}] {stage.name:24} [{bar}] {minutes}:{seconds:02d} left"
        self._err.write("\r\x1b[K" + text)
        self._err.flush()
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._err.write("\r\x1b[K")
            self._err.flush()
            self._drawn = False
