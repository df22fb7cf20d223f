"""The fake driver is as strict about captures and graphs as CUDA is: what is forbidden there fails here."""

import ctypes

import fake_cuda
import fake_gpu
import numpy as np
import pytest
from fake_streams import Failed
from kernel_host import needs_compiler

from sdk.errors import BackendError
from sdk.runtime.device import Buffer, Device, Event, Graph, PinnedBuffer, Stream
from sdk.runtime.kernel_gate import paste_gate
from sdk.runtime.noted_launches import edit


@pytest.fixture
def cuda(monkeypatch):
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda())
    with fake_cuda.current(cuda):
        yield cuda


FORBIDDEN = {
    "waiting": lambda gpu: gpu.stream.synchronize(),
    "waiting elsewhere": lambda gpu: gpu.other.synchronize(),
    "asking": lambda gpu: gpu.event.passed(),
    "allocating": lambda gpu: Buffer(gpu.device, 10),
    "pinning": lambda gpu: PinnedBuffer(gpu.device, 10),
    "freeing": lambda gpu: gpu.device.driver("cuMemFree", gpu.room.pointer),
    "loading code": lambda gpu: gpu.device.driver("cuModuleLoadData", b"\x7fELF"),
    "depending on work outside": lambda gpu: gpu.stream.wait_for(gpu.other.handle),
    "recording twice": lambda gpu: gpu.device.driver("cuStreamBeginCapture", gpu.stream.handle, 1),
    "a fork that is not joined": lambda gpu: gpu.stream.make_wait(gpu.other.handle),
}


class Things:
    def __init__(self):
        self.device = Device()
        self.stream, self.other = Stream(self.device), Stream(self.device)
        self.event = Event(self.device, self.other.handle)
        self.room, self.pinned = Buffer(self.device, 64), PinnedBuffer(self.device, 64)

    def work(self):
        self.device.fill_zero(self.room.pointer, 64, self.stream)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_is_forbidden_spoils_the_recording_and_nothing_else(cuda, what):
    gpu = Things()

    def work():
        gpu.work()
        FORBIDDEN[what](gpu)

    with pytest.raises(BackendError, match="CAPTURE|ILLEGAL_STATE"):
        Graph(gpu.stream, work)
    Graph(gpu.stream, gpu.work).launch()
    gpu.stream.synchronize()
    gpu.other.synchronize()
    assert not cuda.problems


def test_after_a_forbidden_call_that_was_swallowed_there_is_no_graph(cuda):
    gpu = Things()

    def work():
        with pytest.raises(BackendError, match="UNSUPPORTED"):
            gpu.stream.synchronize()
        with pytest.raises(BackendError, match="INVALIDATED"):
            gpu.work()

    with pytest.raises(BackendError, match=r"cuStreamEndCapture.*INVALIDATED"):
        Graph(gpu.stream, work)


def test_a_fork_that_is_joined_is_part_of_the_graph(cuda):
    gpu = Things()

    def work():
        gpu.stream.make_wait(gpu.other.handle)
        gpu.device.fill_zero(gpu.room.pointer, 64, gpu.other)
        gpu.other.make_wait(gpu.stream.handle)

    Graph(gpu.stream, work).launch()
    gpu.stream.synchronize()
    assert bytes((ctypes.c_char * 64).from_address(gpu.room.pointer)) == bytes(64)


def test_memory_that_was_freed_since_is_found_at_the_launch(cuda):
    gpu = Things()
    graph = Graph(gpu.stream, gpu.work)
    gpu.room.close()
    graph.launch()
    with pytest.raises(Failed):
        cuda.streams[gpu.stream.handle].drain()
    assert "no longer, allocated" in cuda.problems[0]


def test_pageable_memory_in_a_graph_is_found(cuda):
    gpu, pageable = Things(), np.zeros(64, np.uint8)
    Graph(gpu.stream, lambda: gpu.device.copy_out(pageable.ctypes.data, gpu.room.pointer, 64, gpu.stream))
    assert "pageable" in cuda.problems[0]


@needs_compiler
def test_kernels_of_a_graph_take_other_arguments(monkeypatch):
    """Launches that wait on the stream keep theirs; without the template there is nothing to name a kernel by."""
    with fake_gpu.running(monkeypatch) as gpu:
        strength = [gpu.put(np.zeros(2, np.float32)) for _ in range(2)]
        confidence = gpu.room((2,), np.float32)

        def gate(kernels, target, amount):
            paste_gate(kernels, None, strength=target, confidence=confidence, stream=gpu.stream, amount=amount)

        gate(gpu.kernels, strength[0], 0.0)
        graph = Graph(gpu.stream, lambda: gate(gpu.kernels, strength[0], 0.5), editable=True)
        graph.launch()
        assert edit(graph, gpu.kernels, lambda kernels: gate(kernels, strength[1], 0.25))
        graph.launch()
        assert gpu.get(strength[0]).tolist() == [0.5, 0.5] and gpu.get(strength[1]).tolist() == [0.25, 0.25]
        plain = Graph(gpu.stream, lambda: gate(gpu.kernels, strength[0], 0.5))
        assert not edit(plain, gpu.kernels, lambda kernels: gate(kernels, strength[1], 1.0))
        twice = Graph(gpu.stream, lambda: [gate(gpu.kernels, strength[0], 0.5) for _ in range(2)], editable=True)
        assert not edit(twice, gpu.kernels, lambda kernels: gate(kernels, strength[1], 1.0))
        assert gpu.cuda.edits == 1 and len(gpu.cuda.graphs) == 2
        for one in (graph, plain, twice):
            one.close()
        assert not gpu.cuda.graphs and not gpu.cuda.executables


@needs_compiler
def test_a_kernel_that_was_never_launched_is_not_recorded(monkeypatch):
    with fake_gpu.running(monkeypatch) as gpu:
        strength, confidence = gpu.room((2,), np.float32), gpu.room((2,), np.float32)
        gpu.kernels.prepare("paste_gate")
        with pytest.raises(BackendError, match="CAPTURE_UNSUPPORTED"):
            Graph(
                gpu.stream,
                lambda: paste_gate(gpu.kernels, None, strength=strength, confidence=confidence, stream=gpu.stream),
            )


@needs_compiler
def test_a_kernel_whose_memory_was_freed_or_is_too_small_is_found(monkeypatch):
    with pytest.raises(AssertionError, match="paste_gate's strength"), fake_gpu.running(monkeypatch) as gpu:
        strength, confidence = gpu.room((2,), np.float32), gpu.room((2,), np.float32)
        paste_gate(gpu.kernels, None, strength=strength, confidence=confidence, stream=gpu.stream)
        gpu.cuda.memory.pop(strength.pointer)
        with pytest.raises(Failed):
            gpu.cuda.streams[gpu.stream.handle].drain()
