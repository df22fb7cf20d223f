"""What --scaling measures: how a network's cost through the SDK grows, at the first precision that was measured.

faces    ms of a frame of 1080p with 0 to 128 faces
frame    ms of 8 faces in frames of 0.3 to 8.3 megapixels
streams  faces a second of 1 to 8 threads that share one FaceEnhancer
threads  ms of 8 faces, onnxruntime with 1 to all threads
batch    MiB and faces a second of the bare network against its batch
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.bench.beside import subject_backend
from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.options import Options
from benchmarks.bench.ours import BareRunner, SdkRunner, open_ours
from benchmarks.bench.results import ScalingPoint
from benchmarks.bench.runner import MIB, PeakMemory, Query, told
from benchmarks.bench.sampling import Clock, collect, warm_up
from benchmarks.bench.scaling import Curve, curve
from benchmarks.bench.workload import scene
from sdk.errors import BackendError

FACES = (0, 1, 2, 4, 8, 16, 32, 64, 128)
FRAMES_HW = ((480, 640), (720, 1280), (1080, 1920), (1440, 2560), (2160, 3840))
STREAMS = (1, 2, 4, 8)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARE = 0.25  # of the duration of a point of the matrix
NEVER_TOO_LONG_S = 1.0
FEW = 8  # faces where something else grows
Sweep = Callable[[], Sequence[Curve]]


def sweeps(
    file: ModelFile, backend: str, precision: str, device: str | None, options: Options, clock: Clock
) -> tuple[list[ScalingPoint], list[str]]:
    """Points of the curves that were asked for, and why one ended early. Raises what opening the network raises."""
    network = open_ours(file, backend, precision, threads=options.threads, device=device)
    label = subject_backend(network)
    points, ended = list[ScalingPoint](), list[str]()
    with contextlib.closing(SdkRunner(file, network, label, threads=options.threads)) as sdk:
        made: dict[str, Sweep] = {
            "faces": partial(_faces, sdk, options, clock),
            "frame": partial(_frame, sdk, options, clock),
            "streams": partial(_streams, sdk, options, clock),
            "threads": partial(_threads, file, precision, sdk, options, clock),
            "batch": partial(_batch, file, backend, precision, device, options, clock),
        }
        for word in options.scaling:
            try:
                curves = made[word]()
            except Exception as error:  # of opening a network anew: the other curves stand
                ended.append(f"{word}: {told(error)}")
                continue
            for one in curves:
                points += one.points
                ended += [f"{word}: {one.ended}"] if one.ended else []
    return points, ended


def _ms(query: Query, options: Options, clock: Clock) -> float | None:
    """Median of a query; None if one outlasts the duration of a point, and a second."""
    _, typical_ms = warm_up(query, clock, duration_s=SHARE * options.duration_s)
    if typical_ms > 1000 * max(options.duration_s, NEVER_TOO_LONG_S):
        return None
    return float(np.median(collect(query, clock, duration_s=SHARE * options.duration_s).wall_ms))


def _faces(sdk: SdkRunner, options: Options, clock: Clock) -> Sequence[Curve]:
    def measure(faces: float) -> float | None:
        return _ms(sdk.query(int(faces)), options, clock)

    return [curve("faces", sdk.subject.id, FACES, measure, x_unit="faces", y_unit="ms")]


def _frame(sdk: SdkRunner, options: Options, clock: Clock) -> Sequence[Curve]:
    by_size = {H * W / 1e6: (H, W) for H, W in FRAMES_HW}

    def measure(megapixels: float) -> float | None:
        of = scene(FEW, side_px=sdk.spec.lr_size, frame_hw=by_size[megapixels])
        return _ms(sdk.query_of(of), options, clock)

    return [curve("frame", sdk.subject.id, sorted(by_size), measure, x_unit="megapixels", y_unit="ms")]


def _streams(sdk: SdkRunner, options: Options, clock: Clock) -> Sequence[Curve]:
    def measure(streams: float) -> float | None:
        query = sdk.query(1)
        return faces_per_s(query, int(streams), clock, duration_s=SHARE * options.duration_s)

    return [curve("streams", sdk.subject.id, STREAMS, measure, x_unit="threads that ask", y_unit="faces/s")]


def faces_per_s(query: Query, streams: int, clock: Clock, *, duration_s: float) -> float:
    """Queries of one face a second, of `streams` threads at once. Raises the first error of a thread."""
    warm_up(query, clock, duration_s=duration_s)
    counts, errors = [0] * streams, list[BaseException]()
    started, ended = clock.now(), [0.0] * streams

    def work(number: int) -> None:
        try:
            while clock.now() - started < duration_s:
                query()
                counts[number] += 1
        except BaseException as error:  # raised again below, in the thread that waits
            errors.append(error)
        ended[number] = clock.now()

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(streams)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(counts) / (max(ended) - started)


def _threads(file: ModelFile, precision: str, sdk: SdkRunner, options: Options, clock: Clock) -> Sequence[Curve]:
    if sdk.opened.device != "cpu":
        raise BackendError("a network on the CPU for --scaling threads", sdk.subject.backend, "leave threads out")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = sorted({1, 2, cores} | {2**k for k in range(8) if 2**k <= cores})

    def measure(threads: float) -> float | None:
        opened = open_ours(file, "onnxruntime", precision, threads=int(threads), device="cpu")
        with contextlib.closing(SdkRunner(file, opened, sdk.subject.backend, threads=int(threads))) as runner:
            return _ms(runner.query(FEW), options, clock)

    return [curve("threads", sdk.subject.id, counts, measure, x_unit="threads of onnxruntime", y_unit="ms")]


def _batch(
    file: ModelFile, backend: str, precision: str, device: str | None, options: Options, clock: Clock
) -> Sequence[Curve]:
    """Of a network of its own, so that its memory is counted from before it was opened; batches rise, memory stays."""
    rates: dict[float, float] = {}
    with PeakMemory() as peak:
        opened = open_ours(file, backend, precision, threads=options.threads, device=device)
        before_mib = _gpu_used_mib() if opened.device != "cpu" else 0.0
        with contextlib.closing(SdkRunner(file, opened, subject_backend(opened), threads=options.threads)) as sdk:
            bare = BareRunner(sdk)

            def memory(batch: float) -> float | None:
                ms = _ms(bare.query(int(batch)), options, clock)
                if ms is None:
                    return None
                rates[batch] = 1000 * batch / ms
                return peak.so_far() if opened.device == "cpu" else _gpu_used_mib() - before_mib

            grown = curve("batch-memory", bare.subject.id, BATCHES, memory, x_unit="faces", y_unit="MiB")
    fast = curve("batch-throughput", bare.subject.id, sorted(rates), rates.get, x_unit="faces", y_unit="faces/s")
    return [grown, fast]


def _gpu_used_mib() -> float:
    """Memory of the first GPU that anybody uses."""
    from sdk.runtime.device import Device  # late: it needs a driver

    free, total = Device().memory_bytes()
    return (total - free) / MIB
