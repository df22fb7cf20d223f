"""Quantisation-aware training: the arithmetic of INT8 in NumPy, gradients straight through, plain weights out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from training import checkpoint
from training.fake_quant import EDGES, QuantConv2d, plain_state, prepare, whole
from training.models.picoface import PicoFace, PicoFaceConfig, RepConv3x3
from training.recipes.picoface import NETWORKS, RECIPES
from training.run import Run
from training.tasks import make_task
from training.train import main

SMALL = PicoFaceConfig(
    scale=8, lr_size=16, channels=8, blocks=1, tail_channels=8, head_channels=8, head_blocks=(1, 1, 1)
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = PicoFace(SMALL)
    for module in model.modules():
        if isinstance(module, RepConv3x3):  # branches that a fold has to add up
            nn.init.normal_(module.point, std=0.05)
            nn.init.normal_(module.edge, std=0.05)
    return model


def test_whole_numbers_and_the_gradient_inside_the_range_only():
    x = torch.tensor([-300.0, -1.6, 0.4, 126.7, 127.2], requires_grad=True)
    y = whole(x)
    assert y.tolist() == [-127.0, -2.0, 0.0, 127.0, 127.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_convolution_is_int8_arithmetic_as_numpy_does_it():
    torch.manual_seed(1)
    conv = nn.Conv2d(5, 4, 1)
    quant = QuantConv2d(conv).train()
    x = torch.randn(2, 5, 6, 6)
    got = quant(x).detach().numpy()
    values, weights = x.numpy().astype(np.float64), conv.weight.detach().numpy().astype(np.float64)[:, :, 0, 0]
    scale = np.abs(values).max() / 127
    by_channel = np.abs(weights).max(axis=1, keepdims=True) / 127
    sums = np.einsum("oi,nihw->nohw", np.rint(weights / by_channel), np.rint(values / scale))  # int32 on a device
    expected = sums * (scale * by_channel.reshape(1, -1, 1, 1)) + conv.bias.detach().numpy().reshape(1, -1, 1, 1)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_ranges_are_measured_while_training_and_kept_afterwards():
    quant = QuantConv2d(nn.Conv2d(1, 1, 1)).train()
    quant(torch.tensor([[[[2.0]]]]))
    quant(torch.tensor([[[[-5.0]]]]))
    assert float(quant.largest) == 5.0
    quant.eval()(torch.tensor([[[[50.0]]]]))
    assert float(quant.largest) == 5.0


def test_only_inner_convolutions_are_quantised(model):
    prepared = prepare(model)
    kinds = {name: type(module) for name, module in prepared.named_modules()}
    assert all(kinds[name] is RepConv3x3 for name in EDGES)
    assert sum(kind is QuantConv2d for kind in kinds.values()) == sum(
        kind in (RepConv3x3, nn.Conv2d) and name not in EDGES
        for name, kind in ((n, type(m)) for n, m in PicoFace(SMALL).named_modules())
    )


def test_plain_weights_give_the_same_network_as_before(model):
    """prepare() folds, plain_state() puts the sum into one branch: without a training step nothing has changed."""
    lr = torch.rand(2, 3, 16, 16)
    before = model.eval()(lr)
    plain = PicoFace(SMALL)
    plain.load_state_dict(plain_state(prepare(model)))
    for name, value in plain.eval()(lr).items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-5)


def test_a_prepared_network_is_near_the_plain_one(model):
    lr = torch.rand(4, 3, 16, 16)
    before = model.eval()(lr)["sr"]
    prepared = prepare(model).train()
    prepared(lr)
    after = prepared.eval()(lr)["sr"]
    error = float((after - before).abs().mean().detach())
    assert 0 < error < 0.02, error


def test_every_network_has_a_recipe_for_it():
    for name in ("picoface_x8", "picoface_x4"):
        assert all(RECIPES[stage].quantised for stage in NETWORKS[f"{name}_qat"])
        assert not any(RECIPES[stage].quantised for stage in NETWORKS[name])


def test_it_needs_a_finished_network(tmp_path, capsys):
    assert main(["--recipe", "picoface_x4_qat", "--out", str(tmp_path)]) == 2
    assert "--init picoface_x4.pt" in capsys.readouterr().err


def test_a_broken_run_ends_bit_for_bit_like_an_unbroken_one_in_plain_weights(tmp_path, face_pack):
    recipe = replace(
        RECIPES["picoface_x8_landmarks_qat"], config=SMALL, batch=2, packs=(str(face_pack),), steps=6, warmup_steps=2
    )
    task = make_task(recipe, 3)
    for folder, stops in (("whole", [6]), ("broken", [2, 6])):
        for stop in stops:
            run = Run(recipe, tmp_path / folder, seed=3)
            while run.step < stop:
                run.advance(task)
            run.save()
    first, second = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "broken"))
    assert first["weights"].keys() == second["weights"].keys() == PicoFace(SMALL).state_dict().keys()
    for part in ("weights", "raw_weights", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), (part, name)
    assert isinstance(checkpoint.build(first), PicoFace)
