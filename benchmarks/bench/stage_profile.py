"""What `trt-bench --profile TRACE.json` writes: stages of the SDK on one track, layers of the network on another.

Stages are run by hand in the order of sdk.pipeline; layers come from a separate run, for their profilers slow the
network down, and are drawn from where an engine stage begins: their sum may differ from it. With a Limit each layer
says its floor, what bounds it, and how much of the possible it reached.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.bench.graph_cost import GraphCost
from benchmarks.bench.ort_profile import LayerTime, layer_times
from benchmarks.bench.results import Limit
from benchmarks.bench.roofline import layer_fractions, matched_ms, owners
from benchmarks.bench.stage_trace import Trace
from benchmarks.bench.workload import faces_batch, scene
from sdk.errors import BackendError, InputError
from sdk.image.crop import crop, square_windows, window_affine
from sdk.image.heatmap import decode
from sdk.image.pixels import from_network, to_network
from sdk.spec import ModelSpec

__all__ = ["LAYERS", "Network", "add_layers", "against", "network_layers", "write_trace"]

LAYERS = "layers (separate run)"
TURNS = 5  # of the stages, all in the trace


class Network(Protocol):
    """An open network; sdk.runtime.backend.Backend is one."""

    spec: ModelSpec

    def run(self, batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]: ...


def write_trace(
    path: Path,
    network: Network,
    *,
    onnx_file: Path | None,  # what the layers are profiled from where `network` is onnxruntime's; None: no layers
    enhance: Callable[[Any, Any], Any] | None = None,  # frame, boxes -> results: the whole, beside its stages
    cost: GraphCost | None = None,  # of the network for that many faces, and its limit: what layers are held against
    limit: Limit | None = None,
    faces: int = 8,
    threads: int = 0,
) -> tuple[LayerTime, ...]:
    """Writes the trace and returns the layers' times (none where nothing can profile them).

    Raises OutputError, InputError for no faces, and what the network raises.
    """
    if faces < 1:
        raise InputError("1 face or more to profile", str(faces), "leave it out")
    trace = Trace()
    of = scene(faces, side_px=network.spec.lr_size)
    _stages(trace, network, of.frame, of.boxes)  # the first turn warms up and is dropped
    trace.events.clear()
    engine_ms = 0.0
    for turn in range(TURNS):
        with trace.span(f"turn {turn + 1}", track="turns", faces=faces):
            engine_ms = _stages(trace, network, of.frame, of.boxes)
    if enhance is not None:
        for _ in range(TURNS):
            with trace.span("FaceEnhancer.enhance", track="whole", faces=faces):
                enhance(of.frame, of.boxes)
    layers = network_layers(network, faces=faces, onnx_file=onnx_file, threads=threads)
    add_layers(trace, layers, at_ms=engine_ms, against=against(layers, cost, limit) if cost and limit else {})
    trace.save(path)
    return layers


def network_layers(
    network: Network, *, faces: int, onnx_file: Path | None, threads: int = 0, runs: int = 20
) -> tuple[LayerTime, ...]:
    """Times of the network's layers for a batch, by the profiler of what runs it; none where there is none."""
    batch = faces_batch(network.spec, faces)
    if hasattr(network, "lease"):  # TensorRT's backend
        from benchmarks.bench.trt_profile import engine_layer_times  # late: it needs no GPU, but its imports do work

        engine: Any = network
        return engine_layer_times(engine, batch, runs=runs)
    if onnx_file is None:
        return ()
    session = vars(network).get("_session")
    if session is None:
        raise BackendError("a network that TensorRT or onnxruntime runs", type(network).__name__, "profile another")
    if session.get_providers()[0] != "CPUExecutionProvider":
        return ()  # onnxruntime's profiler would tell how long launching took, not running
    return layer_times(onnx_file, {session.get_inputs()[0].name: batch}, runs=runs, threads=threads)


def against(layers: Sequence[LayerTime], cost: GraphCost, limit: Limit) -> dict[str, dict[str, object]]:
    """Reported layer -> its layer of the graph, floor_ms, bound and the fraction of the possible that it reached."""
    floors = {one.name: one for one in limit.layers}
    times = matched_ms(cost, {one.name: one.ms for one in layers})
    reached = layer_fractions(limit, {name: ms for name, ms in times.items() if ms > 0})
    return {
        reported: {
            "layer": name,
            "floor_ms": round(floors[name].floor_ms, 6),
            "bound": floors[name].bound,
            "fraction": round(reached.get(name, 0.0), 4),
        }
        for reported, name in owners(cost, tuple(one.name for one in layers)).items()
        if name in floors
    }


def add_layers(
    trace: Trace,
    layers: Sequence[LayerTime],
    *,
    at_ms: float,
    against: Mapping[str, Mapping[str, object]] | None = None,  # see against()
) -> None:
    """Puts layers on a track of their own, one after the other from `at_ms` on."""
    for one in layers:
        details = {"operator": one.op, **(against or {}).get(one.name, {})}
        trace.add(one.name, start_ms=at_ms + one.start_ms, duration_ms=one.ms, track=LAYERS, details=details)


def _stages(trace: Trace, network: Network, frame: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float64]) -> float:
    """All stages of a frame [H,W,3] with boxes [N,4] in px; where the engine began, in ms of the trace."""
    spec = network.spec
    with trace.span("windows"):
        windows = square_windows(boxes, kind="landmarks")
    with trace.span("crop"):
        crops = crop(frame, windows, size=spec.lr_size)[..., ::-1]
    with trace.span("to_network"):
        batch = to_network(crops, spec)
    engine_ms = trace.now_ms()
    with trace.span("engine", faces=len(batch)):
        outputs = network.run(batch)
    with trace.span("picture"):
        from_network(outputs["sr"], spec, lr=crops)
    if spec.heatmap_kind == "landmarks":
        with trace.span("decode"):
            decode(outputs["heatmaps"], mode=spec.decoder, radius=spec.decoder_radius)
        with trace.span("affine"):
            window_affine(windows, size=outputs["heatmaps"].shape[-1])
    return engine_ms
