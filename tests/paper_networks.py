"""What every network of a paper must hold: its size, equal folding, learning, one file in and out, export."""

import copy
import json
from pathlib import Path

import torch
from mac_counter import macs_of
from torch import nn

from export.to_onnx import check, export_graph
from sdk.spec import ModelSpec
from training import checkpoint
from training.models import MODELS

COUNTS = Path(__file__).parents[2] / "shared" / "docs" / "counts.json"  # present in some checkouts only


def size_of(model_type, config, *inputs):
    """(parameters, multiply-adds) without arithmetic or memory; inputs are shapes."""
    with torch.device("meta"):
        model = model_type(config)
        macs = macs_of(model, *[torch.zeros(shape) for shape in inputs])
    return sum(p.numel() for p in model.parameters()), macs


def assert_counts_file_agrees(typed, *, prefix):
    """typed: {key of counts.json: (parameters, GMACs to four places)}; nothing to do where the file is absent."""
    if COUNTS.is_file():
        listed = json.loads(COUNTS.read_text())
        assert {k: (listed[prefix + k]["params"], listed[prefix + k]["macs_G"]) for k in typed} == typed


def shaken(model: nn.Module, *, by: float = 0.05) -> nn.Module:
    """Every weight and running statistic away from its start, so that a part forgotten in folding shows. In eval."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(by * torch.randn(value.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def assert_folds_equal(model: nn.Module, picture: torch.Tensor, *, relative: float = 2e-5) -> nn.Module:
    """The folded network's outputs are the network's, to `relative` of the largest value; the network is unchanged."""
    before = copy.deepcopy(model.state_dict())
    folded = model.folded()
    assert not folded.training
    with torch.inference_mode():
        expected, found = model(picture), folded(picture)
    assert {"sr", "heatmaps", "parsing"} & set(expected) <= set(found)
    for name, value in found.items():
        scale = max(float(expected[name].abs().max()), 1.0)
        torch.testing.assert_close(value, expected[name], atol=relative * scale, rtol=0, msg=name)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"folding changed {name}"
    return folded


def assert_exports(model: nn.Module, spec: ModelSpec):
    """The folded network at opset 18, equal in onnxruntime; returns the graph's operators."""
    folded = model.folded()
    graph = export_graph(folded, spec)
    check(graph, folded, spec)  # raises ModelError
    assert graph.opset_import[0].version == 18
    kinds = [node.op_type for node in graph.graph.node]
    assert "AffineGrid" not in kinds
    for node in graph.graph.node:
        modes = [a.s for a in node.attribute if node.op_type == "GridSample" and a.name == "mode"]
        assert modes in ([], [b"bilinear"])
    return kinds


def assert_learns(model: nn.Module, loss_of, *, lr: float = 1e-3, steps: int = 3) -> None:
    """A few steps on one batch lower the loss; every weight that is not frozen gets a gradient."""
    model.train()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps + 1):
        optimiser.zero_grad()
        loss = loss_of(model)
        loss.backward()
        losses.append(float(loss.detach()))
        optimiser.step()
    assert losses[-1] < losses[0], losses
    still = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not still, f"no gradient reaches {still}"


def assert_round_trip(name: str, model: nn.Module, picture: torch.Tensor, path: Path) -> None:
    """What a checkpoint builds is the network that was saved."""
    payload = {"model": name, "config": model.config.as_dict(), "weights": model.state_dict()}
    checkpoint.save(path, payload)
    assert MODELS[name] is type(model)
    built = checkpoint.build(checkpoint.load(path))
    assert built.config == model.config
    with torch.inference_mode():
        expected, found = model.eval()(picture), built(picture)
    for key in expected:
        assert torch.equal(found[key], expected[key]), key
