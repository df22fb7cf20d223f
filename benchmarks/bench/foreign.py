"""The engine of any ONNX file, ours or not, in onnxruntime."""

from collections.abc import Mapping, Sequence

from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.rivals import ort_session


class OnnxRunner:
    """session.run on random inputs. Raises ModelError, BackendError, MissingPackageError; query() InputError."""

    def __init__(
        self,
        file: ModelFile,
        *,
        provider: str = "cpu",  # of ort_session.PROVIDERS
        precision: str = "fp32",
        way: str = "bare",
        threads: int = 0,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        path = file.int8() if precision == "int8" and file.int8() is not None else file.path
        assert path is not None, file
        self._session = ort_session.open_session(path, provider=provider, threads=threads)
        self._shapes = dict(shapes or {})
        if file.spec is not None:
            side = file.spec.input_size
            self._shapes = {self._session.get_inputs()[0].name: (1, file.spec.channels, side, side)}
        self.threads = threads
        self.frame_hw: tuple[int, int] | None = None
        self.subject = subject_of(file.name, f"onnxruntime-{provider}", precision, way=way, span="engine")
        self.inputs = ort_session.described(self._session)

    def query(self, faces: int) -> Query:
        feed = ort_session.inputs_of(self._session, faces, shapes=self._shapes)
        session = self._session
        return lambda: session.run(None, feed)

    def close(self) -> None:
        self._session = None
