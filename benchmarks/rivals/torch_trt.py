"""Torch-TensorRT: the network in torch, compiled for a GPU. Written from its documentation; not yet run."""

import importlib
from typing import Any

from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.workload import faces_batch
from benchmarks.rivals import torch_graph
from sdk.errors import BackendError, MissingPackageError

LARGEST = 64  # batch of the profile


class TorchTensorRtRunner:
    """fp16 on GPU 0. Raises MissingPackageError, BackendError."""

    def __init__(self, file: ModelFile) -> None:
        assert file.spec is not None, file
        torch, _ = torch_graph.torch_modules()
        try:
            module = importlib.import_module("torch_tensorrt")
        except ImportError as error:
            raise MissingPackageError(
                "the rival Torch-TensorRT", "torch-tensorrt", "pip install torch-tensorrt"
            ) from error
        if not torch.cuda.is_available():
            raise BackendError("a GPU for Torch-TensorRT", "torch without CUDA", "run it on a machine with a GPU")
        spec = self._spec = file.spec
        face = (spec.channels, spec.input_size, spec.input_size)
        shapes = module.Input(
            min_shape=(1, *face), opt_shape=(8, *face), max_shape=(LARGEST, *face), dtype=torch.float16
        )
        network = torch_graph.read_network(file.path).to("cuda", torch.float16)
        try:
            self._network: Any = module.compile(network, inputs=[shapes], enabled_precisions={torch.float16})
        except Exception as error:  # its compiler raises nearly anything
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise BackendError(f"Torch-TensorRT to compile {file.name}", line, "leave it out: --rivals") from error
        self._torch, self.threads = torch, 0
        self.frame_hw: tuple[int, int] | None = None
        self.subject = subject_of(file.name, "torch-cuda", "fp16", way="torch-tensorrt", span="engine")

    def query(self, faces: int) -> Query:
        torch, network = self._torch, self._network
        batch = torch.from_numpy(faces_batch(self._spec, faces)).to("cuda", torch.float16)

        def run() -> Any:
            with torch.inference_mode():
                outputs = network(batch)
            torch.cuda.synchronize()
            return outputs

        return run

    def close(self) -> None:
        self._network = None
