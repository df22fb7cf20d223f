"""What benchmarks.gpu_check wants to know of an engine that runs: graphs, batches, threads, leaks, times.

Times are wall times of whole calls (array in, arrays out), by turns in one process after a warm-up, so that whatever
else the machine does meets all alike; `device_ms` is that of many inferences enqueued in a row, input already on the
GPU, divided by their number.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_engines import Broken
from sdk.errors import EngineError
from sdk.runtime.device import Device
from sdk.runtime.interop import DeviceArray
from sdk.runtime.manifest import manifest_path, read_manifest, write_manifest
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["batches", "graphs", "leaks", "refusals", "reopening", "threads", "times"]

WARM_UP = 20
SIZES = (1, 2, 5, 8, 9, 64, 65, 130)  # around the profiles' edges and beyond the largest
TIMED = (1, 8, 64)
THREADS = 4
GROWTH_MIB, RSS_GROWTH_MIB = 2.0, 32.0  # allowed between the first and the last of the runs
F32 = npt.NDArray[np.float32]


def tiled(
    batch: F32,  # [n, C, h, w]
    N: int,
) -> F32:  # [N, C, h, w]
    """The faces over and over."""
    return np.ascontiguousarray(batch[np.arange(N) % len(batch)])


def equal(mine: Mapping[str, F32], other: Mapping[str, F32]) -> bool:
    return all(np.array_equal(mine[name], other[name], equal_nan=True) for name in other)


def batches(path: Path, batch: F32, *, bound: float = 0.05) -> dict[str, Any]:
    """Every batch size gives each face what it gets in another one, but for the kernels TensorRT chose."""
    with contextlib.closing(TrtBackend(path)) as backend:
        whole = backend.run(batch)
        worst: dict[str, float] = {}
        for N in SIZES:
            outputs = backend.run(tiled(batch, N))
            apart = [np.abs(outputs[k] - tiled(whole[k], N)).max() for k in whole]
            worst[str(N)] = round(float(max(apart)), 6)
            if not equal(backend.run(tiled(batch, N)), outputs):
                raise Broken(f"batch {N} gives other bits the second time")
    if max(worst.values()) > bound:
        raise Broken(f"faces differ by {worst} between batch sizes")
    return {"largest_difference_by_batch": worst}


@contextlib.contextmanager
def warnings_of(name: str = "facetrt") -> Generator[list[str], None, None]:
    """What the SDK warns of meanwhile."""
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger(name).addHandler(handler)
    try:
        yield heard
    finally:
        logging.getLogger(name).removeHandler(handler)


def graphs(path: Path, batch: F32, *, rounds: int = 200) -> dict[str, Any]:
    """CUDA graph against plain enqueue: the same bits, and how long each takes."""
    numbers: dict[str, Any] = {}
    with (
        warnings_of() as heard,
        contextlib.closing(TrtBackend(path)) as graphed,
        contextlib.closing(TrtBackend(path, graphs=False)) as plain,
    ):
        for N in TIMED:
            faces = tiled(batch, N)
            if not equal([graphed.run(faces) for _ in range(WARM_UP)][-1], plain.run(faces)):
                raise Broken(f"graph and plain enqueue give other bits at batch {N}")
            spans = by_turns({"graph": lambda f=faces: graphed.run(f), "plain": lambda f=faces: plain.run(f)}, rounds)
            numbers[f"batch_{N}"] = {**spans, "plain_over_graph": ratio(spans, "plain", "graph")}
    if heard:
        raise Broken(f"no graph: {heard[0]}")
    return numbers


def by_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Median and 95th percentile, in ms, of each call."""
    spans: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            started_s = time.perf_counter()
            call()
            if number >= WARM_UP:
                spans[name].append(1000 * (time.perf_counter() - started_s))
    return {
        name: {"median_ms": round(float(np.median(ms)), 4), "p95_ms": round(float(np.percentile(ms, 95)), 4)}
        for name, ms in spans.items()
    }


def ratio(spans: Mapping[str, Any], slow: str, fast: str) -> float:
    return round(spans[slow]["median_ms"] / spans[fast]["median_ms"], 3)


def threads(path: Path, batch: F32, *, runs: int = 200) -> dict[str, Any]:
    """Threads at once: each gets the bits it gets alone; and what they do in a second, together and alone."""
    with contextlib.closing(TrtBackend(path, lanes=THREADS)) as backend:
        sizes = [1, 3, 8, 8][:THREADS]
        expected = [backend.run(tiled(batch, N)) for N in sizes]
        wrong: list[str] = []

        def work(number: int) -> None:
            try:
                faces = tiled(batch, sizes[number])
                for turn in range(runs):
                    if not equal(backend.run(faces), expected[number]):
                        wrong.append(f"thread {number}, run {turn}")
            except Exception as error:  # reported below: a thread's own error would be lost
                wrong.append(f"thread {number}: {error}")

        started_s = time.perf_counter()
        workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        together_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        for number in range(THREADS):
            work(number)
        alone_s = time.perf_counter() - started_s
        lanes = backend.lanes
    if wrong:
        raise Broken(f"{len(wrong)} results that differ from those of one thread: {wrong[:3]}")
    faces = runs * sum(sizes)
    return {"threads": THREADS, "lanes": lanes, "faces_per_s": round(faces / together_s),
            "faces_per_s_one_after_the_other": round(faces / alone_s)}  # fmt: skip


def leaks(path: Path, batch: F32, *, runs: int = 10_000) -> dict[str, Any]:
    """Many runs of changing size: the GPU's and the process' memory before and after."""
    with contextlib.closing(TrtBackend(path)) as backend:
        device = Device()
        pieces = [tiled(batch, N) for N in (1, 5, 8, 64)]
        for number in range(40):
            backend.run(pieces[number % 4])
        free_bytes, rss = device.memory_bytes()[0], resident_mib()
        for number in range(runs):
            backend.run(pieces[3 if number % 100 == 99 else number % 3])
        growth_mib = (free_bytes - device.memory_bytes()[0]) / 2**20
        rss_growth_mib = resident_mib() - rss
    numbers = dict(runs=runs, gpu_growth_mib=round(growth_mib, 2), process_growth_mib=round(rss_growth_mib, 2))
    if growth_mib > GROWTH_MIB or rss_growth_mib > RSS_GROWTH_MIB:
        raise Broken(f"at most {GROWTH_MIB} MiB more on the GPU and {RSS_GROWTH_MIB} in the process; got {numbers}")
    return numbers


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def reopening(path: Path, batch: F32, *, times_opened: int = 10) -> dict[str, Any]:
    """Opened, run and closed over and over: all memory comes back."""
    device = Device()
    free_mib: list[float] = []
    for _ in range(times_opened):
        with contextlib.closing(TrtBackend(path)) as backend:
            for _ in range(3):
                backend.run(batch)
        free_mib.append(device.memory_bytes()[0] / 2**20)
    lost_mib = free_mib[1] - free_mib[-1]  # the first time loads kernels, which stay
    if lost_mib > GROWTH_MIB:
        raise Broken(f"{lost_mib:.1f} MiB lost in {times_opened - 2} times of opening and closing")
    return {"opened": times_opened, "lost_mib": round(lost_mib, 2)}


def times(engines: Mapping[str, Path], batch: F32, *, rounds: int = 200) -> dict[str, Any]:
    """Precisions against each other: whole calls by turns, and inferences in a row on the GPU."""
    numbers: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(contextlib.closing(TrtBackend(path))) for name, path in engines.items()}
        for N in TIMED:
            faces = tiled(batch, N)
            row = by_turns({name: lambda b=b, f=faces: b.run(f) for name, b in opened.items()}, rounds)
            for name, backend in opened.items():
                row[name]["device_ms"] = in_a_row_ms(backend, faces, count=rounds)
            for narrow, wide in (("fp16", "fp32"), ("int8", "fp16"), ("int8", "fp32")):
                if narrow in row and wide in row:
                    key = f"{wide}_over_{narrow}"
                    row[key] = ratio(row, wide, narrow)
                    row[f"{key}_device"] = round(row[wide]["device_ms"] / row[narrow]["device_ms"], 3)
            numbers[f"batch_{N}"] = row
    return numbers


def in_a_row_ms(backend: TrtBackend, faces: F32, *, count: int) -> float:
    """ms an inference, with input and outputs on the GPU."""
    source = on_gpu(faces)
    out = backend.run_device(source)
    first = next(iter(out))
    best = float("inf")
    for _ in range(3):
        out[first].copy_to_host()
        started_s = time.perf_counter()
        for _ in range(count):
            out = backend.run_device(source, out=out)
        out[first].copy_to_host()
        best = min(best, 1000 * (time.perf_counter() - started_s) / count)
    return round(best, 4)


def on_gpu(array: F32) -> DeviceArray:
    """A copy on the first GPU, complete when this returns."""
    from sdk.runtime.device import PinnedBuffer, Stream

    device = Device()
    with device.current():
        stream, pinned = Stream(device), PinnedBuffer(device, array.nbytes)
        pinned.array(array.shape, array.dtype)[...] = array
        found = DeviceArray.empty(device, array.shape, array.dtype, stream=stream)
        device.copy_in(found.pointer, pinned.pointer, array.nbytes, stream)
        stream.synchronize()
    return found


def refusals(path: Path) -> dict[str, Any]:
    """A flipped bit and another GPU are noticed before TensorRT sees the plan."""
    copy = path.with_name(f"broken_{path.name}")
    manifest = read_manifest(path)
    said: dict[str, str] = {}
    try:
        shutil.copy(path, copy)
        shutil.copy(manifest_path(path), manifest_path(copy))
        plan = bytearray(copy.read_bytes())
        plan[len(plan) // 2] ^= 1
        copy.write_bytes(bytes(plan))
        said["flipped_bit"] = _refused(copy)
        shutil.copy(path, copy)
        other = json.loads(json.dumps({**vars(manifest), "sm": "sm_50", "gpu": "another", "targets": []}))
        write_manifest(copy, type(manifest)(**other))
        said["another_gpu"] = _refused(copy)
    finally:
        copy.unlink(missing_ok=True)
        manifest_path(copy).unlink(missing_ok=True)
    return said


def _refused(path: Path) -> str:
    try:
        TrtBackend(path).close()
    except EngineError as error:
        return error.got
    raise Broken(f"{path.name} was opened")
