"""Timing one thing: warm up until it is steady, then take samples for a while.

Wall time is what counts; processor time (of all threads) stands beside it, because on a machine with other work the
first also tells what the queue costs. A clock that goes backwards (a virtual machine that was moved, a faulty timer)
costs the sample and is counted, never averaged in.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdk.errors import InputError

WARM_UP_S = 0.2  # at least (KERNELS.md, section 8)
SETTLED = 0.01  # medians of two neighbouring windows then differ by no more than this
LONGEST_WARM_UP = 2.0  # times `duration_s`: a machine with other work may never settle
FEW, FEW_FOR_TAIL = 30, 1000  # samples, below which the median, and p99.9, are flagged
WINDOWS = 10  # stretches of a run, whose medians tell drift
LEAST = 3  # samples, however long one takes


@dataclass(frozen=True)
class Clock:
    """Seconds: `now` of the wall, `processor` of all threads of this process, `sleep`. Tests pass their own."""

    now: Callable[[], float] = time.perf_counter
    processor: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Samples:
    """Milliseconds of queries, in order, and how they came about."""

    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    duration_s: float = 0.0
    settled: bool = True
    backwards: int = 0  # queries lost to a clock that went backwards
    interrupted: bool = False

    def flags(self) -> tuple[str, ...]:
        """What a reader must know about the numbers."""
        count = len(self.wall_ms)
        said = {
            "interrupted": self.interrupted,
            "not settled": not self.settled,
            f"clock went backwards {self.backwards} times": self.backwards > 0,
            f"few samples: {count}": count < FEW,
            f"p99.9 of {count} samples": FEW <= count < FEW_FOR_TAIL,
        }
        return tuple(text for text, holds in said.items() if holds)

    def add(self, clock: Clock, query: Callable[[], Any]) -> float:
        """Times one query; its wall milliseconds, 0 if the clock went backwards meanwhile."""
        processor, wall = clock.processor(), clock.now()
        query()
        wall_ms, processor_ms = 1000 * (clock.now() - wall), 1000 * (clock.processor() - processor)
        if wall_ms <= 0:
            self.backwards += 1
            return 0.0
        self.wall_ms.append(wall_ms)
        self.processor_ms.append(max(processor_ms, 0.0))
        self.duration_s += wall_ms / 1000
        return wall_ms


def check_duration(duration_s: float) -> float:
    """Raises InputError for a duration without time in it."""
    if not (duration_s > 0 and np.isfinite(duration_s)):
        raise InputError("a duration above 0 s", f"{duration_s}", "pass --duration 2")
    return duration_s


def warm_up(query: Callable[[], Any], clock: Clock, *, duration_s: float) -> tuple[bool, float]:
    """Runs until the medians of two windows agree within SETTLED; (did they, milliseconds of the last window)."""
    window_s, before, spent_s = max(WARM_UP_S / 2, min(0.25, duration_s / 8)), 0.0, 0.0
    stuck = 0
    while True:
        window = Samples()
        while window.duration_s < window_s or not window.wall_ms:
            window.add(clock, query)
            stuck = stuck + 1 if not window.wall_ms else 0
            if stuck >= LEAST:
                raise InputError(
                    "a clock that goes on", "one that stands or goes backwards", "mend the machine's clock"
                )
        spent_s += window.duration_s
        median = float(np.median(window.wall_ms))
        if before and abs(median / before - 1) <= SETTLED and spent_s >= WARM_UP_S:
            return True, median
        if spent_s >= max(LONGEST_WARM_UP * duration_s, 2 * WARM_UP_S) and before:
            return False, median
        if median / 1000 >= duration_s:  # one query outlasts the whole budget: it has been run once, let it count
            return False, median
        before = median


def collect(query: Callable[[], Any], clock: Clock, *, duration_s: float) -> Samples:
    """Samples over `duration_s` after a warm-up; LEAST at any rate. Ctrl-C ends it early, keeping what is there.

    Raises InputError for a duration of 0, or when the clock gives no samples at all.
    """
    check_duration(duration_s)
    settled, _ = warm_up(query, clock, duration_s=duration_s)
    samples = Samples(settled=settled)
    try:
        while samples.duration_s < duration_s or len(samples.wall_ms) < LEAST:
            samples.add(clock, query)
            if samples.backwards > 100 + len(samples.wall_ms):
                raise InputError("a clock that goes on", "one that goes backwards", "mend the machine's clock")
    except KeyboardInterrupt:
        if not samples.wall_ms:
            raise
        samples.interrupted = True
    return samples
