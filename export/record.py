"""Where an engine goes and what is written about it: both appear whole, the manifest last, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sdk
from export.graph import Model
from export.options import ENGINE_SUFFIXES, Options
from sdk.errors import InputError, OutputError
from sdk.pictures import write_file
from sdk.runtime.machine import Machine
from sdk.runtime.manifest import Manifest, manifest_path
from sdk.runtime.trt_builder import Profile

__all__ = ["check_out", "make_manifest", "out_path", "save"]


def out_path(options: Options, name: str) -> Path:
    """Where to write; `name` is the network's. Raises InputError for a suffix that says something else."""
    suffixes = (".onnx",) if options.target == "cpu" else ENGINE_SUFFIXES
    plain = re.sub(r"[^\w.+-]+", "_", name)  # a name may hold what a file name cannot
    path = options.out or Path(f"{plain}-{options.precision}{suffixes[0]}")
    if not path.name or path.name == ".." or "\0" in path.name:
        raise InputError(f"an output ending in {' or '.join(suffixes)}", f"-o {str(path)!r}", "name a file")
    if path.suffix.lower() not in suffixes:
        got = f"-o {path}"
        raise InputError(
            f"an output ending in {' or '.join(suffixes)}", got, f"write -o {path.with_suffix(suffixes[0])}"
        )
    return path


def check_out(path: Path, model: Path) -> None:
    """Find out before the work whether the output can be written. Raises OutputError, InputError."""
    try:
        _check_in_the_way(path, model)
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=f".{os.getpid()}.manifest.part"):
            pass  # no shorter a name than save() will give
    except OSError as error:
        got = f"{path} ({error.strerror})"
        remedy = "choose another -o, or check the permissions"
        raise OutputError(f"a folder to write {path.name} to", got, remedy) from error


def _check_in_the_way(path: Path, model: Path) -> None:
    for file in (path, manifest_path(path)):
        if file.is_dir():
            raise OutputError("a file to write the engine to", f"the folder {file}", "choose another -o")
    if path.exists() and model.exists() and path.samefile(model):
        raise InputError("an output beside the model", f"{path}, the model itself", "choose another -o")
    if path.suffix.lower() == ".onnx" and path.exists() and not manifest_path(path).exists():
        got = f"{path}, a file that trt-build did not write"
        raise OutputError("an output that is not there yet", got, "remove it, or choose another -o")


def make_manifest(
    model: Model,
    data: bytes,
    *,
    options: Options,
    machine: Machine,
    gate: Mapping[str, Any],
    asked: Mapping[str, str],
    found: Mapping[str, int],
    build_s: float,
    kept_fp16: Sequence[str] = (),
    profiles: Sequence[Profile] = (),
    fell_back_to_gpu: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Manifest:
    """All that is known of an engine (or of an int8 ONNX file for the CPU)."""
    return Manifest(
        facetrt=sdk.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=options.command,
        spec=json.loads(model.file_spec.to_json()),
        onnx_sha256=model.sha256,
        engine_sha256=hashlib.sha256(data).hexdigest(),
        engine_bytes=len(data),
        precision=options.precision,
        flavour=machine.flavour,
        tensorrt=machine.tensorrt,
        platform=machine.platform,
        build_s=round(build_s, 2),
        gate=dict(gate),
        asked=dict(asked),
        found=dict(found),
        kept_fp16=list(kept_fp16),
        fell_back_to_gpu=list(fell_back_to_gpu),
        driver=machine.driver,
        cuda=machine.cuda,
        gpu=machine.gpu,
        sm=machine.sm,
        targets=list(targets),
        jetpack=machine.jetpack,
        hardware_compatibility=options.hardware_compatibility,
        version_compatible=options.version_compatible,
        weights_stripped=options.strip_weights,
        profiles=[{name: [list(shape) for shape in triple] for name, triple in p.items()} for p in profiles],
    )


def save(path: Path, data: bytes, *, manifest: Manifest) -> None:
    """Engine first, manifest last: an engine without one was never verified. Raises OutputError.

    Both are on the disk before either gets its name: a disk that fills up, or Ctrl-C, costs nobody the old pair.
    """
    plan, text = (path.with_name(f".{path.name}.{os.getpid()}.{part}") for part in ("plan", "manifest"))
    try:
        write_file(text, manifest.to_json().encode())
        write_file(plan, data)
        with _uninterrupted():
            os.replace(plan, path)
            os.replace(text, manifest_path(path))
    except OutputError as error:
        raise OutputError(f"to write {path}", error.got, error.remedy) from error
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError(f"to write {path} and its manifest", got, "check what is in the way there") from error
    finally:
        for file in (plan, text):
            with contextlib.suppress(OSError):
                file.unlink()


@contextlib.contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """Ctrl-C and SIGTERM are not heard inside: two renames, then the engine is there and nothing is left to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal handler runs in this thread
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
