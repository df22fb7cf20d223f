"""Which file a model's name means: a shipped network, a network of a paper, or any ONNX file.

A paper's network is measured with untrained weights where nobody has trained weights at hand: a time does not depend
on them. Its file is made once, by export.untrained in another process (it needs torch, and a checkout), and kept.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import sdk
from sdk.errors import InputError, MissingPackageError, ModelError
from sdk.runtime.onnx_file import read_onnx
from sdk.spec import ModelSpec
from sdk.zoo import ROOT as SDK_ROOT
from sdk.zoo import SHIPPED, int8_path, model_path

PAPERS = ("jasrnet", "fsrnet", "mtun", "super_fan", "super_fan_generator", "fan", "srinc_x4", "vdsr_x4", "urdgn")
EXPORT_S = 600.0  # longest for a paper's network
CHECKOUT = SDK_ROOT.parent


@dataclass(frozen=True)
class ModelFile:
    """A network to measure."""

    name: str
    path: Path
    sha256: str
    source: str  # "facetrt" | "paper" | "foreign"
    spec: ModelSpec | None  # None: a file that is not ours; the engine alone can be measured

    def int8(self) -> Path | None:
        """The int8 file for the CPU, if there is one."""
        return int8_path(self.path)


def resolve(name: str) -> ModelFile:
    """Raises ModelError for what is neither a known name nor an ONNX file, InputError, MissingPackageError."""
    if name in PAPERS and not Path(name).is_file():
        return _read(name, paper_file(name), "paper")
    path = model_path(name) if name in SHIPPED else Path(name)
    if not path.is_file():
        expected = f"a model among {', '.join((*SHIPPED, *PAPERS))}, or the path of an .onnx file"
        raise ModelError(expected, f"{name!r}, where there is no file", "check the spelling")
    if path.suffix.lower() != ".onnx":
        raise ModelError("a file ending in .onnx", path.name, "name the ONNX file that an engine was built from")
    return _read(name if name in SHIPPED else path.stem, path, "facetrt")


def resolve_all(names: list[str]) -> list[ModelFile]:
    """Every name once. Raises InputError for two files of one name."""
    files = [resolve(name) for name in dict.fromkeys(names)]
    seen = [file.name for file in files]
    twice = sorted({name for name in seen if seen.count(name) > 1})
    if twice:
        raise InputError("model files of different names", f"{', '.join(twice)} twice", "rename one of the files")
    return files


def _read(name: str, path: Path, source: str) -> ModelFile:
    try:
        found = read_onnx(path)
        return ModelFile(name, path, found.sha256, source, found.spec)
    except ModelError as error:
        if "metadata key" not in error.expected:  # damaged, not merely another's
            raise
    return ModelFile(name, path, hashlib.sha256(path.read_bytes()).hexdigest(), "foreign", None)


def paper_file(name: str) -> Path:
    """The ONNX file of a paper's network, made on first use. Raises ModelError, MissingPackageError."""
    cache = Path(os.environ.get("FACETRT_BENCH_CACHE") or Path.home() / ".cache" / "facetrt" / "bench")
    path = cache / f"{name}-{sdk.__version__}.onnx"
    if path.is_file():
        return path
    if not (CHECKOUT / "training").is_dir():
        raise ModelError(f"an ONNX file of {name}", "an installed package, which has none", "run it in a checkout")
    sys.stderr.write(f"trt-bench: writing {path} (untrained, once)\n")
    command = [sys.executable, "-m", "export.untrained", name, "-o", str(path)]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=EXPORT_S)
    except subprocess.TimeoutExpired as error:
        got = f"nothing after {EXPORT_S:.0f} s"
        raise ModelError(f"an ONNX file of {name}", got, "try on a quieter machine") from error
    if done.returncode or not path.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "No module named" in last:
            raise MissingPackageError(f"writing {name}", "torch", "pip install 'facetrt[train]'", got=last)
        raise ModelError(f"an ONNX file of {name}", last[:300], f"run: {' '.join(command[1:])}")
    return path
