"""Pieces of HTML from plain values. Every text is escaped where it enters; nothing else writes markup of names."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench.labels import ABSENT, printable
from benchmarks.bench.plotting import Plot

__all__ = ["Cell", "Figures", "escaped", "facts", "folded", "section", "table", "tiles"]


@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown, what it is sorted by, and a CSS class."""

    text: str
    value: float | None = None  # None: sorted as a text, set to the left
    kind: str = ""
    more: str = ""  # shown while the pointer rests on it


@dataclass
class Figures:
    """Collects the plots of a page; gives each its place in the markup and all their JSON in the end."""

    plots: list[Plot]

    def place(self, plot: Plot) -> str:
        self.plots.append(plot)
        number = len(self.plots) - 1
        return (
            f'<figure class="plot"><h4>{escaped(plot.title)}</h4>'
            f'<div class="canvas" data-plot="{number}" style="height:{plot.height}px" role="img" '
            f'aria-label="{escaped(plot.title)}"></div><div class="legend"></div>'
            f"<figcaption>{escaped(plot.note)}</figcaption></figure>"
        )

    def grid(self, plots: Sequence[Plot]) -> str:
        """Side by side where there is room."""
        wide = " wide" if len(plots) == 1 else ""
        return f'<div class="plots{wide}">{"".join(map(self.place, plots))}</div>' if plots else ""

    def tabs(self, panels: Sequence[tuple[str, Sequence[Plot]]]) -> str:
        """Grids behind buttons; without a script all are shown, each below its name."""
        shown = [(name, plots) for name, plots in panels if plots]
        if len(shown) < 2:
            return "".join(self.grid(plots) for _, plots in shown)
        buttons = "".join(
            f'<button type="button" role="tab" aria-selected="{str(i == 0).lower()}" data-tab="{i}">'
            f"{escaped(name)}</button>"
            for i, (name, _) in enumerate(shown)
        )
        parts = "".join(
            f'<div class="panel{"" if i == 0 else " later"}" data-panel="{i}" role="tabpanel">'
            f'<p class="panel-name">{escaped(name)}</p>{self.grid(plots)}</div>'
            for i, (name, plots) in enumerate(shown)
        )
        return f'<div class="tabs"><div class="tablist" role="tablist">{buttons}</div>{parts}</div>'


def escaped(text: str) -> str:
    """One line, safe between tags and inside quoted attributes."""
    return html.escape(printable(text), quote=True)


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, models: Sequence[str] = (), plain: bool = False
) -> str:
    """A table whose columns a click sorts. `models`: one name a row, for the page's filter; `plain`: not sortable."""
    if not rows:
        return ""
    numeric = [any(cells[i].value is not None for cells in rows) for i in range(len(header))]
    heads = "".join(
        f'<th scope="col"{" class=number" if right else ""}>'
        + (escaped(name) if plain else f'<button type="button" data-sort>{escaped(name)}</button>')
        + "</th>"
        for name, right in zip(header, numeric, strict=True)
    )
    lines: list[str] = []
    for i, cells in enumerate(rows):
        of = f' data-model="{escaped(models[i])}"' if models else ""
        lines.append(f"<tr{of}>{''.join(_cell(c, right) for c, right in zip(cells, numeric, strict=True))}</tr>")
    body = "\n".join(lines)
    whole = f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def _cell(cell: Cell, right: bool) -> str:
    kinds = " ".join(kind for kind in ("number" if right else "", cell.kind) if kind)
    attributes = f' class="{kinds}"' if kinds else ""
    if cell.more and cell.more != cell.text:
        attributes += f' title="{escaped(cell.more)}"'
    if cell.value is not None and math.isfinite(cell.value):
        attributes += f' data-value="{cell.value:.9g}"'
    return f"<td{attributes}>{escaped(cell.text)}</td>"


def section(key: str, title: str, intro: str, *blocks: str) -> str:
    """A part of the page; "" where every block is empty."""
    filled = [block for block in blocks if block]
    if not filled:
        return ""
    told = f"<p class=intro>{escaped(intro)}</p>" if intro else ""
    return f'<section id="{key}"><h2>{escaped(title)}</h2>{told}{"".join(filled)}</section>'


def of_model(name: str, *blocks: str) -> str:
    """Blocks that the filter shows and hides with their model."""
    filled = "".join(blocks)
    return f'<div class="model" data-model="{escaped(name)}"><h3>{escaped(name)}</h3>{filled}</div>' if filled else ""


def tiles(rows: Sequence[tuple[str, str, str]]) -> str:
    """(name, value, what it means) as large numbers."""
    cells = "".join(
        f"<div class=tile><dt>{escaped(name)}</dt><dd><b>{escaped(value)}</b><span>{escaped(told)}</span></dd></div>"
        for name, value, told in rows
    )
    return f'<dl class="tiles">{cells}</dl>' if rows else ""


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """(name, value) as a list of two columns; rows without a value are left out."""
    kept = [(name, value) for name, value in rows if value and value != ABSENT]
    pairs = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in kept)
    return f'<dl class="facts">{pairs}</dl>' if kept else ""


def folded(name: str, block: str) -> str:
    return f"<details><summary>{escaped(name)}</summary>{block}</details>" if block else ""


def notice(kind: str, lines: Sequence[str]) -> str:
    told = "".join(f"<p>{escaped(line)}</p>" for line in lines)
    return f'<div class="notice {kind}">{told}</div>' if lines else ""
