"""INT8 and FP8 by NVIDIA's Model Optimizer, for those who have it: `--quantizer modelopt`.

It runs in a process of its own, since importing modelopt.onnx breaks onnxruntime's quantiser in the same one. The
placement is asked to be ours and is checked afterwards: TensorRT fuses the result in the same way.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

from export.faces import Faces, lr_batch
from export.graph import Model, producers
from export.quantise import CONVOLUTIONS, check_placement, quantisable
from sdk.errors import BuildError, MissingPackageError

__all__ = ["modelopt_quantised"]

LIMIT_S = 1800.0  # a hang in the optional package is an error, not a wait for ever
COMMAND = "pip install 'nvidia-modelopt[onnx]'"


def modelopt_quantised(
    model: Model,
    precision: str,  # "int8" | "fp8"
    calibration: Faces,
    *,
    keep: Collection[str] = (),  # convolutions to leave alone, besides the first and last
) -> onnx.ModelProto:
    """An fp32 graph with Q/DQ. Raises MissingPackageError without modelopt, BuildError when it fails or misplaces."""
    if find_spec("modelopt") is None:
        raise MissingPackageError("--quantizer modelopt", "nvidia-modelopt", COMMAND)
    chosen = set(quantisable(model)) - set(keep)
    left_out = [n.name for n in model.graph.graph.node if n.op_type in CONVOLUTIONS and n.name not in chosen]
    with tempfile.TemporaryDirectory(prefix="facetrt-") as name:
        folder = Path(name)
        onnx.save(model.graph, folder / "fp32.onnx")
        np.save(folder / "faces.npy", lr_batch(calibration, model.spec))
        wishes = {"input": model.input_name, "mode": precision, "exclude": [f"^{re.escape(one)}$" for one in left_out]}
        (folder / "wishes.json").write_text(json.dumps(wishes))
        command = [sys.executable, "-m", "export.modelopt_process", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            got = f"none after {LIMIT_S:.0f} s"
            raise BuildError("an answer of modelopt", got, "use the default --quantizer") from error
        if done.returncode or not (folder / "quantised.onnx").is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BuildError(f"modelopt to quantise {model.path.name}", last, "use the default --quantizer")
        graph = onnx.load(folder / "quantised.onnx")
    made = producers(graph)
    done_for = {n.name for n in graph.graph.node if n.op_type in CONVOLUTIONS and _dequantised(n, made)}
    if done_for != chosen:
        got = f"{len(done_for)} of them, not {sorted(chosen - done_for)[:3]}"
        raise BuildError(f"modelopt to quantise {len(chosen)} convolutions", got, "use the default --quantizer")
    if precision == "int8":
        check_placement(graph)
    del graph.metadata_props[:]
    graph.metadata_props.extend(model.graph.metadata_props)
    return graph


def _dequantised(node: onnx.NodeProto, made: dict[str, onnx.NodeProto]) -> bool:
    return node.input[0] in made and made[node.input[0]].op_type == "DequantizeLinear"


def main(folder: Path) -> None:
    """The child: reads fp32.onnx, faces.npy and wishes.json in the folder, writes quantised.onnx."""
    from modelopt.onnx.quantization import quantize

    wishes = json.loads((folder / "wishes.json").read_text())
    quantize(
        str(folder / "fp32.onnx"),
        quantize_mode=wishes["mode"],
        calibration_data={wishes["input"]: np.load(folder / "faces.npy")},
        calibration_method="max",
        op_types_to_quantize=list(CONVOLUTIONS),
        nodes_to_exclude=wishes["exclude"],
        high_precision_dtype="fp32",  # fp16 is written by export.half, the same way for every quantiser
        output_path=str(folder / "quantised.onnx"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
