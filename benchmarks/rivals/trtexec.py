"""trtexec, TensorRT's own tool: builds an engine of the ONNX file and reports its latency, in a process of its own.

It runs by itself, so no ratio by turns; one enqueue ahead is on by default in TensorRT 11, which is not SingleStream.
Its times come from the file that --exportTimes writes. Not yet run.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.sampling import Samples
from sdk.errors import BackendError, MissingPackageError

BUILD_S = 1800.0
SECONDS = 3


class TrtexecRunner:
    """fp16 engine of a model. Raises MissingPackageError where there is no trtexec, BackendError when it fails."""

    def __init__(self, file: ModelFile, *, command: str = "trtexec") -> None:
        assert file.spec is not None, file
        found = shutil.which(command)
        if found is None:
            raise MissingPackageError("the rival trtexec", "trtexec", "install TensorRT's tools", got="no such command")
        self._command, self._file, self.threads = found, file, 0
        self.frame_hw: tuple[int, int] | None = None
        self.subject = subject_of(file.name, "tensorrt", "fp16", way="trtexec", span="engine")

    def query(self, faces: int) -> Query:
        """Not to be had. Raises BackendError: trtexec times its own loop, see recorded()."""
        raise BackendError("a rival in this process", "trtexec, which runs by itself", "compare its figures by eye")

    def recorded(self, faces: int) -> Samples:
        """What trtexec measured. Raises BackendError."""
        times = self.latencies_ms(faces)
        return Samples(wall_ms=times, duration_s=sum(times) / 1000)

    def latencies_ms(self, faces: int) -> list[float]:
        """Of each inference, host to host. Raises BackendError."""
        spec = self._file.spec
        assert spec is not None
        shape = f"lr:{faces}x{spec.channels}x{spec.input_size}x{spec.input_size}"
        with tempfile.TemporaryDirectory(prefix="trtexec.") as folder:
            times = Path(folder) / "times.json"
            command = [self._command, f"--onnx={self._file.path}", f"--shapes={shape}", "--fp16", "--useSpinWait"]
            command += ["--useCudaGraph", f"--duration={SECONDS}", f"--exportTimes={times}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S)
                entries = json.loads(times.read_text(encoding="utf-8")) if done.returncode == 0 else None
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                raise BackendError("times from trtexec", str(error)[:200], "run it by hand") from error
        if not entries:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1][:200]
            raise BackendError("trtexec to end well", last, f"run it by hand: {' '.join(command)}")
        return [float(entry["latencyMs"]) for entry in entries]

    def close(self) -> None:
        """Nothing is open."""
