"""The four scenarios, with the names and rules of MLPerf Inference; the time a point takes is ours to choose.

SingleStream  the next query is asked when the answer is there; one face
MultiStream   the same with all faces of a frame in one query
Offline       all faces are there: batches back to back, faces a second count
Server        queries of one face arrive at random (Poisson); the highest rate whose 99th percentile, from arrival
              to answer, holds a target
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.bench.quantiles import histogram, latency, windows_p50_ms
from benchmarks.bench.results import Measurement, Server, ServerTry
from benchmarks.bench.runner import PeakMemory, Query, Runner, told
from benchmarks.bench.sampling import Clock, Samples, check_duration, collect, warm_up

SERVER_TRIES = 7  # halvings between a rate that held and one that did not
SERVER_LEAST = 100  # queries of a try: a 99th percentile is then at least one query away from the maximum
SERVER_LONGEST = 3.0  # times the duration, of a try at a low rate
SERVER_LOWEST = 0.05  # of the rate at which queries back to back run: below, the search ends
TARGET_FACTOR = 5.0  # times the median of one query, where no target is given
QUEUE_FULL = 10.0  # times the target: such a wait ends a try
SPIN_S = 0.0005  # before an arrival, waited for without sleep
HIGHEST_LOAD = 0.98  # of the rate at which queries back to back run: beyond, a queue only grows
ARRIVALS_SEED = 11


@dataclass(frozen=True)
class Point:
    """One cell of the matrix."""

    scenario: str
    faces: int  # a query
    duration_s: float
    target_ms: float | None = None  # of Server; None: TARGET_FACTOR times the median


def measure(runner: Runner, point: Point, *, clock: Clock | None = None) -> Measurement:
    """The numbers of a point. What a library raises becomes `error`, so that a sweep goes on; Ctrl-C passes through
    unless samples are there already. Raises InputError for a duration of 0.
    """
    clock = clock or Clock()
    check_duration(point.duration_s)
    memory = PeakMemory()
    try:
        with memory:
            recorded = getattr(runner, "recorded", None)  # of a rival that runs and times itself elsewhere
            if recorded is not None:
                return _measurement(runner, point, recorded(point.faces), None, memory_mib=None)
            query = runner.query(point.faces)
            if point.scenario == "Server":
                samples, server = serve(query, clock, duration_s=point.duration_s, target_ms=point.target_ms)
            else:
                samples, server = collect(query, clock, duration_s=point.duration_s), None
    except Exception as error:  # whatever one point provokes is kept with it and must not cost the others
        return failed(runner, point, told(error))
    return _measurement(runner, point, samples, server, memory_mib=memory.mib)


def failed(runner: Runner, point: Point, error: str) -> Measurement:
    """A point without numbers, and why."""
    return Measurement(
        subject=runner.subject.id,
        scenario=point.scenario,
        batch=point.faces,
        faces=point.faces,
        frame_hw=runner.frame_hw,
        threads=runner.threads,
        samples=0,
        duration_s=0.0,
        latency_ms=None,
        histogram=None,
        windows_p50_ms=(),
        faces_per_s=None,
        error=error,
    )


def _measurement(
    runner: Runner, point: Point, samples: Samples, server: Server | None, *, memory_mib: float | None
) -> Measurement:
    if not samples.wall_ms:
        return failed(runner, point, "no rate held the target")
    busy_s = samples.duration_s
    return Measurement(
        subject=runner.subject.id,
        scenario=point.scenario,
        batch=point.faces,
        faces=point.faces,
        frame_hw=runner.frame_hw,
        threads=runner.threads,
        samples=len(samples.wall_ms),
        duration_s=busy_s,
        latency_ms=latency(samples.wall_ms),
        histogram=histogram(samples.wall_ms),
        windows_p50_ms=windows_p50_ms(samples.wall_ms),
        faces_per_s=server.rate_per_s if server else point.faces * len(samples.wall_ms) / busy_s,
        memory_mib=memory_mib,
        flags=samples.flags(),
        server=server,
        processor_ms=float(np.mean(samples.processor_ms)) if samples.processor_ms else None,
    )


def serve(query: Query, clock: Clock, *, duration_s: float, target_ms: float | None = None) -> tuple[Samples, Server]:
    """Samples of the highest rate that held (from arrival to answer), and all rates that were tried.

    duration_s is of one try. The search halves between the highest rate that held and the lowest that did not.
    """
    settled, typical_ms = warm_up(query, clock, duration_s=duration_s)
    target = target_ms if target_ms is not None else TARGET_FACTOR * typical_ms
    highest = HIGHEST_LOAD * 1000 / typical_ms
    low, high = 0.0, highest
    best, tried = Samples(settled=settled), list[ServerTry]()
    rate = highest
    for number in range(SERVER_TRIES):
        samples, full = one_rate(query, clock, rate_per_s=rate, duration_s=duration_s, target_ms=target, seed=number)
        p99 = float(np.percentile(samples.wall_ms, 99))
        held = p99 <= target and not full
        tried.append(ServerTry(rate_per_s=rate, p99_ms=p99, held=held, queries=len(samples.wall_ms)))
        if held:
            low, best = rate, samples
            best.settled = settled
            if rate == highest:
                break
        else:
            high = rate
        rate = (low + high) / 2
        if rate < SERVER_LOWEST * highest:
            break
    return best, Server(target_ms=target, rate_per_s=low or None, tried=tuple(tried))


def one_rate(
    query: Query, clock: Clock, *, rate_per_s: float, duration_s: float, target_ms: float, seed: int
) -> tuple[Samples, bool]:
    """Queries at Poisson arrivals, one after the other as they come; (samples, did the queue run full?)."""
    rng = np.random.default_rng(ARRIVALS_SEED + seed)
    count = max(10, min(SERVER_LEAST, int(SERVER_LONGEST * rate_per_s * duration_s)), int(rate_per_s * duration_s))
    arrivals_s = np.cumsum(rng.exponential(1 / rate_per_s, count))
    samples = Samples()
    started, started_processor = clock.now(), clock.processor()
    for arrival_s in arrivals_s.tolist():
        ahead = arrival_s - (clock.now() - started)
        if ahead > SPIN_S:
            clock.sleep(ahead - SPIN_S)
        while clock.now() - started < arrival_s:
            pass
        query()
        wall_ms = 1000 * (clock.now() - started - arrival_s)
        if wall_ms <= 0:
            samples.backwards += 1
            continue
        samples.wall_ms.append(wall_ms)
        if wall_ms > QUEUE_FULL * target_ms:
            break
    samples.duration_s = max(clock.now() - started, 1e-9)
    spent_ms = 1000 * (clock.processor() - started_processor)
    samples.processor_ms = [spent_ms / max(1, len(samples.wall_ms))]
    if not samples.wall_ms:
        samples.wall_ms = [QUEUE_FULL * target_ms]
    return samples, samples.wall_ms[-1] > QUEUE_FULL * target_ms
