"""Write measured numbers into README.md, kernels/README.md, docs/*.md: `python -m benchmarks.report --write | --check`.

A document holds blocks

    <!-- numbers:evaluation -->
    ... replaced ...
    <!-- /numbers -->

and each named table is made from JSON files in benchmarks/results/, followed by the commands that made those files.
Nothing else writes these numbers; `--check` exits 1 when a document differs from the files. The `models` block opens
the shipped files themselves.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import bench_tables
from benchmarks.kernel_tables import kernel_rivals, kernels
from benchmarks.model_tables import boxes, headline, models
from benchmarks.paper_tables import (
    papers_fsrnet,
    papers_gain,
    papers_landmarks,
    papers_mtun,
    papers_poses,
    papers_srinc,
)
from benchmarks.precision_tables import cpu_int8, engines, precision, sensitivity
from benchmarks.release_tables import figures, papers_rtx, released
from benchmarks.tables import detector, evaluation, landmarks, latency
from benchmarks.video_tables import video
from sdk.errors import FaceTRTError, InputError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- numbers:(?P<name>[a-z_0-9]+) -->\n)(?P<body>.*?)(<!-- /numbers -->)", re.DOTALL)
MARKER = re.compile(r"^<!-- /?numbers", re.MULTILINE)

GENERATORS: dict[str, Callable[[Path], str]] = {  # block name -> results folder -> Markdown
    "evaluation": evaluation,
    "landmarks": landmarks,
    "latency": latency,
    "detector": detector,
    "headline": headline,
    "models": models,
    "boxes": boxes,
    "precision": precision,
    "sensitivity": sensitivity,
    "cpu_int8": cpu_int8,
    "engines": engines,
    "kernels": kernels,
    "kernel_rivals": kernel_rivals,
    "video": video,
    "bench_headline": bench_tables.headline,
    "bench_matrix": bench_tables.matrix,
    "bench_ratios": bench_tables.ratios,
    "bench_predictions": bench_tables.predictions,
    "papers_fsrnet": papers_fsrnet,
    "papers_srinc": papers_srinc,
    "papers_landmarks": papers_landmarks,
    "papers_poses": papers_poses,
    "papers_gain": papers_gain,
    "papers_mtun": papers_mtun,
    "papers_rtx": papers_rtx,
    "released": released,
    "figures": figures,
}


def documents(root: Path = ROOT) -> list[Path]:
    """README.md, kernels/README.md and every page of docs/ that exist."""
    fixed = (root / "README.md", root / "kernels" / "README.md")
    return [path for path in (*fixed, *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def block_names(text: str, *, origin: str) -> list[str]:
    """Names of the blocks in a document. Raises InputError for unknown names and unpaired markers."""
    names = [match["name"] for match in BLOCK.finditer(text)]
    markers = len(MARKER.findall(text))
    if markers != 2 * len(names):
        raise InputError(
            f"pairs of <!-- numbers:NAME --> and <!-- /numbers --> in {origin}",
            f"{markers} markers and {len(names)} pairs",
            "put each marker on a line of its own and close every block",
        )
    for name in names:
        if name not in GENERATORS:
            raise InputError(
                f"one of the tables {', '.join(GENERATORS)} in {origin}",
                f"numbers:{name}",
                "correct the name or add a generator to benchmarks/report.py",
            )
    return names


def rendered(text: str, results: Path, *, origin: str) -> str:
    """The document with every block replaced by its table."""
    tables = {name: GENERATORS[name](results) for name in set(block_names(text, origin=origin))}
    return BLOCK.sub(lambda match: f"{match[1]}{tables[match['name']]}\n{match[4]}", text)


def update(*, write: bool, root: Path = ROOT, results: Path = RESULTS) -> list[Path]:
    """Documents whose blocks differ from the results files; `write` brings them up to date."""
    changed: list[Path] = []
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        fresh = rendered(text, results, origin=str(path.relative_to(root)))
        if fresh == text:
            continue
        changed.append(path)
        if write:
            draft = path.with_suffix(".md.part")
            draft.write_text(fresh, encoding="utf-8")
            os.replace(draft, path)
    return changed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="bring the documents up to date")
    action.add_argument("--check", action="store_true", help="change nothing; exit 1 when a document is out of date")
    arguments = parser.parse_args(argv)
    try:
        changed = [str(path.relative_to(ROOT)) for path in update(write=arguments.write)]
    except FaceTRTError as error:
        sys.stderr.write(f"report: {error}\n")
        return 1
    if arguments.check and changed:
        sys.stderr.write(
            f"report: expected the number blocks to equal benchmarks/results/*.json; got differences in "
            f"{', '.join(changed)}; run: python -m benchmarks.report --write\n"
        )
        return 1
    sys.stdout.write(f"{'wrote ' + ', '.join(changed) if changed else 'numbers are up to date'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
