"""A result of trt-bench as text for a terminal: what was measured, the ratios, the knees, what is missing.

Tables fit the width: columns that tell least go first when it is narrow. Names are shortened in their middle.
"""

import shutil
import textwrap
from collections.abc import Sequence

from benchmarks.bench import labels
from benchmarks.bench.labels import grouped, percent, printable, shortened, significant
from benchmarks.bench.results import Measurement, Result
from benchmarks.bench.text_columns import GAP, Column, Paint, laid_out, painter

__all__ = ["table"]

NARROWEST = 40  # characters; on a narrower terminal lines wrap
VERDICT = {"faster": "good", "slower": "bad", "no difference": "quiet"}


def table(result: Result, *, width: int | None = None, colour: bool = False) -> str:
    """The report. `width` in characters (default: the terminal's); `colour`: with ANSI codes."""
    wide = max(NARROWEST, width or shutil.get_terminal_size((120, 24)).columns)

    paint = painter(colour)
    blocks = [*_measured(result, wide, paint), _ratios(result, wide, paint), _predicted(result, wide, paint)]
    text = "\n\n".join(block for block in (*blocks, _notes(result, wide, paint)) if block)
    return (text or "Nothing was measured.") + "\n"


def _measured(result: Result, wide: int, paint: Paint) -> list[str]:
    """One table a model, our way first."""
    names, blocks = labels.Names(result), []
    for model in result.models:
        rows = [one for one in result.measurements if names.model(one.subject) == model.name]
        rows.sort(key=lambda one: (labels.importance(names.of[one.subject]), one.subject))
        if rows:
            table = laid_out(_columns(result, names, rows), wide, paint, kinds=[_kind(one) for one in rows])
            blocks.append(f"{paint('head', shortened(printable(model.name), wide))}\n{table}")
    return blocks


def _kind(one: Measurement) -> str:
    return "bad" if one.error else ""


def _columns(result: Result, names: labels.Names, rows: Sequence[Measurement]) -> list[Column]:
    times = [one.latency_ms for one in rows]
    share = [labels.share_of_limit(result, one) for one in rows]
    rate = [one.server.rate_per_s if one.server else None for one in rows]
    told = [printable(one.error or labels.brief(one.flags)) for one in rows]
    return [
        Column("subject", [printable(names.short(one.subject)) for one in rows]),
        Column("scenario", [one.scenario for one in rows]),
        Column("batch", [str(one.batch) for one in rows]),
        Column("p50 ms", [significant(t.p50 if t else None) for t in times]),
        Column("p90 ms", [significant(t.p90 if t else None) for t in times], 3),
        Column("p99 ms", [significant(t.p99 if t else None) for t in times], 8),
        Column("p99.9 ms", [significant(t.p99_9 if t else None) for t in times], 1),
        Column("max ms", [significant(t.max if t else None) for t in times], 0),
        Column("faces/s", [grouped(one.faces_per_s) for one in rows], 7),
        Column("queries/s held", [grouped(value) for value in rate], 5),
        Column("of limit", [percent(value) for value in share], 6),
        Column("MiB", [labels.mebibytes(one.memory_mib) for one in rows], 4),
        Column("J/face", [significant(one.joule_per_face) for one in rows], 5),
        Column("samples", [str(one.samples) for one in rows], 2),
        Column("note", told, 6, 28),
    ]


def _ratios(result: Result, wide: int, paint: Paint) -> str:
    rows = result.ratios
    if not rows:
        return ""
    columns = [
        Column("ratio of times", [printable(one.name) for one in rows]),
        Column("batch", [str(one.batch) for one in rows], 6),
        Column("times", [labels.times(one.ratio) for one in rows]),
        Column(f"{percent(rows[0].confidence)} interval", [labels.interval(one) for one in rows], 7),
        Column("A/A spread", [f"± {percent(one.control_spread)}" for one in rows], 3),
        Column("processor", [labels.processor_times(one) for one in rows], 4),
        Column("added", [labels.added(one) for one in rows], 2),
        Column("verdict", [one.verdict for one in rows], 8),
        Column("target", [labels.target(one) for one in rows], 5),
    ]
    kinds = ["bad" if one.met is False else VERDICT[one.verdict] for one in rows]
    return laid_out(columns, wide, paint, kinds=kinds)


def _predicted(result: Result, wide: int, paint: Paint) -> str:
    rows = result.predictions
    if not rows:
        return ""
    columns = [
        Column("device", [printable(one.device) for one in rows]),
        Column("model", [printable(one.model) for one in rows], longest=24),
        Column("precision", [printable(one.precision) for one in rows], longest=12),
        Column("batch", [str(one.batch) for one in rows], 7),
        Column("ms", [significant(one.ms) for one in rows]),
        Column("between", [f"{significant(one.low_ms)} to {significant(one.high_ms)}" for one in rows], 8),
        Column("faces/s", [grouped(1e3 * one.batch / one.ms) for one in rows], 5),
    ]
    return f"{paint('head', 'Predicted, not measured')}\n{laid_out(columns, wide, paint)}"


def knees(result: Result) -> list[str]:
    """A sentence a scaling curve that has a knee."""
    names = labels.Names(result)
    found = {(p.kind, p.subject): p for p in result.scaling if p.knee is not None}
    return [
        f"{names.model(p.subject)}, {names.short(p.subject)}: {p.y_unit} over {p.x_unit} bends at {significant(p.knee)}"
        for p in found.values()
    ]


def _notes(result: Result, wide: int, paint: Paint) -> str:
    names = labels.Names(result)
    notes = [
        ("bad", f"Failed: {names.model(m.subject)}, {names.short(m.subject)}, {m.scenario}, batch {m.batch}: {m.error}")
        for m in result.measurements
        if m.error
    ]
    notes += [("quiet", line) for line in knees(result)]
    notes += [("quiet", f"Not measured: {one.what}: {one.reason}") for one in result.missing]
    notes += [("bad", labels.disturbance(text)) for text in result.conditions.disturbances]
    if not result.complete:
        notes.append(("bad", "Incomplete: the run was interrupted."))
    lines = [(kind, textwrap.wrap(printable(text), wide, subsequent_indent=GAP)) for kind, text in notes]
    return "\n".join(paint(kind, line) for kind, wrapped in lines for line in wrapped)
