"""What a run does beside its matrix, on a run made by hand: limits, predictions, the trace, and what fails of them."""

import json
from types import SimpleNamespace

import pytest

from benchmarks.bench import beside, probe
from benchmarks.bench.devices import Rates
from benchmarks.bench.graph_cost import count
from benchmarks.bench.ledger import Ledger
from benchmarks.bench.model_files import resolve
from benchmarks.bench.options import Options
from benchmarks.bench.results import Latency, Measurement, Model
from benchmarks.bench.runner import subject_of
from benchmarks.bench.sampling import Clock
from sdk.errors import BackendError
from sdk.runtime import gpu as driver

CPU = Rates("here", 0.2, None, 0.8, 10.0, 2.0)
NAME = "picoface_x8"


def run_of(*, precisions=("fp32",), batches=(1, 8), backend="onnxruntime-cpu", **options):
    """A run that has measured every precision at every batch."""
    ledger = Ledger("trt-bench")
    for precision in precisions:
        subject = subject_of(NAME, backend, precision, way="bare", span="engine")
        ledger.know(subject)
        for batch in batches:
            latency = Latency(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
            ledger.measurements.append(
                Measurement(subject.id, "Offline", batch, batch, None, 0, 40, 1.0, latency, None, (), 1.0)
            )
    file = resolve(NAME)
    ledger.models.append(Model(NAME, file.path.name, file.sha256, file.source))
    said = []
    chosen = Options((NAME,), batches=batches, precisions=precisions, **options)
    return SimpleNamespace(options=chosen, ledger=ledger, say=said.append, clock=Clock(), said=said), file


@pytest.fixture(autouse=True)
def probed(monkeypatch):
    monkeypatch.setattr(probe, "probe_cpu", lambda threads, seconds: CPU)


def test_limits_of_every_batch_and_layers_of_the_largest():
    run, file = run_of(precisions=("fp32", "int8"))
    beside._limits(run, [file])
    found = {(one.precision, one.batch): one for one in run.ledger.limits[NAME]}
    assert set(found) == {("fp32", 1), ("fp32", 8), ("int8", 1), ("int8", 8)}
    assert {batch for (_, batch), one in found.items() if one.layers} == {8}
    assert found["fp32", 8].flop == 2 * count(NAME, batch=8).macs
    assert found["int8", 8].floor_ms < found["fp32", 8].floor_ms
    assert run.ledger.models[0].inputs == {"lr": "float32 [1,3,16,16]"}
    assert run.ledger.probe["fp32_gflop_s"] == 200.0 and not run.ledger.missing


def test_a_limit_that_nobody_can_tell_is_missing_and_the_others_are_there():
    run, file = run_of(precisions=("fp16", "fp32"))
    beside._limits(run, [file])
    assert {one.precision for one in run.ledger.limits[NAME]} == {"fp32"}
    assert {one.what for one in run.ledger.missing} == {f"limits of {NAME} fp16 on onnxruntime-cpu"}
    assert "fp32, int8" in run.ledger.missing[0].reason


def test_predictions_of_what_was_asked_for_and_of_the_gpu_at_hand(monkeypatch):
    here = driver.Gpu(0, "NVIDIA GeForce RTX 4090", "sm_89", 24564, 128)
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe("580", "13.0", (here,), ""))
    run, file = run_of(backend="tensorrt", precisions=("fp16",), predict=("thor",))
    assert beside._devices(run) == ("thor", "rtx-4090")
    beside._predictions(run, file, beside._devices(run))
    assert [(p.device, p.batch) for p in run.ledger.predictions] == [
        ("thor", 1),
        ("thor", 8),
        ("rtx-4090", 1),
        ("rtx-4090", 8),
    ]
    on_cpu, _ = run_of(predict=("thor",))
    assert beside._devices(on_cpu) == ("thor",)


def test_a_trace_holds_layers_against_the_probe(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "FACES", 1)
    run, file = run_of(profile=tmp_path / "trace.json", threads=1)
    run.ledger.probe.update(CPU.record())
    beside._trace(run, file, alone=False)  # one of several models, each with a file of its own
    events = json.loads((tmp_path / f"trace.{NAME}.json").read_text())["traceEvents"]
    bounds = {event["args"]["bound"] for event in events if "bound" in event.get("args", {})}
    assert "compute" in bounds
    assert {"engine", "decode", "FaceEnhancer.enhance"} <= {event["name"] for event in events}


def test_one_part_that_fails_costs_no_other(monkeypatch, tmp_path):
    def fails(threads, seconds):
        raise BackendError("a probe", "none", "try again")

    monkeypatch.setattr(probe, "probe_cpu", fails)
    run, file = run_of(cold=False, rivals=("none",), predict=("thor",), batches=(1,))
    beside.all_of(run, [file])
    assert [one.what for one in run.ledger.missing] == ["limits"]
    assert len(run.ledger.predictions) == 1 and any("left out" in text for text in run.said)
