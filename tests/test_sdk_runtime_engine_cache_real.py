"""The engine cache with the real trt-build in its child process: the protocol between the two is no fake's."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import save_tiny

from sdk import zoo
from sdk.enhancer import FaceEnhancer
from sdk.errors import BuildError
from sdk.image.resample import resize
from sdk.pictures import read_picture
from sdk.runtime.engine_cache import obtain
from sdk.runtime.machine import Machine
from sdk.runtime.manifest import misfits, read_engine

pytest.importorskip("google.protobuf", reason="trt-build needs the extra [export]")


PORTRAIT = Path(__file__).parents[1] / "benchmarks/assets/astronaut.png"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_ENGINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_int8_for_the_cpu_from_the_real_builder(cache, caplog):
    caplog.set_level(logging.INFO, "facetrt")
    path = obtain(zoo.model_path("picoface_x8"), "int8", machine=None)
    _, manifest = read_engine(path)
    assert (manifest.precision, manifest.flavour, manifest.gate["ran"]) == ("int8", "onnxruntime", "engine")
    assert manifest.verified and manifest.model_spec.name == "picoface_x8" and manifest.found["int8"] > 10
    assert sum("picoface_x8 in int8 for the CPU: " in message for message in caplog.messages) >= 3  # stages
    assert left(cache) == ["cpu-int8.onnx", "cpu-int8.onnx.json"]
    face = np.asarray(resize(read_picture(PORTRAIT).pixels[58:194, 158:294], (16, 16)), np.uint8)
    with FaceEnhancer(path, threads=1) as int8, FaceEnhancer("picoface_x8", threads=1) as fp32:
        pictures = [one.enhance_aligned([face])[0].image.astype(float) for one in (int8, fp32)]
    loss_db = 20 * np.log10(255) - 10 * np.log10(np.square(pictures[0] - pictures[1]).mean())
    assert 35 < loss_db < 80  # another arithmetic, the same network; the gate's faces have 41 dB and more


def test_an_rtx_engine_from_the_real_builder(cache):
    """TensorRT-RTX builds without a GPU, so the whole way to a verified engine of the cache is real here."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs the extra [rtx]")
    l4 = Machine("tensorrt_rtx", rtx.__version__, "580.65", "13.0", "NVIDIA L4", "sm_89", None, "x86_64")
    path = obtain(zoo.model_path("picoface_x8"), "fp16", machine=l4)
    _, manifest = read_engine(path)
    assert path.name == f"tensorrt_rtx-{rtx.__version__}-sm_89-fp16.engine" and manifest.targets == ["sm_89"]
    assert obtain(zoo.model_path("picoface_x8"), "fp16", machine=l4) == path
    updated = dataclasses.replace(l4, tensorrt="99.0")
    assert misfits(manifest, updated) == [f"built with TensorRT-RTX {rtx.__version__}, installed is 99.0"]


def test_an_error_of_the_real_builder_arrives_whole(cache, tmp_path):
    model = save_tiny(tmp_path / "tiny.onnx")
    with pytest.raises(BuildError, match=r"ONNX graph in tiny\.onnx; got .*; export or download") as caught:
        obtain(model, "int8", machine=None)
    assert caught.value.expected and caught.value.remedy and left(cache) == []
