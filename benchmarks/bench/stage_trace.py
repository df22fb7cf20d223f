"""A trace for Perfetto and Chrome: spans on named tracks, in the JSON that both read. NVTX ranges beside, for Nsight.

trace = Trace()
with trace.span("crop"):
    ...
trace.save(Path("trace.json"))      # open it at the page of Perfetto, or at chrome://tracing
"""

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from sdk.errors import OutputError

__all__ = ["Trace", "nvtx_range"]

STAGES = "stages"  # the track of spans that name none


class Trace:
    """Spans since the object was made; from one thread."""

    def __init__(self, *, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._now_s, self._start_s = now_s, now_s()
        self._tracks: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []

    def now_ms(self) -> float:
        """Milliseconds since the trace was made."""
        return 1000 * (self._now_s() - self._start_s)

    @contextlib.contextmanager
    def span(self, name: str, *, track: str = STAGES, **details: object) -> Generator[None, None, None]:
        """What runs inside, also as NVTX range; kept when it raises."""
        start_ms = self.now_ms()
        try:
            with nvtx_range(name):
                yield
        finally:
            self.add(name, start_ms=start_ms, duration_ms=self.now_ms() - start_ms, track=track, details=details)

    def add(
        self,
        name: str,
        *,
        start_ms: float,
        duration_ms: float,
        track: str = STAGES,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """A span that somebody else measured."""
        event: dict[str, Any] = {"name": name, "cat": track, "ph": "X", "pid": os.getpid(), "tid": self._track(track)}
        event |= {"ts": round(1000 * start_ms, 3), "dur": round(1000 * max(duration_ms, 0.0), 3)}
        self.events.append(event | ({"args": dict(details)} if details else {}))

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all. Raises OutputError."""
        named = [
            {"name": "thread_name", "ph": "M", "pid": os.getpid(), "tid": number, "args": {"name": track}}
            for track, number in self._tracks.items()
        ]
        text = json.dumps({"displayTimeUnit": "ms", "traceEvents": [*named, *self.events]}, default=str)
        draft = path.with_name(path.name + ".part")
        try:
            draft.write_text(text + "\n", encoding="utf-8")
            os.replace(draft, path)
        except OSError as error:
            remedy = "check folder and free space"
            raise OutputError("a trace file to write", f"{path}: {error.strerror}", remedy) from error

    def _track(self, name: str) -> int:
        return self._tracks.setdefault(name, len(self._tracks) + 1)


def nvtx_range(name: str) -> contextlib.AbstractContextManager[Any]:
    """A range that Nsight Systems shows, where the package nvtx is installed; nothing elsewhere."""
    annotate = _nvtx()
    return contextlib.nullcontext() if annotate is None else annotate(message=name, domain="facetrt")


@functools.cache
def _nvtx() -> Callable[..., Any] | None:
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx.annotate
