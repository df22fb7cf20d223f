"""trt-build --doctor: what this machine can build and run, what is missing, and the command that installs it.

Libraries that crash or hang on some machines without a driver are asked in child processes with a time limit, so that
the doctor itself always answers. The self-test builds a tiny engine and runs a tiny graph, in a child too.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Finding", "examine", "report"]

PROBE_S = 20.0  # of one child; imports of TensorRT take up to some seconds on a Jetson
SELF_TEST_S = 60.0  # its limit; it takes a few seconds
DIES_S = 2.0  # after being killed
PACKAGES = Path(__file__).resolve().parents[1]
GOOD, MISSING, BROKEN, NOTE = "ok", "missing", "broken", "note"
ROOM_MIB = 500  # below that builds start to fail
PYTHON = (3, 10)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: str  # GOOD | MISSING | BROKEN | NOTE
    detail: str
    remedy: str = ""  # a command, where something is missing or broken


def report(*, as_json: bool = False) -> int:
    """Writes the findings to stdout; exit code 0 when some engine can be built or run here, else 1."""
    if as_json:
        findings = examine()
        sys.stdout.write(json.dumps({"event": "doctor", "findings": [asdict(one) for one in findings]}) + "\n")
    else:
        findings = examine(on_finding=_write)
    useful = any(one.what.startswith("self-test") and one.state == GOOD for one in findings)
    return 0 if useful else 1


def _write(finding: Finding) -> None:
    sys.stdout.write(f"{finding.state:8}{finding.what:22}{finding.detail}\n")
    if finding.remedy:
        sys.stdout.write(f"{'':8}{'':22}-> {finding.remedy}\n")
    sys.stdout.flush()


def examine(*, on_finding: Callable[[Finding], None] | None = None) -> list[Finding]:
    """All findings, told one by one as they come. Never raises, never hangs."""
    findings: list[Finding] = []
    for look in (_python, _gpu, _cuda_python, _jetpack, _tensorrts, _onnx, _providers, _caches, _self_tests):
        for finding in look():
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return findings


def _python() -> list[Finding]:
    detail = f"{platform.python_version()}, {platform.machine()}, {sys.executable}"
    good = sys.version_info >= PYTHON
    return [Finding("Python", GOOD if good else BROKEN, detail, "" if good else "install Python 3.10 or newer")]


def _gpu() -> list[Finding]:
    probed = _child("probe")
    if "error" in probed:
        return [Finding("GPU", BROKEN, probed["error"], "reinstall the NVIDIA driver, then restart the machine")]
    if not probed["gpus"]:
        remedy = "with an NVIDIA GPU in it: sudo ubuntu-drivers install, then restart (Jetson: flash JetPack)"
        return [Finding("GPU", MISSING, probed["reason"], remedy)]
    driver = f"driver {probed['driver'] or 'of unknown release'}, CUDA up to {probed['cuda']}"
    return [
        Finding(f"GPU cuda:{one['index']}", GOOD, f"{one['name']}, {one['sm']}, {one['memory_mib']} MiB, {driver}")
        for one in probed["gpus"]
    ]


def _cuda_python() -> list[Finding]:
    probed = _child("cuda")
    if "error" in probed:
        return [Finding("cuda-python", MISSING, probed["error"], "pip install 'facetrt[cuda]'")]
    return [Finding("cuda-python", GOOD, probed["version"])]


def _jetpack() -> list[Finding]:
    from sdk.runtime.machine import jetpack_release

    release = jetpack_release()
    if release is None:
        return []
    apart = "" if sys.prefix == sys.base_prefix or _sees_system_packages() else APART
    return [Finding("JetPack", NOTE if apart else GOOD, release, apart)]


APART = "python3 -m venv --system-site-packages ENV (TensorRT belongs to the system's Python)"


def _sees_system_packages() -> bool:
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return "include-system-site-packages = true" in text


def _tensorrts() -> list[Finding]:
    from sdk.runtime.trt_api import FLAVOURS, INSTALL, TITLES

    findings: list[Finding] = []
    for flavour in FLAVOURS:
        probed = _child("tensorrt", flavour)
        if "error" in probed:
            findings.append(_lacking(TITLES[flavour], probed["error"], INSTALL[flavour]))
        else:
            findings.append(Finding(TITLES[flavour], GOOD, f"{probed['version']}; {probed['builds']}"))
    return findings


def _lacking(what: str, error: str, install: str) -> Finding:
    """A package that is not there, or is and does not work."""
    if "No module named" in error:
        return Finding(what, MISSING, error, install)
    return Finding(what, BROKEN, error, install.replace("pip install", "pip install --force-reinstall", 1))


def _onnx() -> list[Finding]:
    probed = _child("onnx")
    if "error" in probed:
        return [_lacking("onnx", probed["error"], "pip install 'facetrt[export]'")]
    return [Finding("onnx", GOOD, probed["version"])]


def _providers() -> list[Finding]:
    probed = _child("onnxruntime")
    if "error" in probed:
        return [_lacking("onnxruntime", probed["error"], "pip install onnxruntime")]
    return [Finding("onnxruntime", GOOD, f"{probed['version']}: {', '.join(probed['providers'])}")]


def _caches() -> list[Finding]:
    from export.timing import ENVIRONMENT, timing_root
    from sdk.errors import FaceTRTError
    from sdk.runtime.engine_cache import CACHE_VARIABLE, cache_root

    findings: list[Finding] = []
    for what, root, variable in (
        ("engine cache", cache_root, CACHE_VARIABLE),
        ("timing cache", timing_root, ENVIRONMENT),
    ):
        try:
            findings.append(_cache(what, root(), variable))
        except (FaceTRTError, OSError, RuntimeError) as error:
            findings.append(Finding(what, BROKEN, str(error), f"export {variable}=/some/writable/folder"))
    return findings


def _cache(what: str, root: Path, variable: str) -> Finding:
    nearest = root
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    remedy = f"export {variable}=/some/writable/folder"
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(what, BROKEN, f"{root}: {nearest} cannot be written to", remedy)
    room_mib = shutil.disk_usage(nearest).free // 2**20
    files = sum(1 for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0
    detail = f"{root}: {files} files, {room_mib} MiB free"
    return Finding(what, GOOD if room_mib >= ROOM_MIB else NOTE, detail, "" if room_mib >= ROOM_MIB else remedy)


def _self_tests() -> list[Finding]:
    findings: list[Finding] = []
    for what, job in (("self-test CPU", "run"), ("self-test TensorRT", "build")):
        started_s = time.monotonic()
        probed = _child(job, limit_s=SELF_TEST_S)
        took = f" ({time.monotonic() - started_s:.1f} s)"
        if "error" in probed:
            findings.append(Finding(what, BROKEN, probed["error"], "install what is missing above"))
        else:
            findings.append(Finding(what, GOOD, probed["did"] + took))
    return findings


def _child(*job: str, limit_s: float = PROBE_S) -> dict[str, Any]:
    """The answer of export.doctor_probe in a process of its own; {"error": why} when it fails, crashes or hangs."""
    paths = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    command: Sequence[str] = [sys.executable, "-m", "export.doctor_probe", *job]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            cwd=PACKAGES,
        )
    except OSError as error:
        return {"error": f"cannot start {sys.executable}: {error.strerror}"}
    try:
        out, err = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck inside a driver it does not even die; leave it
            child.communicate(timeout=DIES_S)
        return {"error": f"no answer within {limit_s:.0f} s"}
    if child.returncode < 0:
        return {"error": f"crashed with signal {-child.returncode}: {_last_line(err)}"}
    try:
        answer = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": f"ended with exit code {child.returncode}: {_last_line(err)}"}
    return answer if isinstance(answer, dict) else {"error": f"answered {answer!r}"}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["without a word"])[-1][:200]
