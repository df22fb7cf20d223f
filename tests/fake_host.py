"""A machine with a fake GPU and a fake TensorRT, for tests of the backend; at its end nothing may be left behind."""

import contextlib
import gc
import types

import fake_cuda
import fake_tensorrt
import numpy as np

from sdk.runtime.trt_backend import TrtBackend


def faces(count, side=4, seed=0):
    """[count, 3, side, side] float32 that halving and adding one leave exact."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side)).astype(np.float32) / 256


def assert_toy(outputs, batch):
    """The fake network's outputs, exactly, in arrays of their own."""
    assert sorted(outputs) == ["heatmaps", "sr"]
    for name, expected in fake_tensorrt.toy(batch).items():
        assert outputs[name].dtype == np.float32 and outputs[name].flags.owndata
        np.testing.assert_array_equal(outputs[name], expected)


@contextlib.contextmanager
def running(monkeypatch, tmp_path, *, memory_bytes=1 << 30, gpus=1, version="10.13.3.9"):
    """.cuda, .trt: the fakes; .path; .open(plan, spec=..., **options of TrtBackend)."""
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda(memory_bytes, gpus))
    trt = fake_tensorrt.install(monkeypatch, cuda, version)
    path = tmp_path / "toy.engine"
    opened = []

    def start(plan=None, *, spec=None, manifest=None, **options):
        fake_tensorrt.write_toy(path, plan, spec=spec, **(manifest or {}))
        opened.append(TrtBackend(path, **options))
        return opened[-1]

    yield types.SimpleNamespace(cuda=cuda, trt=trt, open=start, path=path)
    cuda.faults.clear()
    while opened:
        opened.pop().close()
    gc.collect()
    assert cuda.problems == [], cuda.problems
    assert cuda.live == {}, cuda.live
    assert trt.contexts == 0 and len(trt.engines) == 0
