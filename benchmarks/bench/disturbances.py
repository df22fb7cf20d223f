"""What a stretch of a run suffered from, read from the sensors' samples, as flags for a measurement."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.bench.nvml import throttle_names
from benchmarks.bench.sampler import rise_between

__all__ = ["Stretch", "is_bad", "flags_of"]

LEAST_S = 0.5  # shorter stretches are not judged: processor times come in steps of 10 ms
OTHERS_SHARE = 0.10  # of all processors, used by other processes
STEAL_SHARE = 0.02  # of all processors, taken by a virtual machine's host
GAP_S = 1.0  # between two samples, which come every 50 ms
THROTTLED, DISTURBED = "throttled", "disturbed"  # first word of a flag


class Stretch(NamedTuple):
    """Seconds since the sampler's start."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def flags_of(
    samples: Sequence[Mapping[str, float]],
    stretch: Stretch,
    *,
    cores: int,
) -> tuple[str, ...]:
    """ "throttled: power cap", "disturbed: other processes took 0.8 of 2 processors"; none for a quiet stretch."""
    last_s = min((one["t_s"] for one in samples if one["t_s"] >= stretch.end_s), default=stretch.end_s)
    rows = [dict(one) for one in samples if stretch.start_s <= one["t_s"] <= last_s]
    return (*_throttling(rows), *_disturbance(samples, stretch, cores=cores), *_gaps(rows), *_company(rows))


def is_bad(flags: Sequence[str]) -> bool:
    """Was it throttled or disturbed, so that it should be repeated?"""
    return any(flag.startswith((THROTTLED, DISTURBED)) for flag in flags)


def _throttling(rows: Sequence[Mapping[str, float]]) -> list[str]:
    bits = 0
    for one in rows:
        bits |= int(one.get("throttle", 0))
    reasons = list(throttle_names(bits))
    for name, words in (("throttle_events", "over-current"), ("cpu_throttle", "processor too hot")):
        values = [one[name] for one in rows if name in one]
        if values and values[-1] > values[0]:
            reasons.append(words)
    if any(one.get("cooling", 0) > 0 for one in rows):
        reasons.append("cooling slows a clock down")
    return [f"{THROTTLED}: {', '.join(reasons)}"] if reasons else []


def _disturbance(samples: Sequence[Mapping[str, float]], stretch: Stretch, *, cores: int) -> list[str]:
    if stretch.duration_s < LEAST_S:
        return []
    rows = [dict(one) for one in samples]
    rises = {
        name: rise_between(rows, name, start_s=stretch.start_s, end_s=stretch.end_s)
        for name in ("busy_s", "own_s", "steal_s")
    }
    busy, own, steal = rises["busy_s"], rises["own_s"], rises["steal_s"]
    found: list[str] = []
    if busy is not None and own is not None:
        others = (busy - own) / stretch.duration_s
        if others > OTHERS_SHARE * cores:
            found.append(f"{DISTURBED}: other processes took {others:.1f} of {cores} processors")
    if steal is not None and steal / stretch.duration_s > STEAL_SHARE * cores:
        found.append(f"{DISTURBED}: the host took {steal / stretch.duration_s:.2f} of {cores} processors")
    return found


def _gaps(rows: Sequence[Mapping[str, float]]) -> list[str]:
    longest = max((b["t_s"] - a["t_s"] for a, b in zip(rows, rows[1:], strict=False)), default=0.0)
    return [f"{DISTURBED}: no sensor was read for {longest:.1f} s"] if longest > GAP_S else []


def _company(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """Other processes that compute on the GPU."""
    most = int(max((one["gpu_processes"] for one in rows if "gpu_processes" in one), default=0))
    return [f"{DISTURBED}: {most - 1} other processes on the GPU"] if most > 1 else []
