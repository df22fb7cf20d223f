"""Markdown about the released networks of the papers, their engines and the figures of docs/RESULTS.md."""

import json
from pathlib import Path
from typing import Any

from benchmarks.paper_tables import trained
from benchmarks.tables import load, made_by, markdown, not_measured, number
from sdk.errors import InputError
from sdk.zoo import CARD_KEY

ROOT = Path(__file__).resolve().parents[1]
ENGINES = "papers_rtx.json"
FIGURES = "figures.json"
NOTHING = "Not measured yet: no network lies in `release/`; `python -m export.release CHECKPOINT...` puts it there."


def _root(results: Path) -> Path:
    """Of the checkout that a results folder belongs to."""
    return results.parents[1]


def _cards(folder: Path) -> list[dict[str, Any]]:
    """Cards of the released networks by name. Raises InputError: one that is not ours."""
    cards: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"JSON in {path}", str(error), "release that network again") from error
        if not isinstance(card, dict) or card.get(CARD_KEY) != 1:
            raise InputError(f"a card of export.release in {path}", "another file", "remove it, or release again")
        cards.append(card)
    return cards


def released(results: Path) -> str:
    """What lies in release/: sizes, how weights are stored, what that costs, training and licence."""
    cards = _cards(_root(results) / "release")
    if not cards:
        return NOTHING
    rows = []
    for card in cards:
        found, size_mb = card["verified"], sum(file["bytes"] for file in card["files"].values()) / 1e6
        cost = f"{number(found['levels_mean'], 2)} on average, {found['levels_max']} at most"
        told = trained({"training": card["training"]})
        packs = ", ".join(card["training"].get("packs") or []) or "see its spec"
        rows.append([f"`{card['name']}`", number(size_mb, 1), card["store"], cost, told, packs])
    total_mb = sum(float(row[1]) for row in rows)
    header = ["model", "MB", "weights", "grey levels from torch", "trained", "on"]
    told = f"All together {total_mb:.1f} MB. Licence of the weights: the terms of the archives they were trained on."
    return markdown(header, rows) + f"\n\n{told}\n" + made_by(cards)


def papers_rtx(results: Path) -> str:
    """Builds of the full-sized networks with TensorRT-RTX, from benchmarks/results/papers_rtx.json."""
    path = results / ENGINES
    if not path.is_file():
        return not_measured(ENGINES)
    file = load(path)
    rows = [
        [
            f"`{row['model']}`",
            row["weights"],
            row["precision"],
            ", ".join(f"{count} {kind}" for kind, count in row["layers"].items()),
            number(row["engine_mib"], 1),
            number(row["build_s"], 0),
        ]
        for row in file["results"]
    ]
    header = ["model", "weights", "asked", "layers with weights, read back", "engine MiB", "build s"]
    first = file["results"][0]
    told = f"{first['tensorrt']} for {', '.join(first['targets'])}, on a machine without a GPU: built and read back, "
    told += "not yet run; seconds with other work beside it. What a precision costs is for the gate of `trt-build` to "
    told += "say, on trained weights."
    return f"{markdown(header, rows)}\n\n{told}\n{made_by([file])}"


def figures(results: Path) -> str:
    """Figures and sheets that training.report made."""
    path = results / FIGURES
    if not path.is_file():
        return not_measured(FIGURES)
    file = load(path)
    parts = [
        f"### {told['title']}\n\n![{told['title']}](results/{name})\n\n{told['caption']}"
        for name, told in file["figures"].items()
    ]
    return "\n\n".join(parts) + "\n" + made_by([file])
