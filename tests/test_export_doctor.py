"""The doctor always answers: whatever is missing, crashes or hangs."""

import json
import os
import subprocess
import sys
import time

import pytest

from export import doctor, doctor_probe
from export.cli import main
from export.doctor import BROKEN, GOOD, MISSING, NOTE
from sdk.runtime import gpu

FULL = {
    "probe": {"driver": "580.65", "cuda": "13.0", "reason": "", "gpus": [
        {"index": 0, "name": "Orin", "sm": "sm_87", "memory_mib": 7620},
    ]},
    "cuda": {"version": "13.0.3"},
    "tensorrt": {"version": "10.3.0", "builds": "builds for Orin (sm_87); precision from the graph"},
    "onnx": {"version": "1.20"},
    "onnxruntime": {"version": "1.23", "providers": ["CPUExecutionProvider"]},
    "run": {"did": "onnxruntime ran a convolution"},
    "build": {"did": "TensorRT 10.3.0 built 9 bytes"},
}  # fmt: skip


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """What the children say, by job; change it to make something fail."""
    said = dict(FULL)
    monkeypatch.setattr(doctor, "_child", lambda job, *more, limit_s=0: said[job])
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", str(tmp_path / "engines"))
    monkeypatch.setenv("FACETRT_TIMING_CACHE", str(tmp_path / "timing"))
    return said


def found(findings, what):
    return next(one for one in findings if one.what.startswith(what))


def test_a_machine_with_everything(answers):
    findings = doctor.examine()
    assert {one.state for one in findings} == {GOOD} and not any(one.remedy for one in findings)
    assert found(findings, "GPU cuda:0").detail == "Orin, sm_87, 7620 MiB, driver 580.65, CUDA up to 13.0"
    assert "engines: 0 files" in found(findings, "engine cache").detail
    assert [one.what for one in findings if "self-test" in one.what] == ["self-test CPU", "self-test TensorRT"]


@pytest.mark.parametrize(
    ("job", "what", "remedy"),
    [
        ("probe", "GPU", "driver"),
        ("cuda", "cuda-python", "pip install 'facetrt[cuda]'"),
        ("tensorrt", "TensorRT", "pip install 'facetrt[tensorrt]'"),
        ("onnx", "onnx", "pip install 'facetrt[export]'"),
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("run", "self-test CPU", "install"),
        ("build", "self-test TensorRT", "install"),
    ],
)
def test_each_thing_that_is_missing_comes_with_its_command(job, what, remedy, answers):
    answers[job] = {"error": "No module named 'it'"}
    finding = found(doctor.examine(), what)
    assert finding.state in (MISSING, BROKEN) and finding.detail == "No module named 'it'" and remedy in finding.remedy


@pytest.mark.parametrize("job", ["onnx", "onnxruntime", "tensorrt"])
def test_a_package_that_is_there_and_broken_is_not_missing(job, answers):
    answers[job] = {"error": "crashed with signal 11: without a word"}
    broken = [one for one in doctor.examine() if one.state == BROKEN]
    assert broken and all("pip install --force-reinstall" in one.remedy for one in broken)
    answers[job] = {"error": f"No module named '{job}'"}
    assert {one.state for one in doctor.examine()} <= {GOOD, MISSING, NOTE}


def test_a_flavour_that_there_is_none_of(monkeypatch):
    monkeypatch.setenv("FACETRT_TENSORRT", "banana")
    error = doctor._child("build", limit_s=60.0)["error"]
    assert error.startswith("'banana' in place of a TensorRT among") and "$FACETRT_TENSORRT" in error


def test_no_gpu_says_why(answers):
    answers["probe"] = {"driver": None, "cuda": None, "gpus": [], "reason": "the driver sees no GPU"}
    assert found(doctor.examine(), "GPU").detail == "the driver sees no GPU"


def test_a_jetson_whose_environment_hides_the_systems_tensorrt(answers, monkeypatch):
    monkeypatch.setattr("sdk.runtime.machine.jetpack_release", lambda: "6.2 (L4T 36.4.3)")
    monkeypatch.setattr(doctor.sys, "prefix", "/no/environment")
    monkeypatch.setattr(doctor, "_sees_system_packages", lambda: False)
    finding = found(doctor.examine(), "JetPack")
    assert finding.state == NOTE and "--system-site-packages" in finding.remedy


def test_a_cache_that_cannot_be_written(answers, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", str(tmp_path / "file" / "engines"))
    finding = found(doctor.examine(), "engine cache")
    assert finding.state == BROKEN and "export FACETRT_ENGINE_CACHE=" in finding.remedy
    monkeypatch.setattr(doctor, "ROOM_MIB", 1 << 40)
    assert found(doctor.examine(), "timing cache").state == NOTE


def test_the_report_and_its_exit_code(answers, capsys):
    answers["tensorrt"] = {"error": "No module named 'tensorrt'"}
    assert main(["--doctor"]) == 0
    printed = capsys.readouterr().out
    assert "missing TensorRT " in printed and "-> pip install 'facetrt[tensorrt]'" in printed
    answers["run"] = answers["build"] = {"error": "nothing works"}
    assert main(["--doctor", "--json"]) == 1
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "doctor" and {one["state"] for one in event["findings"]} == {GOOD, MISSING, BROKEN}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with signal 11"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
        ("raise SystemExit('libnvinfer is broken')", "ended with exit code 1: libnvinfer is broken"),
        ("print('[1, 2]')", "answered"),
    ],
    ids=["crash", "hang", "exit", "nonsense"],
)
def test_a_child_that_fails_is_an_answer(program, words, monkeypatch, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "doctor_probe.py").write_text(program)
    monkeypatch.setattr(doctor, "PACKAGES", tmp_path)
    started_s = time.monotonic()
    assert words in doctor._child("probe", limit_s=2.0)["error"]
    assert time.monotonic() - started_s < 20


def test_real_children_answer():
    assert doctor._child("probe") == json.loads(json.dumps(doctor_probe.JOBS["probe"]()))
    assert "ran a convolution" in doctor._child("run", limit_s=60.0)["did"]
    assert "error" in doctor._child("unheard of")


def test_the_self_test_really_builds():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    answer = doctor._child("build", limit_s=60.0)
    if gpu.probe().gpus:
        assert "loaded them (lr, sr)" in answer["did"]
    else:
        assert "TensorRT-RTX" in answer["did"] and "no GPU to run them" in answer["did"]


def test_it_works_without_any_of_our_optional_packages(tmp_path):
    """An interpreter that sees only the sources and NumPy."""
    block = "onnx onnxruntime tensorrt tensorrt_rtx cuda PIL cv2"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({block.split()!r}))\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "export.cli", "--doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=doctor.PACKAGES, env=environment, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "missing onnx " in done.stdout and "pip install 'facetrt[export]'" in done.stdout
    assert "broken  self-test CPU" in done.stdout and "Traceback" not in done.stderr
