"""trt-build as a process: signals, packages that are absent or broken, and nowhere to write to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_network import save_small

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tmp_path):
    return save_small(tmp_path / "small.onnx")


@pytest.mark.parametrize(("body", "got"), [(None, "onnxruntime"), ("", "quantization"), ("1 / 0", "ZeroDivisionError")])
def test_a_missing_or_broken_extra_is_named(body, got, tmp_path, model):
    if body is not None:
        (tmp_path / "onnxruntime").mkdir()
        (tmp_path / "onnxruntime" / "__init__.py").write_text(body)
    absent = "sys.modules['onnxruntime'] = None; " if body is None else ""
    program = f"import sys; {absent}from export import cli; sys.exit(cli.main([{str(model)!r}, '--targets', '86']))"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "expected the package onnxruntime for building engines" in done.stderr
    assert got in done.stderr and "pip install 'facetrt[export]'" in done.stderr


def test_ctrl_c_inside_an_import_is_ctrl_c(tmp_path, model):
    """A compiled module makes an ImportError of it."""
    (tmp_path / "onnxruntime").mkdir()
    body = (
        "try:\n    raise KeyboardInterrupt\nexcept BaseException as error:\n    raise ImportError('no init') from error"
    )
    (tmp_path / "onnxruntime" / "__init__.py").write_text(body)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "export.cli", str(model), "--targets", "86"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and "got an interruption" in done.stderr


@pytest.mark.parametrize("where", [">&-", "2>&-", "> /dev/full"])
def test_nowhere_to_write_to_is_no_traceback(where, model, tmp_path):
    command = f"{sys.executable} -m export.cli {model} --batches five --json {where}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stderr


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "draw faces"),
        (signal.SIGTERM, "draw faces"),
        (signal.SIGKILL, "draw faces"),
        (signal.SIGINT, "build"),
        (signal.SIGTERM, "build"),
    ],
)
def test_signals_end_the_process_and_leave_no_file(number, stage, tmp_path):
    command = [sys.executable, "-m", "export.cli", "picoface_x8", "--targets", "sm_86", "--json"]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "x.engine")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while json.loads(process.stdout.readline()).get("name") != stage:
        pass
    started_s = time.monotonic()
    process.send_signal(number)
    rest = process.communicate(timeout=60)[0].splitlines()
    assert time.monotonic() - started_s < 30 and os.listdir(tmp_path) == []
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert number == signal.SIGKILL or json.loads(rest[-1])["exit"] == 130


def test_help_is_quick_and_names_the_exit_codes():
    program = "import sys; from export import cli; sys.argv = ['trt-build', '--help']; cli.command()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "3 the gate refused the engine" in done.stdout
    heavy = "import sys, export.cli; assert not {'onnx', 'onnxruntime', 'tensorrt_rtx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, check=True, timeout=60)
