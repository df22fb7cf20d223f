"""Do the papers' networks become TensorRT-RTX engines at full size? `python -m export.papers_rtx [NAME ...]`

Each is exported (folded, JASRNet's tail in one step), written in fp16 or int8, built for GPUs that need not be there,
and its layers' types are read back. Released weights are taken where there are some, else untrained ones: operators
and types are the same, ranges of int8 are not. The gate, which judges pictures, is trt-build's; it is not run here.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from export.arguments import parse
from export.build_engine import build_engine
from export.faces import MIN_FACES, load_faces
from export.graph import read_model
from export.precision import typed_graph
from export.prepare import prepare
from export.untrained import untrained
from sdk.errors import FaceTRTError, InputError, ModelError
from sdk.zoo import model_path
from training.results import recorded_command, write_results

NETWORKS = {  # name of the recipe, and of the released file -> configuration
    "jasrnet": "jasrnet",
    "fsrnet": "fsrnet_68",
    "mtun": "mtun",
    "super_fan": "super_fan",
    "super_fan_64": "super_fan_64",
    "srresnet_x8": "srresnet_x8",
    "urdgn": "urdgn",
    "srinc": "srinc_x4",
    "vdsr": "vdsr_x4",
}
PRECISIONS = ("fp16", "int8")
TARGETS = ("sm_86", "sm_89", "sm_120")
FACES = 8  # that int8 is calibrated on, one batch: enough for ranges that a build can be made with
BATCHES = (1, 8)
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "papers_rtx.json"


def built(name: str, precision: str, *, folder: Path, targets: tuple[str, ...] = TARGETS) -> dict[str, Any]:
    """One engine's row. Raises FaceTRTError; BuildError when a layer is not in the type asked for."""
    if name not in NETWORKS:
        raise InputError(f"networks of {', '.join(NETWORKS)}", repr(name), "correct the name")
    try:
        path, weights = model_path(name), "released"
    except ModelError:
        path, weights = folder / f"{name}.onnx", "untrained"
        if not path.is_file():
            untrained(NETWORKS[name], path)
    words = [str(path), "--flavour", "tensorrt_rtx", "--targets", ",".join(targets), "--precision", precision]
    setup = prepare(parse([*words, "--batches", ",".join(map(str, BATCHES))]))
    assert setup.trt is not None
    model = read_model(path)
    faces = load_faces("builtin", spec=model.spec, count=MIN_FACES).take(slice(0, FACES))
    typed = typed_graph(model, precision, calibration=faces)
    engine = build_engine(
        typed, model.spec, options=setup.options, trt=setup.trt, gpu=None, on_progress=lambda fraction: None
    )
    return {
        "model": name,
        "weights": weights,
        "precision": precision,
        "layers": dict(engine.readback.found),
        "nodes": len(typed.graph.graph.node),
        "engine_mib": round(len(engine.plan) / 2**20, 2),
        "build_s": round(engine.build_s, 1),
        "tensorrt": setup.trt.title,
        "targets": list(targets),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.papers_rtx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--json", type=Path, default=RESULTS, help="rows of other networks there stay")
    args = parser.parse_args(arguments)
    command = recorded_command("export.papers_rtx", []).strip()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or NETWORKS:
            for precision in args.precision:
                try:
                    row = built(name, precision, folder=Path(folder))
                except FaceTRTError as error:
                    failed = 1
                    sys.stderr.write(f"{name} in {precision}: {error}\n")
                    continue
                _put(args.json, row, command)
                sys.stdout.write(f"{json.dumps(row)}\n")
                sys.stdout.flush()
    return failed


def _put(path: Path, row: dict[str, Any], command: str) -> None:
    """The row in the place of its predecessor; written at once, so that an interruption loses one build."""
    old = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    rows = {(one["model"], one["precision"]): one for one in [*old, row]}
    order = [(name, precision) for name in NETWORKS for precision in PRECISIONS]
    write_results(path, {"command": command, "results": [rows[key] for key in order if key in rows]})


if __name__ == "__main__":
    raise SystemExit(main())
