"""sdk.runtime.engine_cache when builders fail, hang, are killed or come in twos, and when there is no room."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import fake_builder
import pytest
from test_sdk_runtime_engine_cache import ORIN, get, left
from tiny_onnx import save_tiny

import sdk
from sdk.errors import BuildError, OutputError
from sdk.runtime import builder_process, engine_cache, refusals
from sdk.runtime.engine_cache import engine_path
from sdk.runtime.manifest import read_engine
from sdk.runtime.onnx_file import read_onnx

ROOT = Path(__file__).resolve().parents[1]
STARTED: list[subprocess.Popen] = []
PROGRAM = """
import json, sys
sys.path[:0] = [{tests!r}]
import fake_builder
from sdk.runtime import builder_process, engine_cache
from sdk.runtime.machine import Machine
builder_process.builder_command = fake_builder.command
print(engine_cache.obtain({model!r}, "int8", machine=Machine(**{machine!r}), timeout_s=60.0), flush=True)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    fake_builder.install(monkeypatch, tmp_path, ORIN)
    yield save_tiny(tmp_path / "tiny.onnx")
    while STARTED:  # what a failed test leaves behind would be a warning, hence an error, in another one
        with STARTED.pop() as process:
            process.kill()


@pytest.fixture
def runs(tmp_path):
    return lambda: fake_builder.runs_of(tmp_path)


def start(model, **options):
    """Another process that wants the engine."""
    program = PROGRAM.format(tests=str(ROOT / "tests"), model=str(model), machine=vars(ORIN))
    command = [sys.executable, "-W", "error", "-c", program]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(subprocess.Popen(command, cwd=ROOT, **{**pipes, **options}))
    return STARTED[-1]


def until(condition, seconds=20.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_builders_at_once_build_once(model, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "slow")
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    with logs[0].open("w") as first, logs[1].open("w") as second:
        both = [start(model, stderr=first), start(model, stderr=second)]
    until(lambda: sum("waiting for another process that builds tiny_x8" in log.read_text() for log in logs) == 1)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], [log.read_text() for log in logs]
    assert said[0] == said[1] and read_engine(said[0].strip()) and len(runs()) == 1
    assert len(left(tmp_path)) == 2


def test_three_threads_at_once_build_once(model, runs, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "slow")
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(model))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: caplog.text.count("waiting for another process") == 2)
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3 and len(set(found)) == 1 and len(runs()) == 1


def test_kill_9_of_the_app_in_the_middle(model, runs, monkeypatch, tmp_path):
    """The builder dies with it, nothing counts as an engine, and the next app builds at once and clears up."""
    monkeypatch.setenv("FAKE_MODE", "half")
    app = start(model)
    until(lambda: runs() and len(left(tmp_path)) == 2)  # the hidden folder and half a file in it
    app.send_signal(signal.SIGKILL)
    app.communicate(timeout=20)
    until(lambda: not alive(runs()[0]))
    assert all("building" in str(path) for path in (tmp_path / "cache").rglob("*.engine"))
    monkeypatch.setenv("FAKE_MODE", "ok")
    started_s = time.monotonic()
    assert read_engine(get(model)) and time.monotonic() - started_s < 10  # no stale lock
    assert len(left(tmp_path)) == 2 and not any(name.endswith(".building") for name in left(tmp_path))


def test_kill_9_of_the_builder_in_the_middle(model, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "half")
    app = start(model)
    until(lambda: runs() and len(left(tmp_path)) == 2)
    os.kill(runs()[0], signal.SIGKILL)
    _, errors = app.communicate(timeout=20)
    assert app.returncode == 1 and "BuildError" in errors and "ended by SIGKILL (often: out of memory" in errors
    assert left(tmp_path) == []
    monkeypatch.setenv("FAKE_MODE", "ok")
    assert read_engine(get(model))


def test_ctrl_c_ends_the_builder(model, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "half")
    app = start(model)
    until(lambda: runs() and len(left(tmp_path)) == 2)
    app.send_signal(signal.SIGINT)
    _, errors = app.communicate(timeout=20)
    assert app.returncode != 0 and "KeyboardInterrupt" in errors
    assert not alive(runs()[0]) and left(tmp_path) == []


@pytest.mark.parametrize("mode", ["half", "deaf"])
def test_a_builder_that_never_ends(model, runs, monkeypatch, tmp_path, mode):
    monkeypatch.setattr(builder_process, "PATIENCE_S", 0.3)
    monkeypatch.setenv("FAKE_MODE", mode)
    with pytest.raises(BuildError, match="to be built within 2 s; got no end by then"):
        get(model, timeout_s=2.0)
    assert not any(map(alive, runs())) and left(tmp_path) == []


def test_a_lock_that_is_never_given_back(model, tmp_path):
    target = engine_path(read_onnx(model), "int8", ORIN)
    target.parent.mkdir(parents=True)
    with (
        engine_cache.locked(target.with_name(f".{target.name}.lock"), timeout_s=1, on_wait=lambda: None),
        pytest.raises(BuildError, match="the engine's lock; got another process holding"),
    ):
        get(model, timeout_s=0.3)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("fail", "expected an engine; got node /conv_7 with the operator ai.onnx::Nonsense; do something else"),
        ("crash", "trt-build to make tiny_x8 in int8 .* ended by SIGSEGV; its last words: terminate called"),
        ("killed", "ended by SIGKILL"),
        ("garbage", r"exit code 7 without a reason; its last words"),
        ("pipes", "exit code 4 without a reason"),
        ("nothing", "got no such file"),
        ("no manifest", "a manifest tensorrt-.* beside the engine"),
        ("truncated", "bytes, its manifest says 9999"),
        ("bad gate", "its gate failed and the loss was not allowed"),
        ("other gpu", r"built for sm_75 \(Orin\), this GPU is sm_87; check that trt-build --doctor"),
    ],
)
def test_a_builder_that_fails(model, runs, monkeypatch, tmp_path, mode, words):
    monkeypatch.setenv("FAKE_MODE", mode)
    with pytest.raises(BuildError, match=words):
        get(model)
    until(lambda: not any(map(alive, runs())))  # nor what it started
    assert left(tmp_path) == []
    monkeypatch.setenv("FAKE_MODE", "ok")
    assert read_engine(get(model))


def test_the_gates_refusal_is_remembered(model, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "refuse")
    for _ in range(3):
        with pytest.raises(BuildError, match="50 dB; got PSNR 31.2 dB"):
            get(model)
    assert len(runs()) == 1 and left(tmp_path) == ["tensorrt-10.3.0-sm_87-orin-int8.engine.refused.json"]
    monkeypatch.setattr(sdk, "__version__", "99.0")  # another release tries again
    monkeypatch.setenv("FAKE_MODE", "ok")
    assert read_engine(get(model)) and len(runs()) == 2
    assert not any("refused" in name for name in left(tmp_path))


def test_a_damaged_refusal_counts_as_none(model, runs, monkeypatch, tmp_path, caplog):
    path = refusals.refusal_path(engine_path(read_onnx(model), "int8", ORIN))
    path.parent.mkdir(parents=True)
    for text in (b"\xff", b"{", json.dumps({"refusal_version": 1}).encode()):
        path.write_bytes(text)
        refusals.check(path.with_name(path.name.removesuffix(".refused.json")), ORIN)
    assert caplog.text.count("ignoring") == 3 and read_engine(get(model)) and not path.exists()


@pytest.mark.parametrize("place", ["/proc/facetrt", "file/below"])
def test_cache_that_cannot_be_written(model, runs, monkeypatch, tmp_path, place):
    """Root may write into read-only folders: /proc, and a path through a file, refuse root too."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", str(tmp_path / place))
    with pytest.raises(OutputError, match=r"to keep engines in .*; got .*\$FACETRT_ENGINE_CACHE to a folder"):
        get(model)
    assert runs() == []


def test_cache_read_only(model):
    path = get(model)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o555)
    try:
        if os.access(path.parent, os.W_OK):
            pytest.skip("this user (root) may write into read-only folders; test_cache_that_cannot_be_written does")
        assert get(model) == path  # what is there is used
        with pytest.raises(OutputError, match=r"Permission denied; .*\$FACETRT_ENGINE_CACHE"):
            get(model, "fp16")
    finally:
        for folder in (path.parent.parent, path.parent):
            folder.chmod(0o755)


def test_cache_full(model, runs, monkeypatch, tmp_path):
    """Before a build of minutes begins, and when the disk fills up in the middle of one."""
    monkeypatch.setenv("FAKE_MODE", "full")
    with pytest.raises(OutputError, match=r"No space left on device\); .*\$FACETRT_ENGINE_CACHE"):
        get(model)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(OutputError, match=r"expected 16 MiB for a new engine; got 1 MiB free in .*\$FACETRT_ENGINE"):
        get(model)
    assert len(runs()) == 1 and left(tmp_path) == []


def test_builders_that_cannot_start(model, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(BuildError, match="pass the .engine file"):
        builder_process.builder_command()
    monkeypatch.undo()
    assert builder_process.builder_command() == [sys.executable, "-m", "export.cli"]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(BuildError, match="to start the builder of it; got .*No such file"):
        builder_process.run_builder(["x"], title="it", timeout_s=1, environment={})
