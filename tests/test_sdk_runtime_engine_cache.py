"""sdk.runtime.engine_cache: an engine that fits is found, any other is built once, in a child, with its reason."""

import dataclasses
import json
import logging
from pathlib import Path

import fake_builder
import pytest
from tiny_onnx import save_tiny

from sdk.errors import BackendError, InputError, ModelError, OutputError
from sdk.runtime import builder_process, engine_cache
from sdk.runtime.engine_cache import Refused, engine_path, obtain
from sdk.runtime.machine import Machine
from sdk.runtime.manifest import manifest_path, read_engine, read_manifest
from sdk.runtime.onnx_file import read_onnx

ROOT = Path(__file__).resolve().parents[1]
ORIN = Machine("tensorrt", "10.3.0", "540.4.0", "12.6", "Orin", "sm_87", "6.2 (L4T 36.4.3)", "aarch64")
CPU = Machine("onnxruntime", "", None, None, None, None, None, "x86_64")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model, an empty cache, and the fake builder."""
    fake_builder.install(monkeypatch, tmp_path, ORIN)
    return save_tiny(tmp_path / "tiny.onnx")


@pytest.fixture
def runs(tmp_path):
    return lambda: fake_builder.runs_of(tmp_path)


def left(tmp_path):
    """Names in the cache, without the locks."""
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() or path.name.endswith(".building")]
    return sorted(path.name for path in files if not path.name.endswith(".lock"))


def get(model, precision="int8", **options):
    return obtain(model, precision, **{"machine": ORIN, "timeout_s": 30.0, **options})


def test_built_once_then_found(model, runs, caplog, tmp_path):
    caplog.set_level(logging.INFO, "facetrt")
    path = get(model)
    assert path == engine_path(read_onnx(model), "int8", ORIN)
    assert path.name == "tensorrt-10.3.0-sm_87-orin-int8.engine" and path.parent.name.startswith("tiny_x8-")
    assert path.parent.name.endswith(read_onnx(model).sha256[:12])
    assert read_engine(path)[1].precision == "int8"
    said = caplog.text
    assert "tiny_x8 in int8 for TensorRT on Orin, which may take minutes: there is none in the cache yet" in said
    assert "build (2 of 5), about 40 s left" in said and "--device 0" in said
    assert get(model) == path and get(str(model)) == path and len(runs()) == 1
    assert left(tmp_path) == [path.name, manifest_path(path).name]


def test_progress_reaches_the_log(model, monkeypatch, caplog):
    monkeypatch.setattr(builder_process, "REPORT_S", 0.0)
    caplog.set_level(logging.INFO, "facetrt")
    get(model)
    assert "tiny_x8 in int8 for TensorRT on Orin: build 50 %, about 20 s left" in caplog.messages


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (dict(tensorrt="10.13.2"), "built with TensorRT 10.3.0, installed is 10.13.2"),
        (dict(sm="sm_89", gpu="NVIDIA L4"), "built for sm_87 (Orin), this GPU is sm_89"),
        (dict(gpu="Orin NX"), "built on Orin, this GPU is Orin NX"),
    ],
)
def test_every_rebuild_says_why(model, monkeypatch, runs, caplog, now, reason):
    get(model)
    updated = dataclasses.replace(ORIN, **now)
    monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(updated)))
    assert read_manifest(get(model, machine=updated)).tensorrt == updated.tensorrt
    assert reason in caplog.messages[-1] and len(runs()) == 2
    get(model, machine=ORIN)
    assert len(runs()) == 2  # both stay: two machines may share a home


def test_a_new_driver_keeps_the_engine(model, runs):
    path = get(model)
    assert get(model, machine=dataclasses.replace(ORIN, driver="560.1", cuda="13.0")) == path and len(runs()) == 1


def test_a_version_compatible_engine_of_the_folder_is_taken(model, runs):
    updated, found = dataclasses.replace(ORIN, tensorrt="10.7.0"), read_onnx(model)
    kept = engine_path(found, "int8", ORIN).with_name("by-hand-int8.engine")
    fake_builder.write_engine(kept, found, "int8", vars(ORIN), version_compatible=True)
    assert get(model, machine=updated) == kept and runs() == []


@pytest.mark.parametrize("harm", ["truncate", "edit", "no manifest", "text"])
def test_a_damaged_engine_is_built_again(model, runs, caplog, harm):
    path = get(model)
    beside = manifest_path(path)
    if harm == "truncate":
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "edit":
        beside.write_text(beside.read_text().replace("sm_87", "sm_88"))
    elif harm == "text":
        beside.write_text("{")
    else:
        beside.unlink()
    words = {"truncate": "bytes, its manifest says", "edit": "edited since", "no manifest": "no such file"}
    assert get(model) == path and len(runs()) == 2 and read_engine(path)
    assert words.get(harm, "as JSON") in caplog.messages[-1]


def test_an_engine_that_tensorrt_refused_is_built_again_once(model, runs, caplog):
    path = get(model)
    refused = Refused(read_manifest(path).engine_sha256, "TensorRT refused it: magic tag does not match")
    assert get(model, refused=refused) == path and len(runs()) == 2
    assert "TensorRT refused it: magic tag" in caplog.messages[-1]
    get(model, refused=refused)
    assert len(runs()) == 2  # the new one is another


def test_int8_for_the_cpu(model, monkeypatch, runs, caplog):
    monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(CPU)))
    caplog.set_level(logging.INFO, "facetrt")
    path = get(model, machine=None)
    assert path.name == "cpu-int8.onnx" and "--target cpu" in caplog.text and get(model, machine=None) == path
    path.write_bytes(b"x" + path.read_bytes()[1:])  # same size
    get(model, machine=None)
    assert len(runs()) == 2 and "SHA-256 begins with" in caplog.text


def test_wrong_calls(model, tmp_path):
    for precision, machine in (("int4", ORIN), ("fp16", None), (None, ORIN)):
        with pytest.raises(InputError, match="a precision among"):
            obtain(model, precision, machine=machine)
    with pytest.raises(BackendError, match="a machine with a GPU"):
        get(model, machine=dataclasses.replace(ORIN, sm=None, gpu=None))
    with pytest.raises(ModelError, match="absent"):
        get(tmp_path / "absent.onnx")


def test_cache_root(monkeypatch, tmp_path):
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", "~/here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engine_cache.cache_root() == tmp_path / "here"
    monkeypatch.delenv("FACETRT_ENGINE_CACHE")
    assert engine_cache.cache_root() == tmp_path / ".cache/facetrt/engines"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(OutputError, match=r"\$FACETRT_ENGINE_CACHE"):
        engine_cache.cache_root()
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", "~no_such_user/engines")
    with pytest.raises(OutputError, match="a home folder for built engines"):
        engine_cache.cache_root()
