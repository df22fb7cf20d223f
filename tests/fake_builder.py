"""Stands for trt-build in the tests of the engine cache: `python fake_builder.py MODEL --precision P --out PATH ...`.

$FAKE_MODE says what it does, $FAKE_MACHINE (JSON of a Machine) what it builds for, $FAKE_RUNS names a file that gets a
line a run: its process id.
"""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sdk.runtime import builder_process
from sdk.runtime.manifest import Manifest, write_manifest
from sdk.runtime.onnx_file import read_onnx

HERE = Path(__file__).resolve()
PLAN = b"fake plan " * 100


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def fail(code, got, expected="an engine"):
    say(event="error", expected=expected, got=got, remedy="do something else", exit=code)
    sys.exit(code)


def command():
    """What a test puts in place of builder_process.builder_command()."""
    return [sys.executable, str(HERE)]


def install(monkeypatch, tmp_path, machine, mode="ok"):
    """A cache at tmp_path/cache, and this builder in the place of the real one, for our children too."""
    monkeypatch.setattr(builder_process, "builder_command", command)
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_MODE", mode)
    monkeypatch.setenv("FAKE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(machine)))
    monkeypatch.setenv("PYTHONWARNINGS", "error")


def runs_of(tmp_path):
    """Process ids of the builders that ran."""
    return [int(line) for line in (tmp_path / "runs").read_text().split()] if (tmp_path / "runs").exists() else []


def write_engine(path, model, precision, machine, **changes):
    """An engine with its manifest, as the real builder leaves them."""
    plan = changes.pop("plan", PLAN + str(os.getpid()).encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plan)
    values = dict(
        facetrt="0", created="2026-11-20T12:00:00Z", command="fake", spec=json.loads(model.spec.to_json()),
        onnx_sha256=model.sha256, engine_sha256=hashlib.sha256(plan).hexdigest(), engine_bytes=len(plan),
        precision=precision, build_s=0.1, gate={"ran": "engine", "passed": True, "allowed_loss": False}, **machine,
    )  # fmt: skip
    return write_manifest(path, Manifest(**{**values, **changes}))


def end_badly(mode, out):
    """Builders that do not come to an end of their own."""
    if mode == "refuse":
        fail(3, "PSNR 31.2 dB; PSNR nan dB", "int8 within the gate: 50 dB")
    elif mode == "fail":
        fail(1, "node /conv_7 with the operator ai.onnx::Nonsense")
    elif mode == "full":
        fail(1, f"{out} ({os.strerror(28)})", "to write the engine")
    elif mode == "crash":
        sys.stderr.write("terminate called\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    elif mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "garbage":
        sys.stdout.buffer.write(b'\xff\xfe{"event": {]\n{"event": 5}\n[1, 2]\nnull\n' + b"x" * (3 << 20))
        sys.exit(7)
    elif mode in ("half", "deaf"):
        out.write_bytes(PLAN[:50])
        if mode == "deaf":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif mode == "pipes":  # what it started outlives it and holds its output
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(os.environ["FAKE_RUNS"], "a") as file:
            file.write(f"{child.pid}\n")
        sys.exit(4)


def main(mode, arguments):
    with open(os.environ["FAKE_RUNS"], "a") as file:
        file.write(f"{os.getpid()}\n")
    model, precision = read_onnx(arguments[0]), arguments[arguments.index("--precision") + 1]
    out, machine = Path(arguments[arguments.index("--out") + 1]), json.loads(os.environ["FAKE_MACHINE"])
    say(event="stage", name="build", index=2, of=5, eta_s=40.0)
    say(event="progress", name="build", fraction=0.5, eta_s=20)
    end_badly(mode, out)
    changes = {"bad gate": dict(gate={"ran": "engine", "passed": False, "allowed_loss": False}),
               "other gpu": dict(sm="sm_75"), "truncated": dict(engine_bytes=9999)}.get(mode, {})  # fmt: skip
    if mode == "slow":  # until the test has seen what it wants to see
        go, end_s = Path(os.environ["FAKE_RUNS"]).with_name("go"), time.monotonic() + 30
        while not go.exists() and time.monotonic() < end_s:
            time.sleep(0.02)
    elif mode == "cpu":  # a file that onnxruntime opens
        changes = dict(plan=model.path.read_bytes())
    elif mode == "tensorrt":  # a plan that fake_tensorrt runs as onnxruntime runs the model
        import fake_tensorrt

        onnx = base64.b64encode(model.path.read_bytes()).decode()
        changes = dict(plan=fake_tensorrt.make_plan(sizes=(16, 64), onnx=onnx))
    if mode == "no manifest":
        out.write_bytes(PLAN)
    elif mode != "nothing":
        write_engine(out, model, precision, machine, **changes)
    say(event="done", engine=str(out), manifest={})


if __name__ == "__main__":
    main(os.environ["FAKE_MODE"], sys.argv[1:])
