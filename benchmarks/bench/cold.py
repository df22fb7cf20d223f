"""Cold start: a process of its own imports, opens a network and enhances its first frame, and says how long each took.

The file cache of the system is warm, as on a machine that starts the program again. Medians of several processes.
"""

import json
import subprocess
import sys
from statistics import median

from benchmarks.bench.model_files import CHECKOUT
from benchmarks.bench.results import Cold
from sdk.errors import BackendError, InputError

TURNS = 3
LONGEST_S = 300.0
PROGRAM = """
import json, sys, time
started = time.perf_counter()
path, backend, precision, threads, device, lr_size = json.loads(sys.argv[1])
import numpy as np
from sdk.enhancer import FaceEnhancer
from sdk.runtime.opening import open_network
if backend != "tensorrt":
    import onnxruntime
imported = time.perf_counter()
network = open_network(path, backend, device=device, threads=threads or None, precision=precision).network
loaded = time.perf_counter()
enhancer = FaceEnhancer(network, min_confidence=0.0)
ready = time.perf_counter()
frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
box = [[900.0, 500.0, 900.0 + lr_size / 1.5, 500.0 + lr_size / 1.5]]
times = []
for _ in range(12):
    before = time.perf_counter()
    enhancer.enhance(frame, box, box_kind="landmarks")
    times.append(time.perf_counter() - before)
capture = max(0.0, times[1] - sorted(times[4:])[4]) if backend == "tensorrt" else None
found = [imported - started, loaded - imported, ready - loaded, times[0], capture]
sys.stdout.write(json.dumps([None if one is None else 1000 * one for one in found]))
"""


def cold_start(
    subject: str,  # Subject.id that the figures are of
    path: str,
    backend: str,  # "onnxruntime" | "tensorrt"
    precision: str,
    *,
    lr_size: int,
    threads: int = 0,
    device: str | None = None,
    turns: int = TURNS,
) -> Cold:
    """Raises BackendError when the process fails, InputError for no turns."""
    if turns < 1:
        raise InputError("1 turn or more", str(turns), "leave it out for the default")
    arguments = json.dumps([path, backend, precision, threads, device, lr_size])
    rows = [_one(arguments) for _ in range(turns)]
    columns = [[row[i] for row in rows] for i in range(5)]
    captures = [value for value in columns[4] if value is not None]
    numbers = [float(median(column)) for column in columns[:4]]
    return Cold(subject, *numbers, capture_ms=float(median(captures)) if captures else None)


def _one(arguments: str) -> list[float]:
    command = [sys.executable, "-c", PROGRAM, arguments]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LONGEST_S)
        if done.returncode == 0:
            return json.loads(done.stdout)
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        got = str(error)[:300]
    raise BackendError("a cold start in a process of its own", got, "see whether the model opens at all")
