"""Engines for benchmarks.gpu_check: a kit of export.gpu_kit -> built with the TensorRT that is here -> compared.

Needs NumPy, cuda-python and TensorRT, nothing else: a GPU host may have no network.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import sdk
from sdk.errors import EngineError
from sdk.image.heatmap import decode
from sdk.image.pixels import from_network
from sdk.runtime.device import Device
from sdk.runtime.manifest import Manifest, this_machine, write_manifest
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_backend import TrtBackend
from sdk.runtime.trt_builder import Settings, build
from sdk.spec import ModelSpec

__all__ = ["LIMITS", "Broken", "Kit", "build_graph", "compare", "engine_path", "layer_counts"]

KIT_VERSION = 1  # of export.gpu_kit
LIMITS = {  # precision -> (PSNR against fp32 onnxruntime at least, PSNR lost against the truth at most), dB
    "fp32": (60.0, 0.01),
    "fp16": (50.0, 0.05),
    "int8": (0.0, 0.25),
}
WORDS = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("float", "fp32"), ("fp32", "fp32"))
F32 = npt.NDArray[np.float32]


class Broken(Exception):  # noqa: N818 - a finding, not an error of this program
    """A check's numbers are not what they must be."""


class Kit:
    """A folder that export.gpu_kit wrote. Raises EngineError for a damaged one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        remedy = "write it again: python -m export.gpu_kit FOLDER"
        try:
            self.about: dict[str, Any] = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EngineError(f"a kit in {folder}", str(error), remedy) from error
        if self.about.get("version") != KIT_VERSION:
            raise EngineError(f"a kit of version {KIT_VERSION}", f"version {self.about.get('version')}", remedy)
        for entry in (*self.about["graphs"], *self.tails, *self.about["models"].values()):
            name = entry.get("file") or entry["arrays"]
            if not (folder / name).is_file() or hashlib.sha256(self.read(name)).hexdigest() != entry["sha256"]:
                raise EngineError(f"{name} as the kit was written", "another or no such file", remedy)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def graphs(self, dialect: str) -> list[dict[str, Any]]:
        """Entries of kit.json for TensorRTs of this dialect."""
        return [entry for entry in self.about["graphs"] if dialect in entry["dialects"]]

    @property
    def tails(self) -> list[dict[str, Any]]:
        """Entries of kit.json for graphs that end in a picture and points."""
        return list(self.about.get("tails", []))

    def spec(self, model: str) -> ModelSpec:
        return ModelSpec.from_dict(self.about["models"][model]["spec"])

    def arrays(self, model: str) -> dict[str, npt.NDArray[Any]]:
        """batch [N, C, h, w], hr [N, S, S, 3], points [N, 68, 2], out_sr and out_heatmaps of fp32 onnxruntime."""
        with np.load(self.folder / self.about["models"][model]["arrays"]) as stored:
            return {name: stored[name] for name in stored.files}


def build_graph(
    kit: Kit,
    entry: dict[str, Any],
    *,
    trt: TensorRT,
    out: Path,
    device: int = 0,
    tactic_sources: list[str] | None = None,
) -> dict[str, Any]:
    """Builds one graph and writes engine, manifest, inspector's layers and log; returns numbers for the report.

    Raises BuildError, EngineError, and Broken when a layer runs in a wider type than its graph says.
    """
    weak = not trt.typed and entry["precision"] != "fp32"
    settings = Settings(
        profiles=[{name: tuple(map(tuple, triple)) for name, triple in p.items()} for p in entry["profiles"]],
        targets=() if not trt.portable else (this_machine(trt.flavour, device).sm or "",),
        tactic_sources=tactic_sources,
        flags=entry["flags"] if weak else (),
        layer_precisions=entry["asked"] if weak else {},
        fp32_from=entry.get("fp32_from", "") if weak else "",
    )  # fmt: skip
    log: list[str] = []
    started_s = time.monotonic()
    with Device(device).current():
        built = build(trt, kit.read(entry["file"]), settings=settings, nodes=entry["nodes"], sink=_into(log))
        build_s = time.monotonic() - started_s
        layers = trt.layer_information(trt.open_engine(built.plan))
    path = engine_path(out, entry)
    path.with_suffix(".log").write_text("\n".join(log), encoding="utf-8")
    path.with_suffix(".layers.json").write_text(layers, encoding="utf-8")
    path.write_bytes(built.plan)
    write_manifest(path, _manifest(kit, entry, built.plan, trt=trt, device=device, build_s=build_s))
    asked = dict(Counter(entry["asked"].values()))
    found = layer_counts(layers)
    numbers = dict(build_s=round(build_s, 1), plan_mib=round(len(built.plan) / 2**20, 2), asked=asked, found=found)
    wider = {"fp16": ["fp32"], "int8": ["fp32"]}.get(entry["precision"], [])
    if not found or any(found.get(word) for word in wider) or (entry["precision"] == "int8" and not found.get("int8")):
        raise Broken(f"convolutions asked for {asked}, found {found}; see {path.with_suffix('.layers.json').name}")
    return numbers


def engine_path(out: Path, entry: dict[str, Any]) -> Path:
    """Where build_graph() writes an entry's engine."""
    middle = ".in_graph" if "spec" in entry else ""  # graphs with a tail have a spec of their own
    return out / f"{entry['model']}{middle}.{entry['precision']}.engine"


def _into(log: list[str]) -> Any:
    return lambda severity, text: log.append(f"{severity}: {text}")


def _manifest(kit: Kit, entry: dict[str, Any], plan: bytes, *, trt: TensorRT, device: int, build_s: float) -> Manifest:
    """Of an engine for this check alone: its gate is compare()."""
    machine = this_machine(trt.flavour, device)
    about = kit.about["models"][entry["model"]]
    return Manifest(
        facetrt=sdk.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command="python -m benchmarks.gpu_check",
        spec=entry.get("spec", about["spec"]),
        onnx_sha256=about["onnx_sha256"],
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        precision=entry["precision"],
        build_s=build_s,
        gate={"ran": "not run", "passed": False, "allowed_loss": True},
        asked=entry["asked"],
        targets=[machine.sm or ""] if trt.portable else [],
        profiles=entry["profiles"],
        **vars(machine),
    )


def layer_counts(text: str) -> dict[str, int]:
    """Convolutions by the type of their first input, from the engine inspector's JSON. {} when none can be read."""
    counts: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", []):
        if not isinstance(layer, dict) or not layer.get("Inputs"):
            continue
        kind = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}"
        if re.search("conv|gemm|matmul", kind, re.IGNORECASE):
            first = layer["Inputs"][0]
            text = f"{first.get('Datatype', '')} {first.get('Format/Datatype', '')}".lower()
            counts[next((ours for theirs, ours in WORDS if theirs in text), "unknown")] += 1
    return dict(counts)


def compare(kit: Kit, backend: TrtBackend, *, model: str, precision: str) -> dict[str, Any]:
    """The engine's answers beside fp32 onnxruntime's and the truth. Raises Broken beyond LIMITS."""
    stored, spec = kit.arrays(model), kit.spec(model)
    outputs = backend.run(stored["batch"])
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise Broken("NaN or infinity in the outputs")
    low, high = spec.value_range
    reference, sr = (np.clip(a, low, high) / (high - low) for a in (stored["out_sr"], outputs["sr"]))
    numbers = {
        "psnr_fp32_db": _decibel(np.square(sr - reference, dtype=np.float64).mean()),
        "max_error_sr": float(np.abs(sr - reference).max()),
        "dpsnr_db": _against(stored["out_sr"], stored, spec) - _against(outputs["sr"], stored, spec),
    }
    if "out_heatmaps" in stored:
        mine, theirs = (_points(maps, spec) for maps in (outputs["heatmaps"], stored["out_heatmaps"]))
        numbers["max_error_heatmaps"] = float(np.abs(outputs["heatmaps"] - stored["out_heatmaps"]).max())
        numbers["moved_cells_mean"] = float(np.linalg.norm(mine - theirs, axis=-1).mean())
    numbers = {name: round(value, 5) for name, value in numbers.items()}
    least_db, most_db = LIMITS[precision]
    if numbers["psnr_fp32_db"] < least_db or numbers["dpsnr_db"] > most_db:
        raise Broken(f"{precision} within PSNR >= {least_db} dB and a loss <= {most_db} dB; got {numbers}")
    return numbers


def _against(
    sr: F32,  # [N, C, H, W]
    stored: dict[str, npt.NDArray[Any]],
    spec: ModelSpec,
) -> float:
    """PSNR in dB of the pictures against the truth, RGB, 8 bit."""
    pictures = from_network(sr, spec).astype(np.float64)
    return _decibel(np.square((pictures - stored["hr"]) / 255).mean())


def _points(maps: F32, spec: ModelSpec) -> F32:
    """[N, K, hm, wm] -> [N, K, 2] in cells."""
    return decode(maps, mode=spec.decoder, radius=spec.decoder_radius).points


def _decibel(mean_square: float) -> float:
    return 99.0 if mean_square < 10**-9.9 else -10 * math.log10(mean_square)
