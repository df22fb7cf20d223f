"""Which library runs a model file on this machine, at which precision, and why: behind open_backend() and describe().

X.engine           TensorRT, as it is
X.onnx  auto       TensorRT if a GPU, a TensorRT for it and cuda-python are there and an engine can be had, else
                   onnxruntime; device="cpu" means onnxruntime. $FACETRT_BACKEND takes the place of "auto"
        tensorrt   an engine of the cache, or built now (sdk.runtime.engine_cache): fp16 unless asked otherwise
        onnxruntime  fp32; int8 takes another file: the shipped one, or one that trt-build makes for the CPU
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import BackendError, EngineError, FaceTRTError, InputError, MissingPackageError, ModelError
from sdk.runtime.machine import FLAVOUR_NAMES, RTX_RUNS_ON, Machine, this_machine
from sdk.runtime.protocol import Backend
from sdk.zoo import int8_path

__all__ = ["BACKENDS", "NETWORK_PRECISIONS", "Opened", "open_network", "tensorrt_machine"]

log = logging.getLogger("facetrt")

BACKENDS = ("auto", "onnxruntime", "tensorrt")  # names that `backend=` takes
BACKEND_VARIABLE = "FACETRT_BACKEND"  # what "auto" stands for
NETWORK_PRECISIONS = (None, "fp32", "fp16", "int8")  # what `precision=` takes; None: fp16 with TensorRT, else fp32


@dataclass(frozen=True, eq=False)
class Opened:
    """A network that is open, and how it came about."""

    network: Backend
    runtime: str  # "onnxruntime", "TensorRT 10.3.0"; of a caller's own backend the class' name
    device: str  # "cpu", "cuda:0"; "" of a caller's own backend
    precision: str  # "fp32" | "fp16" | "int8" | "fp8"; "" of a caller's own backend
    path: Path | None  # the file that was opened
    reason: str  # why this library
    ours: bool = True  # False: the caller made it, and closes it

    def line(self) -> str:
        """`picoface_x8: onnxruntime, fp32 on cpu, picoface_x8.onnx (no NVIDIA driver: ...)`."""
        how = f", {self.precision} on {self.device}" if self.device else ""
        file = f", {self.path}" if self.path else ""
        return f"{self.network.spec.name}: {self.runtime}{how}{file} ({self.reason})"


def open_network(
    path: str | Path,
    backend: str = "auto",
    *,
    device: str | None = None,  # "cpu", "cuda:0"; None: the first GPU that can be used, else the CPU
    threads: int | None = None,  # of onnxruntime
    precision: str | None = None,  # one of NETWORK_PRECISIONS
) -> Opened:
    """Open a model file. Raises what sdk.runtime.backend.open_backend() lists."""
    path, asked = Path(path), f'backend="{backend}" was asked for'
    is_engine = path.suffix.lower() == ".engine"
    if backend == "auto" and os.environ.get(BACKEND_VARIABLE) and not is_engine:
        backend = os.environ[BACKEND_VARIABLE]
        asked = f"${BACKEND_VARIABLE} is {backend}"
    if backend not in BACKENDS:
        raise BackendError(f"a backend among {BACKENDS}", repr(backend), "pass one of those")
    if precision not in NETWORK_PRECISIONS:
        raise InputError(f"a precision among {NETWORK_PRECISIONS}", repr(precision), "leave it out for the default")
    if threads is not None and threads < 1:
        raise BackendError("threads to be None or at least 1", str(threads), "leave it out for the default")
    if not path.is_file():
        raise ModelError("a model file", f"no file at {path}", "check the path, or name a shipped model")
    if is_engine:
        if backend == "onnxruntime":
            raise BackendError("an .onnx file for onnxruntime", path.name, "pass the file it was built from")
        return _open_engine(path, precision, device=device)
    if path.suffix.lower() != ".onnx":
        remedy = "export a checkpoint with: python -m export.to_onnx CKPT -o MODEL.onnx"
        raise ModelError("a model file ending in .onnx or .engine", path.name, remedy)
    if backend == "onnxruntime":
        return _open_onnx(path, precision, device=device, threads=threads, reason=asked)
    if backend == "tensorrt":
        return _open_built(path, precision, device=device, machine=tensorrt_machine(device), reason=asked)
    return _open_auto(path, precision, device=device, threads=threads)


def tensorrt_machine(device: str | None = None) -> Machine:
    """This machine, if TensorRT can run on it. Raises BackendError or MissingPackageError, saying what is missing."""
    from sdk.runtime.device import device_index
    from sdk.runtime.gpu import driver, probe

    found = probe()
    if not found.gpus:
        remedy = 'use backend="onnxruntime"; trt-build --doctor says more'
        raise BackendError("a GPU for TensorRT", found.reason, remedy)
    machine = this_machine(None, device_index(device))
    if machine.flavour == "tensorrt_rtx" and machine.sm not in RTX_RUNS_ON:
        got = f"{machine.gpu} ({machine.sm}), while TensorRT-RTX runs on {', '.join(RTX_RUNS_ON)}"
        raise BackendError("a GPU that TensorRT-RTX runs on", got, "install TensorRT: pip install 'facetrt[tensorrt]'")
    driver()  # cuda-python must be there too, better known now than after a build of minutes
    return machine


def _open_auto(path: Path, precision: str | None, *, device: str | None, threads: int | None) -> Opened:
    if device == "cpu":
        return _open_onnx(path, precision, device=device, threads=threads, reason='device="cpu" was asked for')
    try:
        machine = tensorrt_machine(device)
    except MissingPackageError as error:
        reason = f"no {error.package} ({error.got}); {error.remedy}"
    except BackendError as error:
        reason = error.got
    else:
        try:
            return _open_built(path, precision, device=device, machine=machine, reason=f"found {machine.gpu}")
        except FaceTRTError as error:
            reason = f"TensorRT cannot be used: {error}"
            log.warning("%s: %s", path.name, reason)
    try:
        return _open_onnx(path, precision, device=device, threads=threads, reason=reason)
    except BackendError as error:
        if reason in error.got:
            raise
        raise BackendError(error.expected, f"{error.got}; and {reason}", error.remedy) from error


def _open_built(path: Path, precision: str | None, *, device: str | None, machine: Machine, reason: str) -> Opened:
    """An engine of the cache, or a new one. Raises BuildError, EngineError, OutputError, ModelError."""
    from sdk.runtime.device import device_index
    from sdk.runtime.engine_cache import Refused, obtain
    from sdk.runtime.manifest import read_manifest
    from sdk.runtime.trt_backend import TrtBackend

    index, wanted = device_index(device), precision or "fp16"
    engine = obtain(path, wanted, machine=machine, device=index)
    engine_sha256 = read_manifest(engine).engine_sha256
    try:
        network = TrtBackend(engine, device=f"cuda:{index}")
    except EngineError as error:  # a bit flipped, or a rule of TensorRT's that the manifest does not know
        refused = Refused(engine_sha256, f"it was not loaded: {error.got}")
        engine = obtain(path, wanted, machine=machine, device=index, refused=refused)
        network = TrtBackend(engine, device=f"cuda:{index}")
    runtime = f"{FLAVOUR_NAMES[machine.flavour]} {machine.tensorrt}"
    return Opened(network, runtime, network.device, wanted, engine, reason)


def _open_engine(path: Path, precision: str | None, *, device: str | None) -> Opened:
    """An engine of the caller's. Raises EngineError, also when it is of another precision than asked for."""
    from sdk.runtime.manifest import read_manifest
    from sdk.runtime.trt_backend import TrtBackend

    manifest = read_manifest(path)
    if precision not in (None, manifest.precision):
        got = f"one built as {manifest.precision}"
        raise EngineError(f"an engine in {precision}: {path.name}", got, "leave precision out, or pass the .onnx file")
    network = TrtBackend(path, device=device)
    runtime = f"{FLAVOUR_NAMES[manifest.flavour]} {manifest.tensorrt}"
    return Opened(network, runtime, network.device, manifest.precision, path, "it is an engine")


def _open_onnx(path: Path, precision: str | None, *, device: str | None, threads: int | None, reason: str) -> Opened:
    from sdk.runtime.ort_backend import OrtBackend  # late: onnxruntime takes 0.2 s to import

    on_gpu = device is not None and device != "cpu"
    if precision == "fp16" or (precision == "int8" and on_gpu):
        others = "fp32" if on_gpu else "fp32 or int8"
        remedy = 'leave precision out, or use backend="tensorrt" on a machine with an NVIDIA GPU'
        raise BackendError(f"{others} with onnxruntime", f"precision={precision!r} ({reason})", remedy)
    if precision == "int8":
        path = int8_path(path) or _cpu_int8(path)
    network = OrtBackend(path, device=device, threads=threads)
    found = "int8" if precision == "int8" or path.name.endswith(".int8.onnx") else "fp32"
    return Opened(network, "onnxruntime", device or "cpu", found, path, reason)


def _cpu_int8(path: Path) -> Path:
    from sdk.runtime.engine_cache import obtain

    return obtain(path, "int8", machine=None)
