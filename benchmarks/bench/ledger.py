"""What a run has found so far; a Result at any moment, also after Ctrl-C."""

import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone

import sdk
from benchmarks.bench.model_files import CHECKOUT
from benchmarks.bench.results import (
    Cold,
    Conditions,
    Limit,
    Measurement,
    Missing,
    Model,
    Prediction,
    Ratio,
    Result,
    ScalingPoint,
    Subject,
)


@dataclass
class Ledger:
    """Lists that only grow."""

    command: str
    started: str = field(default_factory=lambda: now())
    models: list[Model] = field(default_factory=list)
    subjects: dict[str, Subject] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    cold: list[Cold] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    scaling: list[ScalingPoint] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    limits: dict[str, list[Limit]] = field(default_factory=dict)  # by model
    probe: dict[str, float | None] = field(default_factory=dict)

    def know(self, *subjects: Subject) -> None:
        self.subjects.update({subject.id: subject for subject in subjects})

    def lacks(self, what: str, reason: object) -> None:
        """Something that was not measured, and why; said once."""
        one = Missing(what, str(reason))
        if one not in self.missing:
            self.missing.append(one)

    def expected_ms(self, subject: str, batch: int) -> float | None:
        """What a query of `batch` faces may take, from the batch measured that is nearest; None if none was."""
        times = {
            m.batch: m.latency_ms.p50
            for m in self.measurements
            if m.subject == subject and m.scenario != "Server" and m.latency_ms
        }
        if not times:
            return None
        below = [one for one in times if one <= batch]
        near = max(below) if below else min(times)
        return times[near] * batch / near if near else times[near]

    def result(self, conditions: Conditions, *, complete: bool) -> Result:
        models = []
        for model in self.models:
            limits = tuple(self.limits.get(model.name, ()))
            models.append(Model(model.name, model.file, model.sha256, model.source, model.inputs, limits))
        return Result(
            command=self.command,
            started=self.started,
            finished=now(),
            complete=complete,
            facetrt=sdk.__version__,
            source=revision(),
            conditions=conditions,
            models=tuple(models),
            subjects=tuple(self.subjects.values()),
            measurements=tuple(self.measurements),
            cold=tuple(self.cold),
            ratios=tuple(self.ratios),
            scaling=tuple(self.scaling),
            predictions=tuple(self.predictions),
            missing=tuple(self.missing),
        )


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def revision() -> str | None:
    """Of the checkout, with "+" when files differ from it; None outside of one."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        told = [
            subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=20, check=True).stdout
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0].strip() + ("+" if told[1].strip() else "")
