"""Predictions and floors against measurements: a result made up for the purpose, and every real result file."""

import dataclasses
from pathlib import Path

import bench_example
import pytest

from benchmarks.bench.agreement import below_floor, compared, device_here, device_of
from benchmarks.bench.results import Gpu, Jetson, Limit, Prediction, load
from sdk.runtime import gpu as driver

RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("bench*.json"))
OFF = 3.0  # times; a prediction that is further from a real run says that the model must be calibrated anew


@pytest.fixture
def found():
    """One network measured bare on an H200, and predictions for it and for another device."""
    base = bench_example.result()
    gpu = Gpu("NVIDIA H200", "sm_90", "580", "13.0", 143771)
    subject = dataclasses.replace(base.subjects[0], backend="tensorrt", way="bare", span="engine", precision="fp16")
    one = next(m for m in base.measurements if m.latency_ms and m.scenario == "SingleStream")
    measured = [
        dataclasses.replace(one, subject=subject.id, scenario=scenario, batch=1)
        for scenario in ("SingleStream", "Server")
    ]
    p50 = one.latency_ms.p50
    predictions = (
        Prediction("h200", subject.model, "fp16", 1, 0.9 * p50, 0.8 * p50, 1.1 * p50, "basis"),
        Prediction("h200", subject.model, "fp16", 8, 1.0, 0.9, 1.1, "basis"),  # not measured
        Prediction("thor", subject.model, "fp16", 1, 1.0, 0.9, 1.1, "basis"),  # not this device
    )
    return dataclasses.replace(
        base,
        conditions=dataclasses.replace(base.conditions, gpu=gpu),
        models=tuple(dataclasses.replace(m, limits=()) for m in base.models),
        subjects=(subject,),
        measurements=tuple(measured),
        cold=(),
        ratios=(),
        scaling=(),
        predictions=predictions,
    )


def test_a_prediction_stands_beside_its_measurement(found):
    (row,) = compared(found)
    assert (row.device, row.batch, row.inside) == ("h200", 1, True)
    assert row.ratio == pytest.approx(1 / 0.9)
    low = dataclasses.replace(found.predictions[0], ms=0.1 * row.measured_ms, low_ms=0.09 * row.measured_ms,
                              high_ms=0.11 * row.measured_ms)  # fmt: skip
    (row,) = compared(dataclasses.replace(found, predictions=(low,)))
    assert not row.inside and row.ratio == pytest.approx(10)


def test_the_device_is_known_by_its_name(found, monkeypatch):
    assert device_of(found).name == "h200"
    orin = dataclasses.replace(
        found.conditions, gpu=Gpu("Orin", "sm_87", "540", "12.6", 7620), jetson=Jetson("NVIDIA Jetson Orin NX Kit")
    )
    assert device_of(dataclasses.replace(found, conditions=orin)).name == "orin-nx"
    here = driver.Gpu(0, "NVIDIA GeForce RTX 4090", "sm_89", 24564, 128)
    for gpus, name in (((here,), "rtx-4090"), ((), None)):
        monkeypatch.setattr(driver, "probe", lambda gpus=gpus: driver.Probe("580", "13.0", gpus, ""))
        assert device_here() == name
    none = dataclasses.replace(found, conditions=dataclasses.replace(found.conditions, gpu=None))
    assert device_of(none) is None and compared(none) == ()


def test_what_is_faster_than_possible_is_named(found):
    p50, subject = found.measurements[0].latency_ms.p50, found.subjects[0]
    for floor_ms, names in ((0.5 * p50, 0), (1.05 * p50, 0), (2 * p50, 1)):
        limit = Limit("tensorrt", "fp16", 1, 1e9, 1e6, floor_ms, "compute")
        models = tuple(dataclasses.replace(m, limits=(limit,)) if m.name == subject.model else m for m in found.models)
        told = below_floor(dataclasses.replace(found, models=models))
        assert len(told) == names and all("2.00 times" in text for text in told)


def test_every_real_result_agrees():
    for path in RESULTS:
        result = load(path)
        assert below_floor(result) == (), path.name
        ratios = {f"{row.model} {row.precision} x{row.batch}": row.ratio for row in compared(result)}
        assert all(1 / OFF < ratio < OFF for ratio in ratios.values()), (path.name, ratios)
