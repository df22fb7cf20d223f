"""The machine that a result was measured on, and what happened to it meanwhile; part of benchmarks.bench.results."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    cpu: str  # as the processor calls itself
    cores: int  # that this process may use
    threads_per_core: int
    memory_mib: int
    governor: str | None  # of the clocks; None: the system does not tell
    load_before: float  # of one minute
    load_after: float
    system: str
    python: str


@dataclass(frozen=True)
class Gpu:
    name: str
    sm: str  # "sm_90"
    driver: str
    cuda: str
    memory_mib: int
    clocks_mhz: dict[str, float] = field(default_factory=dict)  # {"sm": ..., "memory": ...}
    temperature_c: float | None = None
    power_limit_w: float | None = None
    throttle: tuple[str, ...] = ()  # reasons seen during the run
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Jetson:
    model: str
    jetpack: str | None = None  # L4T release
    nvpmodel: str | None = None  # power mode
    jetson_clocks: bool | None = None
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Power:
    source: str  # "nvml", "rapl", "ina3221", "tegrastats"
    mean_w: float | None = None
    idle_w: float | None = None
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    machine: Machine
    gpu: Gpu | None = None
    jetson: Jetson | None = None
    libraries: dict[str, str] = field(default_factory=dict)  # name -> version
    probe: dict[str, float | None] = field(default_factory=dict)  # copy_gb_s, fp32_gflop_s, int8_gop_s: measured
    power: Power | None = None
    disturbances: tuple[str, ...] = ()
    samples: tuple[dict[str, float], ...] = ()  # each with t_s since the start, and what sensors gave
