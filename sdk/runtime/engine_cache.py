"""Engines that were built before, and a builder for those that were not: obtain() gives an engine that fits.

    $FACETRT_ENGINE_CACHE (default ~/.cache/facetrt/engines)
    └── picoface_x8-3f2a9c0d1e4b                                  spec's name, SHA-256 of the fp32 ONNX file
        ├── tensorrt-10.3.0-sm_87-orin-int8.engine (+ .json)      TensorRT engines belong to a model of GPU
        ├── tensorrt_rtx-1.7.1.116-sm_89-fp16.engine (+ .json)
        ├── tensorrt-10.3.0-sm_87-orin-fp8.engine.refused.json    the gate said no: not built again at every start
        └── cpu-int8.onnx (+ .json)                               for onnxruntime on the CPU

Building happens in a child process (sdk.runtime.builder_process) under a lock (sdk.runtime.file_lock), in a hidden
folder beside: of two processes one builds and the other waits and takes the engine. An engine appears whole and
verified, or not at all, whoever is killed. Every build's reason goes to the log `facetrt`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import BackendError, BuildError, EngineError, InputError, OutputError
from sdk.runtime import builder_process, refusals
from sdk.runtime.file_lock import locked
from sdk.runtime.machine import FLAVOUR_NAMES, Machine
from sdk.runtime.manifest import PRECISIONS, manifest_path, misfits, read_engine, read_manifest
from sdk.runtime.onnx_file import OnnxFile, read_onnx

__all__ = ["BUILD_TIMEOUT_S", "CACHE_VARIABLE", "Refused", "cache_root", "engine_path", "obtain"]

log = logging.getLogger("facetrt")

CACHE_VARIABLE = "FACETRT_ENGINE_CACHE"
BUILD_TIMEOUT_S = 2 * 3600.0  # int8 on a small Jetson takes many minutes, a stuck builder must not hold an app for ever
ROOM_BYTES = 16 << 20  # free space, besides twice the model's size, without which no build is begun
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}  # also told by a builder, as text


@dataclass(frozen=True)
class Refused:
    """An engine that TensorRT did not load although its manifest fits."""

    engine_sha256: str
    reason: str


def cache_root() -> Path:
    """$FACETRT_ENGINE_CACHE or ~/.cache/facetrt/engines; it need not exist. Raises OutputError without a home."""
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache/facetrt/engines"
    except RuntimeError as error:
        raise _unwritable("a home folder for built engines", str(error)) from error


def engine_path(model: OnnxFile, precision: str, machine: Machine | None) -> Path:
    """Where the cache keeps an engine; machine None: the CPU's int8 ONNX file."""
    folder = cache_root() / f"{_slug(model.spec.name)}-{model.sha256[:12]}"
    if machine is None:
        return folder / f"cpu-{precision}.onnx"
    gpu = f"-{_slug(machine.gpu)}" if machine.gpu and machine.flavour == "tensorrt" else ""
    return folder / f"{machine.flavour}-{machine.tensorrt}-{machine.sm}{gpu}-{precision}.engine"


def obtain(
    model_path: str | Path,  # the fp32 .onnx file
    precision: str,
    *,
    machine: Machine | None,  # where it shall run: this_machine(); None: on the CPU, through onnxruntime
    device: int = 0,  # number of the GPU to build on
    refused: Refused | None = None,  # an engine that is not good enough
    timeout_s: float = BUILD_TIMEOUT_S,
) -> Path:
    """An engine of this model that fits the machine: one of the cache, else a new one, which may take minutes.

    Its content is not hashed here: read_engine() does that when it is opened. Files for the CPU are hashed.

    Raises:
        ModelError: the file is no model of ours. InputError: the precision. BackendError: no GPU to build for.
        BuildError: trt-build failed, timed out, or its gate refused (also in an earlier run: sdk.runtime.refusals).
        OutputError: the cache cannot be written.
    """
    if precision not in PRECISIONS or (machine is None and precision != "int8"):
        known = PRECISIONS if machine else ("int8",)
        raise InputError(f"a precision among {known}", repr(precision), "pass one of those")
    if machine is not None and machine.sm is None:
        raise BackendError("a machine with a GPU to build for", "one without", "see trt-build --doctor")
    wanted = _Wanted(read_onnx(model_path), precision, machine, device, refused)
    target = wanted.path
    try:
        found, _ = wanted.look()
        if found is not None:
            return found
        refusals.check(target, machine)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(
            target.with_name(f".{target.name}.lock"),
            timeout_s=timeout_s,
            on_wait=lambda: log.warning("waiting for another process that builds %s", wanted.title),
        ) as lock:
            found, reason = wanted.look()  # somebody else may have built it meanwhile
            if found is not None:
                return found
            refusals.check(target, machine)
            log.warning("building %s, which may take minutes: %s", wanted.title, reason)
            return wanted.build(lock, timeout_s=timeout_s)
    except OSError as error:
        raise _unwritable(f"to keep engines in {target.parent}", error.strerror or str(error)) from error


@dataclass(frozen=True)
class _Wanted:
    """One engine of the cache."""

    model: OnnxFile
    precision: str
    machine: Machine | None
    device: int
    refused: Refused | None

    @property
    def path(self) -> Path:
        return engine_path(self.model, self.precision, self.machine)

    @property
    def title(self) -> str:
        where = f"{FLAVOUR_NAMES[self.machine.flavour]} on {self.machine.gpu}" if self.machine else "the CPU"
        return f"{self.model.spec.name} in {self.precision} for {where}"

    def look(self) -> tuple[Path | None, str]:
        """An engine that fits, or why there is none in one sentence. Others of the folder may fit too: a
        version-compatible one outlives an update of TensorRT."""
        reasons: list[str] = []
        for path in self._candidates():
            try:
                problems = self._problems(path)
            except EngineError as error:
                problems = [f"expected {error.expected}, got {error.got}"]
            except FileNotFoundError:  # another process is just replacing it
                problems = ["it is gone"]
            if not problems:
                return path, ""
            reasons.append(f"{path.name}: {'; '.join(problems)}")
        return None, reasons[0] if reasons else "there is none in the cache yet"

    def _candidates(self) -> Iterator[Path]:
        own = self.path
        if own.exists():
            yield own
        if self.machine is not None:
            others = (path for path in own.parent.glob(f"*-{self.precision}.engine") if path != own)
            flavour = f"{self.machine.flavour}-"
            yield from sorted(others, key=lambda path: (path.name.startswith(flavour), path.name), reverse=True)

    def _problems(self, path: Path) -> list[str]:
        if self.machine is None:  # small, and onnxruntime would not look
            read_engine(path)
        manifest = read_manifest(path)
        if self.refused is not None and manifest.engine_sha256 == self.refused.engine_sha256:
            return [self.refused.reason]
        machine = self.machine or _cpu()
        onnx, size_bytes = self.model.sha256, path.stat().st_size
        return misfits(manifest, machine, onnx_sha256=onnx, precision=self.precision, engine_bytes=size_bytes)

    def build(self, lock: int, *, timeout_s: float) -> Path:
        """Run the builder in a hidden folder, verify what it made, move it into place."""
        target = self.path
        room = target.with_name(f".{target.name}.building")
        shutil.rmtree(room, ignore_errors=True)  # of a build that was killed: we hold the lock, nobody uses it
        free_bytes, needed_bytes = shutil.disk_usage(target.parent).free, ROOM_BYTES + 2 * self.model.size_bytes
        if free_bytes < needed_bytes:
            got = f"{free_bytes >> 20} MiB free in {target.parent}"
            raise _unwritable(f"{needed_bytes >> 20} MiB for a new engine", got)
        room.mkdir()
        try:
            made = room / target.name
            command = [*builder_process.builder_command(), str(self.model.path), "--precision", self.precision]
            command += ["--out", str(made), "--json", *self._where()]
            environment = {"FACETRT_TENSORRT": self.machine.flavour} if self.machine else {}
            log.info("running %s", " ".join(command))
            outcome = builder_process.run_builder(
                command, title=self.title, timeout_s=timeout_s, environment=environment, keep_open=[lock]
            )
            if outcome.code != 0:
                self._raise_failure(outcome)
            self._verify(made)
            manifest_path(target).unlink(missing_ok=True)  # first and last: an engine without it does not count
            os.replace(made, target)
            os.replace(manifest_path(made), manifest_path(target))
            refusals.forget(target)
            log.info("built %s: %s", self.title, target)
            return target
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def _where(self) -> list[str]:
        """trt-build's options for the place where the engine shall run."""
        if self.machine is None:
            return ["--target", "cpu"]
        device = ["--device", str(self.device)]
        return [*device, "--targets", str(self.machine.sm)] if self.machine.flavour == "tensorrt_rtx" else device

    def _raise_failure(self, outcome: builder_process.Outcome) -> None:
        error = outcome.failure(f"trt-build to make {self.title}")
        words = [os.strerror(number) for number in NO_ROOM]
        if outcome.code != builder_process.REFUSED and any(word in error.got for word in words):
            raise _unwritable(error.expected, error.got)
        if outcome.code == builder_process.REFUSED:
            with contextlib.suppress(OutputError):  # then the next start builds again
                refusals.remember(self.path, self.machine, error)
        raise error

    def _verify(self, made: Path) -> None:
        """Raises BuildError unless the builder's file is whole, verified and for this machine."""
        try:
            _, manifest = read_engine(made)
        except EngineError as error:
            raise BuildError(f"trt-build to leave {error.expected}", error.got, "see its log") from error
        machine = self.machine or _cpu()
        problems = misfits(manifest, machine, onnx_sha256=self.model.sha256, precision=self.precision)
        if problems:
            remedy = "check that trt-build --doctor sees the same TensorRT and GPU as your program"
            raise BuildError(f"an engine for {self.title}", "; ".join(problems), remedy)


def _cpu() -> Machine:
    """What an ONNX file of the CPU is compared with."""
    return Machine("onnxruntime", "", None, None, None, None, None, platform.machine())


def _slug(text: str) -> str:
    """Lower case, safe in a file name: "NVIDIA L4" -> "nvidia_l4"."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


def _unwritable(expected: str, got: str) -> OutputError:
    remedy = f"free some room, or set ${CACHE_VARIABLE} to a folder that can be written"
    return OutputError(expected, got, remedy)
