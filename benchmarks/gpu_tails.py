"""Landmarks inside the graph on a GPU, for benchmarks.gpu_check: built, read back, compared with NumPy, timed.

The reference is what sdk.image makes of fp32 onnxruntime's pictures and heatmaps, which the kit holds. The times are of
inferences in a row with everything on the GPU: the engine that ends in picture and points, and the plain engine with
our kernels behind it on the caller's stream.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import gpu_runtime
from benchmarks.gpu_engines import Broken, Kit, build_graph, engine_path
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network
from sdk.runtime.device import Device, Stream
from sdk.runtime.face_runner import why_not
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_decode import heatmap_decode
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.kernel_tail import image_tail, picture_levels
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["LIMITS", "against_kernels", "check", "narrow_layers"]

# precision -> points moved by at most so many cells on average, pixels by at most so many levels. fp32 sums in another
# order; fp16 heatmaps are off by 2^-11 of their height, which moves a centroid of 81 of them by hundredths of a cell.
LIMITS = {"fp32": (0.01, 1), "fp16": (0.1, 3)}


def check(
    kit: Kit,
    entry: dict[str, Any],  # of Kit.tails
    *,
    trt: TensorRT,
    out: Path,
    plain: Path,  # the same network's engine without a tail, to be timed against; it may be missing
    tactic_sources: list[str] | None = None,
) -> dict[str, Any]:
    """Numbers for the report. Raises Broken beyond LIMITS, or when the tail is not fp32; otherwise as build_graph()."""
    numbers = build_graph(kit, entry, trt=trt, out=out, tactic_sources=tactic_sources)
    path = engine_path(out, entry)
    narrow = narrow_layers(path.with_suffix(".layers.json").read_text(encoding="utf-8"), entry["fp32_from"])
    if narrow:
        raise Broken(f"a tail in fp32; {len(narrow)} of its layers write narrower floats, for example {narrow[0]}")
    stored, spec = kit.arrays(entry["model"]), kit.spec(entry["model"])
    with contextlib.closing(TrtBackend(path)) as backend:
        found = backend.run(stored["batch"])
    maps, pictures = stored["out_heatmaps"], from_network(stored["out_sr"], spec)
    decoded = decode(maps, mode=spec.decoder, radius=spec.decoder_radius)
    points = cells_to_image(decoded.points, maps.shape[2:], pictures.shape[1:3])  # [N, K, 2]
    cell_px = pictures.shape[2] / maps.shape[3]
    moved = np.linalg.norm(found["landmarks"][..., :2] - points, axis=-1) / cell_px  # [N, K]
    levels = np.abs(found["image"].astype(np.int64) - pictures)
    numbers |= {
        "moved_cells_mean": round(float(moved.mean()), 5),
        "moved_cells_max": round(float(moved.max()), 5),
        "score_error_max": round(float(np.abs(found["landmarks"][..., 2] - decoded.scores).max()), 5),
        "levels_max": int(levels.max()),
    }
    most_cells, most_levels = LIMITS[entry["precision"]]
    if not (numbers["moved_cells_mean"] <= most_cells and numbers["levels_max"] <= most_levels):
        raise Broken(f"points within {most_cells} cells and pixels within {most_levels} levels; got {numbers}")
    if plain.is_file():
        numbers["times"] = gpu_runtime.times({"plain": plain, "in_graph": path}, stored["batch"])
        numbers["against_kernels"] = against_kernels(plain, path, stored["batch"])
    return numbers


def against_kernels(
    plain: Path,  # engine that gives sr and heatmaps
    in_graph: Path,  # engine that gives image and landmarks
    batch: npt.NDArray[np.float32],  # [n, C, h, w]
    *,
    count: int = 200,  # inferences in a row
) -> dict[str, Any]:
    """ms a batch of both ways and of the plain engine alone, by size of the batch, and how far their points differ."""
    numbers: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        bare, whole = (stack.enter_context(contextlib.closing(TrtBackend(path))) for path in (plain, in_graph))
        reason = why_not(bare)
        if reason:
            return {"not run": f"the kernels do not cover {bare.spec.name}: {reason}"}
        device = Device()
        stack.enter_context(device.current())
        kernels = stack.enter_context(contextlib.closing(KernelSet(device)))
        stream = stack.enter_context(contextlib.closing(Stream(device)))
        for N in gpu_runtime.TIMED:
            source = gpu_runtime.on_gpu(gpu_runtime.tiled(batch, N))
            first, second = whole.run_device(source, stream=stream), bare.run_device(source, stream=stream)
            run = _kernels_after(bare, kernels, stream, source, second)
            ways: dict[str, Callable[[], Any]] = {
                "engine": lambda s=source, out=second: bare.run_device(s, out=out, stream=stream),
                "kernels": run,
                "in_graph": lambda s=source, out=first: whole.run_device(s, out=out, stream=stream),
            }
            points = run()
            stream.synchronize()
            spec, cells = bare.spec, second["heatmaps"].shape
            there = cells_to_image(points.copy_to_host()[..., :2], cells[2:], second["sr"].shape[2:])
            apart = np.abs(there - first["landmarks"].copy_to_host()[..., :2]).max() * cells[3] / spec.hr_size
            row = {f"{name}_ms": _in_a_row_ms(way, stream, count) for name, way in ways.items()}
            over = round(row["in_graph_ms"] / row["kernels_ms"], 3)
            numbers[f"batch_{N}"] = {**row, "in_graph_over_kernels": over, "apart_cells": round(float(apart), 5)}
    return numbers


def _kernels_after(
    backend: TrtBackend, kernels: KernelSet, stream: Stream, source: DeviceArray, out: dict[str, DeviceArray]
) -> Callable[[], DeviceArray]:
    """An inference into `out` and our kernels behind it; what it returns holds the points [N, K, 4] in cells."""
    spec, device = backend.spec, kernels.device
    N, K = out["heatmaps"].shape[:2]
    points = DeviceArray.empty(device, (N, K, 4), np.float32, stream=stream)
    picture = DeviceArray.empty(device, (N, *out["sr"].shape[2:], 3), np.uint8, stream=stream)
    gain, shift = picture_levels(spec.value_range)
    bgr = spec.colour == "bgr"

    def run() -> DeviceArray:
        found = backend.run_device(source, out=out, stream=stream)
        heatmap_decode(kernels, found["heatmaps"], out=points, stream=stream, mode=spec.decoder)
        image_tail(kernels, found["sr"], out=picture, stream=stream, gain=gain, shift=shift, bgr=bgr)
        return points

    return run


def _in_a_row_ms(work: Callable[[], Any], stream: Stream, count: int) -> float:
    """ms a call, the best of three rounds after one to warm up."""
    best = float("inf")
    for _ in range(4):
        started_s = time.perf_counter()
        for _ in range(count):
            work()
        stream.synchronize()
        best = min(best, 1000 * (time.perf_counter() - started_s) / count)
    return round(best, 4)


def narrow_layers(text: str, prefix: str) -> list[str]:
    """Names of layers made of nodes of this name alone that write half precision, from the engine inspector's JSON."""
    narrow: list[str] = []
    for layer in json.loads(text).get("Layers", []):
        if not isinstance(layer, dict):
            continue
        named = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(layer.get("Metadata", "")))
        nodes = named or re.findall(r"[^\s+()]+", str(layer.get("Name", "")).replace("PWN(", ""))
        types = " ".join(
            f"{one.get('Datatype', '')} {one.get('Format/Datatype', '')}" for one in layer.get("Outputs", [])
        )
        ours = bool(nodes) and all(node.startswith(prefix) for node in nodes)
        if ours and re.search(r"half|fp16|float16|bf16", types, re.IGNORECASE):
            narrow.append(str(layer.get("Name", "")))
    return narrow
