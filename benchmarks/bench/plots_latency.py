"""Plots of what was measured: distribution and tail of latencies, throughput against batch, stages, cold start."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.bench import labels
from benchmarks.bench.labels import significant
from benchmarks.bench.plotting import (
    DASHES,
    SYMBOLS,
    Plot,
    axis,
    label,
    rounded,
    series_colour,
    stacked_label,
)
from benchmarks.bench.results import Measurement, Result, Subject

__all__ = ["Palette", "cold_start", "distribution", "per_batch", "stages", "tail", "trade"]

TAIL = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 0.9999}  # shares of the queries; max at its side
ROW = 30  # CSS pixels of a bar and the gap to the next
AROUND = 110  # CSS pixels of axis and legend


class Palette:
    """One look a subject on the whole page: colour by way and backend, line and mark by precision."""

    def __init__(self, result: Result) -> None:
        ordered = sorted(result.subjects, key=labels.importance)
        self.kinds = list(dict.fromkeys((one.way, one.backend) for one in ordered))
        self.precisions = list(dict.fromkeys(one.precision for one in result.subjects))
        self.names = labels.Names(result)

    def of(self, subject_id: str) -> tuple[int, int]:
        """(number of the colour, number of the line and mark)."""
        one: Subject = self.names.of[subject_id]
        return self.kinds.index((one.way, one.backend)), self.precisions.index(one.precision)

    def line(self, subject_id: str, *, width: float = 2) -> dict[str, Any]:
        colour, style = self.of(subject_id)
        return {"color": series_colour(colour), "dash": DASHES[style % len(DASHES)], "width": width}

    def marker(self, subject_id: str, *, size: float = 8) -> dict[str, Any]:
        colour, style = self.of(subject_id)
        return {"color": series_colour(colour), "symbol": SYMBOLS[style % len(SYMBOLS)], "size": size}

    def rank(self, subject_id: str) -> tuple[int, int, str]:
        return (*self.of(subject_id), subject_id)


def ordered(rows: Sequence[Measurement], palette: Palette) -> list[Measurement]:
    """Those that have numbers, our way first."""
    return sorted((one for one in rows if one.latency_ms), key=lambda one: (palette.rank(one.subject), one.batch))


def _edges(traces: Sequence[dict[str, Any]]) -> list[float | None]:
    return [value for trace in traces for value in trace["x"]]


def distribution(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """A step line a subject: the share of queries in each bin of the stored histogram. One scenario and batch."""
    traces = []
    for one in ordered(rows, palette):
        if one.histogram is None:
            continue
        colour, _ = palette.of(one.subject)
        shares = [100 * count / one.samples for count in one.histogram.counts]
        traces.append({
            "type": "scatter", "mode": "lines", "name": label(palette.names.short(one.subject)),
            "x": rounded(one.histogram.edges_ms), "y": rounded([*shares, shares[-1]]),
            "line": {**palette.line(one.subject, width=1.6), "shape": "hv"},
            "fill": "tozeroy", "fillcolor": series_colour(colour, soft=True),
            "hovertemplate": "%{x:.3~g} ms: %{y:.1f} % of queries",
        })  # fmt: skip
    if not traces:
        return None
    note = "Share of queries in each bin of the run's histogram. A narrow, single peak is a quiet run."
    layout = {
        "xaxis": axis("latency of a query, ms", log=_edges(traces)),
        "yaxis": axis("queries, %", rangemode="tozero"),
    }
    return Plot("Latency distribution", note, traces, layout)


def tail(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Latency at each percentile, the axis stretched towards the rare ones."""
    traces = []
    for one in ordered(rows, palette):
        assert one.latency_ms is not None
        values = [getattr(one.latency_ms, name.replace(".", "_")) for name in TAIL]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label(palette.names.short(one.subject)),
            "x": list(TAIL), "y": rounded(values), "line": palette.line(one.subject),
            "marker": palette.marker(one.subject, size=7), "hovertemplate": "%{x}: %{y:.3~g} ms",
        })  # fmt: skip
    if not traces:
        return None
    note = "What the slowest in two, ten, a hundred and a thousand queries take, and the slowest of all."
    values = [value for trace in traces for value in trace["y"]]
    layout = {"xaxis": axis("", type="category"), "yaxis": axis("latency of a query, ms", log=values)}
    return Plot("Tail", note, traces, layout)


def batches(rows: Sequence[Measurement], palette: Palette) -> dict[str, list[Measurement]]:
    """Subject -> its measurements at several batches, of one scenario or SingleStream at 1 and Offline above."""
    found: dict[str, dict[int, Measurement]] = defaultdict(dict)
    for one in ordered(rows, palette):
        offline = one.scenario == "Offline"
        if one.faces_per_s and (offline or (one.scenario == "SingleStream" and one.batch not in found[one.subject])):
            found[one.subject][one.batch] = one
    return {name: [of[batch] for batch in sorted(of)] for name, of in found.items() if len(of) > 1}


def per_batch(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Faces a second against faces a query."""
    curves = batches(rows, palette)
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": label(palette.names.short(subject)),
            "x": [one.batch for one in points], "y": rounded([one.faces_per_s or 0.0 for one in points]),
            "line": palette.line(subject), "marker": palette.marker(subject),
            "hovertemplate": "batch %{x}: %{y:.3~s} faces/s",
        }
        for subject, points in curves.items()
    ]  # fmt: skip
    if not traces:
        return None
    sizes = sorted({one.batch for points in curves.values() for one in points})
    x = axis("faces a query", log=sizes, tickvals=sizes, ticktext=list(map(str, sizes)))
    layout = {"xaxis": x, "yaxis": axis("faces a second", rangemode="tozero")}
    return Plot("Throughput and batch", "Where a curve is flat, larger batches only add waiting.", traces, layout)


def trade(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Faces a second against the 99th percentile, a point a batch."""
    traces = []
    for subject, points in batches(rows, palette).items():
        traces.append({
            "type": "scatter", "mode": "lines+markers+text", "name": label(palette.names.short(subject)),
            "x": rounded([one.latency_ms.p99 for one in points if one.latency_ms]),
            "y": rounded([one.faces_per_s or 0.0 for one in points]),
            "text": [f"×{one.batch}" for one in points], "textposition": "top center", "textfont": {"size": 11},
            "line": palette.line(subject), "marker": palette.marker(subject), "cliponaxis": False,
            "hovertemplate": "batch %{text}: %{y:.3~s} faces/s, p99 %{x:.3~g} ms",
        })  # fmt: skip
    if not traces:
        return None
    layout = {
        "xaxis": axis("p99 of a query, ms", log=_edges(traces)),
        "yaxis": axis("faces a second", rangemode="tozero"),
    }
    note = "Take the highest point left of the latency that you can afford; ×8 is a batch of eight faces."
    return Plot("Throughput and latency", note, traces, layout)


def stages(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Stacked bars: the median of each stage, per face."""
    chosen = [one for one in ordered(rows, palette) if one.stages_ms][::-1]
    names = list(dict.fromkeys(name for one in chosen for name in one.stages_ms or {}))
    if not names:
        return None
    where = [stacked_label(f"{palette.names.short(one.subject)}, ×{one.batch}") for one in chosen]
    traces = [
        {
            "type": "bar", "orientation": "h", "name": label(name.replace("_", " ")), "y": list(range(len(chosen))),
            "x": rounded([(one.stages_ms or {}).get(name, 0.0) / max(1, one.batch) for one in chosen]),
            "marker": {"color": series_colour(i)}, "hovertemplate": "%{x:.3~g} ms a face",
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    y = axis("", tickvals=list(range(len(chosen))), ticktext=where, showgrid=False)
    layout = {"meta": "rows", "barmode": "stack", "xaxis": axis("median, ms a face", rangemode="tozero"), "yaxis": y}
    note = "Medians of the stages of one query, divided by its faces; ×8 is a batch of eight."
    return Plot("Milliseconds a face, stage by stage", note, traces, layout, height=AROUND + ROW * len(chosen) + 30)


def cold_start(result: Result, palette: Palette) -> Plot | None:
    """Stacked bars: what passes before the first answer, once a process."""
    steps = {"import_ms": "import", "load_ms": "load", "context_ms": "context", "first_run_ms": "first run",
             "capture_ms": "graph capture"}  # fmt: skip
    chosen = sorted(result.cold, key=lambda one: palette.rank(one.subject))[::-1]
    if not chosen:
        return None
    names = palette.names
    where = [stacked_label(f"{names.model(one.subject)}: {names.short(one.subject)}") for one in chosen]
    traces = [
        {
            "type": "bar", "orientation": "h", "name": told, "y": list(range(len(chosen))),
            "x": rounded([getattr(one, key) or 0.0 for one in chosen]), "marker": {"color": series_colour(i)},
            "hovertemplate": "%{x:.3~g} ms",
        }
        for i, (key, told) in enumerate(steps.items())
        if any(getattr(one, key) for one in chosen)
    ]  # fmt: skip
    y = axis("", tickvals=list(range(len(chosen))), ticktext=where, showgrid=False)
    layout = {"meta": "rows", "barmode": "stack", "xaxis": axis("ms, once a process", rangemode="tozero"), "yaxis": y}
    slowest = max(sum(getattr(one, key) or 0.0 for key in steps) for one in chosen)
    note = f"From the start of a fresh process to the first answer; at most {significant(slowest)} ms."
    return Plot("Cold start", note, traces, layout, height=AROUND + (ROW + 14) * len(chosen))
