"""Reads sensors in a thread of its own, every 50 ms, and answers questions about a stretch of time."""

import bisect
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Sampler", "joule_between", "rise_between", "thinned"]

Reading = dict[str, float]
KEPT = 600  # samples in a result; a longer run is averaged down to them
MOST = 40_000  # in memory, half an hour of them; then every second one of the older half goes


class Sampler:
    """`with Sampler([sensor.read, ...]) as sampler:`; samples hold t_s since the start and all sensors' values.

    A sensor that raises ends nothing: its values are missing in that sample, and `trouble` says why.
    """

    def __init__(self, readers: Sequence[Callable[[], Mapping[str, float]]], *, period_s: float = 0.05) -> None:
        self._readers, self._period_s = list(readers), period_s
        self._stop = threading.Event()
        self._lock = threading.Lock()  # the thread's samples and the caller's never mix
        self._thread: threading.Thread | None = None
        self._started_s = time.perf_counter()
        self.samples: list[Reading] = []  # grows while the thread runs; in the order of time
        self.trouble: str | None = None

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started_s

    def sample(self) -> Reading:
        """One reading of all sensors, kept."""
        with self._lock:
            found: Reading = {"t_s": self.now_s()}
            for read in self._readers:
                try:
                    found.update({name: value for name, value in read().items() if math.isfinite(value)})
                except Exception as error:  # of whatever sensor; measuring goes on without it
                    self.trouble = f"{type(error).__name__}: {error}"
            self.samples.append(found)
            if len(self.samples) > MOST:
                del self.samples[: MOST // 2 : 2]
        return found

    def between(self, start_s: float, end_s: float) -> list[Reading]:
        """Samples of a stretch, and the ones before and after it."""
        samples = list(self.samples)
        first = bisect.bisect_left(samples, start_s, key=_time)
        last = bisect.bisect_right(samples, end_s, key=_time)
        return samples[max(0, first - 1) : last + 1]

    def __enter__(self) -> "Sampler":
        self._started_s = time.perf_counter()
        self.sample()
        self._thread = threading.Thread(target=self._run, name="trt-bench sensors", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the thread after a last sample; may be called again."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self.sample()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self.sample()


def rise_between(samples: Sequence[Reading], name: str, *, start_s: float, end_s: float) -> float | None:
    """How much a counter grew, interpolated at both ends; None when the samples do not reach that far or it fell."""
    rows = [one for one in samples if name in one]
    if len(rows) < 2 or end_s <= start_s:
        return None
    times = [one["t_s"] for one in rows]
    slack_s = 0.25 * (end_s - start_s)  # the stretch may begin just before the first sample, or end after the last
    if start_s < times[0] - slack_s or end_s > times[-1] + slack_s:
        return None
    first, last = (_at(rows, times, name, at_s) for at_s in (start_s, end_s))
    return last - first if last >= first else None


def joule_between(samples: Sequence[Reading], power: str, *, start_s: float, end_s: float) -> float | None:
    """Energy from samples of a power in watts, by trapezoids; None without samples in that stretch."""
    rows = [one for one in samples if power in one]
    if not rows or end_s <= start_s:
        return None
    times = [one["t_s"] for one in rows]
    inside = times[bisect.bisect_left(times, start_s) : bisect.bisect_right(times, end_s)]
    if not inside and not (times[0] <= start_s and end_s <= times[-1]):
        return None
    marks = [start_s, *(one for one in inside if start_s < one < end_s), end_s]
    watts = [_at(rows, times, power, mark) for mark in marks]
    pairs = zip(marks, marks[1:], watts, watts[1:], strict=False)
    return sum((right - left) * (low + high) / 2 for left, right, low, high in pairs)


def thinned(samples: Sequence[Reading], *, keep: int = KEPT) -> tuple[Reading, ...]:
    """At most `keep` samples, each the mean of its neighbours; values that are missing in some are of the others."""
    if len(samples) <= keep:
        return tuple(_rounded(one) for one in samples)
    groups = [samples[len(samples) * n // keep : len(samples) * (n + 1) // keep] for n in range(keep)]
    found: list[Reading] = []
    for group in groups:
        names = dict.fromkeys(name for one in group for name in one)
        columns = {name: [one[name] for one in group if name in one] for name in names}
        found.append(_rounded({name: sum(values) / len(values) for name, values in columns.items()}))
    return tuple(found)


def _time(one: Reading) -> float:
    return one["t_s"]


def _rounded(one: Reading) -> Reading:
    return {name: round(value, 4) for name, value in one.items()}


def _at(rows: Sequence[Reading], times: Sequence[float], name: str, at_s: float) -> float:
    """A value between two samples on the straight line; beyond the ends, the end's."""
    after = bisect.bisect_left(times, at_s)
    if after == 0:
        return rows[0][name]
    if after == len(rows):
        return rows[-1][name]
    left, right = rows[after - 1], rows[after]
    span_s = right["t_s"] - left["t_s"]
    share = (at_s - left["t_s"]) / span_s if span_s > 0 else 1.0
    return left[name] + share * (right[name] - left[name])
