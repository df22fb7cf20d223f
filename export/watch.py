"""What TensorRT tells while it builds, from its own threads: phases and log; handed on by the thread that waits."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

__all__ = ["Watch"]

COSTS = "Computing costs for"  # one line of the log for every layer that TensorRT times


class Watch:
    """A monitor and a sink (see sdk.runtime.trt_builder): any thread may call them, they never raise."""

    def __init__(
        self,
        layers: int,  # about as many as TensorRT will time
        *,
        keep: bool = True,  # the log, for text(); a long one takes memory that a Jetson does not have
        on_progress: Callable[[float], None],  # fraction 0 to 1, called by tell()
        on_log: Callable[[str, str], None] | None = None,  # severity, text; called by tell()
    ) -> None:
        self.monitored = False  # TensorRT reports, so it can be cancelled
        self._keep, self._on_progress, self._on_log = keep, on_progress, on_log
        self._phases: dict[str, tuple[str | None, int]] = {}  # open phases: parent, steps
        self._done: dict[str, int] = {}
        self._layers, self._timed = max(layers, 1), 0
        self._lines: list[tuple[str, str]] = []
        self._told = 0
        self._cancelled = False
        self._most = 0.0
        self._lock = threading.Lock()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self.monitored = True
            self._phases[phase], self._done[phase] = (parent, max(steps, 1)), 0

    def step(self, phase: str, step: int) -> bool:
        with self._lock:
            self._done[phase] = max(self._done.get(phase, 0), step)
        return not self._cancelled

    def finish(self, phase: str) -> None:
        with self._lock:
            self._phases.pop(phase, None)

    def hear(self, severity: str, text: str) -> None:
        """One message of the log."""
        if self._keep or self._on_log is not None:
            self._lines.append((severity, text))
        if COSTS in text:
            self._timed += 1

    def cancel(self) -> None:
        """TensorRT ends the build at its next step, if it reports at all."""
        self._cancelled = True

    def tell(self) -> None:
        """Hand on what came since the last call; in the thread that may write and raise."""
        self._on_progress(self.fraction)
        if self._on_log is not None:
            fresh = self._lines[self._told :]
            self._told += len(fresh)
            for severity, text in fresh:
                self._on_log(severity, text)

    def text(self) -> str:
        """The whole log."""
        return "\n".join(text for _, text in self._lines)

    @property
    def fraction(self) -> float:
        """Of the outermost phase with all that is inside; without phases a guess from the layers timed so far."""
        with self._lock:
            self._most = max(self._most, self._now())  # between the end of a phase and its parent's step it would drop
            return self._most

    def _now(self) -> float:
        if not self.monitored:
            return 1 - math.exp(-2 * self._timed / self._layers)
        roots = [phase for phase, (parent, _) in self._phases.items() if parent not in self._phases]
        return self._inside(roots[0]) if roots else 1.0

    def _inside(self, phase: str) -> float:
        steps = self._phases[phase][1]
        children = [one for one, (parent, _) in self._phases.items() if parent == phase]
        within = max((self._inside(child) for child in children), default=0.0)
        return min(1.0, (min(self._done.get(phase, 0), steps - 1) + within) / steps)
