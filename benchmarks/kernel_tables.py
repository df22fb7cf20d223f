"""The table of kernels/README.md: what a launch moves, what that should take, and what gpu-check measured.

The prediction is a roofline: the bytes over the rate of the memory, plus what a launch inside a replayed CUDA graph
costs. Nothing faster can be had with the inputs in DRAM; a kernel that takes much longer has a fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kernel_cases import Case, all_cases
from benchmarks.tables import ABSENT, markdown, number, percent
from sdk.errors import InputError

__all__ = ["Memory", "kernels", "predicted_us"]

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
