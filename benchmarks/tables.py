"""Markdown tables from the JSON files in benchmarks/results/: one function per table."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ABSENT = "–"


def load(path: Path) -> dict[str, Any]:
    """One results file: an object with `command` and the measurements. Raises ValueError in three parts."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {path}; got {error}; run the command that makes it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("command"), str):
        raise ValueError(
            f"expected an object with the command that made it in {path}; got {type(content).__name__} without one; "
            'add "command" or make the file again'
        )
    return content


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is left-aligned and whose others are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:.{decimals}f}"


def percent(fraction: float | None, decimals: int) -> str:
    return ABSENT if fraction is None else f"{100.0 * fraction:.{decimals}f} %"


def made_by(files: Iterable[dict[str, Any]]) -> str:
    """The commands, each once, in a block that tests/test_readme.py reads."""
    commands = list(dict.fromkeys(str(file["command"]) for file in files))
    return "\n".join(["", "Made by:", "", "```sh", *commands, "```"])


def not_measured(pattern: str) -> str:
    return f"Not measured yet: no `benchmarks/results/{pattern}`."


def _evaluations(results: Path) -> list[dict[str, Any]]:
    return [load(path) for path in sorted(results.glob("evaluation*.json"))]


def evaluation(results: Path) -> str:
    """PSNR and SSIM beside bicubic, one row per model and file of `training.evaluate --json`."""
    files = _evaluations(results)
    if not files:
        return not_measured("evaluation*.json")
    header = [
        "model",
        "archive, split",
        "LR px",
        "faces",
        "PSNR dB",
        "SSIM",
        "bicubic PSNR dB",
        "bicubic SSIM",
        "protocol",
    ]
    rows = [
        [
            f"`{row['model']}`",
            f"{row['pack']}, {row['split']}",
            str(row["lr_size"]),
            str(row["n"]),
            number(row["psnr"], 2),
            number(row["ssim"], 4),
            number(row["bicubic_psnr"], 2),
            number(row["bicubic_ssim"], 4),
            str(file.get("protocol", ABSENT)),
        ]
        for file in files
        for row in file["results"]
    ]
    return markdown(header, rows) + "\n" + made_by(files)


def landmarks(results: Path) -> str:
    """NME, AUC and failures of every evaluation that had true landmarks and a model that gives some."""
    files = [f for f in _evaluations(results) if any(row.get("nme") is not None for row in f["results"])]
    if not files:
        return not_measured("evaluation*.json with landmarks")
    header = ["model", "archive, split", "LR px", "faces", "NME", "AUC", "failures"]
    rows = [
        [
            f"`{row['model']}`",
            f"{row['pack']}, {row['split']}",
            str(row["lr_size"]),
            str(row["n"]),
            percent(row["nme"], 2),
            number(row.get("auc"), 3),
            percent(row.get("failure_rate"), 1),
        ]
        for file in files
        for row in file["results"]
        if row.get("nme") is not None
    ]
    return markdown(header, rows) + "\n" + made_by(files)


def latency(results: Path) -> str:
    """Milliseconds of the SDK's stages, from benchmarks/results/sdk_latency.json."""
    path = results / "sdk_latency.json"
    if not path.is_file():
        return not_measured(path.name)
    file = load(path)
    return "\n".join([made_by([file])])


def detector(results: Path) -> str:
    """Recall of the built-in detector by face size, from benchmarks/results/detector_recall.json."""
    path = results / "detector_recall.json"
    if not path.is_file():
        return not_measured(path.name)
    file = load(path)
    return "\n".join([made_by([file])])
