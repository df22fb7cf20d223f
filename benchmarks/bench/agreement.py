"""Do predictions and floors agree with what was measured? Of every result file whose GPU is in the table of devices."""

from dataclasses import dataclass

from benchmarks.bench.devices import Rates, matching
from benchmarks.bench.jetson import jetson_of
from benchmarks.bench.labels import share_of_limit
from benchmarks.bench.machine_facts import gpu_of
from benchmarks.bench.results import Result

__all__ = ["Compared", "below_floor", "compared", "device_here", "device_of"]

SLACK = 0.10  # by which a probe on a machine with other work may come out too low
SCENARIOS = ("SingleStream", "Offline")  # whose latency is that of one batch alone


@dataclass(frozen=True)
class Compared:
    """A prediction beside the median of the bare engine on that very device."""

    device: str
    model: str
    precision: str
    batch: int
    measured_ms: float
    predicted_ms: float
    low_ms: float
    high_ms: float

    @property
    def inside(self) -> bool:
        """Does the measured median lie in the prediction's band?"""
        return self.low_ms <= self.measured_ms <= self.high_ms

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured_ms / self.predicted_ms


def device_of(result: Result) -> Rates | None:
    """The device of the table that a result was measured on; None for others and for processors."""
    gpu, board = result.conditions.gpu, result.conditions.jetson
    return matching(gpu.name, jetson=board.model if board else None) if gpu else None


def device_here(index: int = 0) -> str | None:
    """Name of the table's device that GPU number `index` is, as CUDA counts; None: none of them, or no GPU."""
    gpu, board = gpu_of(index), jetson_of()
    found = matching(gpu.name, jetson=board.model if board else None) if gpu else None
    return found.name if found else None


def compared(result: Result) -> tuple[Compared, ...]:
    """Every prediction for the device at hand that was also measured there."""
    device = device_of(result)
    if device is None:
        return ()
    subjects = {one.id: one for one in result.subjects}
    measured: dict[tuple[str, str, int], float] = {}
    for one in result.measurements:
        subject = subjects[one.subject]
        engine = subject.backend.startswith("tensorrt") and (subject.way, subject.span) == ("bare", "engine")
        if engine and one.latency_ms is not None and one.scenario in SCENARIOS:
            key = subject.model, subject.precision, one.batch
            measured[key] = min(one.latency_ms.p50, measured.get(key, one.latency_ms.p50))
    return tuple(
        Compared(one.device, one.model, one.precision, one.batch, measured[key], one.ms, one.low_ms, one.high_ms)
        for one in result.predictions
        if one.device == device.name and (key := (one.model, one.precision, one.batch)) in measured
    )


def below_floor(result: Result, *, slack: float = SLACK) -> tuple[str, ...]:
    """Measurements that were faster than their floor allows: a floor, a count or a clock is then wrong."""
    shares = [(one, share_of_limit(result, one)) for one in result.measurements]
    return tuple(
        f"{one.subject}, batch {one.batch}: {share:.2f} times the possible"
        for one, share in shares
        if share is not None and share > 1 + slack
    )
