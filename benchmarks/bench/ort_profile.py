"""Time of every operator on onnxruntime's CPU provider, by its own profiler: in a run of its own, which it slows."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, InputError, MissingPackageError, ModelError
from sdk.zoo import model_path

__all__ = ["LayerTime", "layer_times"]

ERRORS_ONLY = 3  # onnxruntime's severity scale
KERNEL = "_kernel_time"  # what the profiler appends to a node's name


@dataclass(frozen=True)
class LayerTime:
    """One operator or fused layer as it ran."""

    name: str
    op: str
    ms: float  # median of the runs
    start_ms: float  # within a run; after those before it


def layer_times(
    path: str | Path,
    feeds: Mapping[str, npt.NDArray[Any]],  # input -> array
    *,
    runs: int = 20,
    threads: int = 0,
) -> tuple[LayerTime, ...]:
    """Operators in the order they run.

    Raises InputError for no runs, ModelError for a file that onnxruntime refuses, BackendError when it does not run
    or profile, MissingPackageError.
    """
    if runs < 1 or threads < 0:
        raise InputError("1 run or more, on 0 threads or more", f"{runs} on {threads}", "leave both out")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingPackageError("profiling on the CPU", "onnxruntime", "pip install onnxruntime") from error
    with tempfile.TemporaryDirectory(prefix="facetrt-profile-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = ERRORS_ONLY, threads
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "ort")
        file = model_path(path)
        try:
            session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelError("a model that onnxruntime opens", _first_line(error), "export it again") from error
        try:
            for _ in range(runs + 1):  # the first one warms up and is dropped
                session.run(None, dict(feeds))
            written = Path(session.end_profiling())
            return _read(json.loads(written.read_text(encoding="utf-8")), runs)
        except Exception as error:  # as above
            raise BackendError(f"{file.name} to run and be profiled", _first_line(error), "check its inputs") from error


def _read(events: list[dict[str, Any]], runs: int) -> tuple[LayerTime, ...]:
    """Median of each node over the runs after the first."""
    spent: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(KERNEL):
            continue
        node = name.removesuffix(KERNEL)
        spent[node].append(float(event["dur"]) / 1000)
        kinds[node] = str(event.get("args", {}).get("op_name", ""))
    found: list[LayerTime] = []
    at_ms = 0.0
    for node, times in spent.items():  # in the order of the first run
        each = max(1, len(times) // (runs + 1))  # nodes without a name of their own share one
        ms = each * float(np.median(times[each:] or times))  # without the run that warmed up
        found.append(LayerTime(node, kinds[node], ms, at_ms))
        at_ms += ms
    if not found:
        raise ValueError("onnxruntime's profile holds no operators")
    return tuple(found)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
