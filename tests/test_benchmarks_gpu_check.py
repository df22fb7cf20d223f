"""The GPU check, run from end to end on the fakes: every check that can pass does, and wrong engines are found."""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import fake_host
import fake_tensorrt
import numpy as np
import pytest
from fake_host import faces
from fake_tensorrt import make_plan, toy, toy_spec

from benchmarks import gpu_arrays, gpu_check, gpu_engines, gpu_runtime
from sdk.runtime import gpu
from sdk.runtime.trt_api import TensorRT

ROOT = Path(__file__).resolve().parents[1]
LAYERS = {
    "fp32": ["Float", "Float"],
    "fp16": ["Half", "Half"],
    "int8": ["Half", "Int8"],
}


def write_kit(folder):
    """A kit of the fake network, as export.gpu_kit lays it out; the "graphs" say their precision."""
    folder.mkdir()
    batch = faces(6)
    outputs = toy(batch)
    hr = np.floor(np.clip(outputs["sr"], 0, 1) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
    points = np.zeros((6, 1, 2), np.float32)
    np.savez(folder / "toy.npz", batch=batch, hr=hr, points=points, **{f"out_{k}": v for k, v in outputs.items()})
    graphs = []
    for precision in LAYERS:
        (folder / f"{precision}.onnx").write_text(precision)
        asked = {"a": "fp16" if precision == "int8" else precision, "b": precision}
        graphs.append(dict(model="toy", precision=precision, dialects=["typed", "flags"], file=f"{precision}.onnx",
                           asked=asked, flags=[], nodes=["a", "b"],
                           profiles=[{"lr": [[1, 3, 4, 4], [8, 3, 4, 4], [64, 3, 16, 16]]}]))  # fmt: skip
    models = {"toy": dict(arrays="toy.npz", spec=json.loads(toy_spec().to_json()), onnx_sha256="0" * 64)}
    for entry in (*graphs, *models.values()):
        path = folder / (entry.get("file") or entry["arrays"])
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "kit.json").write_text(json.dumps(dict(version=1, models=models, graphs=graphs)))
    return folder


@pytest.fixture
def host(monkeypatch, tmp_path):
    """.run(*words) -> exit code and rows by name; .built: what the fake builder makes of each precision."""
    with fake_host.running(monkeypatch, tmp_path) as one:
        last = []

        def build(trt, onnx, *, settings, **_):
            last.append(onnx.decode())
            return types.SimpleNamespace(plan=make_plan())

        def layers(self, engine):
            rows = [dict(LayerType="CaskConvolution", Inputs=[{"Format/Datatype": t}]) for t in one.layers[last[-1]]]
            return json.dumps({"Layers": [*rows, dict(LayerType="Reformat", Inputs=[{"Format/Datatype": "Float"}])]})

        def run(*words):
            out = tmp_path / "report.json"
            code = gpu_check.main([str(one.kit), "--json", str(out), "--runs", "50", *words])
            return code, {row["check"]: row for row in json.loads(out.read_text())["checks"]}

        monkeypatch.setattr(gpu_engines, "build", build)
        monkeypatch.setattr(TensorRT, "layer_information", layers)
        monkeypatch.setattr(gpu_runtime, "WARM_UP", 3)
        for name in ("graphs", "times"):
            monkeypatch.setitem(getattr(gpu_runtime, name).__kwdefaults__, "rounds", 3)
        monkeypatch.setitem(gpu_runtime.threads.__kwdefaults__, "runs", 5)
        monkeypatch.setattr(gpu_check, "clocks", dict)
        monkeypatch.setattr(gpu_check.gpu_kernels, "checks", lambda: iter(()))  # tests of their own
        monkeypatch.setattr(gpu_check.gpu_chain, "chain", lambda path, batch: {"faces": len(batch)})
        for missing in gpu_arrays.LIBRARIES:
            monkeypatch.setitem(gpu_arrays.LIBRARIES, missing, lambda name=missing: not_installed(name))
        one.kit, one.run, one.layers = write_kit(tmp_path / "kit"), run, dict(LAYERS)
        yield one


def not_installed(name):
    raise ImportError(f"No module named {name!r}")


def test_all_checks_on_a_sound_engine(host, monkeypatch):
    monkeypatch.setattr(gpu_check.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    code, rows = host.run()
    assert code == 0, {name: row for name, row in rows.items() if row["status"] == "failed"}
    ended = {name: row["status"] for name, row in rows.items()}
    assert {name for name, status in ended.items() if status == "not run"} == {
        *(f"{name} {what}" for name in gpu_arrays.LIBRARIES for what in ("arrays", "into toy")),
        "trt-build toy fp16",
        "trt-build toy int8",
        "compute-sanitizer",
    }
    assert "No module named 'cupy'" in rows["cupy arrays"]["why"] and "onnx" in rows["trt-build toy int8"]["why"]
    assert rows["build toy int8"]["numbers"]["found"] == {"fp16": 1, "int8": 1}
    assert rows["compare toy fp16"]["numbers"]["psnr_fp32_db"] == 99.0
    assert set(rows["batches toy fp32"]["numbers"]["largest_difference_by_batch"].values()) == {0.0}
    assert rows["leaks toy"]["numbers"]["gpu_growth_mib"] == 0
    assert rows["times toy"]["numbers"]["batch_8"]["fp16_over_int8"] > 0
    assert "this GPU is sm_86" in rows["refusals"]["numbers"]["another_gpu"]
    assert "SHA-256" in rows["refusals"]["numbers"]["flipped_bit"]


def test_a_silent_fp32_engine_is_found(host):
    host.layers.update(fp16=["Half", "Float"], int8=["Half", "Half"])
    code, rows = host.run("--only", "build")
    assert code == 1
    assert [rows[f"build toy {p}"]["status"] for p in LAYERS] == ["ok", "failed", "failed"]
    assert "found {'fp16': 1, 'fp32': 1}" in rows["build toy fp16"]["why"]


def test_wrong_pictures_are_found(host, monkeypatch):
    host.run("--only", "build")
    monkeypatch.setattr(fake_tensorrt, "toy", lambda batch: {**toy(batch), "sr": toy(batch)["sr"] + 0.01})
    code, rows = host.run("--only", "compare")
    assert code == 1 and "psnr_fp32_db': 40.0" in rows["compare toy fp16"]["why"]


def test_an_engine_that_cannot_be_captured_is_found(host):
    host.run("--only", "build")
    host.trt.faults["capture"] = 99
    code, rows = host.run("--only", "graphs toy fp16")
    assert code == 1 and "no graph" in rows["graphs toy fp16"]["why"]


def test_only_replaces_rows_of_the_same_names(host):
    host.run("--only", "build")
    _, rows = host.run("--only", "compare")
    assert rows["build toy fp16"]["run"] == 0 and rows["compare toy fp16"]["run"] == 1


def test_libraries_share_memory_both_ways(host, monkeypatch):
    """With a stand-in that keeps its arrays on the fake GPU."""

    class Array:
        def __init__(self, array, pointer=None, base=None):
            self.shape, self.dtype, self.base = array.shape, array.dtype, base
            self.pointer = host.cuda.foreign(array) if pointer is None else pointer
            self.__cuda_array_interface__ = dict(
                shape=self.shape, typestr=self.dtype.str, data=(self.pointer, False), version=3, stream=None
            )

        def __del__(self):
            if self.base is None:
                for stream in host.cuda.streams.values():
                    stream.drain()
                host.cuda.memory.pop(self.pointer)

        def get(self):
            host.cuda.streams[1].drain()
            memory = (ctypes.c_char * (4 * int(np.prod(self.shape)))).from_address(self.pointer)
            return np.frombuffer(memory, self.dtype).reshape(self.shape).copy()

    stand_in = gpu_arrays.Library(Array, lambda a: Array(a, a.pointer, a), Array.get, lambda a: a.pointer, lambda: 1)
    monkeypatch.setitem(gpu_arrays.LIBRARIES, "cupy", lambda: stand_in)
    host.run("--only", "build")
    code, rows = host.run("--only", "cupy")
    assert code == 0 and rows["cupy arrays"]["numbers"]["copies"] == 0 and rows["cupy into toy"]["status"] == "ok"
    copying = gpu_arrays.Library(Array, lambda a: Array(a.copy_to_host()), Array.get, lambda a: a.pointer, lambda: 1)
    monkeypatch.setitem(gpu_arrays.LIBRARIES, "cupy", lambda: copying)
    assert "copied on its way out" in host.run("--only", "cupy arrays")[1]["cupy arrays"]["why"]


def test_smoke(host):
    host.run("--only", "build")
    assert gpu_check.main([str(host.kit), "--smoke", str(host.kit / "engines" / "toy.fp16.engine")]) == 0


@pytest.mark.parametrize("damage", ["kit.json", "toy.npz", "fp16.onnx"])
def test_a_damaged_kit(host, capsys, damage):
    (host.kit / damage).write_bytes(b"{}")
    assert gpu_check.main([str(host.kit)]) == 1
    assert "python -m export.gpu_kit" in capsys.readouterr().err


def test_without_a_gpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "_open_library", lambda: (_ for _ in ()).throw(OSError("libcuda.so.1: not found")))
    assert gpu_check.main([str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "expected an NVIDIA GPU; got no NVIDIA driver: libcuda.so.1: not found; " in message
    assert "docs/GPU.md" in message and not list(tmp_path.iterdir())


def test_make_gpu_check_says_what_is_missing():
    if gpu.probe().gpus:
        pytest.skip("this machine has a GPU: make gpu-check would run for an hour")
    done = subprocess.run(
        ["make", "gpu-check"], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode != 0
    assert "gpu-check: expected an NVIDIA GPU; got " in done.stderr and "docs/GPU.md" in done.stderr
