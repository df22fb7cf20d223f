"""What a GPU host needs to check engines without onnx, onnxruntime or a network: `python -m export.gpu_kit FOLDER`.

The folder holds, for both shipped networks, a graph for each precision and each dialect (export.precision), and faces
with what fp32 onnxruntime makes of them. `python -m benchmarks.gpu_check FOLDER` builds, runs, compares and times them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import sdk
from export.build_engine import DIALECT_FLAGS
from export.faces import MIN_FACES, Faces, load_faces, lr_batch
from export.gate import onnx_runner
from export.graph import Model, read_model
from export.precision import DIALECTS, typed_graph
from export.tail import make_tail
from export.tail_nodes import PREFIX
from sdk.errors import FaceTRTError, OutputError
from sdk.spec import ModelSpec
from sdk.zoo import model_path

__all__ = ["BATCHES", "KIT_VERSION", "main", "write_kit"]

KIT_VERSION = 1  # raised when benchmarks.gpu_kit must read another layout
MODELS = ("picoface_x8", "picoface_x4")
PRECISIONS = ("fp32", "fp16", "int8")
BATCHES = (1, 8, 64)  # one profile each
FACES = 16  # judged on the GPU
IN_GRAPH = ("image", "landmarks")  # outputs of the graphs with a tail
TAILS = ("fp32", "fp16")  # precisions of those


def write_kit(
    folder: Path,
    *,
    models: Sequence[str] = MODELS,
    precisions: Sequence[str] = PRECISIONS,
    dialects: Sequence[str] = DIALECTS,
    calibration_faces: int = 4 * MIN_FACES,
) -> dict[str, Any]:
    """Writes the folder and returns what kit.json says. Raises FaceTRTError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"to make the folder {folder}", str(error.strerror), "name another one") from error
    kit: dict[str, Any] = dict(version=KIT_VERSION, facetrt=sdk.__version__, onnxruntime=onnxruntime.__version__)
    kit.update(models={}, graphs=[], tails=[])
    for name in models:
        model = read_model(model_path(name))
        calibration, judging = load_faces("builtin", spec=model.spec, count=calibration_faces).split()
        kit["models"][name] = _references(folder, name, model, judging.take(slice(0, FACES)))
        for precision in precisions:
            for dialect in dialects if precision == "int8" else dialects[:1]:  # the others are the same in both
                kit["graphs"].append(_graph(folder, name, model, calibration, precision=precision, dialect=dialect))
        whole = replace(model, tail=make_tail(model.graph, model.spec, names=IN_GRAPH))
        for precision in [word for word in precisions if word in TAILS]:
            kit["tails"].append(_graph(folder, name, whole, calibration, precision=precision, dialect=dialects[0]))
    (folder / "kit.json").write_text(json.dumps(kit, indent=1) + "\n", encoding="utf-8")
    return kit


def _references(folder: Path, name: str, model: Model, faces: Faces) -> dict[str, Any]:
    """Faces, their truth and what the fp32 network makes of them; returns their entry in kit.json."""
    batch = lr_batch(faces, model.spec)  # [N, C, h, w]
    outputs = onnx_runner(model.graph)(batch)
    assert faces.points is not None, "split() finds points for the judging half"
    arrays = {f"out_{key}": outputs[key] for key in model.spec.output_names}
    path = folder / f"{name}.npz"
    np.savez_compressed(path, batch=batch, hr=faces.hr, points=faces.points, **arrays)
    return dict(
        arrays=path.name, sha256=_digest(path), spec=json.loads(model.spec.to_json()), onnx_sha256=model.sha256,
        faces=faces.source, faces_sha256=faces.sha256,
    )  # fmt: skip


def _graph(
    folder: Path, name: str, model: Model, calibration: Faces, *, precision: str, dialect: str
) -> dict[str, Any]:
    """Writes one graph; returns its entry in kit.json."""
    typed = typed_graph(model, precision, calibration=calibration, dialect=dialect)
    both = precision != "int8"
    stem = name if model.tail is None else f"{name}.in_graph"
    path = folder / (f"{stem}.{precision}.onnx" if both else f"{stem}.{precision}.{dialect}.onnx")
    onnx.save(typed.graph, str(path))
    more = {} if model.tail is None else dict(spec=json.loads(model.file_spec.to_json()), fp32_from=PREFIX)
    return more | dict(
        model=name, precision=precision, dialects=list(DIALECTS) if both else [dialect], file=path.name,
        sha256=_digest(path), asked=typed.asked, flags=list(DIALECT_FLAGS[precision]),
        nodes=[f"{node.name or node.output[0]} ({node.op_type})" for node in typed.graph.graph.node],
        profiles=[{model.input_name: shapes} for shapes in _profiles(model.spec)],
    )  # fmt: skip


def _profiles(spec: ModelSpec) -> list[list[list[int]]]:
    """(smallest, best, largest) shapes for each of BATCHES, as trt-build makes them."""
    low = spec.input_size
    high = 2 * low if spec.any_size else low
    shapes = [((1, low), (batch, high), (batch, high)) for batch in BATCHES]
    return [[[N, spec.channels, side, side] for N, side in triple] for triple in shapes]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.gpu_kit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="made if need be; files in it are overwritten")
    parser.add_argument("--dialects", nargs="+", choices=DIALECTS, default=list(DIALECTS))
    options = parser.parse_args(argv)
    try:
        kit = write_kit(options.folder, dialects=options.dialects)
    except FaceTRTError as error:
        sys.stderr.write(f"gpu_kit: {error}\n")
        return 1
    size_mib = sum(path.stat().st_size for path in options.folder.iterdir()) / 2**20
    sys.stdout.write(f"{len(kit['graphs'])} graphs in {options.folder}, {size_mib:.1f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
