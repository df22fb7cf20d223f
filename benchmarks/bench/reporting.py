"""`trt-bench report`: page and CSV from stored result files, and the tables of README and docs from all of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.bench.csv_table import write_csv
from benchmarks.bench.page import write_page
from benchmarks.bench.results import Result, load
from sdk.errors import FaceTRTError, InputError

__all__ = ["command", "newest_first"]

DONE, WRONG = 0, 2


def newest_first(results: Sequence[Result]) -> list[Result]:
    """By the time that each was started."""
    return sorted(results, key=lambda result: result.started, reverse=True)


def command(files: Sequence[Path], *, html: Path | None = None, csv: Path | None = None, documents: bool = True) -> int:
    """Writes what was asked for and says so; 0, or 2 for wrong input. The newest file is shown, older ones are history.

    `documents`: also bring README and docs up to date with benchmarks/results, in a checkout.
    """
    try:
        _write(files, html=html, csv=csv, documents=documents)
    except FaceTRTError as error:
        sys.stderr.write(f"trt-bench report: {error}\n")
        return WRONG
    return DONE


def _write(files: Sequence[Path], *, html: Path | None, csv: Path | None, documents: bool) -> None:
    if (html or csv) and not files:
        raise InputError("result files to make the page or the CSV from", "none", "name files of trt-bench --json")
    if files and not (html or csv):
        raise InputError("what to make of the files", "neither --html nor --csv", "name a file to write")
    found = newest_first([load(path) for path in files])
    if html:
        write_page(found[0], html, history=found[1:])
        sys.stdout.write(f"wrote {html}\n")
    if csv:
        write_csv(found[0], csv)
        sys.stdout.write(f"wrote {csv}\n")
    if documents and not report.documents():
        raise InputError("README.md and docs/ of a checkout", f"none in {report.ROOT}", "add --no-documents")
    if documents:
        changed = [str(path.relative_to(report.ROOT)) for path in report.update(write=True)]
        sys.stdout.write(f"{'wrote ' + ', '.join(changed) if changed else 'documents are up to date'}\n")
