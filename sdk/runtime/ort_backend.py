"""Networks on onnxruntime: the only file of the SDK that imports it.

Results do not depend on the batch a face is in, nor on the number of threads or of callers: onnxruntime splits
work by output element and sums each element in a fixed order (measured with 1.31 on x86-64, fp32, batches of 1 to 13,
1 to 4 threads; tests/test_sdk_threads.py checks it wherever the tests run). The CUDA provider does not promise it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, MissingPackageError, ModelError
from sdk.runtime.onnx_file import weights_beside
from sdk.spec import METADATA_KEY, ModelSpec

__all__ = ["OrtBackend"]

IN_MEMORY = "add_external_initializers_from_files_in_memory"  # of SessionOptions; not in every release
LOG_ERRORS_ONLY = 3  # onnxruntime's severity scale; 2 would warn about every GPU it cannot see


class OrtBackend:
    """An ONNX file with our metadata in an onnxruntime session; see sdk.runtime.backend.Backend."""

    def __init__(self, path: Path, *, device: str | None = None, threads: int | None = None) -> None:
        ort = _onnxruntime()
        options: Any = ort.SessionOptions()
        options.log_severity_level = LOG_ERRORS_ONLY
        options.intra_op_num_threads = threads or 0  # 0: one thread per physical core
        providers = _providers(ort, device)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError("a readable model file", f"{path}: {error.strerror}", "check its permissions") from error
        model: bytes | str = data
        weights = weights_beside(path, data)
        if weights and hasattr(options, IN_MEMORY):  # what was verified is what is used, and may be cut meanwhile
            names, contents = list(weights), list(weights.values())
            getattr(options, IN_MEMORY)(names, contents, [len(content) for content in contents])
        elif weights:
            model = str(path)
        try:
            session: Any = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions share no base class; ours names the file
            detail = f"{path.name}, which onnxruntime refuses: {_first_line(error)}"
            raise ModelError("a sound ONNX model", detail, "export or download it again") from error
        self._session: Any = session
        self._name = path.name
        self.spec: ModelSpec = _read_spec(session, path)
        self._input: str = _check_graph(session, self.spec, path)
        self._outputs = list(self.spec.output_names)

    def run(
        self,
        batch: npt.NDArray[np.float32],  # [N, C, h, w]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """See Backend.run. Safe from several threads at once."""
        session = self._session
        if session is None:
            raise BackendError("an open model", f"{self._name} after close()", "open it again")
        try:
            arrays: list[npt.NDArray[np.float32]] = session.run(self._outputs, {self._input: batch})
        except Exception as error:  # as above: no base class of onnxruntime's to catch
            detail = f"{_first_line(error)} for a batch {batch.dtype} {batch.shape}"
            raise BackendError(f"{self._name} to run", detail, "check the batch against the model's spec") from error
        return dict(zip(self._outputs, arrays, strict=True))

    def close(self) -> None:
        """Frees the session; runs still going on in other threads finish first."""
        self._session = None


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("running .onnx models", "onnxruntime", "pip install onnxruntime") from error
    return onnxruntime


def _providers(
    ort: Any,  # the onnxruntime module
    device: str | None,
) -> list[Any]:
    """Execution providers for "cpu", "cuda" or "cuda:N"."""
    kind, _, number = (device or "cpu").partition(":")
    if kind == "cpu" and not number:
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not (number.isdigit() or device == "cuda"):
        raise BackendError('a device like "cpu" or "cuda:0"', repr(device), "leave it out for the CPU")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        got = f"onnxruntime {ort.__version__} built without it"
        raise BackendError("onnxruntime's CUDA provider", got, 'pip install onnxruntime-gpu, or use device="cpu"')
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]


def _read_spec(
    session: Any,  # onnxruntime.InferenceSession
    path: Path,
) -> ModelSpec:
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        remedy = "export it with: python -m export.to_onnx CKPT -o MODEL.onnx, which writes the key"
        raise ModelError(f"the metadata key {METADATA_KEY} in {path.name}", f"keys {sorted(metadata)}", remedy)
    try:
        return ModelSpec.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"{error.expected} in {path.name}", error.got, error.remedy) from error


def _check_graph(
    session: Any,  # onnxruntime.InferenceSession
    spec: ModelSpec,
    path: Path,
) -> str:
    """Name of the one input, after comparing inputs and outputs with the spec."""
    remedy = "export it again: graph and metadata are of different models"
    inputs: list[Any] = session.get_inputs()
    shapes = [(one.type, len(one.shape)) for one in inputs]
    if shapes != [("tensor(float)", 4)]:
        raise ModelError(f"one input float32 [N, C, h, w] in {path.name}", f"{shapes}", remedy)
    size = spec.input_size
    fixed = [(want, have) for want, have in zip((spec.channels, size, size), inputs[0].shape[1:], strict=True)]
    if any(isinstance(have, int) and have != want for want, have in fixed):
        expected = f"an input of {spec.channels} channels and {size} x {size} px in {path.name}"
        raise ModelError(expected, f"shape {inputs[0].shape}", remedy)
    missing = sorted(set(spec.output_names) - {one.name for one in session.get_outputs()})
    if missing:
        raise ModelError(f"outputs {spec.output_names} in {path.name}", f"none named {missing}", remedy)
    return str(inputs[0].name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
