"""The tables of kernels/README.md: what a launch moves, what that should take, what gpu-check measured, and rivals.

The prediction is a roofline: the bytes over the rate of the memory, plus what a launch inside a replayed CUDA graph
costs. Nothing faster can be had with the inputs in DRAM; a kernel that takes much longer has a fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kernel_cases import Case, all_cases
from benchmarks.kernel_rivals import rivals_of
from benchmarks.tables import ABSENT, markdown, number, percent
from sdk.errors import InputError

__all__ = ["Memory", "kernel_rivals", "kernels", "predicted_us"]

RESULTS = "gpu_check.json"
NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Memory:
    """A GPU's memory and launches, for the prediction."""

    name: str
    gb_s: float  # read and written together
    launch_us: float  # our guess, to be measured with an empty kernel


DEVICES = (
    Memory("H200", 4300.0, 2.0),  # copy rate measured on one
    Memory("RTX 4090", 1008.0, 2.0),  # data sheet
    Memory("AGX Orin 64 GB", 204.8, 4.5),  # data sheet
    Memory("Orin Nano 8 GB", 68.0, 4.5),  # data sheet
)


def predicted_us(case: Case, memory: Memory) -> float:
    """Microseconds a launch; paste takes two launches."""
    launches = 2 if case.kernel == "paste" else 1
    return launches * memory.launch_us + case.moved_bytes / memory.gb_s / 1e3


def kernels(results: Path) -> str:
    """A row a case of benchmarks.kernel_cases."""
    path = results / RESULTS
    report: dict[str, Any] = load_report(path)
    rows: list[list[str]] = []
    for case in all_cases():
        found = report.get(f"kernels time {case.name}", {})
        sound = report.get(f"kernels correct {case.name}")
        guesses = [number(predicted_us(case, memory), 1) for memory in DEVICES]
        measured = number(found.get("graph_us"), 1) if found else NOT_RUN
        right = NOT_RUN if sound is None else "yes"
        rows.append(
            [f"`{case.kernel}`", case.what, str(case.faces), number(case.moved_bytes / 1e6, 2), *guesses,
             right, measured, percent(found.get("of_copy_rate"), 0) if found else ABSENT]
        )  # fmt: skip
    names = [f"predicted {memory.name}, µs" for memory in DEVICES]
    header = ["kernel", "case", "faces", "MB", *names, "right on a GPU", "measured, µs", "of the copy rate"]
    if not report:
        told = "Not measured yet: no GPU has run these kernels; times are predictions of `benchmarks/kernel_tables.py`."
    else:
        told = f"Measured on {report['machine']['gpu']} with `{report['machine']['command']}`."
    return f"{told}\n\n{markdown(header, rows)}"


def kernel_rivals(results: Path) -> str:
    """A row a case that others can do too: their time, and how many times ours that is."""
    report: dict[str, Any] = load_report(results / RESULTS)
    cases = [case for case in all_cases() if rivals_of(case)]
    timed = [case for case in cases if f"kernels time {case.name}" in report]
    if not timed:
        names = sorted({name for case in cases for name in rivals_of(case)})
        return f"Not measured yet. `make gpu-check` times, beside our kernels in the same process: {'; '.join(names)}."
    rows: list[list[str]] = []
    for case in timed:
        ours = float(report[f"kernels time {case.name}"]["graph_us"])
        for name in rivals_of(case):
            theirs = report.get(f"kernels rival {case.name}: {name}", {}).get("us")
            times = ABSENT if theirs is None else number(float(theirs) / ours, 1)
            told = NOT_RUN if theirs is None else number(theirs, 1)
            rows.append([f"`{case.kernel}`", case.what, str(case.faces), number(ours, 1), name, told, times])
    header = ["kernel", "case", "faces", "ours, µs", "rival", "rival, µs", "times ours"]
    return f"Measured on {report['machine']['gpu']} with `{report['machine']['command']}`.\n\n{markdown(header, rows)}"


def load_report(path: Path) -> dict[str, Any]:
    """Numbers by check of those that ended well, and "machine"; {} without kernels in it. Raises InputError."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"JSON in {path}", str(error), "run make gpu-check again") from error
    rows = {row["check"]: row for row in content.get("checks", []) if row["check"].startswith("kernels ")}
    found: dict[str, Any] = {name: row.get("numbers", {}) for name, row in rows.items() if row["status"] == "ok"}
    if not found:
        return {}
    last = content["runs"][max(int(row.get("run", 0)) for row in rows.values())]
    machine = {"gpu": last.get("machine", {}).get("gpu", "a GPU"), "command": last["command"]}
    return {**found, "machine": machine}
