"""--scaling, --predict and --profile on a tiny network, and threads that share one enhancer."""

import json
import threading
import time

import pytest
from bench_clock import FakeTime
from tiny_onnx import save_tiny

from benchmarks.bench import cli, sweeps
from benchmarks.bench.results import load
from benchmarks.bench.sampling import Clock

QUICK = ["--duration", "0.02", "--threads", "1", "--no-cold", "--rivals", "none", "--quiet", "--scenarios", "Offline"]


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    monkeypatch.setattr("benchmarks.bench.beside._limits", lambda run, files: None)
    monkeypatch.setattr("benchmarks.bench.sampling.WARM_UP_S", 0.01)
    monkeypatch.setattr("benchmarks.bench.rounds.BLOCK_S", 0.002)
    monkeypatch.setattr("benchmarks.bench.rounds.LEAST_ROUNDS", 5)
    monkeypatch.setattr("benchmarks.bench.session.ALWAYS_S", 60.0)  # however busy the machine is
    for name in ("FACES", "BATCHES", "STREAMS"):
        monkeypatch.setattr(sweeps, name, getattr(sweeps, name)[:3])
    monkeypatch.setattr(sweeps, "NEVER_TOO_LONG_S", 60.0)
    monkeypatch.setattr(sweeps, "FRAMES_HW", ((480, 640), (720, 1280)))


def test_every_curve_is_measured(tmp_path):
    save_tiny(tmp_path / "tiny.onnx")
    out, trace = tmp_path / "r.json", tmp_path / "trace.json"
    words = [str(tmp_path / "tiny.onnx"), "--batches", "1", *QUICK, "--json", str(out)]
    assert cli.main([*words, "--scaling", "all", "--profile", str(trace), "--predict", "orin-nano,h200"]) == 0
    found = load(out)
    curves = {kind: [p.x for p in found.scaling if p.kind == kind] for kind in {p.kind for p in found.scaling}}
    assert curves["faces"] == [0, 1, 2] and curves["streams"] == [1, 2, 4] and len(curves["frame"]) == 2
    assert curves["batch-memory"] == curves["batch-throughput"] == [1, 2, 4] and curves["threads"][0] == 1
    assert all(p.y > 0 for p in found.scaling if p.kind != "batch-memory")
    assert any(event.get("name") == "crop" for event in json.loads(trace.read_text())["traceEvents"])
    assert {p.device for p in found.predictions} == {"orin-nano", "h200"} or any(
        "predictions" in one.what for one in found.missing
    )


def test_a_sweep_ends_where_a_query_takes_too_long(tmp_path, monkeypatch):
    save_tiny(tmp_path / "tiny.onnx")
    out = tmp_path / "r.json"
    monkeypatch.setattr(sweeps, "_ms", lambda query, options, clock: None)
    words = [str(tmp_path / "tiny.onnx"), "--batches", "1", *QUICK, "--json", str(out)]
    assert cli.main([*words, "--scaling", "faces"]) == 0
    found = load(out)
    assert not found.scaling and any("too long" in one.reason for one in found.missing)


def test_threads_ask_side_by_side_and_their_errors_come_back():
    seen, lock = set(), threading.Lock()

    def query():
        with lock:
            seen.add(threading.get_ident())
        time.sleep(0.001)  # lets the others in

    assert sweeps.faces_per_s(query, 3, Clock(), duration_s=1.0) > 0
    assert 2 <= len(seen) <= 4  # the one that warms up, and those of the three that a busy machine lets in

    def broken():
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("9 GiB")
        fake.query(0.01)()

    fake = FakeTime()
    with pytest.raises(MemoryError):
        sweeps.faces_per_s(broken, 2, fake.clock, duration_s=0.05)
