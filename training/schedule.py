"""Learning rates of the papers' recipes, and what a budget makes of their lengths.

A stage of a paper has epochs; a run of it has steps. Whatever their number, step s of S stands at epoch
`epochs · s / S`: a budget shortens the schedule in all its parts alike, and the checkpoint says to what share.
"""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sdk.errors import InputError
from training.recipes.stage import Stage

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Plan:
    """How long a stage is trained, and why."""

    steps: int
    paper_steps: int  # the paper's epochs on these pictures
    seconds_a_step: float | None = None  # as measured; None: no budget was given
    budget_s: float | None = None  # of this stage
    validations: int = 10  # evenly over the run, the last at its end

    def as_dict(self) -> dict[str, float | None]:
        return {**vars(self), "share": self.steps / self.paper_steps}


def learning_rate(stage: Stage, step: int, *, steps: int) -> float:
    """Of the update after `step` earlier ones, `steps` in all."""
    epoch = stage.epochs * step / steps
    if stage.schedule == "cosine":
        rate = stage.lr_end + 0.5 * (stage.lr - stage.lr_end) * (1.0 + math.cos(math.pi * step / steps))
    elif stage.schedule == "decay":
        rate = max(stage.lr * stage.lr_factor ** math.floor(epoch), stage.lr_end)
    else:
        rate = stage.lr * stage.lr_factor ** sum(epoch >= drop for drop in stage.lr_drops)
    return rate * _warmup_share(stage, step, steps=steps)


def _warmup_share(stage: Stage, step: int, *, steps: int) -> float:
    """Below 1 in the first updates; in a short run they are at most a twentieth of it each."""
    start = 0
    for updates, share in stage.warmup:
        start += min(updates, steps // 20)
        if step < start:
            return share
    return 1.0


def adversarial_weight(stage: Stage, step: int, *, steps: int) -> float:
    weight = stage.weights.adversarial
    if stage.adversarial_decay == 1.0:
        return weight
    decayed = weight * stage.adversarial_decay ** math.floor(stage.epochs * step / steps)
    return max(decayed, min(stage.adversarial_floor, weight))


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds that a budget counts: on a CPU processor time, so that other load costs nothing.

    That is the mean of torch's threads, or, where it works alone (it makes the batches), that of the calling thread.
    Processes that make batches ahead are not counted, nor is waiting for them.
    """
    if device.type != "cpu":
        return time.monotonic
    threads = torch.get_num_threads()
    return lambda: max(time.process_time() / threads, time.thread_time())


def paper_steps(stage: Stage, *, examples: int, batch: int) -> int:
    return max(1, round(stage.epochs * examples / batch))


def seconds(text: str) -> float:
    """ "90s", "20m", "1.5h" -> seconds. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found or float(found[1]) == 0.0:
        raise InputError("a time such as 90s, 20m or 1.5h", repr(text), "give a number above 0 and its unit")
    return float(found[1]) * UNITS[found[2]]
