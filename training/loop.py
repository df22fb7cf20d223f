"""The loop that every training run goes through: steps, validation, saves on the way, a log, a progress line."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from sdk.errors import OutputError

SAVE_EVERY_S = 60.0
REPORT_EVERY_S = 2.0
LOG_FIELDS = ("step", "seconds", "lr", "loss")


class Validated(Protocol):
    """What a run learns from, as the loop sees it."""

    def validate(self, model: Any) -> dict[str, float]: ...

    def sample(self, model: Any) -> list[Tensor]: ...


class Loop:
    """One run in one folder. A run gives it `advance`, `save` and `rate`."""

    folder: Path
    average: nn.Module  # what is validated
    steps: int  # in all
    step: int = 0  # done
    seconds: float = 0.0
    running: float = 0.0  # loss, smoothed
    history: list[dict[str, float]]
    clock: Callable[[], float] = staticmethod(time.monotonic)  # what `seconds` counts

    @property
    def path(self) -> Path:
        return self.folder / "last.pt"

    def advance(self, task: Any) -> float:
        """One optimiser step; returns the loss."""
        raise AssertionError("a run has its own")

    def save(self) -> None:
        raise AssertionError("a run has its own")

    def rate(self, step: int) -> float:
        """Learning rate of the update after `step` earlier ones."""
        raise AssertionError("a run has its own")

    def write_log(self) -> None:
        """Raises OutputError; the checkpoint, which holds the same, is written before."""
        names = list(dict.fromkeys([*LOG_FIELDS, *(key for row in self.history for key in row)]))
        try:
            (self.folder / "log.json").write_text(json.dumps(self.history, indent=1))
            with (self.folder / "log.csv").open("w", newline="") as handle:
                writer = csv.DictWriter(handle, names)
                writer.writeheader()
                writer.writerows(self.history)
        except OSError as error:
            raise no_room(self.folder / "log.csv", error) from error

    def fit(
        self,
        task: Validated,
        *,
        validate_every: int,
        report: Callable[[str], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run to the last step, or until a stop is asked for; saves on the way and at the end."""
        started = saved = reported = time.monotonic()
        before, begun, first = self.seconds, self.clock(), self.step
        while self.step < self.steps and not should_stop():
            loss = self.advance(task)
            self.running = loss if self.running == 0.0 else 0.98 * self.running + 0.02 * loss
            now = time.monotonic()
            self.seconds = before + self.clock() - begun
            last = self.step == self.steps
            if self.step % validate_every == 0 or last:
                self._validate(task, report)
            if now - saved > SAVE_EVERY_S or last:
                self.save()
                saved = now
            if now - reported > REPORT_EVERY_S:
                report(self._progress(self.running, (now - started) / (self.step - first)))
                reported = now
        self.save()

    def _validate(self, task: Validated, report: Callable[[str], None]) -> None:
        scores = task.validate(self.average)
        rate = self.rate(self.step - 1)
        row = {"step": self.step, "seconds": round(self.seconds, 1), "lr": rate, "loss": self.running, **scores}
        self.history.append(row)
        write_samples(task.sample(self.average), self.folder / "samples" / f"{self.step:07d}.png")
        report(f"step {self.step} " + " ".join(f"{k}={v:.3f}" for k, v in scores.items()) + "\n")

    def _progress(self, loss: float, seconds_a_step: float) -> str:
        share = self.step / self.steps
        bar = "#" * round(20 * share)
        left = int((self.steps - self.step) * seconds_a_step)
        eta = f"{1000 * seconds_a_step:.0f} ms/step ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        return f"\r[{bar:<20}] {self.step}/{self.steps} loss {loss:.4f} {eta} "


def plain(value: Any) -> Any:
    """Tuples to lists: what a checkpoint may hold."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def no_room(path: Path, error: OSError) -> OutputError:
    remedy = "the last checkpoint stays: free some room and run the same command again"
    return OutputError(f"room and permission to write {path}", error.strerror or str(error), remedy)


def write_samples(rows: list[Tensor], path: Path) -> None:
    """Rows of [n,3,S,S] in [0,1] as one picture. Raises OutputError."""
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # [3, rows * S, n * S]
    pixels = (sheet * 255.0).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    made, data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels[..., ::-1]))
    assert made, path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise no_room(path, error) from error
