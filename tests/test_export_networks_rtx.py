"""The papers' networks, narrow, from checkpoint over ONNX to a real engine of TensorRT-RTX, which needs no GPU."""

import io

import pytest
import torch

from export import pipeline, prepare, to_onnx
from export.arguments import parse
from export.progress import Progress
from sdk.runtime.manifest import read_engine
from training import checkpoint
from training.models import MODELS
from training.models.baselines import SRCNNConfig, URDGNConfig, VDSRConfig
from training.models.srinc import SRINCConfig
from training.models.srresnet import SRResNetConfig
from training.models.super_fan import GeneratorConfig, SuperFANConfig

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")

FEW = {"channels": 16, "n1_blocks": 2, "n2_blocks": 1}
NETWORKS = {  # name in MODELS -> a narrow and shallow configuration
    "srinc": SRINCConfig(scale=2, lr_size=32, channels=32, modules=2, branch_widths=(8, 8, 8, 8), reduced=8),
    "super_fan": SuperFANConfig(**FEW, fan_channels=32, fan_depth=2, fan_size=128),
    "super_fan_generator": GeneratorConfig(**FEW, scale=8, shuffle=True),
    "srresnet": SRResNetConfig(channels=16, blocks=2),
    "srcnn": SRCNNConfig(scale=2, lr_size=32, widths=(16, 16)),
    "vdsr": VDSRConfig(scale=2, lr_size=32, depth=4, width=16),
    "urdgn": URDGNConfig(widths=(8, 16, 16, 32)),
}
PRECISIONS = [*((name, "fp16") for name in NETWORKS), ("srinc", "int8"), ("super_fan", "int8"), ("urdgn", "int8")]

pytestmark = [  # of torch's exporter and of onnx's own helpers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    """name -> path; each network is exported once."""
    folder, made = tmp_path_factory.mktemp("networks"), {}

    def make(name):
        if name not in made:
            torch.manual_seed(0)
            model = MODELS[name](NETWORKS[name])
            source, made[name] = folder / f"{name}.pt", folder / f"{name}.onnx"
            payload = {"model": name, "config": model.config.as_dict(), "weights": model.state_dict()}
            checkpoint.save(source, payload | {"spec": model.spec(name, licence="test").to_json()})
            to_onnx.convert(source, made[name])
        return made[name]

    return make


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_an_engine_is_built(onnx_file, tmp_path, name, precision):
    """--allow-loss: weights are random, so the gate's verdict on pictures and points means nothing here."""
    out = tmp_path / "network.engine"
    words = ["--flavour", "tensorrt_rtx", "--precision", precision, "--targets", "sm_86", "--calib-count", "64"]
    options = parse([str(onnx_file(name)), "-o", str(out), *words, "--allow-loss"])
    progress = Progress(prepare.stages_for(options, runs=False), kind="text", out=io.StringIO(), err=io.StringIO())
    pipeline.run_build(prepare.prepare(options), progress, on_log=lambda severity, text: None)
    manifest = read_engine(out)[1]
    assert manifest.model_spec.name == name and manifest.targets == ["sm_86"]
    assert set(manifest.found) == ({"fp16"} if precision == "fp16" else {"fp16", "int8"})
    assert manifest.gate["numbers"]["psnr_fp32_db"] > (60.0 if precision == "fp16" else 30.0)  # graph against graph
