"""Plots of what is possible: ratios against rivals, the roofline, the share of the limit, predictions."""

from collections.abc import Sequence
from typing import Any

from benchmarks.bench import labels
from benchmarks.bench.agreement import Compared
from benchmarks.bench.labels import significant
from benchmarks.bench.plots_latency import AROUND, ROW, Palette, ordered
from benchmarks.bench.plotting import SYMBOLS, Plot, axis, label, rounded, series_colour, stacked_label
from benchmarks.bench.results import Limit, Measurement, Model, Prediction, Ratio, Result

__all__ = ["forest", "parity", "predicted", "roofline", "shares"]

UNITS = ("gflop_s", "gop_s")  # of the probe's rates
PEAKS = 1e-6  # FLOP a millisecond -> GFLOP a second


def forest(ratios: Sequence[Ratio], names: labels.Names) -> Plot | None:
    """A point a ratio with its interval; the grey bar is what the A/A control cannot tell from 1."""
    rows = list(ratios)[::-1]
    if not rows:
        return None
    y = list(range(len(rows)))
    spread: dict[str, Any] = {
        "type": "bar", "orientation": "h", "name": "A/A spread", "y": y,
        "base": rounded([max(1 - row.control_spread, 0.02) for row in rows]),
        "x": rounded([2 * row.control_spread for row in rows]), "marker": {"color": "var(--line)"}, "hoverinfo": "skip",
    }  # fmt: skip
    meanings = [labels.standing(row, names) for row in rows]
    points = []
    for meaning in dict.fromkeys(meanings):
        chosen = [(i, row) for i, row in enumerate(rows) if meanings[i] == meaning]
        colour = f"var(--{meaning[1]})"
        points.append({
            "type": "scatter", "mode": "markers", "name": label(meaning[0], most=60), "y": [i for i, _ in chosen],
            "x": rounded([row.ratio for _, row in chosen]),
            "error_x": {"type": "data", "symmetric": False,
                        "array": rounded([row.high - row.ratio for _, row in chosen]),
                        "arrayminus": rounded([row.ratio - row.low for _, row in chosen]),
                        "color": colour, "thickness": 2, "width": 5},
            "marker": {"color": colour, "size": 11, "symbol": "circle-open" if meaning[1] == "quiet" else "circle"},
            "text": [f"{labels.times(row.ratio)} ({labels.interval(row)})" for _, row in chosen],
            "hovertemplate": "%{text}",
        })  # fmt: skip
    line = {"color": "var(--quiet)", "width": 1}
    one = {"type": "line", "x0": 1, "x1": 1, "y0": -0.5, "y1": len(rows) - 0.5, "line": line}
    titles = [stacked_label(f"{labels.ratio_name(row, names)}, ×{row.batch}") for row in rows]
    ticks = [f"{title}  <b>{labels.times(row.ratio)}</b>" for title, row in zip(titles, rows, strict=True)]
    layout = {
        "meta": "rows",
        "xaxis": axis("ratio of times", log=[v for row in rows for v in (row.low, row.high, 1.0)]),
        "yaxis": axis("", tickvals=y, ticktext=ticks, showgrid=False, range=[-0.6, len(rows) - 0.4]),
        "shapes": [one],
    }
    note = "Time of the one over time of the other, with its interval. Within the grey bar nothing can be told."
    return Plot("Time over time", note, [spread, *points], layout, height=AROUND + (ROW + 22) * len(rows))


def _peak(result: Result, limit: Limit) -> float | None:
    """GFLOP/s that the machine reached in this precision, else what the layers' own limits say."""
    for unit in UNITS:
        if value := result.conditions.probe.get(f"{limit.precision}_{unit}"):
            return value
    rates = [
        layer.flop / layer.floor_ms * PEAKS for layer in limit.layers if layer.bound == "compute" and layer.floor_ms
    ]
    return max(rates, default=None)


def _bandwidth(result: Result, limit: Limit) -> float | None:
    """GB/s, likewise."""
    if value := result.conditions.probe.get("copy_gb_s"):
        return value
    rates = [
        layer.bytes / layer.floor_ms * PEAKS for layer in limit.layers if layer.bound == "memory" and layer.floor_ms
    ]
    return max(rates, default=None)


def roofline(result: Result, model: Model, rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Layers on their roof, and the whole network where it was measured (Williams et al., CACM 2009)."""
    chosen: dict[str, Limit] = {}
    for limit in model.limits:  # the largest batch of each precision
        if limit.bytes > 0 and limit.flop > 0 and limit.batch >= getattr(chosen.get(limit.precision), "batch", 0):
            chosen[limit.precision] = limit
    traces: list[dict[str, Any]] = []
    for i, (precision, limit) in enumerate(chosen.items()):
        traces += _roof(result, limit, label(precision), series_colour(6 + i % 2), SYMBOLS[i % len(SYMBOLS)])
    for one in ordered(rows, palette):
        limit = labels.limit_of(result, one)
        if limit is None or one.latency_ms is None or one.scenario in {"Server", "MultiStream"} or not limit.bytes:
            continue
        name = f"{palette.names.short(one.subject)}, ×{one.batch}"
        share = labels.percent(labels.share_of_limit(result, one))
        traces.append({
            "type": "scatter", "mode": "markers", "name": label(name), "showlegend": False,
            "x": rounded([limit.flop / limit.bytes]), "y": rounded([limit.flop / one.latency_ms.p50 * PEAKS]),
            "marker": palette.marker(one.subject, size=12), "text": [f"{label(name)}: {share} of the limit"],
            "hovertemplate": "%{text}<br>%{y:.3~s} GFLOP/s at %{x:.3~g} FLOP/byte<extra></extra>",
        })  # fmt: skip
    if not traces:
        return None
    x, y = ([value for trace in traces for value in trace[name]] for name in ("x", "y"))
    layout = {"xaxis": axis("FLOP a byte moved", log=x), "yaxis": axis("GFLOP a second", log=y)}
    note = "Lines: memory and arithmetic; dotted: caches. Small marks: layers at their limit. Large: measured."
    return Plot("Roofline", note, traces, layout, height=400)


def _roof(result: Result, limit: Limit, precision: str, colour: str, symbol: str) -> list[dict[str, Any]]:
    """The two lines of a precision and its layers."""
    peak, bandwidth = _peak(result, limit), _bandwidth(result, limit)
    layers = [layer for layer in limit.layers if layer.bytes > 0 and layer.flop > 0 and layer.floor_ms > 0]
    traces: list[dict[str, Any]] = []
    if peak and bandwidth:
        ridge = peak / bandwidth
        ends = [layer.flop / layer.bytes for layer in layers] + [ridge / 30, ridge * 30]
        x = [min(ends), ridge, max(ends)]
        look = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
        y = [x[0] * bandwidth, peak, peak]
        line = {"color": colour, "width": 2}
        traces.append({**look, "name": f"roof, {precision}", "x": rounded(x), "y": rounded(y), "line": line})
        if cache := result.conditions.probe.get("cache_gb_s"):
            near = [x[0], max(x[0], peak / cache), max(ridge, x[0])]  # what memory cannot feed, caches may
            y = [min(peak, value * cache) for value in near]
            dotted = {**line, "width": 1, "dash": "dot"}
            traces.append({**look, "name": f"caches, {precision}", "x": rounded(near), "y": rounded(y), "line": dotted})
    if layers:
        told = [
            f"{label(layer.name)} ({label(layer.op)}): {layer.bound}, {significant(layer.floor_ms)} ms"
            for layer in layers
        ]
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"layers, {precision}, ×{limit.batch}",
            "x": rounded([layer.flop / layer.bytes for layer in layers]),
            "y": rounded([layer.flop / layer.floor_ms * PEAKS for layer in layers]), "text": told,
            "marker": {"color": colour, "size": 6, "symbol": symbol, "opacity": 0.7},
            "hovertemplate": "%{text}<extra></extra>",
        })  # fmt: skip
    return traces


def shares(result: Result, rows: Sequence[Measurement], palette: Palette) -> Plot | None:
    """Bars: how much of the measured median the machine's limit explains."""
    found = [
        (one, share) for one in ordered(rows, palette) if (share := labels.share_of_limit(result, one)) is not None
    ]
    if not found:
        return None
    found.reverse()
    trace = {
        "type": "bar", "orientation": "h", "y": list(range(len(found))),
        "x": rounded([100 * share for _, share in found]),
        "marker": {"color": [series_colour(palette.of(one.subject)[0]) for one, _ in found]},
        "text": [labels.percent(share) for _, share in found], "textposition": "auto",
        "hovertemplate": "%{text} of the limit<extra></extra>", "cliponaxis": False,
    }  # fmt: skip
    ticks = [stacked_label(f"{palette.names.short(one.subject)}, ×{one.batch}") for one, _ in found]
    most = max(105.0, max(100 * share for _, share in found) * 1.12)
    layout = {
        "meta": "rows",
        "xaxis": axis("of the machine's limit, %", range=[0, most]),
        "yaxis": axis("", tickvals=list(range(len(found))), ticktext=ticks, showgrid=False),
        "shapes": [{"type": "line", "x0": 100, "x1": 100, "y0": -0.5, "y1": len(found) - 0.5,
                    "line": {"color": "var(--quiet)", "width": 1}}],
    }  # fmt: skip
    note = "100 % would be a perfect program on this machine: every layer at its limit, nothing between."
    return Plot("Share of the limit", note, [trace], layout, height=AROUND + ROW * len(found))


def predicted(rows: Sequence[Prediction], measured: Sequence[Compared]) -> Plot | None:
    """Predictions with their band, and real runs of the same model."""
    if not rows:
        return None
    devices = list(dict.fromkeys(row.device for row in rows))[::-1]
    cases = list(dict.fromkeys((row.precision, row.batch) for row in rows))
    traces: list[dict[str, Any]] = []
    for i, (precision, batch) in enumerate(cases):
        of = [row for row in rows if (row.precision, row.batch) == (precision, batch)]
        lift = 0.14 * (i - (len(cases) - 1) / 2)
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"{label(precision)}, ×{batch}",
            "x": rounded([row.ms for row in of]), "y": rounded([devices.index(row.device) - lift for row in of]),
            "error_x": {"type": "data", "symmetric": False, "array": rounded([row.high_ms - row.ms for row in of]),
                        "arrayminus": rounded([row.ms - row.low_ms for row in of]), "thickness": 2, "width": 4,
                        "color": series_colour(i)},
            "marker": {"color": series_colour(i), "symbol": f"{SYMBOLS[i % len(SYMBOLS)]}-open", "size": 9},
            "text": [label(row.device) for row in of],
            "hovertemplate": "%{text}: %{x:.3~g} ms predicted",
        })  # fmt: skip
    known = [one for one in measured if one.device in devices]
    if known:
        traces.append({
            "type": "scatter", "mode": "markers", "name": "measured", "x": rounded([one.measured_ms for one in known]),
            "y": [devices.index(one.device) for one in known],
            "marker": {"color": "var(--text)", "size": 10, "symbol": "x"},
            "text": [f"{label(one.precision)}, ×{one.batch}" for one in known],
            "hovertemplate": "%{text}: %{x:.3~g} ms measured",
        })  # fmt: skip
    ticks = [stacked_label(device) for device in devices]
    y = axis("", tickvals=list(range(len(devices))), ticktext=ticks, range=[-0.6, len(devices) - 0.4])
    ends = [value for row in rows for value in (row.low_ms, row.high_ms)] + [one.measured_ms for one in known]
    layout = {"meta": "rows", "xaxis": axis("ms a query", log=ends), "yaxis": y}
    note = "Open marks and their bars are predictions and their error band, not measurements."
    return Plot("Predicted for devices", note, traces, layout, height=AROUND + 40 * len(devices))


def parity(pairs: Sequence[Compared]) -> Plot | None:
    """Predicted against measured; on the line they agree."""
    if not pairs:
        return None
    ends = [value for one in pairs for value in (one.low_ms, one.high_ms, one.measured_ms)]
    diagonal = {
        "type": "scatter", "mode": "lines", "name": "equal", "x": rounded([min(ends), max(ends)]), "hoverinfo": "skip",
        "y": rounded([min(ends), max(ends)]), "line": {"color": "var(--quiet)", "width": 1, "dash": "dot"},
    }  # fmt: skip
    points = {
        "type": "scatter", "mode": "markers", "name": "predictions", "x": rounded([one.measured_ms for one in pairs]),
        "y": rounded([one.predicted_ms for one in pairs]), "marker": {"color": series_colour(0), "size": 9},
        "error_y": {"type": "data", "symmetric": False,
                    "array": rounded([one.high_ms - one.predicted_ms for one in pairs]),
                    "arrayminus": rounded([one.predicted_ms - one.low_ms for one in pairs]), "color": series_colour(0)},
        "text": [label(f"{one.device}, {one.model}, {one.precision}, ×{one.batch}", most=60) for one in pairs],
        "hovertemplate": "%{text}<br>measured %{x:.3~g} ms, predicted %{y:.3~g} ms<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": axis("measured, ms", log=ends), "yaxis": axis("predicted, ms", log=ends)}
    return Plot(
        "Prediction and measurement", "On the dotted line the prediction was right.", [diagonal, points], layout
    )
