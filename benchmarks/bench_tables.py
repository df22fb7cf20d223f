"""Markdown tables from benchmarks/results/bench_*.json, the result files of trt-bench."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.bench import labels
from benchmarks.bench.labels import significant
from benchmarks.bench.results import Measurement, Model, Result, load
from benchmarks.tables import ABSENT, made_by, markdown, not_measured

PATTERN = "bench_*.json"
MARKUP = str.maketrans({"|": "\\|", "<": "&lt;", "&": "&amp;"})  # in names that a model file brings along

Table = Callable[[list[Result]], str]


def _from_files(table: Table) -> Callable[[Path], str]:
    """results folder -> Markdown: the table, the machines' names and the commands that made the files."""

    def made(results: Path) -> str:
        found = [load(path) for path in sorted(results.glob(PATTERN))]
        body = table(found) if found else ""
        if not body:
            return not_measured(PATTERN) if not found else f"Not measured yet: nothing of it in `{PATTERN}`."
        machines = list(dict.fromkeys(f"{machine_of(one)}, {one.started[:10]}" for one in found))
        return f"{body}\n\nMeasured on {cell('; '.join(machines))}.\n" + made_by(
            {"command": labels.printable(one.command)} for one in found
        )

    return made


def machine_of(result: Result) -> str:
    """What the numbers belong to: the board, the GPU, or the processor with its cores."""
    conditions = result.conditions
    if conditions.jetson:
        return conditions.jetson.model
    if conditions.gpu:
        return conditions.gpu.name
    cores = conditions.machine.cores
    return f"{conditions.machine.cpu}, {cores} core{'s' if cores != 1 else ''}"


def cell(text: str) -> str:
    return labels.printable(text).translate(MARKUP)


def code(text: str) -> str:
    """A name as code, in which Markdown reads nothing but the end of the cell and of the code."""
    return f"`{labels.printable(text).replace('`', '').replace('|', '?')}`"


def _ours(result: Result, model: Model) -> list[Measurement]:
    """Measurements of our way, end to end where there is such a span."""
    of = {subject.id: subject for subject in result.subjects}
    rows = [one for one in result.measurements if of[one.subject].model == model.name and one.latency_ms]
    rows = [one for one in rows if not labels.is_stage(of[one.subject])]
    sdk = [one for one in rows if of[one.subject].way == labels.OWN_WAY]
    return sdk or [one for one in rows if of[one.subject].way == "bare"]


@_from_files
def headline(found: list[Result]) -> str:
    """One row a machine, model and precision: one face, most faces, share of the limit, memory."""
    rows = []
    for result in found:
        of = {subject.id: subject for subject in result.subjects}
        for model in result.models:
            for precision in dict.fromkeys(of[one.subject].precision for one in _ours(result, model)):
                chosen = [one for one in _ours(result, model) if of[one.subject].precision == precision]
                way = of[chosen[0].subject].way
                rows.append([code(model.name), cell(way), cell(precision), *_headline_cells(result, chosen)])
    header = ["network", "way", "precision", "one face, p50 ms", "p99 ms", "most faces/s", "at batch", "of the limit"]
    return markdown(header, rows) if rows else ""


def _headline_cells(result: Result, chosen: list[Measurement]) -> list[str]:
    single = [one for one in chosen if one.scenario == "SingleStream" and one.batch <= 1]
    fed = [one for one in chosen if one.faces_per_s and one.scenario != "Server"]
    shares = [share for one in chosen if (share := labels.share_of_limit(result, one)) is not None]
    times = min((one.latency_ms for one in single if one.latency_ms), key=lambda this: this.p50, default=None)
    most = max(fed, key=lambda one: one.faces_per_s or 0.0, default=None)
    return [
        significant(times.p50 if times else None),
        significant(times.p99 if times else None),
        significant(most.faces_per_s if most else None),
        str(most.batch) if most else ABSENT,
        labels.percent(max(shares, default=None)),
    ]


@_from_files
def matrix(found: list[Result]) -> str:
    """Every measurement without a frame's sweep: network, way, backend, precision, scenario, batch."""
    rows = []
    for result in found:
        of = {subject.id: subject for subject in result.subjects}
        ranked = sorted(result.measurements, key=lambda one: (labels.importance(of[one.subject]), one.subject))
        for model in result.models:
            rows += [_matrix_row(result, one) for one in ranked if of[one.subject].model == model.name]
    header = ["network", "way", "backend", "precision", "span", "scenario", "batch", "p50 ms", "p99 ms", "faces/s",
              "of the limit", "MiB", "note"]  # fmt: skip
    return markdown(header, rows) + _published(found) if rows else ""


def _matrix_row(result: Result, one: Measurement) -> list[str]:
    named = next(subject for subject in result.subjects if subject.id == one.subject)
    times = one.latency_ms
    return [
        code(named.model), *map(cell, (named.way, named.backend, named.precision, named.span, one.scenario)),
        str(one.batch), significant(times.p50 if times else None), significant(times.p99 if times else None),
        significant(one.faces_per_s), labels.percent(labels.share_of_limit(result, one)), significant(one.memory_mib),
        cell(one.error or ", ".join(one.flags)) or ABSENT,
    ]  # fmt: skip


def published() -> list[dict[str, Any]]:
    """What papers print about the speed of their own networks: model, what, ms, device, source."""
    text = (files("benchmarks.bench") / "published.json").read_text(encoding="utf-8")
    figures: list[dict[str, Any]] = json.loads(text)["figures"]
    return figures


def _published(found: list[Result]) -> str:
    """A line a printed figure of the networks in the table."""
    known = {model.name for result in found for model in result.models}
    lines = [
        f"* {code(row['model'])}: {significant(row['ms'])} ms on a {row['device']} ({row['what']}). {row['source']}."
        for row in published()
        if any(name.startswith(row["model"]) for name in known)
    ]
    return "\n\nPrinted by the papers, on hardware of their time:\n\n" + "\n".join(lines) if lines else ""


@_from_files
def ratios(found: list[Result]) -> str:
    """Ways by turns in one process, with the interval, the A/A spread and the target."""
    rows = [
        [cell(r.name), r.scenario, str(r.batch), labels.times(r.ratio), labels.interval(r),
         f"± {labels.percent(r.control_spread)}", labels.processor_times(r), labels.added(r),
         r.verdict, labels.target(r)]
        for result in found
        for r in result.ratios
    ]  # fmt: skip
    header = ["time over time", "scenario", "batch", "ratio", "interval", "A/A spread", "processor time", "added",
              "verdict", "target"]  # fmt: skip
    return markdown(header, rows) if rows else ""


@_from_files
def predictions(found: list[Result]) -> str:
    """Computed times of devices that were not at hand, with their band. The newest file's where several have one."""
    latest = {(p.device, p.model, p.precision, p.batch): p for result in found for p in result.predictions}
    rows = [
        [cell(p.device), code(p.model), cell(p.precision), str(p.batch), significant(p.ms),
         f"{significant(p.low_ms)} to {significant(p.high_ms)}", significant(1e3 * p.batch / p.ms)]
        for p in latest.values()
    ]  # fmt: skip
    header = ["device", "network", "precision", "batch", "predicted ms", "between", "faces/s"]
    basis = list(dict.fromkeys(p.basis for p in latest.values()))
    return f"{markdown(header, rows)}\n\nPredicted, not measured: {cell('; '.join(basis))}." if rows else ""
