"""Two subjects by turns in one process, with one of them a second time as its own control (A B A').

A round times a block of each, in an order that changes from round to round; before a block the machine rests a moment,
so that threads of the library before (they spin for work) have gone to sleep, and two queries are thrown away.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.bench.quantiles import CONFIDENCE, difference_of, ratio_of, spread_of, verdict
from benchmarks.bench.results import Ratio, Target
from benchmarks.bench.sampling import Clock, Samples, check_duration
from sdk.errors import InputError

REST_S = 0.008  # onnxruntime's and OpenMP's threads spin for about a millisecond
ORDERS = ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1))  # A, B, A'
LEAST_ROUNDS, MOST_ROUNDS = 12, 60
FEWEST_ROUNDS, PATIENCE = 5, 3.0  # rounds, however slow; times the duration
BLOCK_S = 0.03  # of one subject
Query = Callable[[], Any]


@dataclass(frozen=True)
class Pair:
    """What is compared: `slow` over `fast`, whose second copy is the control."""

    name: str
    fast: str  # Subject.id
    slow: str
    scenario: str
    batch: int
    target: Target | None = None


@dataclass(frozen=True)
class Rounds:
    """What compare() measured, before it is made into numbers."""

    wall_ms: npt.NDArray[np.float64]  # [R, 3] medians of the blocks of fast, slow, control
    processor_ms: npt.NDArray[np.float64]  # [R, 3] processor time of a query, mean of the block
    samples: int


def by_turns(fast: Query, slow: Query, *, clock: Clock, duration_s: float, control: Query | None = None) -> Rounds:
    """Blocks of both, and of the control (another query of the fast subject, else the same one), in rounds.

    Raises InputError for a duration of 0; KeyboardInterrupt passes through.
    """
    check_duration(duration_s)
    queries = (fast, slow, control or fast)
    counts = [_count(query, clock) for query in queries]
    counts[2] = counts[0] = min(counts[0], counts[2])
    spent_s, wall, processor, samples = 0.0, list[list[float]](), list[list[float]](), 0
    while len(wall) < LEAST_ROUNDS or (spent_s < duration_s and len(wall) < MOST_ROUNDS):
        walls, processors = [0.0] * 3, [0.0] * 3
        for which in ORDERS[len(wall) % len(ORDERS)]:
            block = _block(queries[which], counts[which], clock)
            walls[which] = float(np.median(block.wall_ms))
            processors[which] = float(np.mean(block.processor_ms))
            spent_s += block.duration_s
            samples += len(block.wall_ms)
        wall.append(walls)
        processor.append(processors)
        if len(wall) >= FEWEST_ROUNDS and spent_s > PATIENCE * duration_s:  # a wider interval, but an end
            break
    return Rounds(np.array(wall), np.array(processor), samples)


def result_of(pair: Pair, rounds: Rounds) -> Ratio:
    """The numbers of the rounds."""
    fast, slow, control = rounds.wall_ms.T
    ratio, difference = ratio_of(slow, fast), difference_of(slow, fast)
    spread = spread_of(ratio_of(control, fast))
    processor = np.median(rounds.processor_ms, axis=0)
    return Ratio(
        name=pair.name,
        fast=pair.fast,
        slow=pair.slow,
        scenario=pair.scenario,
        batch=pair.batch,
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        confidence=CONFIDENCE,
        control_spread=spread,
        verdict=verdict(ratio, spread),
        samples=rounds.samples,
        difference_ms=difference.value,
        difference_low_ms=difference.low,
        difference_high_ms=difference.high,
        processor_ratio=float(processor[1] / processor[0]) if processor[0] > 0 else None,
        target=pair.target,
        met=kept(pair.target, ratio.value, difference.value),
    )


def kept(target: Target | None, ratio: float, difference_ms: float) -> bool | None:
    """Does a ratio keep its target? None without a target."""
    if target is None:
        return None
    value = ratio if target.of == "ratio" else difference_ms
    return value <= target.value if target.at == "most" else value >= target.value


def control_of(pair: Pair, rounds: Rounds) -> Ratio:
    """The A/A line of the same rounds: the fast subject's second copy (`pair.slow`) over the first."""
    order = [0, 2, 0]
    control = result_of(pair, Rounds(rounds.wall_ms[:, order], rounds.processor_ms[:, order], rounds.samples))
    offset = max(control.ratio, 1 / control.ratio)
    return replace(
        control,
        control_spread=max(abs(control.low - 1), abs(control.high - 1)),
        verdict="no difference",
        met=kept(pair.target, offset, 0.0),
    )


def _count(query: Query, clock: Clock) -> int:
    """Queries a block: BLOCK_S of them, from 1 to 200."""
    trial = Samples()
    for _ in range(3):
        if trial.add(clock, query) / 1000 >= BLOCK_S:
            break
    typical_s = float(np.median(trial.wall_ms)) / 1000 if trial.wall_ms else BLOCK_S
    return int(np.clip(round(BLOCK_S / typical_s), 1, 200))


def _block(query: Query, count: int, clock: Clock) -> Samples:
    clock.sleep(REST_S)
    for _ in range(min(2, count - 1)):
        query()
    block = Samples()
    for _ in range(100 * count):
        block.add(clock, query)
        if len(block.wall_ms) >= count:
            return block
    raise InputError("a clock that goes on", "one that stands or goes backwards", "mend the machine's clock")
