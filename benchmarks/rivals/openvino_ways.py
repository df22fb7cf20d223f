"""OpenVINO on the CPU: compiled for latency, one synchronous request."""

import importlib
from typing import Any

from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.workload import faces_batch
from sdk.errors import BackendError, MissingPackageError


class OpenVinoRunner:
    """The network of an ONNX file. Raises MissingPackageError, BackendError."""

    def __init__(self, file: ModelFile, *, threads: int = 0) -> None:
        assert file.spec is not None, file
        try:
            openvino = importlib.import_module("openvino")
        except ImportError as error:
            raise MissingPackageError("the rival OpenVINO", "openvino", "pip install openvino") from error
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._request: Any = openvino.Core().compile_model(str(file.path), "CPU", settings).create_infer_request()
        except Exception as error:  # its exceptions are RuntimeError and its own
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise BackendError(f"OpenVINO to open {file.path.name}", line, "leave it out: --rivals") from error
        self._spec, self.threads = file.spec, threads
        self.frame_hw: tuple[int, int] | None = None
        self.subject = subject_of(file.name, "openvino-cpu", "fp32", way="openvino", span="engine")

    def query(self, faces: int) -> Query:
        batch, request = faces_batch(self._spec, faces), self._request
        return lambda: request.infer([batch], share_inputs=True, share_outputs=True)

    def close(self) -> None:
        self._request = None
