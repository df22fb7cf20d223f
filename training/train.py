"""Train a network or one branch of it: `python -m training.train --recipe picoface_x8 --out runs/x8`.

Killed at any moment, the same command goes on from the last save and ends with the same weights as an unbroken
run: batches depend on (seed, step) alone, and the checkpoint holds weights, averages and optimiser. Ctrl-C and
SIGTERM save first. A branch's folder gets last.pt, log.csv, log.json and samples/*.png; a whole network's gets a
folder for each branch and the joined NAME.pt.
"""

import argparse
import csv
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import cv2
import numpy as np
import torch
from torch import Tensor

from sdk.errors import FaceTRTError
from training import checkpoint
from training.join import join
from training.models.picoface import PicoFace
from training.recipes.picoface import NETWORKS, RECIPES, Recipe
from training.tasks import Task, make_task

SAVE_EVERY_S = 60.0
REPORT_EVERY_S = 2.0
STOPPED = 130  # exit code after Ctrl-C or SIGTERM
LOG_FIELDS = ("step", "seconds", "lr", "loss")


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant, then a cosine to 0 over the last `decay_share` of the run."""
    start = recipe.steps * (1.0 - recipe.decay_share)
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    if step < start:
        return recipe.lr
    return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (step - start) / (recipe.steps - start)))


class Run:
    """One training run in one folder."""

    def __init__(self, recipe: Recipe, folder: Path, *, seed: int, initial: Path | None = None) -> None:
        self.recipe, self.folder, self.seed = recipe, folder, seed
        torch.manual_seed(seed)
        self.model = PicoFace(recipe.config).to(memory_format=torch.channels_last)
        self.average = PicoFace(recipe.config).eval()
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.stop_requested = False
        if initial is not None:
            self.start_from(checkpoint.load(initial)["weights"])
        self.average.load_state_dict(self.model.state_dict())
        learned = getattr(self.model, recipe.part).parameters()
        self.optimiser = torch.optim.Adam(list(learned), lr=recipe.lr, betas=recipe.betas)
        if self.path.exists():
            self._resume()

    @property
    def path(self) -> Path:
        return self.folder / "last.pt"

    def _resume(self) -> None:
        saved = checkpoint.load(self.path)
        self.model.load_state_dict(saved["raw_weights"])
        self.average.load_state_dict(saved["weights"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take over the weights whose names and shapes agree, e.g. another variant's; the rest start afresh."""
        own = self.model.state_dict()
        self.model.load_state_dict(
            {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}, strict=False
        )

    def save(self) -> None:
        checkpoint.save(
            self.path,
            {
                "model": "picoface",
                "config": self.recipe.config.as_dict(),
                "weights": self.average.state_dict(),
                "raw_weights": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "seed": self.seed,
                "recipe": _plain(asdict(self.recipe)),
                "history": self.history,
            },
        )
        (self.folder / "log.json").write_text(json.dumps(self.history, indent=1))
        with (self.folder / "log.csv").open("w", newline="") as handle:
            names = list(dict.fromkeys([*LOG_FIELDS, *(key for row in self.history for key in row)]))
            writer = csv.DictWriter(handle, names)
            writer.writeheader()
            writer.writerows(self.history)

    def advance(self, task: Task) -> float:
        """One optimiser step; returns the loss. Raises FloatingPointError on NaN before anything is spoilt."""
        rate = learning_rate(self.recipe, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = task.loss(self.model, self.step)
        self.optimiser.zero_grad()
        loss.backward()
        learned = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learned, self.recipe.clip_norm)
        if not torch.isfinite(norm):
            remedy = f"{self.path} holds the last good weights: lower lr"
            raise FloatingPointError(f"expected a finite gradient; got {float(norm)} at step {self.step}; {remedy}")
        self.optimiser.step()
        self.step += 1
        decay = min(self.recipe.ema, self.step / (self.step + 10.0))
        with torch.no_grad():
            raw = dict(self.model.named_parameters())
            for name, value in self.average.named_parameters():
                value.lerp_(raw[name], 1.0 - decay)
        return float(loss.detach())

    def fit(self, task: Task, *, validate_every: int, report: Callable[[str], None]) -> None:
        """Run to the recipe's last step, or until a stop is asked for; saves on the way and at the end."""
        started = saved = reported = time.monotonic()
        before, first, running = self.seconds, self.step, 0.0
        while self.step < self.recipe.steps and not self.stop_requested:
            loss = self.advance(task)
            running = loss if running == 0.0 else 0.98 * running + 0.02 * loss
            now = time.monotonic()
            self.seconds = before + now - started
            last = self.step == self.recipe.steps
            if self.step % validate_every == 0 or last:
                scores = task.validate(self.average)
                rate = learning_rate(self.recipe, self.step - 1)
                self.history.append(
                    {"step": self.step, "seconds": round(self.seconds, 1), "lr": rate, "loss": running, **scores}
                )
                write_samples(task.sample(self.average), self.folder / "samples" / f"{self.step:07d}.png")
                report(f"step {self.step} " + " ".join(f"{k}={v:.3f}" for k, v in scores.items()) + "\n")
            if now - saved > SAVE_EVERY_S or last:
                self.save()
                saved = now
            if now - reported > REPORT_EVERY_S:
                report(self._progress(running, (now - started) / (self.step - first)))
                reported = now
        self.save()

    def _progress(self, loss: float, seconds_a_step: float) -> str:
        share = self.step / self.recipe.steps
        bar = "#" * round(20 * share)
        left = int((self.recipe.steps - self.step) * seconds_a_step)
        eta = f"{1000 * seconds_a_step:.0f} ms/step ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        return f"\r[{bar:<20}] {self.step}/{self.recipe.steps} loss {loss:.4f} {eta} "


def _plain(value: object) -> object:
    """Tuples to lists: what a checkpoint may hold."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def write_samples(rows: list[Tensor], path: Path) -> None:
    """Rows of [n,3,S,S] in [0,1] as one picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # [3, rows * S, n * S]
    pixels = (sheet * 255.0).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", required=True, choices=[*NETWORKS, *RECIPES], help="a network, or one branch of it")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--steps", type=int, help="instead of the recipe's; the schedule scales with them")
    parser.add_argument("--packs", nargs="+", help="archives instead of the recipe's (folders, tars or cached names)")
    parser.add_argument("--init", type=Path, help="checkpoint to start from, as far as shapes agree")
    parser.add_argument("--pseudo", type=Path, help="npz of points found by a teacher (training.pseudo_label)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--validate-every", type=int, default=1000, metavar="STEPS")
    return parser.parse_args(arguments)


def train_branch(recipe: Recipe, folder: Path, args: argparse.Namespace) -> bool:
    """Train, or go on with, one branch. True when it reached its last step."""
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    if args.packs is not None:
        recipe = replace(recipe, packs=tuple(args.packs))
    pseudo = None
    if args.pseudo is not None and recipe.part == "landmarks":
        with np.load(args.pseudo, allow_pickle=False) as archive:
            pseudo = {str(k): v for k, v in zip(archive["id"], archive["pts68"], strict=True)}
    run = Run(recipe, folder, seed=args.seed, initial=args.init)
    if run.step < recipe.steps:
        task = make_task(recipe, args.seed, pseudo=pseudo)

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            run.stop_requested = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        run.fit(task, validate_every=args.validate_every, report=_report)
    done = run.step >= recipe.steps
    _report(f"\n{recipe.name}: {'finished' if done else 'stopped'} at step {run.step}; saved {run.path}\n")
    return done


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    folder = args.out or Path("runs") / args.recipe
    try:
        if args.recipe in RECIPES:
            return 0 if train_branch(RECIPES[args.recipe], folder, args) else STOPPED
        for branch in NETWORKS[args.recipe]:
            if not train_branch(RECIPES[branch], folder / RECIPES[branch].part, args):
                return STOPPED
    except FaceTRTError as error:
        _report(f"{error}\n")
        return 2
    parts = [checkpoint.load(folder / part / "last.pt") for part in ("sr", "landmarks")]
    checkpoint.save(folder / f"{args.recipe}.pt", join(*parts, args.recipe))
    _report(f"wrote {folder / args.recipe}.pt; next: python -m export.to_onnx\n")
    return 0


def _report(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
