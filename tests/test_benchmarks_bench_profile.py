"""Traces that Chrome reads, onnxruntime's own profile against a stopwatch, and TensorRT's against a fake of it."""

import json
import sys
import time
import types
from pathlib import Path

import fake_host
import numpy as np
import pytest
from tiny_onnx import save_tiny

from benchmarks.bench import stage_trace
from benchmarks.bench.devices import Rates
from benchmarks.bench.graph_cost import GraphCost, LayerCost, count
from benchmarks.bench.ort_profile import LayerTime, layer_times
from benchmarks.bench.roofline import limit, matched_ms
from benchmarks.bench.stage_profile import LAYERS, against, network_layers, write_trace
from benchmarks.bench.stage_trace import Trace
from benchmarks.bench.trt_profile import engine_layer_times
from sdk.errors import BackendError, InputError, ModelError, OutputError
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path

CPU = Rates("here", 0.2, None, 0.8, 10.0, 2.0)


@pytest.fixture(autouse=True)
def forget_nvtx():
    stage_trace._nvtx.cache_clear()
    yield
    stage_trace._nvtx.cache_clear()


def test_spans_in_microseconds_on_named_tracks(tmp_path):
    clock = iter([10.0, 10.001, 10.004, 10.005, 10.006])
    trace = Trace(now_s=lambda: next(clock))
    with trace.span("crop", faces=3):
        pass
    with pytest.raises(ZeroDivisionError), trace.span("engine", track="gpu"):
        raise ZeroDivisionError
    trace.save(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    spans = [(e["name"], names[e["tid"]], e["ts"], e["dur"], e.get("args")) for e in events if e["ph"] == "X"]
    assert spans == [("crop", "stages", 1000.0, 3000.0, {"faces": 3}), ("engine", "gpu", 5000.0, 1000.0, None)]
    with pytest.raises(OutputError, match="nowhere"):
        trace.save(tmp_path / "nowhere" / "t.json")


def test_nvtx_ranges_where_there_is_nvtx(monkeypatch):
    seen = []

    class Annotate:
        def __init__(self, message, domain):
            self.message = message

        def __enter__(self):
            seen.append(f"push {self.message}")

        def __exit__(self, *exception):
            seen.append("pop")

    monkeypatch.setitem(sys.modules, "nvtx", types.SimpleNamespace(annotate=Annotate))
    with Trace().span("crop"):
        seen.append("work")
    assert seen == ["push crop", "work", "pop"]
    stage_trace._nvtx.cache_clear()
    monkeypatch.setitem(sys.modules, "nvtx", None)
    with Trace().span("crop"):
        pass
    assert len(seen) == 3


def test_onnxruntime_tells_its_operators():
    """All operators that are left after its rewriting; their sum is no more than a run of a stopwatch takes."""
    path = model_path("picoface_x4")
    batch = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    times = layer_times(path, {"lr": batch}, runs=8, threads=1)
    backend = open_backend(path, "onnxruntime", threads=1)
    whole_ms = sorted(_ms(lambda: backend.run(batch)) for _ in range(15))[7]
    backend.close()
    convolutions = [one for one in times if "Conv" in one.op]
    assert len(convolutions) == sum(layer.op == "Conv" for layer in count(path).layers)
    assert 0.1 * whole_ms < sum(one.ms for one in times) < 10 * whole_ms  # on a machine with other work
    cost = count(path, batch=2)
    known = matched_ms(cost, {one.name: one.ms for one in times})
    assert {layer.name for layer in cost.layers if layer.op == "Conv"} <= set(known)
    told = against(times, cost, limit(cost, CPU, backend="onnxruntime-cpu", precision="fp32"))
    heaviest = max(convolutions, key=lambda one: one.ms)
    assert told[heaviest.name]["fraction"] > 0 and told[heaviest.name]["bound"] == "compute"
    assert [one.start_ms for one in times] == sorted(one.start_ms for one in times)


def test_layers_are_known_by_many_names():
    """onnxruntime's rewritten names, and a TensorRT layer of several operators, of which the first known decides."""
    first = LayerCost("node_conv", "Conv", 1, 1, 1, 1, names=("node_conv", "conv", "node_relu", "relu"))
    other = LayerCost("node_pad", "Pad", 0, 0, 1, 1, names=("node_pad", "pad"))
    cost = GraphCost("net", 1, (first, other), 1, {}, 2)
    times = {"relu_nchwc": 1.0, "node_conv_token_7": 2.0, "x + node_relu + node_pad": 4.0, "pad": 8.0, "Reorder": 16.0,
             "__myl_Conv [ONNX Layer: node_conv]": 32.0}  # fmt: skip
    assert matched_ms(cost, times) == {"node_conv": 39.0, "node_pad": 8.0}


def test_what_cannot_be_profiled(tmp_path):
    save_tiny(tmp_path / "tiny.onnx")
    with pytest.raises(BackendError, match=r"tiny\.onnx to run"):
        layer_times(tmp_path / "tiny.onnx", {"wrong": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="1 run or more"):
        layer_times(tmp_path / "tiny.onnx", {}, runs=0)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError):
        layer_times(tmp_path / "bad.onnx", {})


def test_a_trace_of_the_sdk(tmp_path):
    path = Path(tmp_path / "tiny.onnx")
    save_tiny(path)
    network = open_backend(path, "onnxruntime", threads=1)
    whole = []
    found = write_trace(
        tmp_path / "t.json", network, onnx_file=path, faces=2, threads=1,
        enhance=lambda frame, boxes: whole.append(boxes.shape),
    )  # fmt: skip
    network.close()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event["ph"] == "X" and event["cat"] == "stages"]
    stages = ["windows", "crop", "to_network", "engine", "picture", "decode", "affine"]
    assert names == stages * 5
    assert whole == [(2, 4)] * 5
    layers = [event for event in events if event.get("cat") == LAYERS]
    assert [event["name"] for event in layers] == [one.name for one in found]
    assert {"Resize", "Conv"} <= {one.op for one in found}
    with pytest.raises(InputError, match="1 face"):
        write_trace(tmp_path / "t.json", network, onnx_file=path, faces=0)


def test_layers_of_an_engine(monkeypatch, tmp_path):
    """The fake reports two layers at every plain enqueue of a context with a profiler, as TensorRT does."""
    with fake_host.running(monkeypatch, tmp_path) as fake:
        fake.trt.IProfiler = type("IProfiler", (), {})
        backend = fake.open()
        kind = type(backend.lease().__enter__()._context_for(backend.profiles[0]))
        plain, calls = kind.execute_async_v3, []

        def execute(self, stream):
            profiler = getattr(self, "profiler", None)
            if profiler is not None:
                calls.append(stream)
                profiler.report_layer_time("conv + relu", 2.0 + 0.1 * len(calls))
                profiler.report_layer_time("shuffle", 0.5)
            return plain(self, stream)

        monkeypatch.setattr(kind, "execute_async_v3", execute)
        batch = fake_host.faces(3)
        found = engine_layer_times(backend, batch, runs=5)
        assert found == (LayerTime("conv + relu", "", 2.3, 0.0), LayerTime("shuffle", "", 0.5, 2.3))
        assert len(calls) == 5
        assert network_layers(backend, faces=2, onnx_file=None, runs=1)[1].name == "shuffle"
        with pytest.raises(InputError, match="smaller batch"):
            engine_layer_times(backend, fake_host.faces(200))
        monkeypatch.setattr(kind, "execute_async_v3", plain)
        with pytest.raises(BackendError, match="reported none"):
            engine_layer_times(backend, batch)


def _ms(call):
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)
