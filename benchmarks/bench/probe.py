"""What the machine at hand can do at most: copy rate of its memory, arithmetic by precision, cost of one more step.

Method. The best of repeated runs counts, since a floor must be one. Copies are of arrays four times the last cache and
count read and written bytes, of a processor with one thread and with all; beside them stands the rate of arrays that a
core's own cache holds, times the cores. Arithmetic of a processor is onnxruntime's
(probe_graphs): with all threads, or one thread's times the cores where that is more, as on a machine with other work.
That of a GPU is torch's where it is installed with CUDA (probe_torch), else the data sheet's, if the GPU is in the
table. `source` of the rates says which.
"""

import contextlib
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import machine_facts, probe_graphs, probe_torch
from benchmarks.bench.devices import GB, TERA, Rates, matching
from benchmarks.bench.jetson import jetson_of
from sdk.errors import BackendError, InputError, MissingPackageError
from sdk.runtime import gpu as driver
from sdk.runtime.device import Buffer, Device, Graph, Stream

__all__ = ["probe_cpu", "probe_gpu"]

MIB = 2**20
LEAST_COPY_MIB, MOST_COPY_MIB = 64, 1024
CACHES = "sys/devices/system/cpu/cpu0/cache"
NEAR_COPY_KIB, NEAR_COPIES = 128, 50
GPU_COPY_MIB = 512  # of more than any L2
COPIES = 8  # in a row, before the host waits
LAUNCHES = 200  # in one graph


def probe_cpu(*, threads: int = 0, seconds: float = 2.0, root: Path = Path("/")) -> Rates:
    """Rates of the processors. threads 0: one for every processor that this process may use.

    Raises InputError for no time or a negative number of threads, MissingPackageError without onnx.
    """
    _check(seconds, threads)
    used = threads or machine_facts.usable_cores(root)
    cores = max(1, used // machine_facts.threads_per_core(root))
    part_s, mib = seconds / 8, _copy_mib(root)
    copied = max(_copy_bytes_s(n, part_s, mib) for n in {1, used})
    near = cores * _near_copy_bytes_s(part_s)
    fp32, int8 = (
        max(probe(threads=n, seconds=part_s) * (cores if n == 1 else 1) for n in {1, used})
        for probe in (probe_graphs.fp32_flop_s, probe_graphs.int8_op_s)
    )
    launch_us = probe_graphs.operator_us(seconds=part_s)
    source = f"measured on this machine, {used} threads: NumPy's copy, onnxruntime's products and convolutions"
    caches = {"l2_mb": 1.048576 * _last_cache_mib(root), "l2_gb_s": max(near, copied) / GB}
    return Rates("this processor", fp32 / TERA, None, int8 / TERA, copied / GB, launch_us, **caches, source=source)


def probe_gpu(*, device: int = 0, seconds: float = 2.0) -> Rates:
    """Rates of GPU number `device`, as CUDA counts. Rates that nobody can tell are None.

    Raises BackendError without that GPU or its memory, MissingPackageError without cuda-python, InputError.
    """
    _check(seconds, 0)
    found = driver.probe()
    one = next((gpu for gpu in found.gpus if gpu.index == device), None)
    if one is None:
        known = ", ".join(f"cuda:{gpu.index}" for gpu in found.gpus)
        got = f"cuda:{device} among {known}" if known else found.reason
        raise BackendError("a GPU to probe", got, "measure the processor, or pass a GPU that is there")
    opened = Device(device)
    with opened.current(), contextlib.closing(Stream(opened)) as stream:
        copied = _gpu_copy_bytes_s(opened, stream, seconds / 3)
        launch_us = _gpu_launch_us(opened, stream, seconds / 3)
    board = jetson_of()
    sheet = matching(one.name, jetson=board.model if board else None)
    rates, source = _gpu_rates(device, seconds / 3, sheet)
    names = {"multiprocessors": one.multiprocessors, "gpu_names": (one.name,)}
    caches = {"l2_mb": sheet.l2_mb, "l2_gb_s": sheet.l2_gb_s} if sheet else {}
    fp32, fp16, int8 = rates
    return Rates(one.name, fp32, fp16, int8, copied / GB, launch_us, **names, **caches, source=source)


def _check(seconds: float, threads: int) -> None:
    if not 0 < seconds <= 600 or threads < 0:
        got = f"{seconds} s and {threads} threads"
        raise InputError("a probe of up to 600 s with 0 or more threads", got, "leave both out")


def _last_cache_mib(root: Path) -> float:
    """Size of the largest cache; 0 where the system does not tell."""
    sizes = [0.0]
    for file in sorted((root / CACHES).glob("index*/size")):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KMG")) * {"K": 1 / 1024, "M": 1.0, "G": 1024.0}.get(text[-1:], 2.0**-20))
    return max(sizes)


def _copy_mib(root: Path) -> int:
    """Four times the largest cache, within bounds."""
    return int(min(max(4 * _last_cache_mib(root), LEAST_COPY_MIB), MOST_COPY_MIB))


def _near_copy_bytes_s(seconds: float) -> float:
    """The same of arrays that a core's own cache holds, on one thread: more than any larger cache gives."""
    source = np.ones(NEAR_COPY_KIB * 1024 // 8)
    target = np.zeros_like(source)

    def run() -> None:
        for _ in range(NEAR_COPIES):
            np.copyto(target, source)

    return NEAR_COPIES * 2 * source.nbytes / _best_s(run, seconds)


def _copy_bytes_s(threads: int, seconds: float, mib: int) -> float:
    """Bytes read and written a second; each thread copies a part of its own."""
    source = np.ones(mib * MIB // 8)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            for done in [pool.submit(np.copyto, to, of) for to, of in parts]:
                done.result()

        return 2 * source.nbytes / _best_s(run, seconds)


def _gpu_copy_bytes_s(device: Device, stream: Stream, seconds: float) -> float:
    size = min(GPU_COPY_MIB * MIB, device.memory_bytes()[0] // 4)

    def run() -> None:
        for _ in range(COPIES):
            device.copy(target.pointer, source.pointer, size, stream)
        stream.synchronize()

    with _buffer(device, size) as source, _buffer(device, size) as target:
        device.fill_zero(source.pointer, size, stream)
        return 2 * COPIES * size / _best_s(run, seconds)


def _gpu_launch_us(device: Device, stream: Stream, seconds: float) -> float:
    """Of one node in a replayed graph: LAUNCHES fills of four bytes, less what replaying one takes."""
    with _buffer(device, 4) as room, contextlib.ExitStack() as stack:
        times: list[float] = []
        for count in (1, LAUNCHES):

            def work(count: int = count) -> None:
                for _ in range(count):
                    device.fill_zero(room.pointer, 4, stream)

            graph = stack.enter_context(contextlib.closing(Graph(stream, work)))

            def run(graph: Graph = graph) -> None:
                graph.launch()
                stream.synchronize()

            times.append(_best_s(run, seconds / 2))
    return max(0.0, 1e6 * (times[1] - times[0]) / (LAUNCHES - 1))


def _gpu_rates(
    device: int, seconds: float, sheet: Rates | None
) -> tuple[tuple[float | None, float | None, float | None], str]:
    """(fp32, fp16, int8) in tera-operations a second, and where they are from."""
    copied = "copies and launches measured on this machine"
    try:
        measured = probe_torch.rates(f"cuda:{device}", seconds=seconds)
    except (MissingPackageError, BackendError) as error:
        if sheet is None:
            return (None, None, None), f"{copied}; no arithmetic: {error.got}, and no data sheet of it here"
        return (sheet.fp32_tflop_s, sheet.fp16_tflop_s, sheet.int8_top_s), f"{copied}; arithmetic: {sheet.source}"
    tera = tuple(None if rate is None else rate / TERA for rate in measured)
    return (tera[0], tera[1], tera[2]), f"{copied}; arithmetic measured by torch's products"


@contextlib.contextmanager
def _buffer(device: Device, size: int) -> Generator[Buffer, None, None]:
    buffer = Buffer(device, size, "the probe")
    try:
        yield buffer
    finally:
        buffer.close()


def _best_s(run: Callable[[], Any], seconds: float) -> float:
    """Shortest of the runs that fit into `seconds`, three at least, after one to warm up."""
    run()
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best, runs = min(best, time.perf_counter() - started), runs + 1
    return max(best, 1e-9)
