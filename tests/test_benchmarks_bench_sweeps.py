"""Curves of a network that sleeps and fills memory: their points, their knees, and one that fails beside others."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.bench import sweeps
from benchmarks.bench.model_files import resolve
from benchmarks.bench.options import Options
from benchmarks.bench.runner import subject_of
from benchmarks.bench.sampling import Clock
from sdk.errors import BackendError

MIB = 2**20


class Network:
    """Takes 2 ms and 0.5 ms a face over its threads, `slots` queries at once; a bare query fills 8 MiB a face."""

    def __init__(self, threads, *, slots=2):
        self.threads, self.closed = threads, False
        self.slots = threading.Semaphore(slots)

    def take(self, faces):
        with self.slots:
            time.sleep((2 + 0.5 * faces / max(1, self.threads)) / 1000)


class Sdk:
    def __init__(self, file, opened, label, *, threads):
        self.opened = opened
        self.spec = SimpleNamespace(lr_size=16)
        self.subject = subject_of(file.name, label, "fp32", way="sdk", span="end-to-end")

    def query(self, faces):
        return lambda: self.opened.network.take(faces)

    def query_of(self, of):
        return lambda: self.opened.network.take(len(of.boxes))

    def close(self):
        self.opened.network.closed = True


class Bare:
    def __init__(self, sdk):
        self.sdk = sdk
        self.subject = subject_of("picoface_x8", "onnxruntime-cpu", "fp32", way="bare", span="engine")

    def query(self, faces):
        def touch():
            np.zeros(8 * MIB * faces, np.uint8)[::4096] = 1  # one byte a page

        return touch


@pytest.fixture
def sweep(monkeypatch):
    opened, failing = [], set()

    def open_ours(file, backend, precision, *, threads, device=None):
        if threads in failing:
            raise BackendError("a network", "none", "try again")
        opened.append(Network(threads))
        return SimpleNamespace(runtime="onnxruntime", device="cpu", network=opened[-1])

    monkeypatch.setattr(sweeps, "open_ours", open_ours)
    monkeypatch.setattr(sweeps, "SdkRunner", Sdk)
    monkeypatch.setattr(sweeps, "BareRunner", Bare)
    monkeypatch.setattr(sweeps, "SHARE", 0.03)  # short points, but no end for a machine with other work
    monkeypatch.setattr(sweeps, "BATCHES", (1, 4, 8))
    monkeypatch.setattr(sweeps, "FACES", (0, 1, 8, 64))

    def run(*kinds):
        options = Options(("picoface_x8",), scaling=kinds, duration_s=5.0)
        points, ended = sweeps.sweeps(resolve("picoface_x8"), "onnxruntime", "fp32", "cpu", options, Clock())
        assert opened and all(network.closed for network in opened)
        return {kind: [p for p in points if p.kind == kind] for kind in dict.fromkeys(p.kind for p in points)}, ended

    return SimpleNamespace(run=run, failing=failing)


def test_time_grows_with_faces(sweep):
    points, ended = sweep.run("faces")
    assert [p.x for p in points["faces"]] == [0, 1, 8, 64] and ended == []
    assert points["faces"][0].y >= 2.0 and points["faces"][-1].y >= 2 + 0.5 * 64
    assert points["faces"][0].subject == "picoface_x8/onnxruntime-cpu/fp32/sdk/end-to-end"


def test_two_slots_serve_no_more_than_two_streams(sweep):
    rates = {p.x: p.y for p in sweep.run("streams")[0]["streams"]}
    assert set(rates) == {1, 2, 4, 8}
    assert rates[1] <= 400 and rates[8] <= 800  # 2.5 ms each, two at once


def test_memory_of_a_batch_counts_what_smaller_ones_left(sweep):
    points, _ = sweep.run("batch")
    memory = {p.x: p.y for p in points["batch-memory"]}
    assert 0.8 * 56 < memory[8] - memory[1] < 1.5 * 56  # 8 MiB a face, 7 more of them
    assert [p.x for p in points["batch-throughput"]] == [1, 4, 8]


def test_one_curve_that_fails_leaves_the_others(sweep, monkeypatch):
    sweep.failing.add(1)  # a network with one thread cannot be opened
    points, ended = sweep.run("threads", "faces")
    assert set(points) == {"faces"}
    assert len(ended) == 1 and ended[0].startswith("threads: at 1")
    monkeypatch.setattr(sweeps, "_frame", lambda *_: 1 / 0)
    points, ended = sweep.run("frame", "faces")
    assert set(points) == {"faces"} and "ZeroDivisionError" in ended[0]
