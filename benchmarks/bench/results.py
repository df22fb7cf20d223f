"""The result file of trt-bench, schema "facetrt.bench/1": one JSON object, read strictly.

A query is one call with `batch` faces; every latency is of a query, in milliseconds. None stands for "not measured".
Fields that have a default were added or may be left out; others must be there. Newer schemas are refused, older ones
pass through MIGRATIONS, step by step, or are refused with what to do.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench.checks import check
from benchmarks.bench.condition_records import Conditions, Gpu, Jetson, Machine, Power
from benchmarks.bench.strict import plain, read
from sdk.errors import InputError, OutputError

__all__ = [
    "SCHEMA",
    "Cold",
    "Conditions",
    "Gpu",
    "Histogram",
    "Jetson",
    "Latency",
    "Layer",
    "Limit",
    "Machine",
    "Measurement",
    "Missing",
    "Model",
    "Power",
    "Prediction",
    "Ratio",
    "Result",
    "ScalingPoint",
    "Server",
    "ServerTry",
    "Subject",
    "Target",
    "from_json",
    "load",
    "save",
    "to_json",
]

FAMILY, VERSION = "facetrt.bench", 1
SCHEMA = f"{FAMILY}/{VERSION}"
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # version -> to the next version


@dataclass(frozen=True)
class Layer:
    name: str
    op: str
    flop: float
    bytes: float
    floor_ms: float
    bound: str  # one of checks.BOUNDS


@dataclass(frozen=True)
class Limit:
    """The least time a query of `batch` faces can take on this machine."""

    backend: str
    precision: str
    batch: int
    flop: float
    bytes: float
    floor_ms: float
    bound: str
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Model:
    name: str
    file: str  # without the folder
    sha256: str
    source: str  # one of checks.SOURCES
    inputs: dict[str, str] = field(default_factory=dict)  # name -> "float32 [N,3,16,16]"
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What was measured; id = MODEL/BACKEND/PRECISION/WAY/SPAN."""

    id: str
    model: str
    backend: str  # "onnxruntime-cpu", "tensorrt", "tensorrt-rtx", "torch-cpu", "openvino-cpu"
    precision: str
    way: str  # "sdk", "bare", "bare-control" or a rival's name
    span: str  # "end-to-end", "engine", "stage:NAME"


@dataclass(frozen=True)
class Latency:
    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float


@dataclass(frozen=True)
class Histogram:
    edges_ms: tuple[float, ...]  # one more than counts
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ServerTry:
    rate_per_s: float  # Poisson arrivals
    p99_ms: float
    held: bool  # was p99 within the target, and did the queue not grow?
    queries: int


@dataclass(frozen=True)
class Server:
    target_ms: float  # for the 99th percentile
    rate_per_s: float | None  # the highest that held; None: none did
    tried: tuple[ServerTry, ...]


@dataclass(frozen=True)
class Measurement:
    subject: str  # Subject.id
    scenario: str  # one of checks.SCENARIOS
    batch: int  # faces a query
    faces: int  # faces a frame
    frame_hw: tuple[int, int] | None  # None: no frame, arrays of faces
    threads: int  # of the library; 0: its default
    samples: int
    duration_s: float
    latency_ms: Latency | None  # None exactly when `error`
    histogram: Histogram | None
    windows_p50_ms: tuple[float, ...]  # medians of consecutive stretches of the run, in order
    faces_per_s: float | None
    memory_mib: float | None = None  # what opening and running added, at its peak
    joule_per_face: float | None = None
    flags: tuple[str, ...] = ()  # "throttled", "not settled", "few samples", ...
    server: Server | None = None
    stages_ms: dict[str, float] | None = None  # median of each stage
    processor_ms: float | None = None  # processor time of a query, of all threads; mean
    error: str | None = None  # why there are no numbers: "out of memory: ..."


@dataclass(frozen=True)
class Cold:
    subject: str
    import_ms: float
    load_ms: float
    context_ms: float
    first_run_ms: float
    capture_ms: float | None = None  # of a CUDA graph


@dataclass(frozen=True)
class Target:
    of: str  # "ratio" | "difference_ms"
    at: str  # "most" | "least"
    value: float


@dataclass(frozen=True)
class Ratio:
    """Two subjects by turns in one process: time(slow) / time(fast)."""

    name: str
    fast: str  # Subject.id
    slow: str
    scenario: str
    batch: int
    ratio: float  # of the medians
    low: float
    high: float
    confidence: float
    control_spread: float  # half width of the same interval for a subject against itself, at least its offset from 1
    verdict: str  # one of checks.VERDICTS, about `fast`
    samples: int
    difference_ms: float | None = None  # median of time(slow) - time(fast) of neighbours
    difference_low_ms: float | None = None
    difference_high_ms: float | None = None
    processor_ratio: float | None = None  # the same of processor times: what is left of it on a busy machine
    target: Target | None = None
    met: bool | None = None  # does the ratio (the difference) keep the target?


@dataclass(frozen=True)
class ScalingPoint:
    kind: str  # one of checks.SCALING
    subject: str
    x: float
    y: float
    x_unit: str
    y_unit: str
    knee: float | None = None  # the x from which more costs in proportion; the same in every point of a curve


@dataclass(frozen=True)
class Prediction:
    device: str
    model: str
    precision: str
    batch: int
    ms: float
    low_ms: float
    high_ms: float
    basis: str  # what the model was calibrated on


@dataclass(frozen=True)
class Missing:
    what: str
    reason: str


@dataclass(frozen=True)
class Result:
    command: str
    started: str  # UTC, ISO 8601
    finished: str
    complete: bool  # False: interrupted
    facetrt: str
    source: str | None  # git revision, with "+" when files differ from it
    conditions: Conditions
    models: tuple[Model, ...] = ()
    subjects: tuple[Subject, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    cold: tuple[Cold, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    scaling: tuple[ScalingPoint, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    missing: tuple[Missing, ...] = ()

    def __post_init__(self) -> None:
        check(self)


def to_json(result: Result) -> str:
    """The file's text. Raises InputError for NaN and infinity."""
    return json.dumps({"schema": SCHEMA, **plain(result)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, *, origin: str = "the result") -> Result:
    """Inverse of to_json(); `origin` names the file in messages. Raises InputError."""
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"JSON in {origin}", str(error), "make the file again with trt-bench") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("schema"), str):
        raise InputError(f'an object with "schema": "{SCHEMA}" in {origin}', "none", "name a file of trt-bench --json")
    return read(Result, _current(parsed, origin), origin)


def _current(parsed: dict[str, Any], origin: str) -> dict[str, Any]:
    """The object in the present schema, without `schema`."""
    schema = str(parsed["schema"])
    family, _, number = schema.partition("/")
    expected = f"schema {SCHEMA} in {origin}"
    if family != FAMILY or not number.isascii() or not number.isdigit():
        raise InputError(expected, repr(schema[:60]), "name a file of trt-bench --json")
    version = int(number) if len(number) < 9 else VERSION + 1
    if version > VERSION:
        raise InputError(expected, f"the newer {schema[:60]}", "install a facetrt as new as the one that wrote it")
    values = {key: value for key, value in parsed.items() if key != "schema"}
    for step in range(version, VERSION):
        if step not in MIGRATIONS:
            raise InputError(expected, f"the older {schema}, which is no longer read", "measure again with trt-bench")
        values = MIGRATIONS[step](values)
    return values


def load(path: Path) -> Result:
    """A result file. Raises InputError."""
    try:
        return from_json(path.read_text(encoding="utf-8"), origin=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("a readable result file", f"{path}: {error}", "check the path") from error


def save(result: Result, path: Path) -> None:
    """Writes the file whole or not at all. Raises InputError for what cannot be written, OutputError."""
    text, draft = to_json(result), path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(
            "a result file to write", f"{path}: {error.strerror}", "check folder and free space"
        ) from error
