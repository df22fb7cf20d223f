"""torch, in the ways people use it: eager, with channels last, and through torch.compile; on the CPU or a GPU.

"end-to-end" is the usual way around it (benchmarks.rivals.plain_faces); "engine" is the network alone, with the batch
where it runs and, on a GPU, a synchronisation at the end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.workload import FRAME_HW, faces_batch, scene
from benchmarks.rivals import ort_session, plain_faces, torch_graph
from sdk.errors import BackendError, ModelError
from sdk.image.crop import square_windows
from sdk.spec import ModelSpec

WAYS = ("torch-eager", "torch-channels-last", "torch-compile")
SAME = 2e-3  # of the largest value: torch and onnxruntime add in different orders, fp16 on a GPU rounds too
SAME_FP16 = 2e-2


class TorchRunner:
    """The network of an ONNX file in torch. Raises BackendError, MissingPackageError, ModelError."""

    def __init__(self, file: ModelFile, way: str, *, precision: str, span: str, threads: int, cuda: bool = False):
        assert file.spec is not None and way in WAYS, (file, way)
        self._torch, _ = torch_graph.torch_modules()
        self._spec: ModelSpec = file.spec
        device = "cuda" if cuda else "cpu"
        if cuda and not self._torch.cuda.is_available():
            raise BackendError(
                "a GPU that torch can use", f"torch {self._torch.__version__}, which sees none", "compare on the CPU"
            )
        if precision == "fp16" and not cuda:
            raise BackendError("fp16 on a GPU", "the CPU", "compare fp32")
        if precision not in ("fp32", "fp16"):
            raise BackendError("fp32 or fp16 with torch", precision, "compare int8 with torch's fp32")
        if threads:
            self._torch.set_num_threads(threads)
        self.threads = self._torch.get_num_threads()
        self.subject = subject_of(file.name, f"torch-{device}", precision, way=way, span=span)
        self.frame_hw: tuple[int, int] | None = FRAME_HW if span == "end-to-end" else None
        self._type = self._torch.float16 if precision == "fp16" else self._torch.float32
        self._device, self._last = device, way == "torch-channels-last"
        network = torch_graph.read_network(file.path).to(device, self._type)
        if self._last:
            network = network.to(memory_format=self._torch.channels_last)
        self._network: Callable[[Any], Any] | None = network
        if way == "torch-compile":
            try:
                self._network = self._torch.compile(network, mode="max-autotune" if cuda else "default", dynamic=False)
                self._run(faces_batch(self._spec, 1))
            except Exception as error:  # no compiler, or one that fails: torch's classes for it are many
                line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise BackendError("torch.compile to compile the network", line, "install a C++ compiler") from error
        self._names = list(file.spec.output_names)
        self._check(file, SAME_FP16 if precision == "fp16" else SAME)

    def query(self, faces: int) -> Query:
        if self.subject.span == "engine":
            batch = self._there(faces_batch(self._spec, faces))
            return lambda: self._forward(batch)
        of, spec = scene(faces, side_px=self._spec.lr_size), self._spec
        windows = square_windows(of.boxes, kind="landmarks")

        def whole() -> Any:
            outputs = dict(zip(self._names, self._run(plain_faces.cut(of.frame, windows, spec)), strict=True))
            found = plain_faces.pictures(outputs["sr"], spec)
            if spec.heatmap_kind == "landmarks":
                return found, plain_faces.points(outputs["heatmaps"], windows)
            return found, None

        return whole

    def close(self) -> None:
        self._network = None

    def _there(self, batch: np.ndarray) -> Any:  # [N, C, h, w] float32
        tensor = self._torch.from_numpy(batch).to(self._device, self._type)
        return tensor.to(memory_format=self._torch.channels_last) if self._last else tensor

    def _forward(self, batch: Any) -> Any:
        assert self._network is not None, "closed"
        with self._torch.inference_mode():
            outputs = self._network(batch)
            if self._device == "cuda":
                self._torch.cuda.synchronize()
        return outputs

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:  # [N, C, h, w] float32
        return [one.float().cpu().numpy() for one in self._forward(self._there(batch))]

    def _check(self, file: ModelFile, same: float) -> None:
        """The outputs are onnxruntime's. Raises ModelError."""
        batch = faces_batch(self._spec, 2)
        session = ort_session.open_session(file.path)
        names = [one.name for one in session.get_outputs()]
        expected = session.run(names, {session.get_inputs()[0].name: batch})
        self._names = names
        for name, want, got in zip(names, expected, self._run(batch), strict=True):
            apart = float(np.abs(want - got).max()) / max(1e-6, float(np.abs(want).max()))
            if not apart <= same:
                remedy = "the file uses an operator in a way that benchmarks/rivals/torch_graph.py does not know"
                raise ModelError(f"{name} in torch within {same} of onnxruntime", f"{apart:.2e}", remedy)
