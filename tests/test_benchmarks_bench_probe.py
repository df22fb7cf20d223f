"""The probe: in units that another clock and another library confirm, on the CPU in earnest and on a fake GPU."""

import sys
import time

import fake_cuda
import numpy as np
import pytest
import torch
from fake_sensors import write

from benchmarks.bench import probe, probe_graphs, probe_torch
from benchmarks.bench.devices import rates_of
from benchmarks.bench.graph_cost import count
from benchmarks.bench.probe import probe_cpu, probe_gpu
from benchmarks.bench.roofline import limit
from sdk.errors import BackendError, InputError, MissingPackageError
from sdk.runtime import gpu as driver
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path


@pytest.fixture(scope="module")
def here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "MOST_COPY_MIB", 32)
        return probe_cpu(threads=1, seconds=0.4)


def test_rates_of_this_processor(here):
    """Within a factor of NumPy's own product and copy: other code, another library, the same hardware."""
    left = np.random.default_rng(0).random((512, 512), np.float32)
    best = min(_seconds(lambda: left @ left) for _ in range(20))
    assert 0.2 < here.fp32_tflop_s * 1e12 / (2 * 512**3 / best) < 20  # NumPy's uses several threads; ours one
    assert here.int8_top_s > 0.3 * here.fp32_tflop_s
    assert 0.1 < here.dram_gb_s < 2000 and 0.001 < here.launch_us < 100
    assert here.fp16_tflop_s is None and "1 threads" in here.source
    record = here.record()
    assert record["fp16_gflop_s"] is None
    assert record["fp32_gflop_s"] == pytest.approx(1000 * here.fp32_tflop_s, abs=0.01)


def test_nothing_runs_below_its_floor(here):
    backend = open_backend(model_path("picoface_x4"), "onnxruntime", threads=1)
    batch = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    best = min(_seconds(lambda: backend.run(batch)) for _ in range(12))
    backend.close()
    found = limit(count("picoface_x4"), here, backend="onnxruntime-cpu", precision="fp32")
    assert found.bound == "compute"
    assert 0.02 * 1e3 * best < found.floor_ms < 1.5 * 1e3 * best  # 1.5: either may have met other work


def test_more_threads_count_for_as_much_as_cores_can_give(monkeypatch, tmp_path):
    """A machine with other work gives two threads less than one thread twice; siblings of a core are one core."""
    monkeypatch.setattr(probe_graphs, "fp32_flop_s", lambda threads, seconds: {1: 100e9, 4: 150e9}[threads])
    monkeypatch.setattr(probe_graphs, "int8_op_s", lambda threads, seconds: {1: 100e9, 4: 999e9}[threads])
    monkeypatch.setattr(probe_graphs, "operator_us", lambda seconds: 1.0)
    monkeypatch.setattr(probe, "_copy_bytes_s", lambda threads, seconds, mib: 1e9 * threads * mib)
    cpu = "sys/devices/system/cpu/cpu0"
    write(tmp_path, {f"{cpu}/topology/thread_siblings_list": "0,4", f"{cpu}/cache/index3/size": "32768K"})
    found = probe_cpu(threads=4, root=tmp_path)
    assert (found.fp32_tflop_s, found.int8_top_s) == (pytest.approx(0.2), pytest.approx(0.999))
    assert found.dram_gb_s == 4 * 4 * 32  # four times the cache


@pytest.fixture
def gpu(monkeypatch):
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda())
    one = driver.Gpu(0, "NVIDIA H200", "sm_90", 143_771, 132)
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe("580", "13.0", (one,), ""))
    monkeypatch.setattr(probe, "GPU_COPY_MIB", 1)
    return cuda


def test_a_gpu_of_the_table_without_torch(gpu, monkeypatch):
    def none(device, *, seconds):
        raise MissingPackageError("probing", "torch", "pip install torch")

    monkeypatch.setattr(probe_torch, "rates", none)
    found = probe_gpu(seconds=0.05)
    sheet = rates_of("h200")
    assert (found.fp16_tflop_s, found.int8_top_s) == (sheet.fp16_tflop_s, sheet.int8_top_s)
    assert (found.multiprocessors, found.l2_mb) == (132, sheet.l2_mb)
    assert found.dram_gb_s != sheet.dram_gb_s and found.dram_gb_s > 0 and found.launch_us >= 0
    assert "measured on this machine" in found.source and "data sheet" in found.source
    assert not gpu.problems and not gpu.live


def test_a_gpu_that_nobody_knows(gpu, monkeypatch):
    one = driver.Gpu(0, "NVIDIA Imaginary 1", "sm_90", 1000, 8)
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe("580", "13.0", (one,), ""))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = probe_gpu(seconds=0.05)
    assert (found.fp32_tflop_s, found.fp16_tflop_s, found.int8_top_s) == (None, None, None)
    assert "without CUDA" in found.source and "no data sheet" in found.source
    with pytest.raises(InputError, match="is known"):
        limit(count("picoface_x8"), found, backend="tensorrt", precision="fp16")


def test_arithmetic_by_torch_runs(monkeypatch):
    fp32, fp16, int8 = probe_torch.rates("cpu", seconds=0.03, side=64)
    assert fp32 > 0 and fp16 > 0 and (int8 is None or int8 > 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="without CUDA"):
        probe_torch.rates("cuda:0", seconds=0.01)


def test_wrong_input(monkeypatch):
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe(None, None, (), "no NVIDIA driver: none"))
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        probe_gpu()
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"threads": -1}):
        with pytest.raises(InputError, match="a probe of"):
            probe_cpu(**wrong)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match="onnx"):
        probe_graphs.operator_us(seconds=0.1)


def _seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
