"""Trained networks of the papers for the SDK: `python -m export.release runs/jasrnet/jasrnet.pt ... [-o release]`.

Of each checkpoint three files, which FaceEnhancer(model="jasrnet") finds in a checkout's release/:

    NAME.onnx           the folded network at opset 18 with its spec; points into
    NAME.safetensors    its weights, fp16, or one byte each for those of --slim (export.weights_apart)
    NAME.json           what they were trained on and for how long, licence, what was verified, files of measurements

A network is written only after onnxruntime and the SDK gave on drawn faces what torch gives; how far storing in fewer
bits moves its pictures is stated. Those that would not fit --limit-mb are left out, with the command that trains them.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from export import to_onnx
from export.faces import MIN_FACES, load_faces, lr_batch
from export.release_check import Found, Points, measured, points_of
from export.weights_apart import STORES, taken_apart
from sdk.errors import FaceTRTError, InputError, ModelError, OutputError
from sdk.pictures import write_file
from sdk.spec import ModelSpec
from sdk.zoo import CARD_KEY, how_to_get
from training import checkpoint
from training.paper_results import training_of
from training.results import recorded_command

SUFFIXES = (".safetensors", ".onnx", ".json")  # in the order of writing: after a kill the SDK refuses a mixture
LIMIT_MB = 60.0
LEFT_OUT, FAILED = 1, 2  # exit codes
FACES = 16  # drawn ones that the points of a network are measured on
CHECKED = {"sizes": (32, 48), "batches": (1, 2)}  # of networks of any size: those of 128 px would take minutes
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


@dataclass(frozen=True)
class Released:
    """One network's files."""

    name: str
    files: dict[str, bytes]  # suffix -> content
    found: Found
    points: Points | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(content) for content in self.files.values())

    def line(self) -> str:
        size_mb = {suffix: len(self.files[suffix]) / 1e6 for suffix in SUFFIXES}
        sizes = f"{size_mb['.onnx']:.2f} + {size_mb['.safetensors']:.2f} MB"
        return f"{self.name}: {sizes}; {self.found.line()}" + ("" if self.points is None else f"; {self.points.line()}")


def spec_of(saved: dict[str, Any], model: Any, path: Path) -> ModelSpec:  # noqa: ANN401 - any network of ours
    """The checkpoint's spec, or for a run in progress the one that it will get. Raises ModelError."""
    if "spec" in saved:
        return ModelSpec.from_json(str(saved["spec"]))
    if not hasattr(model, "spec"):
        remedy = "train super_fan with --init it: that network holds it, with a picture"
        raise ModelError("a network that puts out a picture", f"{saved.get('model')} in {path}, points alone", remedy)
    runs = checkpoint.runs_of(saved)
    if not runs:
        raise ModelError("a checkpoint that tells of its training", f"{path}, which does not", "use training.train's")
    packs = sorted({pack for run in runs for pack in run["packs"]})
    notes = "; ".join(f"{run['name']} {run['part']}: {run['steps']} steps of {run['batch']}" for run in runs)
    return model.spec(runs[-1]["name"], licence=f"the terms of its training data ({', '.join(packs)})", notes=notes)


def made(path: Path, *, store: str, scratch: Path, command: str) -> Released:
    """One network's files in memory, verified from `scratch`. Raises ModelError, InputError, OutputError."""
    saved = checkpoint.load(path)
    model = checkpoint.build(saved)
    spec = spec_of(saved, model, path)
    model = model.folded()
    faces = load_faces("builtin", spec=spec, count=MIN_FACES).split()[1].take(slice(0, FACES))
    points = None
    if spec.heatmap_kind == "landmarks":
        points = points_of(spec, to_onnx.answers(model, spec, lr_batch(faces, spec))["heatmaps"], faces)
        spec = replace(spec, min_confidence=points.min_confidence)
    graph = to_onnx.export_graph(model, spec)
    to_onnx.check(graph, model, spec, **(CHECKED if spec.any_size else {"batches": (1, 2)}))
    told = {"name": spec.name, "licence": spec.licence, "notes": spec.notes}
    apart = taken_apart(graph, name=spec.name, store=store, metadata=told)
    files = {".onnx": apart.onnx, ".safetensors": apart.weights}
    for suffix, content in files.items():
        write_file(scratch / f"{spec.name}{suffix}", content)
    found = measured(scratch / f"{spec.name}.onnx", model, spec, store=store, faces=faces)
    card = {
        CARD_KEY: 1,
        "name": spec.name,
        "command": command,
        "files": {f"{spec.name}{suffix}": _told(content) for suffix, content in files.items()},
        "store": store,
        "licence": spec.licence,
        "training": training_of(path),
        "verified": found.as_dict(),
        "points": None if points is None else asdict(points),
        "results": results_about(spec.name),
    }
    files[".json"] = (json.dumps(card, indent=1, allow_nan=False) + "\n").encode()
    return Released(spec.name, files, found, points)


def _told(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def results_about(name: str, folder: Path = RESULTS) -> list[str]:
    """Files of measurements that name this network."""
    files = sorted(folder.glob("papers_*.json"))
    return [path.name for path in files if f'"{name}"' in path.read_text(encoding="utf-8")]


def release(paths: list[Path], out: Path, *, slim: list[str], limit_mb: float, command: str) -> tuple[list[str], int]:
    """Writes what is sound and fits; lines for people, and the exit code: 0 all, LEFT_OUT or FAILED some not.

    Raises OutputError where nothing can be written.
    """
    lines: list[str] = []
    code = 0
    names: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            try:
                name = _name_of(path)
                if name in names:
                    raise InputError("checkpoints of different networks", f"two of {name}", "leave one out")
                names.add(name)
                one = made(path, store=STORES[name in slim], scratch=Path(scratch), command=command)
            except OutputError:
                raise
            except FaceTRTError as error:  # one bad checkpoint is no reason to lose the others
                lines.append(f"FAILED {path}: {error}")
                code = FAILED
                continue
            others = sum(size for stem, size in sizes_of(out).items() if stem != one.name)
            if others + one.size_bytes > limit_mb * 1e6:
                rest = f"{others / 1e6:.1f} MB of others and {one.size_bytes / 1e6:.1f} MB pass {limit_mb:g} MB"
                lines.append(f"LEFT OUT {one.name}: {rest}; --slim halves it, or train it: {how_to_get(one.name)}")
                code = code or LEFT_OUT
                continue
            for suffix in SUFFIXES:
                write_file(out / f"{one.name}{suffix}", one.files[suffix])
            lines.append(one.line())
    unknown = sorted(set(slim) - names)
    if unknown:
        lines.append(f"--slim named networks that are not among the checkpoints: {', '.join(unknown)}")
    lines.append(f"{out}: {sum(sizes_of(out).values()) / 1e6:.1f} of {limit_mb:g} MB")
    return lines, code


def _name_of(path: Path) -> str:
    saved = checkpoint.load(path)
    runs = checkpoint.runs_of(saved)
    return ModelSpec.from_json(str(saved["spec"])).name if "spec" in saved else runs[-1]["name"] if runs else ""


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of the released networks in a folder, by name."""
    sizes: dict[str, int] = {}
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix in SUFFIXES and not path.name.startswith("."):
                sizes[path.stem] = sizes.get(path.stem, 0) + path.stat().st_size
    except OSError as error:
        raise OutputError(f"a readable folder {folder}", error.strerror or str(error), "give another -o") from error
    return sizes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("-o", "--out", type=Path, default=Path("release"), help="folder (default: %(default)s)")
    parser.add_argument("--slim", nargs="+", default=[], metavar="NAME", help="networks stored with one byte a weight")
    parser.add_argument(
        "--limit-mb", type=float, default=LIMIT_MB, metavar="N", help="of all files together (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    command = recorded_command("export.release", arguments if arguments is not None else sys.argv[1:])
    try:
        lines, code = release(args.checkpoints, args.out, slim=args.slim, limit_mb=args.limit_mb, command=command)
    except FaceTRTError as error:
        sys.stderr.write(f"release: {error}\n")
        return FAILED
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
