"""Memory, streams and graphs of a device, on the fake driver."""

import gc

import fake_cuda
import numpy as np
import pytest

from sdk.errors import BackendError
from sdk.runtime.device import Buffer, Device, Event, Graph, PinnedBuffer, Stream, device_index


@pytest.fixture
def cuda(monkeypatch):
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda(memory_bytes=4 << 20, gpus=2))
    yield cuda
    gc.collect()
    assert cuda.problems == [] and cuda.live == {}


def test_device_names():
    assert [device_index(name) for name in (None, "cuda", "cuda:0", "cuda:12")] == [0, 0, 0, 12]
    for wrong in ("cpu", "cuda:", "cuda:-1", "cuda:x", "gpu", "cuda0"):
        with pytest.raises(BackendError, match="a device like"):
            device_index(wrong)


def test_a_round_trip_waits_for_the_stream(cuda):
    device = Device()
    with device.current():
        stream, there = Stream(device), Buffer(device, 400)
        pinned = PinnedBuffer(device, 800)
        source, back = pinned.array((10, 10), np.float32), pinned.array((10, 10), np.float32, offset_bytes=400)
        source[:] = np.arange(100).reshape(10, 10)
        back[:] = 0
        device.copy_in(there.pointer, source.ctypes.data, 400, stream)
        device.copy_out(back.ctypes.data, there.pointer, 400, stream)
        assert not back.any()  # not yet
        stream.synchronize()
        np.testing.assert_array_equal(back, source)


def test_closing_twice_is_harmless(cuda):
    device = Device()
    things = [Stream(device), Buffer(device, 10), PinnedBuffer(device, 10)]
    for thing in things * 2:
        thing.close()
        assert thing.closed


def test_what_is_dropped_is_freed_and_the_context_after_all_of_it(cuda):
    buffer = Buffer(Device(), 100)
    gc.collect()
    assert cuda.live == {"memory": 1, "contexts": 1}
    del buffer
    gc.collect()
    assert cuda.live == {}


def test_out_of_memory_says_how_much_there_is(cuda):
    device = Device()
    with pytest.raises(BackendError) as caught:
        Buffer(device, 5 << 20, "outputs")
    assert caught.value.expected == "cuMemAlloc to give 5.0 MiB of 4 MiB GPU memory, 4 MiB free, for outputs"
    assert device.memory_bytes() == (4 << 20, 4 << 20)


def test_a_gpu_that_is_not_there(cuda):
    with pytest.raises(BackendError, match=r"GPU cuda:5.*CUDA_ERROR_INVALID_DEVICE"):
        Device(5)


def test_errors_while_freeing_go_to_the_log(cuda, caplog):
    buffer = Buffer(Device(), 10)
    cuda.faults["cuMemFree"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with caplog.at_level("DEBUG", "facetrt"):
        buffer.close()
    assert "cuMemFree: CUDA_ERROR_ILLEGAL_ADDRESS" in caplog.text
    cuda.memory.clear()


def test_streams_wait_for_each_other(cuda):
    device = Device()
    order = []
    with device.current():
        one, two = Stream(device), Stream(device)
        cuda.launch(two.handle, lambda: order.append("first"))
        one.wait_for(two.handle)
        cuda.launch(one.handle, lambda: order.append("second"))
        one.make_wait(two.handle)
        cuda.launch(two.handle, lambda: order.append("third"))
        two.synchronize()
    assert order == ["first", "second", "third"]


def test_events(cuda):
    device = Device()
    with device.current():
        stream = Stream(device)
        cuda.launch(stream.handle, lambda: None)
        event = Event(device, stream.handle)
        assert not event.passed()
        event.synchronize()
        assert event.passed()


def test_a_graph_replays_what_was_recorded(cuda):
    device, done = Device(), []
    with device.current():
        stream = Stream(device)
        graph = Graph(stream, lambda: cuda.launch(stream.handle, lambda: done.append(1)))
        stream.synchronize()
        assert done == []
        graph.launch()
        graph.launch()
        stream.synchronize()
    assert done == [1, 1]
    graph.close()


def test_an_empty_recording_is_an_error(cuda):
    device = Device()
    with device.current():
        stream = Stream(device)
        with pytest.raises(BackendError, match="an empty graph"):
            Graph(stream, lambda: None)


def test_a_recording_that_fails_leaves_the_stream_usable(cuda):
    device = Device()
    with device.current():
        stream = Stream(device)
        for work in (lambda: 1 / 0, lambda: Buffer(device, 10), stream.synchronize):
            with pytest.raises((ZeroDivisionError, BackendError)):
                Graph(stream, work)
            assert not cuda.capturing(stream.handle)
            stream.synchronize()


def test_a_forked_process_is_refused_and_frees_nothing(cuda, monkeypatch):
    device = Device()
    buffer = Buffer(device, 10)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        with pytest.raises(BackendError, match=r"forked.*spawn"), device.current():
            pass
        calls = cuda.calls.copy()
        buffer.close()
        assert cuda.calls == calls
    cuda.memory.clear()
