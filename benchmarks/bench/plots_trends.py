"""Plots along something: faces, frame size, streams, threads, arrival rate, time within a run, runs over the months."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchmarks.bench.labels import printable, significant
from benchmarks.bench.plots_latency import Palette, ordered
from benchmarks.bench.plotting import Plot, axis, label, rounded, series_colour
from benchmarks.bench.results import Measurement, Result, ScalingPoint

__all__ = ["history", "scaling", "sensors", "server"]

TITLES = {
    "faces": "Cost against faces in the frame",
    "frame": "Cost against the frame's size",
    "streams": "Cost against streams",
    "threads": "Cost against threads",
    "batch-memory": "Memory against batch",
    "batch-throughput": "Throughput against batch",
}
MOST_SAMPLES = 500  # of a sensor; a plot has no more pixels
MOST_SENSORS = 8
METERS = {"j", "s"}
SENSOR_NAMES = {
    "sm_mhz": "SM clock",
    "memory_mhz": "Memory clock",
    "gpu_w": "GPU power",
    "board_w": "Power of the board",
    "cpu_j": "Power of the processor",
    "gpu_j": "GPU power, from its meter of energy",
    "gpu_c": "GPU temperature",
    "gpu_used_mib": "GPU memory in use",
    "own_s": "Processors that this program used",
    "busy_s": "Processors in use by all programs",
    "steal_s": "Processors that the host took away",
}
SENSOR_UNITS = {"w": "W", "j": "W", "s": "processors", "mhz": "MHz", "c": "°C", "mib": "MiB", "percent": "%"}


def scaling(points: Sequence[ScalingPoint], palette: Palette, *, several_models: bool) -> list[Plot]:
    """A plot a kind; the knee of each curve is a vertical line."""
    kinds: dict[tuple[str, str, str], dict[str, list[ScalingPoint]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        kinds[point.kind, point.x_unit, point.y_unit][point.subject].append(point)
    return [_curve(kind, curves, palette, several_models=several_models) for kind, curves in kinds.items()]


def _curve(
    kind: tuple[str, str, str], curves: dict[str, list[ScalingPoint]], palette: Palette, *, several_models: bool
) -> Plot:
    names, traces, shapes, told = palette.names, [], [], []
    for i, (subject, points) in enumerate(sorted(curves.items(), key=lambda item: palette.rank(item[0]))):
        points = sorted(points, key=lambda point: point.x)
        name = names.short(subject)
        name = f"{names.model(subject)}, {name}" if several_models else name
        look = {**palette.line(subject), "color": series_colour(i)}
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label(name),
            "x": rounded([p.x for p in points]), "y": rounded([p.y for p in points]),
            "line": look, "marker": {"color": series_colour(i), "size": 7},
            "hovertemplate": "%{x}: %{y:.3~g}",
        })  # fmt: skip
        if points[0].knee is not None:
            line = {"color": series_colour(i), "width": 1, "dash": "dot"}
            at = {"x0": points[0].knee, "x1": points[0].knee, "yref": "paper", "y0": 0, "y1": 1}
            shapes.append({"type": "line", **at, "line": line})
            told.append(f"{name}: {significant(points[0].knee)}")
    layout = {"xaxis": axis(kind[1]), "yaxis": axis(kind[2], rangemode="tozero"), "shapes": shapes}
    note = f"The knee (dotted): {'; '.join(told)}." if told else "No knee within the range."
    return Plot(TITLES.get(kind[0], kind[0]), printable(note), traces, layout)


def server(rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """The 99th percentile at each arrival rate that was tried."""
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for one in (row for row in ordered(rows, palette) if row.server and row.server.tried):
        assert one.server is not None
        tried = sorted(one.server.tried, key=lambda this: this.rate_per_s)
        symbol = ["circle" if this.held else "x" for this in tried]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label(palette.names.short(one.subject)),
            "x": rounded([this.rate_per_s for this in tried]), "y": rounded([this.p99_ms for this in tried]),
            "line": palette.line(one.subject), "text": ["held" if this.held else "not held" for this in tried],
            "marker": {**palette.marker(one.subject), "symbol": symbol, "size": 9},
            "hovertemplate": "%{x:.3~g} queries/s: p99 %{y:.3~g} ms, %{text}",
        })  # fmt: skip
        line = {**palette.line(one.subject, width=1), "dash": "dot"}
        y = one.server.target_ms
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line})
    if not traces:
        return None
    values = [value for trace in traces for value in trace["y"]] + [shape["y0"] for shape in shapes]
    layout = {"xaxis": axis("arrivals a second (Poisson)"), "yaxis": axis("p99, ms", log=values), "shapes": shapes}
    note = "Dotted: the target. A cross is a rate at which the 99th percentile missed it or the queue grew."
    return Plot("Server", note, traces, layout)


def sensors(result: Result) -> list[Plot]:
    """A plot a sensor over the seconds of the run; meters that only rise (joules, seconds) as what they rose by."""
    samples = result.conditions.samples
    keys = [key for key in dict.fromkeys(key for sample in samples for key in sample) if key != "t_s"]
    plots = []
    for i, key in enumerate(keys[:MOST_SENSORS]):
        seen = [(sample["t_s"], sample[key]) for sample in samples if key in sample and "t_s" in sample]
        seen = seen[:: max(1, len(seen) // MOST_SAMPLES)]
        name, _, unit = key.rpartition("_")
        zero = {"rangemode": "tozero"} if unit in METERS else {}
        if unit in METERS:
            seen = [(t, (j - i) / (t - s)) for (s, i), (t, j) in pairwise(seen) if t > s]
        if len(seen) < 2:
            continue
        title = SENSOR_NAMES.get(key) or (name or key).replace("_", " ").capitalize()
        trace = {
            "type": "scatter", "mode": "lines", "name": label(title), "x": rounded([t for t, _ in seen]),
            "y": rounded([value for _, value in seen]), "line": {"color": series_colour(i), "width": 1.5},
            "hovertemplate": "%{x:.1f} s: %{y:.4~g}<extra></extra>",
        }  # fmt: skip
        layout = {"xaxis": axis("seconds since the start"), "yaxis": axis(SENSOR_UNITS.get(unit, unit), **zero)}
        plots.append(Plot(printable(title), f"{len(samples)} readings.", [trace], layout, height=240))
    return plots


def history(results: Sequence[Result], model: str, palette: Palette) -> Plot | None:
    """Medians of the runs, oldest first, with the lowest and highest window of each: one query at a time."""
    when = [label(result.started[:16]).replace("T", "<br>", 1) for result in results]
    ticks = [
        f"{text}{'' if when[:i].count(text) == 0 else f' ({when[:i].count(text) + 1})'}" for i, text in enumerate(when)
    ]
    curves: dict[str, list[tuple[str, Measurement]]] = defaultdict(list)
    for text, result in zip(ticks, results, strict=True):
        of = {subject.id: subject for subject in result.subjects}
        for one in result.measurements:
            single = one.scenario == "SingleStream" and one.batch <= 1 and one.latency_ms
            if single and of[one.subject].model == model and one.subject in palette.names.of:
                curves[one.subject].append((text, one))
    traces = []
    for subject, seen in sorted(curves.items(), key=lambda item: palette.rank(item[0])):
        middle = [one.latency_ms.p50 for _, one in seen if one.latency_ms]
        low = [min([p50, *one.windows_p50_ms]) for p50, (_, one) in zip(middle, seen, strict=True)]
        high = [max([p50, *one.windows_p50_ms]) for p50, (_, one) in zip(middle, seen, strict=True)]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label(palette.names.short(subject)),
            "x": [text for text, _ in seen], "y": rounded(middle),
            "line": palette.line(subject), "marker": palette.marker(subject),
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3,
                        "color": series_colour(palette.of(subject)[0]),
                        "array": rounded([h - m for h, m in zip(high, middle, strict=True)]),
                        "arrayminus": rounded([m - x for x, m in zip(low, middle, strict=True)])},
            "hovertemplate": "%{x}: %{y:.3~g} ms",
        })  # fmt: skip
    if not any(len(trace["x"]) > 1 for trace in traces):
        return None
    values = [value for trace in traces for value in trace["y"]]
    layout = {"xaxis": axis("", type="category"), "yaxis": axis("p50, one face, ms", log=values)}
    return Plot(
        "One face, run by run", "Medians of stored runs; bars: their lowest and highest window.", traces, layout
    )
