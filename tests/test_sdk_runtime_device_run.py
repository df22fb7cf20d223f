"""run_device(): arrays on the GPU in and out, without a copy and without waiting."""

import gc
import types

import fake_cuda
import fake_host
import numpy as np
import pytest
from fake_host import assert_toy, faces
from fake_tensorrt import make_plan, toy

from sdk.errors import BackendError, InputError


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as one:
        yield one
        for stream in one.cuda.streams.values():
            stream.drain()
        for address in list(one.cuda.memory):  # what "other libraries" have allocated
            if address in LENT:
                one.cuda.memory.pop(address)
        LENT.clear()


LENT = set()


def lend(host, array, *, stream=None, offset=0):
    """An array of another library on the GPU."""
    pointer = host.cuda.foreign(array, offset=offset)
    LENT.add(pointer - offset)
    interface = dict(shape=array.shape, typestr=array.dtype.str, data=(pointer, False), version=3, stream=stream)
    return types.SimpleNamespace(__cuda_array_interface__=interface, pointer=pointer)


def on_host(results):
    return {name: array.copy_to_host() for name, array in results.items()}


def read(host, lent, shape):
    """What an array of another library holds now, its stream's work done."""
    import ctypes

    memory = (ctypes.c_char * (int(np.prod(shape)) * 4)).from_address(lent.pointer)
    return np.frombuffer(memory, np.float32).reshape(shape).copy()


def test_results_are_those_of_run(host):
    backend = host.open()
    for N in (1, 3, 8, 3, 3):
        assert_toy(on_host(backend.run_device(lend(host, faces(N)))), faces(N))


def test_no_copy_and_no_waiting(host):
    backend = host.open()
    lent = lend(host, faces(3))
    before = host.cuda.calls.copy()
    results = backend.run_device(lent)
    spent = host.cuda.calls - before
    assert not [name for name in spent if "Memcpy" in name or "Synchronize" in name or "Capture" in name]
    assert host.trt.inferences == []  # nothing has happened yet
    assert_toy(on_host(results), faces(3))


def test_results_name_the_stream_that_writes_them(host):
    backend = host.open()
    sr = backend.run_device(lend(host, faces(3)))["sr"]
    stream = sr.__cuda_array_interface__["stream"]
    assert stream == sr.stream and stream in host.cuda.streams
    backend.close()
    assert sr.__cuda_array_interface__["stream"] is None  # complete now, and ours
    np.testing.assert_array_equal(sr.copy_to_host(), toy(faces(3))["sr"])


def test_results_go_in_again(host):
    backend = host.open()
    first = backend.run_device(lend(host, faces(2)))["sr"]
    second = backend.run_device(first)
    expected = toy(toy(faces(2))["sr"])["sr"]
    np.testing.assert_array_equal(second["sr"].copy_to_host(), expected)


def test_outputs_are_written_where_the_caller_says(host):
    backend = host.open()
    sr = lend(host, np.zeros((3, 3, 8, 8), np.float32))
    stream = host.cuda.do_stream_create(1)
    for seed in range(3):
        batch = faces(3, seed=seed)
        results = backend.run_device(lend(host, batch), out={"sr": sr}, stream=stream)
        assert results["sr"].pointer == sr.pointer
        with fake_cuda.current(host.cuda):
            host.cuda.cuStreamSynchronize(stream)  # the caller waits for the caller's own stream alone
        np.testing.assert_array_equal(read(host, sr, (3, 3, 8, 8)), toy(batch)["sr"])
    host.cuda.do_stream_destroy(stream)


def test_the_callers_stream_is_waited_for(host):
    backend = host.open()
    stream = host.cuda.do_stream_create(1)
    lent = lend(host, faces(2))
    host.cuda.do_memsetd8_async(lent.pointer, 0, faces(2).nbytes, stream)
    assert_toy(on_host(backend.run_device(lent, stream=stream)), np.zeros_like(faces(2)))
    host.cuda.do_stream_destroy(stream)


@pytest.mark.parametrize("offset", [0, 4, 192])
def test_batches_above_the_profile_and_memory_off_the_grid(host, offset):
    """Faces of 192 bytes: parts that do not begin at multiples of 256 go through the lane's memory."""
    backend = host.open(make_plan([(1, 1), (2, 5)]))
    for N in (11, 12, 3):
        assert_toy(on_host(backend.run_device(lend(host, faces(N), offset=offset))), faces(N))


def test_padding_for_an_engine_of_a_fixed_batch(host):
    backend = host.open(make_plan([(8, 8)]))
    for N in (3, 8, 10):
        assert_toy(on_host(backend.run_device(lend(host, faces(N)))), faces(N))
        np.testing.assert_array_equal(host.trt.last_input[N % 8 or 8 :], 0)


def test_buffers_that_grow_under_way_are_freed_after_the_work(host):
    backend = host.open()
    started = [backend.run_device(lend(host, faces(N), offset=4)) for N in (2, 30, 64, 2)]
    assert host.trt.inferences == [] and host.cuda.implicit_waits == 0
    for N, results in zip((2, 30, 64, 2), started, strict=True):
        assert_toy(on_host(results), faces(N))
    backend.run(faces(1))  # synchronises: now they go
    assert host.cuda.calls["cuMemFree"] >= 2


def test_run_and_run_device_mix_with_graphs(host):
    backend = host.open()
    for _ in range(4):
        assert_toy(backend.run(faces(3, seed=1)), faces(3, seed=1))
        assert_toy(on_host(backend.run_device(lend(host, faces(3, seed=2)))), faces(3, seed=2))
    assert host.cuda.calls["cuGraphLaunch"] > 0


def test_half_precision_is_not_converted(host):
    backend = host.open(make_plan(inputs={"lr": "HALF"}, outputs={"sr": "HALF", "heatmaps": "FLOAT"}))
    results = backend.run_device(lend(host, faces(2).astype(np.float16)))
    assert results["sr"].dtype == np.float16 and results["heatmaps"].dtype == np.float32
    np.testing.assert_array_equal(results["sr"].copy_to_host(), toy(faces(2))["sr"])
    with pytest.raises(InputError, match="a batch float16.*got float32"):
        backend.run_device(lend(host, faces(2)))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ({"sr": (np.float32, (3, 3, 8, 9))}, r"float32 \[3, 3, 8, 8\] for sr; got float32 \[3, 3, 8, 9\]"),
        ({"sr": (np.float16, (3, 3, 8, 8))}, r"for sr; got float16"),
        ({"picture": (np.float32, (3, 3, 8, 8))}, r"among \['sr', 'heatmaps'\]; got \['picture'\]"),
    ],
)
def test_outputs_of_another_kind(host, out, words):
    backend = host.open()
    arrays = {name: lend(host, np.zeros(shape, dtype)) for name, (dtype, shape) in out.items()}
    with pytest.raises(InputError, match=words):
        backend.run_device(lend(host, faces(3)), out=arrays)
    assert_toy(on_host(backend.run_device(lend(host, faces(3)))), faces(3))


@pytest.mark.parametrize("batch", [faces(2), faces(2)[0], [1, 2]])
def test_inputs_of_another_kind(host, batch):
    backend = host.open()
    array = lend(host, batch) if isinstance(batch, np.ndarray) and batch.ndim == 3 else batch
    with pytest.raises(InputError):
        backend.run_device(array)


def test_what_is_under_way_is_kept_alive_and_no_longer(host):
    backend = host.open()
    freed = []

    class Lender:
        def __init__(self, batch):
            lent = lend(host, batch)
            self.__cuda_array_interface__, self.pointer = lent.__cuda_array_interface__, lent.pointer

        def __del__(self):
            freed.append(self.pointer)
            host.cuda.memory.pop(self.pointer)

    for _ in range(5):
        backend.run_device(Lender(faces(2)))  # input and results dropped at once
        gc.collect()
    assert freed == [] and host.trt.inferences == []
    backend.run(faces(2))
    gc.collect()
    assert len(freed) == 5 and len(host.trt.inferences) == 6


def test_a_long_queue_waits_for_its_oldest(host):
    backend = host.open()
    lent = lend(host, faces(2))
    for _ in range(40):
        backend.run_device(lent)
    assert len(host.trt.inferences) >= 40 - 17
    assert host.cuda.used_bytes() < 20 * 2 * faces(2).nbytes * 5
    assert host.cuda.calls["cuStreamSynchronize"] == 0


def test_after_close(host):
    backend = host.open()
    kept = backend.run_device(lend(host, faces(2)))
    backend.close()
    with pytest.raises(BackendError, match="after close"):
        backend.run_device(lend(host, faces(2)))
    assert_toy(on_host(kept), faces(2))
    del kept
    gc.collect()
