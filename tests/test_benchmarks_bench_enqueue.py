"""The engine alone, on the fakes: the inference is put on the stream, nothing is copied, the graph is replayed."""

import fake_host
import numpy as np
import pytest
from fake_host import faces
from fake_tensorrt import toy_spec

from benchmarks.bench import enqueue
from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.ours import BareRunner, SdkRunner
from benchmarks.bench.scenarios import Point, measure
from sdk.errors import BackendError
from sdk.runtime.opening import Opened


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as one:
        yield one


def test_a_warm_query_launches_the_graph_and_copies_nothing(host):
    backend = host.open()
    query = enqueue.enqueued(backend, (5, 3, 8, 8))
    for _ in range(3):
        query()
    before = host.cuda.calls.copy()
    query()
    spent = host.cuda.calls - before
    assert spent["cuGraphLaunch"] == 1 and spent["cuStreamSynchronize"] == 1
    assert not [name for name in spent if "Memcpy" in name or "Alloc" in name]
    batch = faces(5, 8)
    np.testing.assert_array_equal(backend.run(batch)["heatmaps"], batch[:, :1] + 1)  # the backend goes on as before


def test_a_batch_beyond_the_profiles_runs_in_parts(host):
    backend = host.open()
    query = enqueue.enqueued(backend, (130, 3, 4, 4))
    for _ in range(3):
        query()
    before = host.cuda.calls.copy()
    query()
    assert (host.cuda.calls - before)["cuGraphLaunch"] == 3  # 64 + 64 + 2
    with pytest.raises(BackendError, match="faces of"):
        enqueue.enqueued(backend, (1, 3, 64, 64))


def test_device_time_is_that_between_two_events(host, monkeypatch):
    backend = host.open()
    monkeypatch.setattr(type(host.cuda), "do_event_elapsed_time", lambda self, first, last: 8.0, raising=False)
    assert enqueue.device_ms(backend, (2, 3, 4, 4)) == pytest.approx(8.0 / enqueue.IN_A_ROW)
    assert host.cuda.calls["cuEventCreate"] == host.cuda.calls["cuEventDestroy"] == 2
    monkeypatch.setattr(type(host.cuda), "do_event_elapsed_time", lambda self, first, last: float("nan"))
    with pytest.raises(BackendError, match="cuEventElapsedTime"):
        enqueue.device_ms(backend, (2, 3, 4, 4))


def test_the_bare_runner_of_an_engine(host, monkeypatch):
    monkeypatch.setattr(type(host.cuda), "do_event_elapsed_time", lambda self, first, last: 8.0, raising=False)
    backend = host.open()
    opened = Opened(backend, "TensorRT 10.13.3.9", "cuda:0", "fp16", host.path, "a test")
    file = ModelFile("toy", host.path, "0" * 64, "facetrt", toy_spec())
    bare = BareRunner(SdkRunner(file, opened, "tensorrt", threads=0))
    found = measure(bare, Point("Offline", 2, 0.01))
    assert found.error is None and found.subject == "toy/tensorrt/fp16/bare/engine"
    assert bare.stages_ms(2) == {"device": pytest.approx(0.4)}
