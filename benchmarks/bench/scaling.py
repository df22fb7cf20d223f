"""How cost grows: with faces, frame size, streams, threads, batch. Curves of ScalingPoints, each with its knee.

The knee of a cost (ms, MiB) is the smallest x from which on it grows in proportion: doubling x then costs 2^0.8 = 1.74
times on average, while below it the fixed part still counts. The knee of a rate (faces/s), and of a cost that falls
(ms against threads), is the smallest x that reaches nine tenths of the best: more brings next to nothing. None: no such
x among those measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.bench.checks import SCALING
from benchmarks.bench.results import ScalingPoint
from benchmarks.bench.runner import told
from sdk.errors import InputError

__all__ = ["Curve", "curve", "knee", "knee_text"]

IN_PROPORTION = 0.8  # growth of log y for log x
NEARLY = 0.65  # that one step may fall to without ending it: times are noisy
ENOUGH = 0.9  # of the best rate


@dataclass(frozen=True)
class Curve:
    """Points in rising x, and why they end before all x were measured; None: they do not."""

    points: tuple[ScalingPoint, ...]
    ended: str | None = None


def curve(
    kind: str,  # one of checks.SCALING
    subject: str,  # Subject.id
    xs: Sequence[float],  # rising
    measure: Callable[[float], float | None],  # x -> y; None: x costs too much, and so will larger ones
    *,
    x_unit: str,
    y_unit: str,  # "faces/s" and other units ending in "/s" are rates, all others costs
) -> Curve:
    """Measures every x in turn; a failure (memory, an error of a library) ends the curve and keeps what is there.

    Raises InputError for an unknown kind or x that do not rise; KeyboardInterrupt passes through.
    """
    if kind not in SCALING or list(xs) != sorted(set(xs)):
        raise InputError(f"a kind among {', '.join(SCALING)} and rising x", f"{kind!r}, {list(xs)}", "correct the call")
    points: list[ScalingPoint] = []
    ended: str | None = None
    for x in xs:
        try:
            y = measure(x)
        except Exception as error:  # of whatever library; the points so far stand
            ended = f"at {x:g} {x_unit}: {told(error)}"
            break
        if y is not None and not math.isfinite(y):
            ended = f"at {x:g} {x_unit}: no number came out ({y})"
            break
        if y is None:
            ended = f"at {x:g} {x_unit}: one query would take too long"
            break
        points.append(ScalingPoint(kind, subject, float(x), float(y), x_unit, y_unit))
    found = knee([p.x for p in points], [p.y for p in points], rate=y_unit.endswith("/s"))
    return Curve(tuple(replace(point, knee=found) for point in points), ended)


def knee(xs: Sequence[float], ys: Sequence[float], *, rate: bool) -> float | None:
    """See the head of this file. x of 0 and values that are none (0, NaN) do not take part."""
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0 and math.isfinite(y)]
    if len(pairs) < 3:
        return None
    if _falls(pairs) and not rate:
        pairs, rate = [(x, 1 / y) for x, y in pairs], True
    if rate:
        best = max(y for _, y in pairs)
        found = next(x for x, y in pairs if y >= ENOUGH * best)
        return None if found == pairs[-1][0] else found  # still rising at the end
    for start in range(len(pairs) - 1):
        steps = [_growth(a, b) for a, b in zip(pairs[start:], pairs[start + 1 :], strict=False)]
        if min(steps) >= NEARLY and _growth(pairs[start], pairs[-1]) >= IN_PROPORTION:
            return pairs[start][0]
    return None


def knee_text(points: Sequence[ScalingPoint]) -> str:
    """ "faces: in proportion from 8 faces on"; one line for a curve. Raises InputError without points."""
    if not points:
        raise InputError("a curve with points", "none", "measure it first")
    one = points[0]
    rate = one.y_unit.endswith("/s") or _falls([(p.x, p.y) for p in points])
    if one.knee is None:
        return f"{one.kind}: {'more still helps at' if rate else 'no knee up to'} {_last(points)}"
    at = f"{one.knee:g} {one.x_unit}"
    return f"{one.kind}: more than {at} brings little" if rate else f"{one.kind}: in proportion from {at} on"


def _falls(pairs: Sequence[tuple[float, float]]) -> bool:
    """Is the last value clearly below the first?"""
    return pairs[-1][1] < ENOUGH * pairs[0][1]


def _last(points: Sequence[ScalingPoint]) -> str:
    return f"{points[-1].x:g} {points[-1].x_unit}"


def _growth(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Slope of log y over log x."""
    return math.log(second[1] / first[1]) / math.log(second[0] / first[0])
