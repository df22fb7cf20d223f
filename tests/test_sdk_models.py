"""What is shipped belongs together: every INT8 file to its network, its manifest to both, and the gate holds."""

import hashlib

import numpy as np
import pytest

from export.faces import load_faces, lr_crops
from export.gate import judge
from export.graph import read_model
from sdk.enhancer import FaceEnhancer
from sdk.runtime.backend import open_backend
from sdk.runtime.manifest import read_manifest
from sdk.zoo import SHIPPED, int8_path, model_path


@pytest.fixture(params=SHIPPED)
def name(request):
    return request.param


def test_the_int8_file_is_of_this_very_network(name):
    """A new network needs a new one: trt-build NAME --precision int8 --target cpu --calib-count 512 -o ..."""
    quantised = int8_path(model_path(name))
    manifest = read_manifest(quantised)
    assert manifest.onnx_sha256 == hashlib.sha256(model_path(name).read_bytes()).hexdigest()
    assert manifest.engine_sha256 == hashlib.sha256(quantised.read_bytes()).hexdigest()
    assert manifest.gate["passed"] and not manifest.gate["allowed_loss"] and manifest.precision == "int8"
    assert "/" not in manifest.command.replace("sdk/models/", ""), "no path of the machine that made it"


def test_the_int8_file_holds_the_gate_here_too(name):
    model = read_model(model_path(name))
    faces = load_faces("builtin", spec=model.spec, count=64, seed=7).split()[1]
    backend = open_backend(int8_path(model.path), "onnxruntime")
    verdict = judge(model, backend.run, faces, precision="int8", ran="engine")
    backend.close()
    assert verdict.passed, verdict.table()
    assert 35 < verdict.numbers["psnr_fp32_db"] < 70, "neither broken nor the fp32 file in disguise"


def test_face_enhancer_takes_it_by_precision(name):
    spec = read_model(model_path(name)).spec
    faces = lr_crops(load_faces("builtin", spec=spec, count=64), spec.lr_size)[:3].round().astype(np.uint8)
    pictures = {}
    for precision in ("fp32", "int8"):
        with FaceEnhancer(name, backend="onnxruntime", precision=precision, color="rgb") as enhancer:
            pictures[precision] = np.stack([r.image for r in enhancer.enhance_aligned(faces)]).astype(int)
            assert precision in str(enhancer.describe())
    difference = np.abs(pictures["int8"] - pictures["fp32"])
    assert 0 < difference.mean() < 3, difference.mean()
