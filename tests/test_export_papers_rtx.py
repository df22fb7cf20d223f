"""The papers' networks built for real with TensorRT-RTX, narrow ones: every operator of theirs must be taken."""

import io
from dataclasses import replace

import paper_networks as networks
import pytest
import torch

from export import pipeline, prepare, to_onnx
from export.arguments import parse
from export.progress import Progress
from sdk.runtime.manifest import read_engine
from training.models import CONFIGS, MODELS

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")

# torch's exporter and onnx's own helpers warn of their own deprecations
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NARROW = {  # network -> what makes it small enough for a test; all sizes of pictures and maps stay
    "jasrnet": {"channels": 16, "encoder_blocks": (1, 1, 1, 1), "deep_blocks": 1},
    "fsrnet": {"landmarks": 68, "channels": 16, "prior_channels": 16, "encoder_blocks": 1, "hourglasses": 1},
    "mtun": {"width": 4, "stacks": 1},
}


@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_network_becomes_an_engine_of_fp16(name, tmp_path):
    torch.manual_seed(0)
    model = networks.shaken(MODELS[name](replace(CONFIGS[name], **NARROW[name])), by=0.01)
    graph = to_onnx.export_graph(model.folded(), model.spec(name))
    to_onnx.write(graph, tmp_path / "n.onnx")
    line = [tmp_path / "n.onnx", "-o", tmp_path / "n.engine", "--flavour", "tensorrt_rtx", "--targets", "sm_86,sm_120"]
    options = parse([str(word) for word in [*line, "--precision", "fp16", "--calib-count", "64", "--allow-loss"]])
    progress = Progress(prepare.stages_for(options, runs=False), kind="text", out=io.StringIO(), err=io.StringIO())
    pipeline.run_build(prepare.prepare(options), progress, on_log=lambda severity, text: None)
    manifest = read_engine(tmp_path / "n.engine")[1]
    assert set(manifest.found) == {"fp16"} and manifest.targets == ["sm_86", "sm_120"]
