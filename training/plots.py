"""Plots of the results as SVG: SRINC's cumulative PSNR and Figure 4, and the curves of the trainings.

Each takes parsed result files (training.paper_results, training.report) and gives the bytes of an SVG file, the same
for the same numbers: no date, fixed names inside. The only file that imports matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["cumulative_psnr", "landmark_gain", "training_curves"]

COLOURS = {  # of a network in every plot
    "bicubic": "#7f7f7f",
    "bilinear": "#7f7f7f",
    "truth": "#222222",
    "srinc": "#d62728",
    "srinc_f": "#ff9896",
    "srresnet_x8": "#1f77b4",
    "srresnet_x4": "#1f77b4",
    "urdgn": "#8c564b",
    "fsrnet": "#2ca02c",
    "fsrgan": "#98df8a",
    "jasrnet": "#9467bd",
    "mtun": "#e377c2",
    "super_fan_64": "#ff7f0e",
    "super_fan": "#ffbb78",
    "picoface_x8": "#17becf",
    "picoface_x4": "#17becf",
    "vdsr": "#bcbd22",
    "srcnn_x4": "#c49c94",
}
OTHERS = ("#393b79", "#637939", "#8c6d31", "#843c39", "#7b4173")
STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "facetrt",  # names inside the file depend on its content alone
    "svg.fonttype": "path",  # the same letters everywhere
}
LINES = ("-", "--", ":", "-.")  # one a detector or stage


def colour_of(name: str) -> str:
    """A network's colour; of one that is not listed by its name."""
    return COLOURS.get(name) or OTHERS[sum(name.encode()) % len(OTHERS)]


def cumulative_psnr(
    panels: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],  # title, rows with cumulative_psnr_db [255]
    *,
    against: str = "srinc",  # the row that the others are compared with
) -> bytes:
    """SRINC's Eq. 5: each method's PSNR summed over differences up to delta, less SRINC's; below 0 SRINC is better."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(panels), height_in=3.2)
        for axis, (title, rows) in zip(axes, panels, strict=True):
            curves = {str(row["model"]): np.array(row["cumulative_psnr_db"], np.float64) for row in rows}
            delta = np.arange(1, 256)
            for name, curve in curves.items():
                if name != against:
                    axis.plot(delta, curve - curves[against], color=colour_of(name), label=name)
            axis.axhline(0.0, color=colour_of(against), linewidth=1.2, label=against)
            axis.set(xscale="log", title=title, xlabel="largest difference counted, grey levels")
            axis.set_xticks([1, 4, 16, 64, 255], ["1", "4", "16", "64", "255"])
            axis.minorticks_off()
            axis.legend(frameon=False, fontsize=8)
        axes[0].set_ylabel(f"cumulative PSNR less {against}'s, dB")
        return _svg(figure)


def landmark_gain(
    panels: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],  # title, rows of kind "gain"
) -> bytes:
    """SRINC's Figure 4: by how much a landmark network errs less or more on a method's pictures than on the baseline's.

    Bars: percent of the baseline's error, with the interval of the file; the truth's own is the last.
    """
    with matplotlib.rc_context(STYLE):
        heights_in = [0.9 + 0.26 * len(_bars(rows)) for _, rows in panels]
        figure = Figure(figsize=(7.2, sum(heights_in)), layout="constrained")
        axes = list(figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights_in)[:, 0])
        for axis, (title, rows) in zip(axes, panels, strict=True):
            bars = _bars(rows)
            several = len({row["detector"] for row in bars}) > 1
            places = np.arange(len(bars))[::-1]
            change = np.array([-100.0 * row["relative_gain"] for row in bars])
            low, high = (np.array([-100.0 * row["gain_interval"][end] for row in bars]) for end in (1, 0))
            spread = np.clip(np.stack([change - low, high - change]), 0.0, None)  # [2, bars]
            colours = [colour_of(str(row["model"])) for row in bars]
            axis.barh(places, change, xerr=spread, color=colours, height=0.65, ecolor="#444444", capsize=2)
            names = [f"{row['model']}{', ' + row['detector'] if several else ''}" for row in bars]
            axis.set_yticks(places, names)
            axis.axvline(0.0, color="#444444", linewidth=0.8)
            axis.grid(axis="y", visible=False)
            axis.set(title=title, xlabel="change of the landmark error against the baseline's, % (negative is better)")
        return _svg(figure)


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Methods by detector, the truth last; the baseline itself has no gain."""
    shown = [row for row in rows if row.get("relative_gain") is not None and row.get("gain_interval")]
    shown = [row for row in shown if row["model"] not in ("bicubic", "bilinear")]
    return sorted(shown, key=lambda row: (str(row["detector"]), row["model"] == "truth"))


def training_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],  # network -> points {minutes, psnr_y?, nme?, stage}
) -> bytes:
    """PSNR and landmark error of the averaged weights on validation faces over the minutes of processor time."""
    kinds = [("psnr_y", "PSNR of luminance, dB", "linear"), ("nme", "landmark error, % of the eye distance", "log")]
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(2, height_in=3.4)
        for axis, (key, label, scale) in zip(axes, kinds, strict=True):
            for name, points in curves.items():
                known = [point for point in points if point.get(key) is not None]
                if known:
                    minutes, values = [[point[k] for point in known] for k in ("minutes", key)]
                    axis.plot(minutes, values, color=colour_of(name), label=name, marker="o", markersize=2.5)
            axis.set(xlabel="minutes of one processor core", ylabel=label, yscale=scale)
            if axis.lines:
                axis.legend(frameon=False, fontsize=8)
            if scale == "log":
                axis.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
                axis.yaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
        return _svg(figure)


def _panels(count: int, *, height_in: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(max(5.2, 4.4 * count), height_in), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)
    return figure, list(axes[0])


def _svg(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
