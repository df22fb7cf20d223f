"""scripts/find_gpu.py: the reason in one line, the same answer as sdk.runtime.gpu.probe()."""

import ctypes

import fake_cuda
import pytest

from scripts import find_gpu
from sdk.runtime.gpu import probe


def test_it_agrees_with_probe_on_this_machine():
    assert bool(find_gpu.problem()) == (not probe().gpus)


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (fake_cuda.FakeLibrary(1), ""),
        (fake_cuda.FakeLibrary(0), "a driver without any GPU"),
        (fake_cuda.FakeLibrary(init=100), "CUDA error 100"),
        (ctypes.CDLL(None), "no NVIDIA driver"),
    ],
)
def test_the_reason(monkeypatch, capsys, library, words):
    monkeypatch.setattr(find_gpu, "open_library", lambda: library)
    assert find_gpu.main() == bool(words)
    message = capsys.readouterr().err
    assert words in message and message.startswith("gpu-check: expected an NVIDIA GPU; got ") == bool(words)
