"""Two results of trt-bench: what became slower or faster beyond noise, for people and for CI.

A point (subject, scenario, batch, faces, frame, threads) is judged by the medians of the windows that both files store:
Welch's t interval (Welch 1947) of the difference of their mean logarithms, made wider for the number of points judged
(Bonferroni), so that one comparison of equal runs raises a false alarm in 5 % of cases at most. Windows cannot see what
differs between two processes; the threshold and the A/A spread of the runs stand for that: a change below either is
none. Ratios measured by turns inside one run do not suffer from a machine that was busier; they are judged too.
Rivals are judged and shown, but that one of them became slower is no regression of ours.
"""

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from benchmarks.bench import labels
from benchmarks.bench.labels import ABSENT, OWN_WAY, point, printable, significant
from benchmarks.bench.results import Measurement, Ratio, Result, load
from benchmarks.bench.text_columns import Column, laid_out, painter
from sdk.errors import FaceTRTError, InputError

__all__ = ["Change", "Comparison", "command", "compare", "to_text"]

THRESHOLD = 0.05  # of the time; smaller changes are none
RISK = 0.05  # that any of the points of two equal runs is called slower or faster
ANGLES = 20001  # of the sum that gives Student's t; four digits in the far tail
PROBE_MOVED = 0.1  # of a rate that the machine reached; beyond, the machine was another or busy
OWN_WAYS = (OWN_WAY, "bare")  # the other ways are rivals and controls
FEW_RIVALS = 3
LEAST_WINDOWS = 4  # fewer say nothing about their own scatter
NOT_BY_WINDOWS = {"Server"}  # its latencies belong to the rate that was tried
SAME, WORSE, BETTER, UNJUDGED = "same", "slower", "faster", "not judged"


@dataclass(frozen=True)
class Change:
    """One point of both files; `ratio` is new over old time, or new over old ratio for a ratio."""

    what: str
    old: float  # milliseconds, or the ratio
    new: float
    ratio: float
    low: float | None  # of the interval; None: not judged
    high: float | None
    verdict: str
    note: str = ""
    ours: bool = True  # False: a rival's


@dataclass(frozen=True)
class Comparison:
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> list[Change]:
        """What makes a regression."""
        return [change for change in self.changes if change.verdict == WORSE and change.ours]

    @property
    def exit_code(self) -> int:
        return 1 if self.worse else 0


def compare(old: Result, new: Result, *, threshold: float = THRESHOLD, across: bool = False) -> Comparison:
    """Judges every point that both have. `threshold`: a fraction of the time; `across`: allow different machines.

    Raises InputError when there is nothing to judge, for another machine and for a threshold that is none.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise InputError("a threshold of 0 or more", str(threshold), "give a fraction of the time, such as 0.05")
    if not across:
        _same_machine(old, new)
    before, after = ({point(m): m for m in result.measurements} for result in (old, new))
    shared = [key for key in before if key in after and before[key].latency_ms is not None]
    ratios = _shared_ratios(old, new)
    judged = [key for key in shared if _windows(before[key], after[key])]
    lost = [key for key in shared if after[key].latency_ms is None]
    if not judged and not ratios and not lost:
        raise InputError(
            "measurements of the same subjects, scenarios and batches in both files, in windows enough to judge",
            f"{len(before)} in the old file, {len(after)} in the new one, {len(shared)} in both, none to judge",
            "compare files of the same trt-bench command with a longer --duration",
        )
    confidence = 1 - RISK / max(1, len(judged) + len(ratios))
    least = max(threshold, _spread(old), _spread(new))
    names = labels.Names(old)
    changes = [_change(names, before[key], after[key], confidence=confidence, least=least) for key in shared]
    changes += [_ratio_change(*pair, names, confidence=confidence, least=least) for pair in ratios]
    order = {WORSE: 0, BETTER: 1, UNJUDGED: 2, SAME: 3}
    changes.sort(key=lambda change: (order[change.verdict], not change.ours))
    notes = [*_notes(old, new), *_rivals_moved(changes, least)]
    for first, second, which in ((before, after, "old"), (after, before, "new")):
        if alone := len(first.keys() - second.keys()):
            notes.append(f"{alone} points of the {which} file alone.")
    return Comparison(tuple(changes), tuple(notes))


def _same_machine(old: Result, new: Result) -> None:
    for what in ("cpu", "cores", "gpu"):
        first, second = (_identity(result)[what] for result in (old, new))
        if first != second:
            remedy = "measure both on one machine, or give --across to compare machines"
            raise InputError(f"the same {what} in both files", f"{first} and {second}", remedy)


def _identity(result: Result) -> dict[str, str]:
    machine, gpu = result.conditions.machine, result.conditions.gpu
    return {"cpu": machine.cpu, "cores": str(machine.cores), "gpu": gpu.name if gpu else "none"}


def _windows(old: Measurement, new: Measurement) -> bool:
    enough = min(len(old.windows_p50_ms), len(new.windows_p50_ms)) >= LEAST_WINDOWS
    positive = all(value > 0 for value in (*old.windows_p50_ms, *new.windows_p50_ms))
    return enough and positive and old.scenario not in NOT_BY_WINDOWS and new.latency_ms is not None


def _spread(result: Result) -> float:
    """Half of the run's A/A spreads are below this."""
    spreads = [ratio.control_spread for ratio in result.ratios]
    return float(np.median(spreads)) if spreads else 0.0


def _change(names: labels.Names, old: Measurement, new: Measurement, *, confidence: float, least: float) -> Change:
    where = f"{names.model(old.subject)}: {names.short(old.subject)}, {old.scenario}, batch {old.batch}"
    if old.faces != old.batch:
        where += f", {old.faces} faces a frame"
    note = ", ".join(dict.fromkeys((*old.flags, *new.flags)))
    ours = names.of[old.subject].way in OWN_WAYS
    assert old.latency_ms is not None, where
    if new.latency_ms is None:
        return Change(where, old.latency_ms.p50, math.nan, math.nan, None, None, WORSE, f"failed: {new.error}", ours)
    times = old.latency_ms.p50, new.latency_ms.p50
    if not _windows(old, new):
        told = _server(old, new) or "too few windows"
        return Change(where, *times, times[1] / times[0], None, None, UNJUDGED, told, ours)
    ratio, low, high = welch(old.windows_p50_ms, new.windows_p50_ms, confidence=confidence)
    return Change(where, *times, ratio, low, high, _verdict(ratio, low, high, least), note, ours)


def _server(old: Measurement, new: Measurement) -> str:
    if old.server is None or new.server is None:
        return ""
    rates = [labels.grouped(server.rate_per_s) for server in (old.server, new.server)]
    return f"queries/s held: {rates[0]} before, {rates[1]} now"


def _verdict(ratio: float, low: float, high: float, least: float) -> str:
    """Beyond noise and large enough; the smallest change that counts is the same factor up and down."""
    if low > 1 and ratio > 1 + least:
        return WORSE
    if high < 1 and ratio < 1 / (1 + least):
        return BETTER
    return SAME


def welch(old: Sequence[float], new: Sequence[float], *, confidence: float) -> tuple[float, float, float]:
    """Ratio new/old of geometric means of positive values, and its interval: (ratio, low, high)."""
    logs = [np.log(np.asarray(values, dtype=np.float64)) for values in (old, new)]
    middle = float(logs[1].mean() - logs[0].mean())
    parts = [float(one.var(ddof=1)) / len(one) for one in logs]
    total = sum(parts)
    if total <= 0:
        return math.exp(middle), math.exp(middle), math.exp(middle)
    freedom = total**2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, logs, strict=True))
    half = t_quantile(0.5 + confidence / 2, freedom) * math.sqrt(total)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def t_quantile(probability: float, freedom: float) -> float:
    """Of Student's t, for 1 degree of freedom or more: with t = sqrt(freedom) tan(angle) its density is a cosine's."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, ANGLES)
    density = np.cos(angle) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(freedom) * np.tan(np.interp(probability, below / below[-1], angle)))


def _shared_ratios(old: Result, new: Result) -> list[tuple[Ratio, Ratio]]:
    """Ratios of the same two subjects in both files, where one of the two is ours and the other a rival."""
    subjects = {subject.id: subject for subject in old.subjects}
    keys = {(r.fast, r.slow, r.scenario, r.batch): r for r in old.ratios}
    pairs = [(keys[key], r) for r in new.ratios if (key := (r.fast, r.slow, r.scenario, r.batch)) in keys]
    ours = [(subjects[first.fast].way == OWN_WAY, subjects[first.slow].way == OWN_WAY) for first, _ in pairs]
    return [pair for pair, (fast, slow) in zip(pairs, ours, strict=True) if fast != slow]


def _ratio_change(old: Ratio, new: Ratio, names: labels.Names, *, confidence: float, least: float) -> Change:
    """A ratio against a rival of the same run: what the rival's own speed does cancels."""
    ours_is_fast = names.of[old.fast].way == OWN_WAY
    sign = -1 if ours_is_fast else 1  # a smaller ratio is a loss where ours is the fast one
    middle = sign * math.log(new.ratio / old.ratio)
    errors = [math.log(r.high / r.low) / 2 / NormalDist().inv_cdf(0.5 + r.confidence / 2) for r in (old, new)]
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.hypot(*errors)
    change = [math.exp(value) for value in (middle, middle - half, middle + half)]
    what = f"{names.model(old.fast)}: {names.short(old.slow)} over {names.short(old.fast)}"
    where = f"{what}, {old.scenario}, batch {old.batch}"
    return Change(where, old.ratio, new.ratio, *change, _verdict(*change, least), "ratio within a run")


def _rivals_moved(changes: Sequence[Change], least: float) -> Iterator[str]:
    """Programs that nobody changed show what the machine did."""
    moved = [change.ratio for change in changes if not change.ours and change.low is not None]
    if len(moved) >= FEW_RIVALS and abs(math.log(np.median(moved))) > math.log(1 + least):
        middle = labels.times(float(np.median(moved)))
        yield f"The rivals' time is {middle} that of the old run: the machine, rather than our code, may have changed."


def _notes(old: Result, new: Result) -> Iterator[str]:
    for result, which in ((old, "old"), (new, "new")):
        if not result.complete:
            yield f"The {which} run was interrupted."
        yield from (f"The {which} run: {labels.disturbance(text)}" for text in result.conditions.disturbances)
    libraries = [result.conditions.libraries for result in (old, new)]
    for name in sorted(libraries[0].keys() & libraries[1].keys()):
        if libraries[0][name] != libraries[1][name]:
            yield f"{name}: {libraries[0][name]} before, {libraries[1][name]} now."
    rates = [result.conditions.probe for result in (old, new)]
    for name in sorted(rates[0].keys() & rates[1].keys()):
        first, second = rates[0][name], rates[1][name]
        if first and second and abs(second / first - 1) > PROBE_MOVED:
            told = f"{labels.significant(first)} before, {labels.significant(second)} now"
            yield f"The machine itself differs: {name} was {told}."


def to_text(comparison: Comparison, *, width: int | None = None, colour: bool = False) -> str:
    """A line a point, what changed first, then what else differs and the verdict."""
    wide, paint = width or shutil.get_terminal_size((120, 24)).columns, painter(colour)
    rows = comparison.changes
    columns = [
        Column("point", [printable(row.what) for row in rows], longest=72),
        Column("before", [significant(row.old) for row in rows], 8),
        Column("now", [significant(row.new) for row in rows], 8),
        Column("time", [ABSENT if math.isnan(row.ratio) else labels.times(row.ratio) for row in rows]),
        Column("interval", [_interval(row) for row in rows], 7),
        Column("verdict", [row.verdict for row in rows]),
        Column("note", [printable(row.note) for row in rows], 5, 40),
    ]
    kinds = {WORSE: "bad", BETTER: "good", SAME: "quiet", UNJUDGED: "quiet"}
    table = laid_out(columns, wide, paint, kinds=[kinds[row.verdict] for row in rows])
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (WORSE, BETTER, SAME, UNJUDGED)}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    verdict = f"Regression: {told}." if comparison.worse else f"No regression: {told}."
    return "\n".join([table, "", *map(printable, comparison.notes), verdict]) + "\n"


def _interval(row: Change) -> str:
    if row.low is None or row.high is None:
        return ABSENT
    return f"{labels.times(row.low)[:-1]} to {labels.times(row.high)[:-1]}"


def command(old: Path, new: Path, *, threshold: float = THRESHOLD, across: bool = False) -> int:
    """`trt-bench compare OLD NEW`: prints; 0 for the same or better, 1 for a regression, 2 for wrong input."""
    try:
        comparison = compare(load(old), load(new), threshold=threshold, across=across)
    except FaceTRTError as error:
        sys.stderr.write(f"trt-bench compare: {error}\n")
        return 2
    sys.stdout.write(to_text(comparison, colour=sys.stdout.isatty()))
    return comparison.exit_code
