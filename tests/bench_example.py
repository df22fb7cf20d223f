"""Synthetic results of trt-bench: valid by the schema, invented numbers made from a seed, for tests of what reads them.

`result()` is a two-core CPU with three models; `on_gpu()` the same on a GPU with sensors; `hostile()` has names that
try to leave the page; `nothing()` was interrupted before the first sample.
"""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.bench.results import (
    Cold,
    Conditions,
    Gpu,
    Histogram,
    Latency,
    Layer,
    Limit,
    Machine,
    Measurement,
    Missing,
    Model,
    Power,
    Prediction,
    Ratio,
    Result,
    ScalingPoint,
    Server,
    ServerTry,
    Subject,
    Target,
    from_json,
    to_json,
)

STARTED = datetime(2026, 1, 5, 9, 30)
MODELS = {"picoface_x8": (2.4, 0.52e9), "picoface_x4": (4.1, 1.11e9), "jasrnet": (310.0, 50.9e9)}  # engine ms, FLOP
SPEED = {"fp32": 1.0, "int8": 0.42}
WAYS = {("sdk", "end-to-end"): 1.22, ("bare", "engine"): 1.0, ("torch-eager", "end-to-end"): 2.3}
BACKENDS = {"sdk": "onnxruntime-cpu", "bare": "onnxruntime-cpu", "torch-eager": "torch-cpu"}
STAGES = {"crop": 0.05, "to network": 0.02, "engine": 0.82, "from network": 0.04, "decode": 0.05, "results": 0.02}
PROBE = {"copy_gb_s": 11.2, "fp32_gflop_s": 410.0, "int8_gop_s": 1240.0}
DEVICES = {"orin-nano": 0.35, "orin-nx": 0.31, "agx-orin": 0.21, "thor": 0.14, "rtx-4090": 0.14, "h200": 0.11}


def latencies(median_ms: float, *, samples: int = 600, seed: int = 0) -> np.ndarray:  # [samples] float64
    """Milliseconds with the tail of a shared machine."""
    random = np.random.default_rng(seed)
    return median_ms * np.exp(random.normal(0.0, 0.035, samples) + (random.random(samples) < 0.02) * 0.5)


def measurement(subject: str, times_ms: np.ndarray, **more: Any) -> Measurement:  # times_ms: [samples]
    """What the harness would store of these latencies."""
    at = np.percentile(times_ms, [50, 90, 99, 99.9])
    counts, edges = np.histogram(times_ms, bins=40)
    batch = more.get("batch", 1)
    standard = {
        "scenario": "SingleStream",
        "batch": batch,
        "faces": batch,
        "frame_hw": (1080, 1920),
        "threads": 2,
        "samples": len(times_ms),
        "duration_s": float(times_ms.sum() / 1e3),
        "latency_ms": Latency(float(times_ms.mean()), *map(float, at), float(times_ms.max())),
        "histogram": Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
        "windows_p50_ms": tuple(float(np.median(part)) for part in np.array_split(times_ms, min(8, len(times_ms)))),
        "faces_per_s": float(batch * 1e3 / times_ms.mean()),
    }
    return Measurement(subject=subject, **{**standard, **more})


def limits(flop: float) -> tuple[Limit, ...]:
    """A made-up network of twelve layers at three batches, by the probe's rates."""
    rows = []
    for precision, rate in (("fp32", PROBE["fp32_gflop_s"]), ("int8", PROBE["int8_gop_s"])):
        for batch in (1, 8, 64):
            layers = []
            for i in range(12):
                share, moved = (i + 1) / 78, (12 - i) * 4e4 * batch
                work = flop * share * batch
                times = {"compute": work / rate / 1e6, "memory": moved / PROBE["copy_gb_s"] / 1e6}
                bound = max(times, key=times.__getitem__)
                layers.append(Layer(f"/body.{i}/Conv", "Conv", work, moved, times[bound], bound))
            floor = sum(layer.floor_ms for layer in layers)
            moved = sum(layer.bytes for layer in layers)
            rows.append(
                Limit("onnxruntime-cpu", precision, batch, flop * batch, moved, floor, "compute", tuple(layers))
            )
    return tuple(rows)


def subjects() -> list[Subject]:
    chosen = [
        Subject(f"{model}/{BACKENDS[way]}/{precision}/{way}/{span}", model, BACKENDS[way], precision, way, span)
        for model in MODELS
        for precision in SPEED
        for way, span in WAYS
        if (way, precision) != ("torch-eager", "int8")
    ]
    return chosen


def measurements(chosen: list[Subject], *, scale: float, seed: int) -> list[Measurement]:
    rows = []
    for i, subject in enumerate(chosen):
        one_ms = MODELS[subject.model][0] * SPEED[subject.precision] * WAYS[subject.way, subject.span] * scale
        for batch in (1, 8, 64):
            times = latencies(one_ms * (0.35 + 0.65 * batch), seed=seed + 31 * i + batch)
            stages = {name: float(np.median(times)) * share for name, share in STAGES.items()}
            more: dict[str, Any] = {"stages_ms": stages if subject.way == "sdk" else None, "memory_mib": 40.0 + batch}
            more["flags"] = ("disturbed",) if (batch, subject.way) == (8, "torch-eager") else ()
            scenario = "SingleStream" if batch == 1 else "Offline"
            rows.append(measurement(subject.id, times, batch=batch, scenario=scenario, **more))
        if subject.way == "sdk":
            tried = tuple(ServerTry(r / one_ms * 1e3, one_ms * (1 + 4 * r**4), r < 0.7, 500) for r in (0.2, 0.5, 0.8))
            server = Server(4 * one_ms, tried[1].rate_per_s, tried)
            rows.append(measurement(subject.id, latencies(one_ms * 1.3, seed=i), scenario="Server", server=server))
    broken = {"latency_ms": None, "histogram": None, "windows_p50_ms": (), "faces_per_s": None, "samples": 0}
    rows.append(
        measurement(chosen[-1].id, latencies(1.0), batch=256, scenario="Offline", **broken, error="out of memory")
    )
    return rows


def ratios(chosen: list[Subject]) -> list[Ratio]:
    rows = []
    for model in MODELS:
        of = {(s.way, s.precision): s.id for s in chosen if s.model == model}
        sdk, bare, eager = of["sdk", "fp32"], of["bare", "fp32"], of["torch-eager", "fp32"]
        case = {"scenario": "SingleStream", "confidence": 0.95, "control_spread": 0.012, "samples": 400}
        rows += [
            Ratio(f"{model}: SDK against torch eager", sdk, eager, batch=1, ratio=1.88, low=1.79, high=1.97,
                  verdict="faster", target=Target("ratio", "least", 1.5), met=True, **case),
            Ratio(f"{model}: INT8 SDK against torch eager", of["sdk", "int8"], eager, batch=1, ratio=4.5, low=4.2,
                  high=4.7, verdict="faster", target=Target("ratio", "least", 3.0), met=True, **case),
            Ratio(f"{model}: SDK against bare", bare, sdk, batch=8, ratio=1.22, low=1.19, high=1.26, verdict="faster",
                  target=Target("ratio", "most", 1.15), met=False, difference_ms=0.5, difference_low_ms=0.4,
                  difference_high_ms=0.62, **case),
            Ratio(f"{model}: A/A", bare, bare, batch=1, ratio=1.003, low=0.99, high=1.012, verdict="no difference",
                  **case),
        ]  # fmt: skip
    return rows


def scaling(chosen: list[Subject]) -> list[ScalingPoint]:
    sdk = next(s.id for s in chosen if s.way == "sdk")
    curves = {"faces": ("faces a frame", (0, 1, 2, 4, 8, 16, 32, 64, 128)), "threads": ("threads", (1, 2, 4))}
    return [
        ScalingPoint(kind, sdk, float(x), 0.4 + 1.9 * x + 0.004 * x * x, unit, "ms", 16.0)
        for kind, (unit, xs) in curves.items()
        for x in xs
    ]


def result(*, scale: float = 1.0, seed: int = 1, days: int = 0) -> Result:
    """A whole run. `scale` multiplies every latency; `days` moves its start."""
    chosen = subjects()
    started = STARTED + timedelta(days=days)
    machine = Machine("AMD EPYC", 2, 2, 8192, None, 0.4, 2.1, "Linux 6.1 x86_64", "3.11.2")
    made_of = [
        Model(name, f"{name}.onnx", "ab" * 32, "paper" if name == "jasrnet" else "facetrt",
              {"lr": "float32 [N,3,16,16]"}, limits(flop))
        for name, (_, flop) in MODELS.items()
    ]  # fmt: skip
    return Result(
        command="trt-bench picoface_x8 picoface_x4 jasrnet --precisions fp32,int8 --batches 1,8,64",
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        finished=(started + timedelta(minutes=9)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        complete=True,
        facetrt="0.1.0",
        source="0123456789abcdef",
        conditions=Conditions(machine, libraries={"onnxruntime": "1.31.1", "torch": "2.13.0"}, probe=dict(PROBE),
                              disturbances=("load 2.1 after the run",)),
        models=tuple(made_of),
        subjects=tuple(chosen),
        measurements=tuple(measurements(chosen, scale=scale, seed=seed)),
        cold=tuple(Cold(s.id, 96.0, 14.0 + i, 3.0, 9.0) for i, s in enumerate(chosen) if s.way == "sdk"),
        ratios=tuple(ratios(chosen)),
        scaling=tuple(scaling(chosen)),
        predictions=tuple(
            Prediction(device, model, "fp16", 1, 10 * flop / 1e9 * ms, 9 * flop / 1e9 * ms, 11 * flop / 1e9 * ms,
                       "roofline x 1.45, MLPerf")
            for device, ms in DEVICES.items() for model, (_, flop) in MODELS.items()
        ),
        missing=(Missing("torch-tensorrt", "no CUDA device"), Missing("trtexec", "not on PATH")),
    )  # fmt: skip


def on_gpu() -> Result:
    """With a GPU's name, sensors sampled every 50 ms, power and energy."""
    whole = result(scale=0.05)
    samples = tuple(
        {"t_s": i * 0.05, "sm_mhz": 1980.0 - 15 * (i % 3), "power_w": 310.0 + 40 * np.sin(i / 9), "temperature_c": 40.0}
        for i in range(200)
    )
    gpu = Gpu("NVIDIA H200", "sm_90", "580.10", "13.0", 143771, {"sm": 1980.0, "memory": 3201.0})
    text = to_json(whole).replace("onnxruntime-cpu", "tensorrt").replace("torch-cpu", "torch-cuda")
    whole = from_json(text)
    conditions = dataclasses.replace(whole.conditions, gpu=gpu, samples=samples, power=Power("nvml", 330.0, 75.0))
    rows = tuple(
        dataclasses.replace(m, joule_per_face=0.004) if m.latency_ms else m for m in whole.measurements
    )  # fmt: skip
    return dataclasses.replace(whole, conditions=conditions, measurements=rows)


TAKE = "document.title='taken'"
HOSTILE = f'</script><script>{TAKE}</script><img src=x onerror="{TAKE}">&amp;<b>%{{x}}\u202e'


def hostile() -> Result:
    """One model whose every text is HOSTILE."""
    subject = Subject(f"{HOSTILE}/a/b/sdk/engine", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    whole = result()
    return dataclasses.replace(
        whole, command=HOSTILE, source=HOSTILE, started=HOSTILE,
        conditions=dataclasses.replace(whole.conditions, libraries={HOSTILE: HOSTILE}, disturbances=(HOSTILE,)),
        models=(Model(HOSTILE, HOSTILE, HOSTILE, "foreign", {HOSTILE: HOSTILE}, limits(1e9)),),
        subjects=(subject,),
        measurements=(
            measurement(subject.id, latencies(3.0), flags=(HOSTILE,), stages_ms={HOSTILE: 1.0, "engine": 2.0}),
            measurement(subject.id, latencies(30.0), batch=8),
        ),
        cold=(Cold(subject.id, 1.0, 2.0, 3.0, 4.0),),
        ratios=(dataclasses.replace(whole.ratios[0], name=HOSTILE, fast=subject.id, slow=subject.id),),
        scaling=tuple(dataclasses.replace(one, subject=subject.id, x_unit=HOSTILE) for one in whole.scaling),
        predictions=(Prediction(HOSTILE, HOSTILE, HOSTILE, 1, 2.0, 1.0, 3.0, HOSTILE),),
        missing=(Missing(HOSTILE, HOSTILE),),
    )  # fmt: skip


def nothing() -> Result:
    """Interrupted at once."""
    whole = result()
    empty = dict.fromkeys(("models", "subjects", "measurements", "cold", "ratios", "scaling", "predictions"), ())
    return dataclasses.replace(whole, complete=False, **empty)
