"""The conditions of a run: `with Watch(gpu=0, power=True) as watch:` samples sensors beside the measuring.

    start_s = watch.now_s()
    ...                                              # measure
    window = watch.between(start_s, watch.now_s())   # joule, watts, flags: throttled, disturbed
    result.conditions = watch.conditions(probe=rates.record())

Power comes from the first of: a Jetson's INA3221 rails (the whole module), NVML (the GPU), RAPL (the processors). When
it was asked for and none of them gives a reading above zero, entering raises: a figure of no sensor is no figure.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import machine_facts
from benchmarks.bench.cpu_power import Rapl
from benchmarks.bench.disturbances import Stretch, flags_of
from benchmarks.bench.jetson import JetsonSensors, jetson_of
from benchmarks.bench.nvml import Nvml, open_nvml, throttle_names
from benchmarks.bench.processor_time import ProcessorTime
from benchmarks.bench.results import Conditions, Gpu, Power
from benchmarks.bench.sampler import Reading, Sampler, joule_between, rise_between, thinned
from sdk.errors import BackendError, InputError

__all__ = ["PERIOD_S", "Watch", "Window"]

PERIOD_S = 0.05
IDLE_S = 1.0  # how long the idle power is watched when power was asked for
POWERS = (  # source, counter of joules, watts
    ("ina3221", None, "board_w"),
    ("nvml", "gpu_j", "gpu_w"),
    ("rapl", "cpu_j", None),
)
COVERS = {"ina3221": "the whole module", "nvml": "the GPU and its memory", "rapl": "processors and, where told, memory"}


@dataclass(frozen=True)
class Window:
    """What the sensors saw in a stretch of the run."""

    duration_s: float
    joule: float | None  # None: no power sensor, or too short a stretch for it
    mean_w: float | None
    flags: tuple[str, ...]  # "throttled: ...", "disturbed: ..."; see disturbances.is_bad


class Watch:
    """Sensors of this machine, and of GPU number `gpu` as CUDA counts; None: no GPU is used."""

    def __init__(
        self,
        *,
        gpu: int | None = None,
        power: bool = False,  # must there be power readings?
        period_s: float = PERIOD_S,
        root: Path = Path("/"),
        open_gpu: Callable[[int], Nvml] = open_nvml,
    ) -> None:
        if not 0.001 <= period_s <= 60:
            raise InputError("a sampling period of 0.001 to 60 s", f"{period_s} s", f"use {PERIOD_S}")
        self._root, self._gpu_index, self._wants_power = root, gpu, power
        self._load_before = self._load_after = machine_facts.load_now()
        self._silent: list[str] = []  # why a sensor is missing
        self.jetson = jetson_of(root)
        self._nvml = self._opened_gpu(open_gpu)
        self._facts: dict[str, Any] = self._nvml.facts() if self._nvml is not None else {}
        self._sampler = Sampler(self._readers(), period_s=period_s)
        self._source: tuple[str, str | None, str | None] | None = None
        self._idle_w: float | None = None
        self._notes: list[str] = []

    def __enter__(self) -> "Watch":
        """Raises BackendError when power was asked for and no sensor gives any."""
        self._sampler.__enter__()
        try:
            self._find_power()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._sampler.stop()
        self._load_after = machine_facts.load_now()
        if self._nvml is not None:
            self._nvml.close()

    def now_s(self) -> float:
        """Seconds since the watch began, for between()."""
        return self._sampler.now_s()

    def note(self, text: str) -> None:
        """A disturbance that somebody else noticed, for the record; said once."""
        if text not in self._notes:
            self._notes.append(text)

    def between(self, start_s: float, end_s: float) -> Window:
        """What happened between two now_s(). Takes one more sample, so that the stretch is covered to its end."""
        self._sampler.sample()
        stretch = Stretch(start_s, end_s)
        samples = self._sampler.between(start_s, end_s)
        flags = flags_of(samples, stretch, cores=machine_facts.usable_cores(self._root))
        joule = self._joule(samples, stretch)
        if joule is None and self._wants_power:
            flags = (*flags, "power sensor silent")
        mean_w = joule / stretch.duration_s if joule is not None and stretch.duration_s > 0 else None
        return Window(stretch.duration_s, joule, mean_w, flags)

    def conditions(self, *, probe: Mapping[str, float | None] | None = None) -> Conditions:
        """All that is known of the machine and of the run so far; at any time, also after an interruption."""
        samples = list(self._sampler.samples)
        whole = Stretch(0.0, samples[-1]["t_s"] if samples else 0.0)
        flags = flags_of(samples, whole, cores=machine_facts.usable_cores(self._root)) if samples else ()
        loads = {"load_before": self._load_before, "load_after": self._load_after}
        return Conditions(
            machine=machine_facts.machine_of(self._root, **loads),
            gpu=self._described_gpu(samples),
            jetson=self.jetson,
            libraries=machine_facts.libraries(),
            probe=dict(probe or {}),
            power=self._power(samples, whole),
            disturbances=(*flags, *self._notes),
            samples=thinned(samples),
        )

    def _opened_gpu(self, open_gpu: Callable[[int], Nvml]) -> Nvml | None:
        if self._gpu_index is None or self.jetson is not None:  # NVML of a Jetson has next to no sensors
            return None
        try:
            return open_gpu(self._gpu_index)
        except BackendError as error:
            self._silent.append(f"nvml: {error.got}")
            return None

    def _readers(self) -> list[Callable[[], Mapping[str, float]]]:
        found: list[Callable[[], Mapping[str, float]]] = [ProcessorTime(self._root).read]
        if self.jetson is not None:
            found.append(JetsonSensors(self._root).read)
        if self._nvml is not None:
            found.append(self._nvml.read)
        try:
            found.append(Rapl(self._root).read)
        except BackendError as error:
            self._silent.append(f"rapl: {error.got}")
        return found

    def _find_power(self) -> None:
        """Chooses the source; when power was asked for, watches it for a second. Raises BackendError."""
        first = self._sampler.samples[0]
        for source, counter, watts in POWERS:
            if (counter in first) or (watts in first):
                self._source = source, counter if counter in first else None, watts
                break
        if not self._wants_power:
            return
        if self._source is not None:
            start_s = self.now_s()
            time.sleep(IDLE_S)
            self._sampler.sample()
            stretch = Stretch(start_s, self.now_s())
            joule = self._joule(self._sampler.samples, stretch)
            if joule:
                self._idle_w = joule / stretch.duration_s
                return
            self._silent.append(f"{self._source[0]}: it gave 0 J in {stretch.duration_s:.1f} s")
        if self.jetson is not None:
            self._silent.append("ina3221: no rails under /sys/class/hwmon")
        remedy = "measure without --power, or on a machine that lets its sensors be read"
        raise BackendError("a power sensor, as power was asked for", "; ".join(self._silent) or "none", remedy)

    def _joule(self, samples: list[Reading], stretch: Stretch) -> float | None:
        if self._source is None:
            return None
        _, counter, watts = self._source
        ends = {"start_s": stretch.start_s, "end_s": stretch.end_s}
        joule = rise_between(samples, counter, **ends) if counter else None
        return joule if joule is not None or watts is None else joule_between(samples, watts, **ends)

    def _power(self, samples: list[Reading], whole: Stretch) -> Power | None:
        if self._source is None:
            return None
        source = self._source[0]
        joule = self._joule(samples, whole)
        mean_w = round(joule / whole.duration_s, 3) if joule is not None and whole.duration_s > 0 else None
        idle_w = None if self._idle_w is None else round(self._idle_w, 3)
        covers = COVERS[source] + (", of all its MIG slices" if source == "nvml" and self._facts.get("mig") else "")
        return Power(source, mean_w=mean_w, idle_w=idle_w, more={"covers": covers})

    def _described_gpu(self, samples: list[Reading]) -> Gpu | None:
        found = machine_facts.gpu_of(self._gpu_index) if self._gpu_index is not None else None
        if found is None:
            return None
        clocks = {"sm": _median(samples, "sm_mhz"), "memory": _median(samples, "memory_mhz")}
        bits = 0
        for one in samples:
            bits |= int(one.get("throttle", 0))
        return dataclasses.replace(
            found,
            clocks_mhz={name: value for name, value in clocks.items() if value is not None},
            temperature_c=max((one["gpu_c"] for one in samples if "gpu_c" in one), default=None),
            power_limit_w=self._facts.get("power_limit_w"),
            throttle=throttle_names(bits),
            more={**found.more, **({"mig": "yes"} if self._facts.get("mig") else {})},
        )


def _median(samples: list[Reading], name: str) -> float | None:
    values = sorted(one[name] for one in samples if name in one)
    return values[len(values) // 2] if values else None
