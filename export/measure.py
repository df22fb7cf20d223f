"""What each precision costs and gains, measured for the documents: `python -m export.measure --json OUT`.

Ranges from the builtin faces, judged on an archive's validation faces: no face that calibrates judges. Quality is that
of the typed graphs on onnxruntime with every rounding written out (no engine is run); speed is that of the CPU's INT8
file against fp32, by turns in one process; builds are TensorRT-RTX's, which needs no GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.cli import main as trt_build
from export.faces import load_faces, lr_batch
from export.gate import Verdict, answer, judge, onnx_runner
from export.graph import Model, constants, read_model
from export.precision import typed_graph
from export.sensitivity import scan
from sdk.errors import FaceTRTError
from sdk.runtime.backend import Backend, open_backend
from sdk.runtime.manifest import read_manifest
from sdk.zoo import SHIPPED, int8_path, model_path

CALIBRATION_FACES, JUDGING_FACES = 512, 512  # half of the first calibrate
BATCHES = (1, 8)
TURNS = 60
TARGETS = {  # TensorRT-RTX has no INT8 convolutions for sm_75, and trt-build refuses to call fp16 that
    "fp32": "sm_75,sm_86,sm_89,sm_120",
    "fp16": "sm_75,sm_86,sm_89,sm_120",
    "int8": "sm_86,sm_89,sm_120",
}


def quality(model: Model, judged: str, qat: Path | None) -> Iterator[dict[str, Any]]:
    """A row for every precision at the network's size, and at twice that where it is used there too."""
    calibration, _ = load_faces("builtin", spec=model.spec, count=CALIBRATION_FACES).split()
    for size in (model.spec.lr_size, 2 * model.spec.lr_size) if model.spec.any_size else (model.spec.lr_size,):
        cells = model.spec.heatmap_cells(size)
        sized = dataclasses.replace(model, spec=dataclasses.replace(model.spec, lr_size=size, heatmap_size=cells))
        faces = load_faces(judged, spec=sized.spec, count=JUDGING_FACES)
        fp32 = answer(onnx_runner(model.graph), faces, sized.spec)
        for precision in ("fp16", "int8"):
            run = onnx_runner(typed_graph(model, precision, calibration=calibration).graph)
            yield _row(judge(sized, run, faces, precision=precision, fp32=fp32), size, f"{precision}, TensorRT")
        quantised = int8_path(model.path)
        if quantised is not None:
            backend = open_backend(quantised, "onnxruntime")
            yield _row(judge(sized, backend.run, faces, precision="int8", fp32=fp32), size, "int8, CPU")
            backend.close()
        if qat is not None:
            trained = read_model(qat)
            run = onnx_runner(typed_graph(trained, "int8", calibration=calibration).graph)
            verdict = judge(sized, run, faces, precision="int8", fp32=fp32)
            yield _row(verdict, size, "int8, TensorRT, trained quantisation-aware")


def _row(verdict: Verdict, size: int, what: str) -> dict[str, Any]:
    return {"lr_size": size, "what": what, **verdict.as_dict()}


def sensitivity(model: Model, judged: str) -> list[dict[str, Any]]:
    """Every layer's loss when it alone is INT8, the worst first, named by its weights."""
    calibration, _ = load_faces("builtin", spec=model.spec, count=CALIBRATION_FACES).split()
    faces = load_faces(judged, spec=model.spec, count=JUDGING_FACES)
    weights = {node.name: node.input[1] for node in model.graph.graph.node if node.op_type == "Conv"}
    known = constants(model.graph)
    assert all(name in known for name in weights.values()), weights
    return [
        {"layer": weights[loss.name].removeprefix("model.").removesuffix(".weight"), **dataclasses.asdict(loss)}
        for loss in scan(model, calibration, faces)
    ]


def speed(model: Model, judged: str, *, threads: int) -> Iterator[dict[str, Any]]:
    """How many times as fast as fp32 the CPU's INT8 file is: the median of neighbours' ratios, and their quartiles."""
    quantised = int8_path(model.path)
    if quantised is None:
        return
    faces = load_faces(judged, spec=model.spec, count=64)
    pair = [open_backend(path, "onnxruntime", threads=threads) for path in (model.path, quantised)]
    for size in (model.spec.lr_size, 2 * model.spec.lr_size) if model.spec.any_size else (model.spec.lr_size,):
        for count in BATCHES:
            ratios = _ratios(pair, np.ascontiguousarray(lr_batch(faces, model.spec, lr_size=size)[:count]))
            low, middle, high = statistics.quantiles(ratios, n=4)
            yield {
                "lr_size": size,
                "batch": count,
                "threads": threads,
                "times_as_fast": round(middle, 2),
                "quartiles": [round(low, 2), round(high, 2)],
            }
    for backend in pair:
        backend.close()


def _ratios(
    pair: Sequence[Backend],  # fp32, int8
    batch: npt.NDArray[np.float32],  # [N, C, h, w]
) -> list[float]:
    ratios: list[float] = []
    for turn in range(TURNS + 5):  # the first five warm up
        seconds: list[float] = []
        for backend in pair:
            started = time.perf_counter()
            backend.run(batch)
            seconds.append(time.perf_counter() - started)
        if turn >= 5:
            ratios.append(seconds[0] / seconds[1])
    return ratios


def builds(name: str) -> Iterator[dict[str, Any]]:
    """What trt-build makes with TensorRT-RTX for every GPU generation at once. Raises what trt-build reports."""
    for precision, targets in TARGETS.items():
        with tempfile.TemporaryDirectory(prefix="facetrt-") as folder:
            engine = Path(folder) / f"{name}-{precision}.engine"
            words = [name, "--precision", precision, "--targets", targets, "--flavour", "tensorrt_rtx"]
            status = trt_build([*words, "-o", str(engine), "--quiet"])
            if status:
                raise SystemExit(f"trt-build {shlex.join(words)} ended with {status}")
            manifest = read_manifest(engine)
            yield {
                "precision": precision,
                "targets": list(manifest.targets),
                "tensorrt": manifest.tensorrt,
                "found": dict(manifest.found),
                "engine_mib": round(manifest.engine_bytes / 2**20, 1),
                "build_s": manifest.build_s,
            }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.measure", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--judge", default="faces68_helen_nc", help="archive to judge on (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the speeds (default: %(default)s)")
    parser.add_argument("--qat", action="append", default=[], metavar="NAME=FILE", help="a network of a _qat recipe")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args(arguments)
    qat = dict(text.split("=", 1) for text in args.qat)
    results: list[dict[str, Any]] = []
    try:
        for name in SHIPPED:
            model = read_model(model_path(name))
            trained = Path(qat[name]) if name in qat else None
            results.append(
                {
                    "model": name,
                    "quality": list(quality(model, args.judge, trained)),
                    "sensitivity": sensitivity(model, args.judge),
                    "speed": list(speed(model, args.judge, threads=args.threads)),
                    "builds": list(builds(name)),
                }
            )
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    words = sys.argv[1:] if arguments is None else arguments
    file = {"command": f"python -m export.measure {shlex.join(words)}", "results": results}
    draft = args.json.with_suffix(".part")
    draft.write_text(json.dumps(file, indent=1) + "\n")
    os.replace(draft, args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
