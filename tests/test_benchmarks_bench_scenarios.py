"""Scenarios under a clock of the test's own; Server against a queue worked out beside it."""

import numpy as np
import pytest
from bench_clock import FakeTime

from benchmarks.bench import runner, scenarios
from benchmarks.bench.results import Subject

SUBJECT = Subject("m/onnxruntime-cpu/fp32/bare/engine", "m", "onnxruntime-cpu", "fp32", "bare", "engine")


class FakeRunner:
    subject, threads, frame_hw = SUBJECT, 1, None

    def __init__(self, fake, seconds_a_face):
        self.fake, self.seconds = fake, seconds_a_face

    def query(self, faces):
        return self.fake.query(self.seconds * faces)

    def close(self):
        pass


def measured(seconds, scenario, faces, *, duration_s=2.0, **more):
    fake = FakeTime()
    return scenarios.measure(
        FakeRunner(fake, seconds), scenarios.Point(scenario, faces, duration_s, **more), clock=fake.clock
    )


@pytest.mark.parametrize(("scenario", "faces"), [("SingleStream", 1), ("MultiStream", 8), ("Offline", 64)])
def test_queries_back_to_back(scenario, faces):
    found = measured(0.002, scenario, faces)
    assert found.latency_ms.p50 == pytest.approx(2.0 * faces, rel=1e-2)
    assert found.faces_per_s == pytest.approx(500, rel=1e-2) and found.batch == faces
    assert sum(found.histogram.counts) == found.samples and len(found.windows_p50_ms) == 10
    assert found.processor_ms == pytest.approx(2.0 * faces, rel=1e-2)


def lindley_p99_ms(rate_per_s, service_s, count, seed):
    """99th percentile of sojourn times of a queue with Poisson arrivals and one server, by Lindley's recursion."""
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, count))
    free, sojourn = 0.0, np.zeros(count)
    for i, arrival in enumerate(arrivals):
        free = max(free, arrival) + service_s
        sojourn[i] = 1000 * (free - arrival)
    return np.percentile(sojourn, 99)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_rate_gives_the_times_of_a_queue(load):
    service_s, fake = 0.005, FakeTime()
    rate = load / service_s
    samples, full = scenarios.one_rate(
        fake.query(service_s), fake.clock, rate_per_s=rate, duration_s=10.0, target_ms=1000, seed=3
    )
    expected = lindley_p99_ms(rate, service_s, int(10 * rate), scenarios.ARRIVALS_SEED + 3)
    assert not full and np.percentile(samples.wall_ms, 99) == pytest.approx(expected, rel=0.02)


def test_server_finds_the_highest_rate_that_holds():
    found = measured(0.005, "Server", 1, duration_s=20.0, target_ms=25.0)
    server = found.server
    held = [one.rate_per_s for one in server.tried if one.held]
    lost = [one.rate_per_s for one in server.tried if not one.held]
    assert server.rate_per_s == max(held) < min(lost) and found.faces_per_s == server.rate_per_s
    assert min(lost) - max(held) <= 200 / 2 ** (scenarios.SERVER_TRIES - 2)  # 200/s is the most a queue could serve
    at_it = [lindley_p99_ms(max(held), 0.005, 4000, seed) for seed in range(5)]
    assert np.mean(at_it) == pytest.approx(25.0, rel=0.35)
    assert found.latency_ms.p99 <= 25.0


def test_server_without_a_rate_that_holds_says_so():
    found = measured(0.05, "Server", 1, duration_s=1.0, target_ms=10.0)
    assert found.latency_ms is None and "no rate held" in found.error and found.server is None


def test_an_overloaded_queue_ends_early():
    fake = FakeTime()
    samples, full = scenarios.one_rate(
        fake.query(0.01), fake.clock, rate_per_s=1000.0, duration_s=100.0, target_ms=5.0, seed=0
    )
    assert full and len(samples.wall_ms) < 20


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("cannot allocate 9 GiB"), "out of memory: cannot allocate 9 GiB"),
        (RuntimeError("[E] Failed to allocate memory for requested buffer of size 27"), "out of memory: [E] Failed"),
        (RuntimeError("std::bad_alloc"), "out of memory: std::bad_alloc"),
        (RuntimeError("CUDA error: CUDA_ERROR_OUT_OF_MEMORY"), "out of memory: CUDA"),
        (ValueError("shapes\nand more"), "ValueError: shapes"),
        (KeyError(), "KeyError: KeyError"),
    ],
)
def test_what_a_library_raises_marks_the_point(error, told):
    def query():
        raise error

    one = FakeRunner(FakeTime(), 0.0)
    one.query = lambda faces: query
    found = scenarios.measure(one, scenarios.Point("Offline", 8, 1.0))
    assert found.error.startswith(told) and found.latency_ms is None and found.samples == 0


def test_memory_beyond_the_machine_is_an_error_not_a_kill():
    """A request of twice the memory that is there, touched page by page, in the limit of this process."""
    available = runner._data_limit()
    if available is None:
        pytest.skip("no /proc of Linux")
    one = FakeRunner(FakeTime(), 0.0)
    one.query = lambda faces: lambda: np.ones(2 * available, np.uint8)
    with runner.memory_limit():
        found = scenarios.measure(one, scenarios.Point("Offline", 8, 1.0))
    assert found.error.startswith("out of memory")


def test_peak_memory_sees_what_was_freed_again():
    with runner.PeakMemory() as peak:
        np.ones(64 * 2**20, np.uint8).sum()
    if peak.mib is None:
        pytest.skip("no /proc of Linux that lets the peak be reset")
    assert 55 <= peak.mib <= 100
