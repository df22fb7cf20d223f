"""Result files of the papers' protocols, `benchmarks/results/papers_PROTOCOL.json`, one for each of training.protocols.

    schema      "papers-1"
    command     that made the last rows
    machine     {"processor", "cores", "threads", "torch"}
    protocol    {"name", "paper", "table", "kind", "pack", "split", "scale", "lr_px", "metrics", "baseline",
                 "normaliser", "differs": [text]}
    limit       first pictures alone, or null for all
    pictures    {"id": [text], "yaw_deg": [number] where poses are asked for, "yaw_from": "label" | "points" | "both"}
    results     rows; the first is the baseline ("bicubic", or what the paper's table has)

A row of kind "pictures", NME in percent, AUC and failures in fractions, null where not measured:

    model, augmented (8-fold test-time augmentation), n, psnr, ssim, also {metric: {psnr, ssim}}, n_landmarks, nme, auc
    (to 10 %), failure_rate (above 8 %; by the box above 10 %), input ("16 px", "paper's files", ...)
    bins        where poses are asked for: [{"yaw_deg": "0-30", n, psnr, ssim, nme, auc}]
    cumulative_psnr_db  [255], SRINC's Eq. 4: mean over the pictures; only differences between rows mean anything
    per_image   {psnr: [...], ssim: [...], nme: [...]} in the order of pictures.id
    training    see training_of(); null for bicubic

Kind "gain" (SRINC's experiment: one fixed landmark network on every method's pictures) has rows of model, augmented,
detector, detector_sha256, detector_px, detector_training, n, error, baseline_error, truth_error (percent),
relative_gain (1 - error / baseline_error), gain_interval [low, high] (95 %, bootstrap over faces), auc, bins, psnr,
training, per_image {error: [...]}; the rows "bicubic" (or "bilinear") and "truth" come first for every detector. Kind
"verification" has accuracy (mean of 10 folds), accuracy_sd, folds [...], psnr, ssim; "parsing" has iou (mean over
classes), iou_by_class [...], reference ("labels" | "truth").
"""

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from sdk.zoo import CARD_KEY
from training import checkpoint
from training.data.packs import pack_name
from training.recipes.papers import PAPERS
from training.results import write_results

SCHEMA = "papers-1"
DIGITS = 4  # of numbers of single pictures
CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Where the numbers were computed."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": named[0] if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def digest(path: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file, and of the weights that lie beside a released graph."""
    weights = path.with_suffix(".safetensors")
    beside = weights.read_bytes() if path.suffix == ".onnx" and weights.is_file() else b""
    return hashlib.sha256(path.read_bytes() + beside).hexdigest()[:16]


def training_of(path: Path) -> dict[str, Any]:
    """What made the weights of a checkpoint or of a released network; of another ONNX file its digest alone.

    file, sha256, store (of a release: how weights were rounded); recipe, finished (the last step of the last stage was
    reached), perceptual; packs, batch, steps, minutes (of processor), budget_minutes, paper_share (of the paper's steps
    on these pictures) over all stages; stages [{part, steps, batch, lr, minutes, planned_steps, paper_steps,
    budget_minutes}]; departures [text] from the recipe's numbers. Null where the file does not tell.
    """
    found: dict[str, Any] = {"file": path.name, "sha256": digest(path)}
    if path.suffix != ".pt":
        card = _card_of(path)
        return {**card.get("training", {}), **found, **({"store": card["store"]} if "store" in card else {})}
    saved = checkpoint.load(path)
    stages = [_stage(run, path, saved) for run in checkpoint.runs_of(saved)]
    last = stages[-1] if stages else {}
    done = "recipe" not in saved or last.get("planned_steps") in (None, last.get("steps"))
    runs = checkpoint.runs_of(saved)
    return {
        **found,
        "recipe": runs[-1]["name"] if runs else str(saved.get("model")),
        "finished": bool(done),
        "perceptual": saved.get("perceptual"),
        "packs": sorted({pack_name(pack) for run in runs for pack in run["packs"]}),
        "batch": last.get("batch"),
        "steps": sum(stage["steps"] for stage in stages) if stages else None,
        "minutes": _sum(stages, "minutes"),
        "budget_minutes": _sum(stages, "budget_minutes"),
        "paper_share": _share(stages),
        "stages": stages,
        "departures": list(dict.fromkeys(text for run in runs for text in _departures(run))),
    }


def _departures(run: dict[str, Any]) -> list[str]:
    """What a run was told to do otherwise than its recipe."""
    recipe = PAPERS.get(str(run["name"]))
    stage = next((s for s in recipe.stages if s.name == run.get("part")), None) if recipe else None
    if recipe is None or stage is None:
        return []
    told = [f"batch {run['batch']} in place of {recipe.batch}"] if run["batch"] != recipe.batch else []
    if run["lr"] != stage.lr:
        told.append(f"learning rate {run['lr']:.3g} in place of {stage.lr:.3g}")
    if set(map(pack_name, run["packs"])) != set(recipe.packs):
        told.append(f"learned from {', '.join(sorted(map(pack_name, run['packs'])))}")
    return told


def _card_of(path: Path) -> dict[str, Any]:
    """The JSON beside a released network; {} where there is none of ours."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) and CARD_KEY in card else {}


def _stage(run: dict[str, Any], path: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """One run, with the plan it had: from this file, or from the stage's folder beside the finished one."""
    plan = saved.get("plan") if run["part"] == saved.get("recipe", {}).get("part") else None
    for folder in (path.parent, path.parent.parent):
        beside = folder / str(run["part"]) / "last.pt"
        if plan is None and beside != path and beside.is_file():
            other = checkpoint.load(beside)
            plan = other.get("plan") if other.get("recipe", {}).get("name") == run["name"] else None
    plan = plan or {}
    budget = plan.get("budget_s")
    told = {key: run.get(key) for key in ("part", "steps", "batch", "lr", "minutes")}
    told |= {"planned_steps": plan.get("steps"), "paper_steps": plan.get("paper_steps")}
    return {**told, "budget_minutes": None if budget is None else budget / 60.0}


def _sum(stages: list[dict[str, Any]], key: str) -> float | None:
    known = [stage[key] for stage in stages if stage[key] is not None]
    return float(sum(known)) if known and len(known) == len(stages) else None


def _share(stages: list[dict[str, Any]]) -> float | None:
    paper = _sum(stages, "paper_steps")
    return sum(stage["steps"] for stage in stages) / paper if paper else None


def rounded(values: list[float | None]) -> list[float | None]:
    return [None if value is None else round(value, DIGITS) for value in values]


class ResultFile:
    """Rows of one protocol, kept across commands: a row whose weights and conditions are the same is not made again."""

    def __init__(self, path: Path | None, conditions: dict[str, Any]) -> None:
        """conditions: protocol and limit; rows of a file with others are dropped."""
        self.path, self.conditions = path, conditions
        self.pictures: dict[str, Any] = {}
        self.rows = self._on_disk()

    def _on_disk(self) -> list[dict[str, Any]]:
        """Rows of these conditions; none of a file that cannot be read, which is written anew."""
        try:
            old = json.loads(self.path.read_text(encoding="utf-8")) if self.path is not None else None
        except (OSError, ValueError):
            return []
        wanted = {"schema": SCHEMA, **json.loads(json.dumps(self.conditions))}
        rows = old.get("results") if isinstance(old, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return []
        return rows if all(old.get(key) == value for key, value in wanted.items()) else []

    def has(self, key: dict[str, Any], weights: str | None) -> bool:
        """Whether there is a row with these values, of weights of that SHA-256."""
        same = (row for row in self.rows if all(row.get(name) == value for name, value in key.items()))
        return any((row.get("training") or {}).get("sha256") == weights for row in same)

    def put(self, row: dict[str, Any]) -> None:
        """In the place of the row of the same names, whatever their weights were, or at the end."""
        places = [i for i, old in enumerate(self.rows) if _names(old) == _names(row)]
        if places:
            self.rows[places[0]] = row
        else:
            self.rows.append(row)

    def write(self, command: str) -> None:
        """Rows that another command has added meanwhile stay. Raises OutputError. Without a path nothing is written."""
        if self.path is None:
            return
        known = [_names(row) for row in self.rows]
        self.rows += [row for row in self._on_disk() if _names(row) not in known]
        head = {"command": command, "schema": SCHEMA, "machine": machine(), **self.conditions}
        write_results(self.path, {**head, "pictures": self.pictures, "results": self.rows})


def _names(row: dict[str, Any]) -> tuple[Any, ...]:
    """Which row of a table it is."""
    return tuple(row.get(name) for name in ("model", "augmented", "detector", "embedder", "parser"))
