"""Markdown tables from the JSON files in benchmarks/results/: one function per table."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdk.errors import InputError

ABSENT = "–"
NUMBER = rf"{ABSENT}|-?[0-9.]+( %)?"


def load(path: Path) -> dict[str, Any]:
    """One results file: an object with `command` and the measurements. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"JSON in {path}", str(error), "run the command that makes it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("command"), str):
        got = f"{type(content).__name__} without a command"
        raise InputError(f"an object with the command that made it in {path}", got, "run that command again")
    return content


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns of numbers are right-aligned."""
    columns = [[row[i] for row in rows] for i in range(len(header))]
    rule = ["---:" if all(re.fullmatch(NUMBER, cell) for cell in column) else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def number(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:.{decimals}f}"


def percent(fraction: float | None, decimals: int) -> str:
    return ABSENT if fraction is None else f"{100.0 * fraction:.{decimals}f} %"


def made_by(files: Iterable[dict[str, Any]]) -> str:
    """The commands, each once, in a block that tests/test_readme.py reads."""
    commands = list(dict.fromkeys(str(file["command"]) for file in files))
    return "\n".join(["", "Made by:", "", "```sh", *commands, "```"])


def not_measured(pattern: str) -> str:
    return f"Not measured yet: no such file as `benchmarks/results/{pattern}`."


def _evaluations(results: Path, *, column: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(file, its rows that have a number in `column`) of every evaluation that has such rows, in file order."""
    files = [load(path) for path in sorted(results.glob("evaluation*.json"))]
    chosen = [(file, [row for row in file["results"] if row.get(column) is not None]) for file in files]
    return [(file, rows) for file, rows in chosen if rows]


SUBJECT = ("model", "archive, split", "input", "faces")


def _subject(row: dict[str, Any]) -> list[str]:
    """The cells below SUBJECT: what was evaluated, and on what."""
    conditions = {"lr_files": "the archive's own files", "jitter": "window moved"}
    fed = [f"{row['lr_size']} px", *(words for key, words in conditions.items() if row.get(key))]
    if row.get("degraded"):
        effects = {"camera": "blur, noise, JPEG, each in half", "all": "blur, noise, JPEG in all"}
        fed.append(effects.get(row["degraded"], "degraded"))
    return [f"`{row['model']}`", f"{row['pack']}, {row.get('split') or 'all'}", ", ".join(fed), str(row["n"])]


def evaluation(results: Path) -> str:
    """PSNR and SSIM beside bicubic, one row per model and file of `training.evaluate --json`."""
    chosen = _evaluations(results, column="psnr")
    if not chosen:
        return not_measured("evaluation*.json")
    header = [*SUBJECT, "PSNR dB", "SSIM", "bicubic PSNR dB", "bicubic SSIM", "protocol"]
    rows = [
        [
            *_subject(row),
            number(row["psnr"], 2),
            number(row["ssim"], 4),
            number(row["bicubic_psnr"], 2),
            number(row["bicubic_ssim"], 4),
            str(row.get("protocol") or file.get("protocol") or ABSENT),
        ]
        for file, file_rows in chosen
        for row in file_rows
    ]
    return markdown(header, rows) + "\n" + made_by(f for f, _ in chosen)


def landmarks(results: Path) -> str:
    """NME (percent in the files), AUC and failures (fractions) of every evaluation with true landmarks."""
    chosen = _evaluations(results, column="nme")
    if not chosen:
        return not_measured("evaluation*.json")
    rows = [
        [
            *_subject({**row, "n": row.get("n_landmarks", row["n"])}),
            number(row["nme"], 2),
            number(row.get("auc"), 3),
            percent(row.get("failure_rate"), 1),
        ]
        for _, file_rows in chosen
        for row in file_rows
    ]
    header = [*SUBJECT, "NME %", "AUC", "failures"]
    return markdown(header, rows) + "\n" + made_by(f for f, _ in chosen)


def latency(results: Path) -> str:
    """Every number of benchmarks/results/sdk_latency.json's rows under its own name, which holds its unit."""
    path = results / "sdk_latency.json"
    if not path.is_file():
        return not_measured(path.name)
    file = load(path)
    names = list(dict.fromkeys(key for row in file["results"] for key, value in row.items() if is_cell(value)))
    rows = [[plain(row.get(name)) for name in names] for row in file["results"]]
    return markdown([name.replace("_", " ") for name in names], rows) + "\n" + made_by([file])


def is_cell(value: Any) -> bool:
    return isinstance(value, str | int | float)


def plain(value: Any) -> str:
    if not is_cell(value):
        return ABSENT
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def detector(results: Path) -> str:
    """Recall of the built-in detector by face size, from benchmarks/results/detector_recall.json."""
    path = results / "detector_recall.json"
    if not path.is_file():
        return not_measured(path.name)
    file = load(path)
    rows = [
        [
            str(row["set"]),
            f"{row['size_px'][0]} to {row['size_px'][1]} px",
            str(row["faces"]),
            str(row["found"]),
            percent(row["recall"], 1),
        ]
        for row in file["results"]
    ]
    time_ms, false = file["ms_per_1080p_frame"], file["false_positives_per_1080p_frame"]
    told = f"One 1080p frame: {number(time_ms['wall'], 0)} ms (median), {number(false, 2)} false boxes"
    painted = file.get("painted_false_positives_per_1080p_frame")
    told += "." if painted is None else f", {number(painted, 2)} after the networks' own check."
    table = markdown(["photos", "face (brow to chin)", "faces", "found", "recall"], rows)
    return f"{table}\n\n{told}\n{made_by([file])}"
