"""Plots for the page: checked by Plotly while they are made, drawn by its script inside the page.

The one file that imports plotly. Colours are the names of the page's CSS variables, "var(--s0)", so that one figure
serves light and dark; the page's script resolves them. Texts may come from file names and are escaped here: Plotly
reads a few HTML tags in its labels.
"""

import base64
import gzip
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from benchmarks.bench.labels import printable, shortened
from sdk.errors import InputError, MissingPackageError

__all__ = ["Plot", "axis", "base_layout", "check_plotting", "label", "packed_script", "rounded", "series_colour"]

SERIES = 8  # colours that the page defines: --s0 to --s7, and --s0-soft to --s7-soft
LABEL = 34  # characters of a label; more would take the plot's room
TITLE = 80  # characters of an axis title
NARROW_DECADES = 0.5  # of a log axis: below, ticks are as far apart as on a linear one
STEPS = ((1.0, (1, 1.5, 2, 3, 5, 7)), (2.2, (1, 2, 5)), (3.2, (1, 3)), (math.inf, (1,)))  # decades -> ticks in each
LINE = 26  # characters of a line of an axis label
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
NO_TEMPLATE: dict[str, Any] = {"layout": {}}  # Plotly's own looks are slow to copy, and the page has its own
SIGNIFICANT = 5  # digits of a number in a plot; keeps the page small


@dataclass(frozen=True)
class Plot:
    """A figure and what stands around it. Raises InputError where Plotly knows a key or value not."""

    title: str
    note: str  # a sentence below: how to read it
    traces: Sequence[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 340  # CSS pixels

    def to_json(self) -> dict[str, Any]:
        """{"data": [...], "layout": {...}}, which Plotly has looked through."""
        check_plotting()
        import plotly.graph_objects as go

        layout = {**self.layout, "height": self.height}
        try:
            go.Figure(data=list(self.traces), layout={**layout, "template": NO_TEMPLATE})
        except ValueError as error:
            expected = f"values that Plotly takes in {self.title}"
            raise InputError(expected, str(error)[:300], "correct the program that makes the plot") from error
        return {"data": list(self.traces), "layout": layout}


def check_plotting() -> None:
    """Raises MissingPackageError where plotly is not installed: ask before an hour of measuring."""
    if find_spec("plotly") is None:
        raise MissingPackageError("the HTML page of trt-bench", "plotly", 'pip install "facetrt[bench]"')


@cache
def packed_script() -> str:
    """Plotly's own script, gzip in base64: 4.8 MB become 2 MB. The browser unpacks it (DecompressionStream)."""
    check_plotting()
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def base_layout() -> dict[str, Any]:
    """What all figures share; the page's script puts each figure's own layout on top."""
    line = {"gridcolor": "var(--grid)", "linecolor": "var(--line)", "zerolinecolor": "var(--line)"}
    ticks = {"automargin": True, "ticks": "", "tickfont": {"color": "var(--quiet)", "size": 12}, "zeroline": False}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--text)", "size": 13, "family": "system-ui, sans-serif"},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "xaxis": {**line, **ticks},
        "yaxis": {**line, **ticks},
        "showlegend": False,  # the page draws its own
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--text)"}},
        "bargap": 0.35,
        "dragmode": False,
    }


def axis(title: str, *, log: Iterable[float | None] | None = None, **more: Any) -> dict[str, Any]:
    """An axis with a quiet title; logarithmic where the values that it shows are given in `log`."""
    own: dict[str, Any] = {"title": {"text": label(title, most=TITLE), "font": {"size": 12, "color": "var(--quiet)"}}}
    if log is not None:
        ticks = log_ticks(log)
        own |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}
    return {**own, **more}


def log_ticks(values: Iterable[float | None]) -> list[float]:
    """Round numbers, three to nine of them, over the range of the positive values."""
    positive = [value for value in values if value is not None and value > 0 and math.isfinite(value)]
    low, high = min(positive, default=1.0), max(positive, default=1.0)
    decades = math.log10(high / low)
    if decades < 1e-3:  # one value, as far as a reader can see
        return [float(f"{low:.3g}")]
    if decades < NARROW_DECADES:
        step = 10 ** math.floor(math.log10((high - low) / 2 or low))
        step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
        first = math.floor(low / step) - 1
        ticks = [float(f"{step * (first + i):.6g}") for i in range(9)]
    else:
        steps = next(of for most, of in STEPS if decades <= most)
        every = max(1, math.ceil(decades / 7))
        exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        ticks = [float(f"{step}e{exponent}") for exponent in exponents for step in steps if exponent % every == 0]
    margin = 1.12 if decades < NARROW_DECADES else 1.5  # Plotly leaves a little room at both ends
    return [tick for tick in ticks if low / margin < tick < high * margin and tick > 0]


def label(text: str, *, most: int = LABEL) -> str:
    """Text that a browser and Plotly show as it is: escaped, in one line, shortened in its middle."""
    return html.escape(shortened(printable(text), most), quote=False).replace("{", "&#123;")


def stacked_label(text: str) -> str:
    """A label for the side of a plot: broken after commas and colons into short lines."""
    lines: list[str] = []
    for word in shortened(printable(text), 3 * LINE).replace(": ", ":\0").replace(", ", ",\0").split("\0"):
        if lines and len(lines[-1]) + 1 + len(word) <= LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "<br>".join(label(line) for line in lines)


def rounded(values: Sequence[float]) -> list[float | None]:
    """Five digits; None, a gap in the plot, for what left the range of numbers on the way here."""
    return [float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else None for value in values]


def series_colour(index: int, *, soft: bool = False) -> str:
    return f"var(--s{index % SERIES}{'-soft' if soft else ''})"
