"""Threads: own lanes, turns, closing while others run, thread ends, ten thousand runs, forks."""

import gc
import os
import threading
import time

import fake_host
import numpy as np
import pytest
from fake_cuda import current
from fake_host import assert_toy, faces
from fake_tensorrt import make_plan, write_toy

from sdk.errors import BackendError
from sdk.runtime.trt_backend import TrtBackend


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as one:
        yield one


def together(count, work):
    """work(number) in `count` threads at once; raises what the first failing one raised."""
    errors = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 (handed to the caller)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_four_threads_get_their_own_results_from_their_own_lanes(host):
    backend = host.open()
    start = threading.Barrier(4)

    def work(number):
        start.wait()
        for turn in range(40):
            batch = faces(1 + (number + turn) % 9, seed=100 * number + turn)
            assert_toy(backend.run(batch), batch)

    together(4, work)
    assert 1 <= backend.lanes <= 4 and len(host.trt.engines) == 1


def test_more_threads_than_lanes_take_turns(host):
    backend = host.open(lanes=2)
    together(8, lambda number: [assert_toy(backend.run(faces(number + 1)), faces(number + 1)) for _ in range(10)])
    assert backend.lanes <= 2


def test_before_tensorrt_10_every_lane_has_an_engine_of_its_own(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path, version="8.6.0") as host:
        backend = host.open(make_plan([(1, 8)]), lanes=3)
        start = threading.Barrier(3)

        def work(number):
            start.wait()
            for N in (1, 8, 3, 3, 3, 11):
                assert_toy(backend.run(faces(N)), faces(N))

        together(3, work)
        host.trt.faults["profile"] = 1
        with pytest.raises(BackendError, match="optimisation profile 0; got TensorRT 8.6.0: profile 0 is in use"):
            backend.run(faces(5))
        assert 2 <= len(host.trt.engines) <= 4


def test_a_thread_keeps_its_lane_and_its_lane_goes_after_it(host):
    backend = host.open()
    backend.run(faces(2))
    ready, leave = threading.Barrier(4), threading.Event()

    def work(number):
        with backend._pool.lease():  # all at once, so that each needs a lane
            ready.wait(10)
        leave.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    before = host.cuda.calls["cuStreamCreate"]
    backend.run(faces(2))
    assert backend.lanes == 4 and host.cuda.calls["cuStreamCreate"] == before
    leave.set()
    for thread in threads:
        thread.join()
    gc.collect()
    backend.run(faces(2))
    assert backend.lanes == 2  # ours, and one for the next thread
    together(1, lambda number: backend.run(faces(2)))
    assert host.cuda.calls["cuStreamCreate"] == before


def test_short_lived_threads_inherit_one_lane(host):
    backend = host.open()
    for number in range(30):
        together(1, lambda _, number=number: assert_toy(backend.run(faces(2, seed=number)), faces(2, seed=number)))
    assert backend.lanes == 1 and host.cuda.calls["cuStreamCreate"] == 1


def test_no_memory_for_another_lane_means_taking_turns(monkeypatch, tmp_path, caplog):
    with fake_host.running(monkeypatch, tmp_path, memory_bytes=10_000) as host:
        backend = host.open(make_plan([(1, 2)]))  # one lane: 4096 of scratch and some 2,000 for two faces
        start = threading.Barrier(3)

        def work(number):
            start.wait()
            for _ in range(5):
                assert_toy(backend.run(faces(2)), faces(2))

        with backend._pool.lease() as lane:
            lane.run(faces(2))
            threads = threading.Thread(target=lambda: together(3, work))
            threads.start()
            time.sleep(0.05)
        del lane
        threads.join(30)
        assert not threads.is_alive()
        assert backend.lanes == 1 and "threads share 1 lane(s)" in caplog.text
        assert "CUDA_ERROR_OUT_OF_MEMORY" in caplog.text


def test_no_memory_for_the_first_lane_is_an_error(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path, memory_bytes=1000) as host:
        backend = host.open()
        for _ in range(2):
            with pytest.raises(BackendError, match="scratch memory of toy.engine.*OUT_OF_MEMORY"):
                backend.run(faces(1))


def test_close_waits_for_runs_and_later_ones_are_refused(host):
    backend = host.open()
    started = threading.Barrier(4)
    runs = [0, 0, 0]

    def work(number):
        batch = faces(5, seed=number)
        assert_toy(backend.run(batch), batch)
        started.wait(10)
        while True:
            try:
                outputs = backend.run(batch)
            except BackendError as error:
                assert "toy.engine after close()" in error.got
                return
            assert_toy(outputs, batch)
            runs[number] += 1

    runner = threading.Thread(target=lambda: together(3, work))
    runner.start()
    started.wait(10)
    time.sleep(0.1)
    together(2, lambda number: backend.close())
    assert host.trt.contexts == 0 and host.cuda.live.get("memory", 0) == 0
    runner.join(30)
    assert not runner.is_alive() and all(runs)
    backend.close()
    with pytest.raises(BackendError, match=r"toy.engine after close\(\); open it again"):
        backend.run(faces(1))


def test_close_does_not_wait_for_ever(host, caplog):
    backend = host.open()
    with backend._pool.lease():
        assert not backend._pool.close(timeout_s=0.01)
    assert "closed while a thread had used it" in caplog.text
    backend.close()


def test_a_backend_that_is_dropped_frees_everything(host):
    path = write_toy(host.path)
    for _ in range(3):
        TrtBackend(path).run(faces(3))
    gc.collect()
    assert host.cuda.live == {} and host.trt.contexts == 0


def test_ten_thousand_runs_leave_nothing(host):
    backend, batch = host.open(), faces(3)
    for _ in range(3):
        backend.run(batch)
    before = dict(host.cuda.live)
    for turn in range(10_000):
        outputs = backend.run(batch)
        assert turn % 1000 or np.array_equal(outputs["sr"][:, :, ::2, ::2], batch / 2)
    assert host.cuda.live == before and host.trt.contexts == 1 and len(host.trt.inferences) == 10_003


def test_the_callers_context_stays_current(host):
    backend = host.open()
    with current(host.cuda, 99):  # as pycuda's own
        backend.run(faces(2))
        assert host.cuda.stack == [99]
        with pytest.raises(BackendError):
            backend.run(faces(2, 99))
        assert host.cuda.stack == [99]


def test_a_forked_process_is_told_so_and_frees_nothing(host, monkeypatch):
    backend = host.open()
    backend.run(faces(2))
    other = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: other)
    with pytest.raises(BackendError, match="forked"):
        backend.run(faces(2))
    calls = host.cuda.calls.copy()
    backend._pool.close()
    assert host.cuda.calls == calls
    monkeypatch.undo()
