"""trt-bench as a whole on tiny networks: what is measured, what is missing, how it ends early."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import save_tiny

from benchmarks.bench import cli, ours, scenarios
from benchmarks.bench.cold import cold_start
from benchmarks.bench.foreign import OnnxRunner
from benchmarks.bench.model_files import resolve, resolve_all
from benchmarks.bench.results import load
from sdk.errors import BackendError, InputError, MissingPackageError, ModelError

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--duration", "0.02", "--threads", "1", "--no-cold", "--rivals", "none", "--quiet"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    """Probing the machine takes seconds, and has tests of its own; warm-ups and rounds here are for show."""
    monkeypatch.setattr("benchmarks.bench.beside._limits", lambda run, files: None)
    monkeypatch.setattr("benchmarks.bench.sampling.WARM_UP_S", 0.01)
    monkeypatch.setattr("benchmarks.bench.rounds.BLOCK_S", 0.002)
    monkeypatch.setattr("benchmarks.bench.rounds.LEAST_ROUNDS", 5)
    monkeypatch.setattr("benchmarks.bench.session.ALWAYS_S", 60.0)  # however busy the machine is


@pytest.fixture
def tiny(tmp_path):
    save_tiny(tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def foreign(path, *, free=True):
    """A convolution without our metadata, its height and width free or fixed."""
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    size = ["n", 3, "h", "w"] if free else ["n", 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_network_of_ours_in_all_scenarios(tiny, tmp_path, capsys):
    out, table = tmp_path / "r.json", tmp_path / "r.csv"
    code = cli.main(
        [
            str(tiny),
            "--batches",
            "1,8",
            *QUICK,
            "--faces",
            "3",
            "--target-ms",
            "60000",
            "--json",
            str(out),
            "--csv",
            str(table),
        ]
    )
    found = load(out)
    assert code == 0 and found.complete and found.models[0].source == "facetrt"
    points = {(m.subject.split("/")[3], m.scenario, m.batch) for m in found.measurements}
    both = {(way, s, b) for way in ("sdk", "bare") for s, b in [("SingleStream", 1), ("Offline", 1), ("Offline", 8)]}
    assert points == both | {("sdk", "MultiStream", 3), ("sdk", "Server", 1)}
    assert all(m.latency_ms and m.error is None and m.threads == 1 for m in found.measurements)
    stages = next(m.stages_ms for m in found.measurements if m.scenario == "Offline" and "sdk" in m.subject)
    assert {"crop", "engine", "decode", "rest"} <= set(stages)
    names = [(r.name.split(",")[0], r.batch) for r in found.ratios]
    assert names == [
        (name, b) for b in (1, 8) for name in ("SDK end to end over bare network", "A/A: bare network over itself")
    ]
    assert found.command.startswith("trt-bench ") and found.source
    assert "SingleStream" in capsys.readouterr().out and table.read_text().count("\n") == 9


def test_what_cannot_be_measured_is_listed(tiny, tmp_path):
    out = tmp_path / "r.json"
    words = ["--precisions", "fp16,int8,fp32", "--backends", "onnxruntime,tensorrt", "--batches", "1", *QUICK]
    assert cli.main([str(tiny), *words, "--scenarios", "offline", "--json", str(out)]) == 0
    found = load(out)
    told = {one.what: one.reason for one in found.missing}
    assert "fp32 or int8" in told["tiny fp16 with onnxruntime"] and "trt-build" in told["tiny int8 with onnxruntime"]
    assert "tiny fp32 with tensorrt" in told or any("tensorrt" in s.backend for s in found.subjects)
    assert {m.scenario for m in found.measurements} == {"Offline"}


def test_a_file_that_is_not_ours_has_its_engine_measured(tmp_path):
    out, path = tmp_path / "r.json", foreign(tmp_path / "other.onnx")
    words = [str(path), "--batches", "1,2", *QUICK, "--json", str(out)]
    assert cli.main([*words, "--shape", "x=1x3x16x16"]) == 0
    found = load(out)
    assert found.models[0].source == "foreign" and {m.batch for m in found.measurements} == {1, 2}
    assert [r.name.startswith("A/A") for r in found.ratios] == [True, True]
    assert cli.main(words) == 1  # sizes unknown: every point says what to pass
    assert all("--shape x=" in m.error for m in load(out).measurements)


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    runner = OnnxRunner(resolve(str(foreign(tmp_path / "a.onnx", free=False))), shapes={"x": (1, 3, 9, 9)}, threads=1)
    with pytest.raises(InputError, match="shape that fits"):
        runner.query(1)
    runner = OnnxRunner(resolve(str(tmp_path / "a.onnx")), shapes={"z": (1, 3, 9, 9)}, threads=1)
    with pytest.raises(InputError, match="shapes of the inputs x"):
        runner.query(1)


def test_out_of_memory_marks_the_point_and_the_sweep_goes_on(tiny, tmp_path, monkeypatch):
    whole = ours.SdkRunner.query

    def query(self, faces):
        if faces == 2:
            raise MemoryError("9 GiB")
        return whole(self, faces)

    monkeypatch.setattr(ours.SdkRunner, "query", query)
    out = tmp_path / "r.json"
    assert cli.main([str(tiny), "--batches", "1,2,4", "--scenarios", "Offline", *QUICK, "--json", str(out)]) == 0
    found = load(out)
    errors = {m.batch: m.error for m in found.measurements if "/sdk/" in m.subject}
    assert errors == {1: None, 2: "out of memory: 9 GiB", 4: None}
    assert {r.batch for r in found.ratios} == {1, 4}
    assert any("batch 2" in one.what and "out of memory" in one.reason for one in found.missing)


def test_interrupted_in_the_middle_it_writes_what_there_is(tiny, tmp_path, monkeypatch, capsys):
    measured = scenarios.measure

    def measure(runner, point, **more):
        if point.faces == 8:
            raise KeyboardInterrupt
        return measured(runner, point, **more)

    monkeypatch.setattr("benchmarks.bench.session.measure", measure)
    out = tmp_path / "r.json"
    assert cli.main([str(tiny), "--scenarios", "Offline", *QUICK, "--json", str(out)]) == 130
    found = load(out)
    assert not found.complete and [m.batch for m in found.measurements] == [1]
    assert "nterrupted" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_file(tiny, tmp_path, number):
    out = tmp_path / "r.json"
    command = [sys.executable, "-m", "benchmarks.bench.cli", str(tiny), *QUICK[2:-1], "--duration", "0.3"]
    process = subprocess.Popen(
        [*command, "--json", str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stderr is not None and process.stderr.readline().startswith("[")  # a point is done
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in told
    assert not load(out).complete and load(out).measurements


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no_such_net"], "a model among picoface_x8"),
        (["picoface_x8", "--duration", "0"], "duration above 0"),
        (["picoface_x8", "--batches", "0"], "--batches from 1"),
        (["picoface_x8", "--batches", "1,²"], "--batches from 1"),
        (["picoface_x8", "--batches", "9" * 40], "--batches from 1"),
        (["picoface_x8", "--scenarios", "Onine"], "--scenarios of"),
        (["picoface_x8", "--precisions", ","], "words after --precisions"),
        (["picoface_x8", "--backends", "cuda"], "--backends of"),
        (["picoface_x8", "--rivals", "sdk"], "--rivals auto"),
        (["picoface_x8", "--threads", "-1"], "--threads from 0"),
        (["picoface_x8", "--faces", "0"], "--faces from 1"),
        (["picoface_x8", "--target-ms", "-3"], "--target-ms above 0"),
        (["picoface_x8", "--shape", "x"], "--shape as"),
        (["picoface_x8", "--predict", "abacus"], "a device among"),
        (["picoface_x8", "--json", "/proc/no/file.json"], "a file to write to"),
        (["picoface_x8", "--json", "a.json", "--csv", "a.json"], "different files"),
        (["compare", "/no/a.json", "/no/b.json"], "result file"),
    ],
)
def test_wrong_input_ends_at_once_with_what_to_do(words, told, capsys):
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    assert told in message and "; got " in message and "Traceback" not in message


def test_files_that_are_no_model(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x08garbage")
    (tmp_path / "a.engine").write_bytes(b"")
    for name in ("a.onnx", "a.engine"):
        with pytest.raises(ModelError):
            resolve(str(tmp_path / name))
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "b"):
        foreign(folder / "same.onnx")
    with pytest.raises(InputError, match="different names"):
        resolve_all([str(tmp_path / "same.onnx"), str(tmp_path / "b" / "same.onnx")])
    assert len(resolve_all([str(tmp_path / "same.onnx")] * 2)) == 1


def test_a_paper_network_is_written_once_and_needs_torch(tmp_path, monkeypatch):
    calls = []

    def run(command, **more):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "ModuleNotFoundError: No module named 'torch'")

    monkeypatch.setenv("FACETRT_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("benchmarks.bench.model_files.subprocess.run", run)
    with pytest.raises(MissingPackageError, match="torch"):
        resolve("jasrnet")
    save_tiny(Path(calls[0][-1]))
    assert resolve("jasrnet").source == "paper" and len(calls) == 1


def test_the_cold_start_of_a_child_process(tiny):
    found = cold_start("a/b", str(tiny), "onnxruntime", "fp32", lr_size=16, threads=1, turns=1)
    numbers = dataclasses.asdict(found)
    assert numbers["capture_ms"] is None and found.import_ms > 10 and found.load_ms > 0 and found.first_run_ms > 0
    with pytest.raises(InputError, match="1 turn"):
        cold_start("a/b", str(tiny), "onnxruntime", "fp32", lr_size=16, turns=0)
    with pytest.raises(BackendError, match="process of its own"):
        cold_start("a/b", str(tiny) + "x", "onnxruntime", "fp32", lr_size=16, turns=1)
