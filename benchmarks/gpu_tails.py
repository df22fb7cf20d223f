"""Landmarks inside the graph on a GPU, for benchmarks.gpu_check: built, read back, compared with NumPy, timed.

The reference is what sdk.image makes of fp32 onnxruntime's pictures and heatmaps, which the kit holds.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gpu_runtime
from benchmarks.gpu_engines import Broken, Kit, build_graph, engine_path
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["LIMITS", "check", "narrow_layers"]

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
    return numbers


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
