"""Columns of text side by side for a terminal of a given width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench.labels import ABSENT, shortened

GAP = "  "
STAYS = 9
SGR = {"good": "32", "bad": "31", "quiet": "2", "head": "1"}  # ANSI codes of the colours
NUMERIC = set("0123456789.,-– %×")
LEAST = 8  # characters that the first column keeps
Paint = Callable[[str, str], str]  # (a key of SGR, text) -> text


@dataclass(frozen=True)
class Column:
    title: str
    cells: list[str]
    keep: int = STAYS  # the lower, the sooner it goes on a narrow terminal; STAYS never
    longest: int = 60  # characters of a cell


def painter(colour: bool) -> Paint:
    """What colours a text, or leaves it alone."""
    return lambda kind, text: f"\x1b[{SGR[kind]}m{text}\x1b[0m" if colour else text


def laid_out(columns: Sequence[Column], wide: int, paint: Paint, *, kinds: Sequence[str] = ()) -> str:
    """The columns side by side, numbers to the right. `kinds` paints rows; columns without any number are left out."""
    kept = [column for column in columns if column.keep == STAYS or set(column.cells) - {ABSENT, ""}]

    def widths() -> list[int]:
        return [max(len(column.title), *(min(len(cell), column.longest) for cell in column.cells)) for column in kept]

    while sum(widths()) + len(GAP) * (len(kept) - 1) > wide and any(column.keep < STAYS for column in kept):
        kept.remove(min(kept, key=lambda column: column.keep))
    sizes = widths()
    sizes[0] = max(LEAST, min(sizes[0], wide - sum(sizes[1:]) - len(GAP) * (len(kept) - 1)))
    right = [all(set(cell) <= NUMERIC for cell in column.cells) for column in kept]

    def line(cells: Sequence[str]) -> str:
        fitted = [shortened(cell, size) for cell, size in zip(cells, sizes, strict=True)]
        placed = [
            c.rjust(size) if to_right else c.ljust(size) for c, size, to_right in zip(fitted, sizes, right, strict=True)
        ]
        return GAP.join(placed).rstrip()

    rows = [line([column.cells[i] for column in kept]) for i in range(len(columns[0].cells))]
    if kinds:
        rows = [paint(kind, row) if kind else row for kind, row in zip(kinds, rows, strict=True)]
    return "\n".join([paint("quiet", line([column.title for column in kept])), *rows])
