"""One training run in one folder: steps, averages, checkpoints, logs. See training.train for the command."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sdk.errors import InputError
from training import checkpoint
from training.fake_quant import plain_state, prepare
from training.loop import Loop, plain
from training.models.picoface import PicoFace
from training.recipes.picoface import Recipe
from training.tasks import Task


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant, then a cosine to 0 over the last `decay_share` of the run."""
    start = recipe.steps * (1.0 - recipe.decay_share)
    warmup = min(recipe.warmup_steps, recipe.steps // 10)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if step < start:
        return recipe.lr
    return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (step - start) / (recipe.steps - start)))


class Run(Loop):
    """One training run in one folder."""

    def __init__(self, recipe: Recipe, folder: Path, *, seed: int, initial: Path | None = None) -> None:
        self.recipe, self.folder, self.seed = recipe, folder, seed
        torch.manual_seed(seed)
        self.model = PicoFace(recipe.config).to(memory_format=torch.channels_last)
        self.average = PicoFace(recipe.config).eval()
        self.step, self.seconds, self.running = 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []
        self.earlier: list[dict[str, Any]] = []  # recipes, steps and seeds of the runs that this one started from
        if initial is not None:
            self.start_from(checkpoint.load(initial))
        if recipe.quantised:
            prepare(self.model)
            prepare(self.average)
        self.average.load_state_dict(self.model.state_dict())
        learned = getattr(self.model, recipe.part).parameters()
        self.optimiser = torch.optim.Adam(list(learned), lr=recipe.lr, betas=recipe.betas)
        if self.path.exists():
            self._resume()

    @property
    def steps(self) -> int:
        return self.recipe.steps

    def rate(self, step: int) -> float:
        return learning_rate(self.recipe, step)

    def _resume(self) -> None:
        """Go on where the folder's checkpoint stopped. Raises InputError when that was another run."""
        saved = checkpoint.load(self.path)
        asked = {"seed": self.seed, **plain(asdict(self.recipe))}
        found = {"seed": saved["seed"], **saved["recipe"]}
        for name in asked:
            if name != "steps" and asked[name] != found.get(name):  # a run may be lengthened or cut short
                expected = f"{name}={found.get(name)!r} as in the run of {self.path}"
                raise InputError(expected, repr(asked[name]), "give another --out for another run")
        self.model.load_state_dict(saved["raw_weights"])
        self.average.load_state_dict(saved.get("average", saved["weights"]))
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]
        self.running, self.earlier = saved.get("running", 0.0), saved.get("earlier", [])

    def start_from(self, saved: dict[str, Any]) -> None:
        """Take over the weights whose names and shapes agree, e.g. another variant's; the rest start afresh."""
        own = self.model.state_dict()
        fitting = {k: v for k, v in saved["weights"].items() if k in own and v.shape == own[k].shape}
        self.model.load_state_dict(fitting, strict=False)
        self.earlier = checkpoint.runs_of(saved)

    def save(self) -> None:
        checkpoint.save(
            self.path,
            {
                "model": "picoface",
                "config": self.recipe.config.as_dict(),
                "weights": plain_state(self.average) if self.recipe.quantised else self.average.state_dict(),
                "average": self.average.state_dict(),
                "raw_weights": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "seed": self.seed,
                "recipe": plain(asdict(self.recipe)),
                "history": self.history,
                "running": self.running,
                "earlier": self.earlier,
            },
        )
        self.write_log()

    def advance(self, task: Task) -> float:
        """One optimiser step; returns the loss. Raises FloatingPointError on NaN before anything is spoilt."""
        rate = self.rate(self.step)
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
            ranges = dict(self.model.named_buffers())
            for name, value in self.average.named_buffers():
                value.copy_(ranges[name])
        return float(loss.detach())
