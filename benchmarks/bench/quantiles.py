"""From samples to numbers: percentiles, histogram, windows, and the interval of a ratio of medians.

The interval is a percentile bootstrap (Efron 1979) over rounds, not over single queries: neighbours in time are alike,
so drawing queries would make it too narrow. A round holds a block of each subject, and a round's blocks are drawn
together, so that what disturbs a whole round cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.bench.results import Histogram, Latency
from benchmarks.bench.sampling import WINDOWS
from sdk.errors import InputError

F64 = npt.NDArray[np.float64]

BINS = 48
CONFIDENCE = 0.95
DRAWS = 4000
SEED = 20240601  # of the draws: the same samples give the same interval


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


def latency(wall_ms: Sequence[float]) -> Latency:
    """Percentiles by linear interpolation. Raises InputError without samples."""
    if not len(wall_ms):
        raise InputError("samples", "none", "give a longer --duration")
    p50, p90, p99, p99_9 = (float(p) for p in np.percentile(wall_ms, [50, 90, 99, 99.9]))
    return Latency(mean=float(np.mean(wall_ms)), p50=p50, p90=p90, p99=p99, p99_9=p99_9, max=float(np.max(wall_ms)))


def histogram(wall_ms: Sequence[float]) -> Histogram:
    """Counts in bins whose edges rise by a constant factor, from the least to the greatest sample."""
    low, high = float(np.min(wall_ms)), float(np.max(wall_ms))
    edges = np.geomspace(low * (1 - 1e-9), max(high, low * 1.001) * (1 + 1e-9), BINS + 1)
    counts, _ = np.histogram(wall_ms, edges)
    return Histogram(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))


def windows_p50_ms(wall_ms: Sequence[float]) -> tuple[float, ...]:
    """Medians of up to WINDOWS stretches of equal length, in order."""
    parts = np.array_split(np.asarray(wall_ms), min(WINDOWS, len(wall_ms)))
    return tuple(float(np.median(part)) for part in parts)


def ratio_of(
    slow_ms: F64,  # [R] medians of the blocks, a row a round
    fast_ms: F64,  # [R]
) -> Interval:
    """Ratio of the medians over rounds, with its bootstrap interval. Raises InputError for less than 2 rounds."""
    slow, fast = _drawn(slow_ms, fast_ms)
    return _interval(float(np.median(slow_ms) / np.median(fast_ms)), np.median(slow, 1) / np.median(fast, 1))


def difference_of(
    slow_ms: F64,  # [R]
    fast_ms: F64,  # [R]
) -> Interval:
    """Median over rounds of the difference within a round, in ms, with its bootstrap interval."""
    slow, fast = _drawn(slow_ms, fast_ms)
    return _interval(float(np.median(slow_ms - fast_ms)), np.median(slow - fast, 1))


def _drawn(slow_ms: F64, fast_ms: F64) -> tuple[F64, F64]:
    """Rounds drawn with replacement: both [DRAWS, R]."""
    rounds = len(slow_ms)
    if rounds != len(fast_ms) or rounds < 2:
        raise InputError("2 rounds or more", f"{rounds} and {len(fast_ms)}", "give a longer --duration")
    index = np.random.default_rng(SEED).integers(0, rounds, (DRAWS, rounds))
    return slow_ms[index], fast_ms[index]


def _interval(value: float, draws: F64) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(value, min(float(low), value), max(float(high), value))


def spread_of(control: Interval) -> float:
    """How far a subject seems to be from itself: the larger side of the A/A interval, as a fraction."""
    return max(abs(control.low - 1), abs(control.high - 1))


def verdict(ratio: Interval, control_spread: float) -> str:
    """About the subject below the line: "faster" only beyond the A/A spread and with an interval clear of 1."""
    if abs(ratio.value - 1) <= control_spread or ratio.low <= 1 <= ratio.high:
        return "no difference"
    return "faster" if ratio.value > 1 else "slower"
