"""Super-FAN: the sizes, one graph from 16 px to heatmaps, what learns from what, and the critic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from paper_networks import (
    assert_counts_file_agrees,
    assert_exports,
    assert_folds_equal,
    assert_learns,
    assert_round_trip,
    shaken,
    size_of,
)
from torch import nn

from sdk.errors import ModelError
from sdk.image.resample import resize
from training.models import CONFIGS
from training.models.fan import FAN, FAN_64, FAN_256
from training.models.super_fan import (
    SUPER_FAN,
    SUPER_FAN_64,
    SUPER_FAN_GENERATOR,
    SUPER_FAN_X8,
    Critic,
    Generator,
    GeneratorConfig,
    ResidualBlock,
    SuperFAN,
    SuperFANConfig,
)

NARROW = {"lr_size": 8, "channels": 8, "n1_blocks": 2, "n2_blocks": 1}
SMALL = SuperFANConfig(**NARROW, points=5, fan_depth=2, fan_channels=16, fan_size=64)
COUNTED = {  # counts.json, "superfan/...": (configuration, input px, parameters, GMACs)
    "G_12-3-2_fig(deconv,2 tail convs)": (SUPER_FAN_GENERATOR, 16, 1_283_587, 0.6954),
    "G_12-3-2_with_2RB_at_x4": (GeneratorConfig(n3_blocks=2), 16, 1_431_811, 1.2994),
    "G_fig_x8": (GeneratorConfig(scale=8), 16, 1_349_315, 1.438),
    "G_fig_pixelshuffle": (GeneratorConfig(shuffle=True), 16, 1_447_811, 0.8002),
    "G_fig_32in": (SUPER_FAN_GENERATOR, 32, 1_283_587, 2.7815),
    "G_fig_64in": (SUPER_FAN_GENERATOR, 64, 1_283_587, 11.1262),
    "G_k9_input": (GeneratorConfig(first_kernel=9), 16, 1_297_411, 0.6989),
    "G_2RB_x4_64in": (GeneratorConfig(n3_blocks=2), 64, 1_431_811, 20.7899),
}
CRITIC = (2_763_776, 0.1038)  # "superfan/D_dcgan_noBN_64"

pytestmark = [  # of torch's exporter and of onnx's own helpers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("key", COUNTED)
def test_parameters_and_multiply_adds_of_the_generator(key):
    config, size, parameters, giga_macs = COUNTED[key]
    counted, macs = size_of(Generator, config, (1, 3, size, size))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


def test_parameters_and_multiply_adds_of_critic_and_whole():
    counted, macs = size_of(Critic, 64, (1, 3, 64, 64))
    assert (counted, round(macs / 1e9, 4)) == CRITIC
    counted, macs = size_of(SuperFAN, SUPER_FAN, (1, 3, 16, 16))
    assert counted == 1_283_587 + 12_106_504
    assert abs(macs / 1e9 - (0.6954 + 13.9236)) < 1e-4  # two roundings


def test_the_typed_numbers_are_those_of_the_file():
    typed = {key: (parameters, giga_macs) for key, (_, _, parameters, giga_macs) in COUNTED.items()}
    assert_counts_file_agrees(typed | {"D_dcgan_noBN_64": CRITIC}, prefix="superfan/")


@pytest.mark.parametrize(
    ("name", "hr", "cells"), [("super_fan", 64, 64), ("super_fan_64", 64, 16), ("super_fan_x8", 128, 64)]
)
def test_shapes_and_spec(name, hr, cells):
    with torch.device("meta"):
        model = SuperFAN(CONFIGS[name])
        out = model(torch.zeros(2, 3, 16, 16))
    spec = model.spec(name)
    assert out["sr"].shape == (2, 3, hr, hr) and spec.hr_size == hr
    assert out["heatmaps"].shape == (2, 68, cells, cells) and spec.heatmap_size == cells
    assert out["stages"].shape == (2, 2, 68, cells, cells)
    assert spec.heatmap_kind == "landmarks" and spec.landmark_scheme == "300w68"


def test_the_paper_decodes_by_quarters_of_a_cell():
    with torch.device("meta"):
        spec = SuperFAN(SUPER_FAN).spec("super_fan")
    assert (spec.decoder, spec.sigma_cells, spec.value_range) == ("quarter", 1.75, (0.0, 1.0))


@pytest.mark.parametrize("name", ["super_fan_generator", "super_fan_generator_shuffle", "super_fan_generator_x8"])
def test_the_generator_alone_has_a_spec_without_landmarks(name):
    with torch.device("meta"):
        model = Generator(CONFIGS[name])
        spec, out = model.spec(name), model(torch.zeros(1, 3, 16, 16))
    assert spec.heatmap_kind is None and out["sr"].shape[-1] == spec.hr_size


def test_fan_sees_the_bilinear_enlargement_of_sr():
    with torch.device("meta"):
        model = SuperFAN(SUPER_FAN)
    picture = torch.rand(1, 3, 64, 64)
    expected = resize(picture[0].permute(1, 2, 0).numpy(), (256, 256), kernel="bilinear")
    np.testing.assert_allclose(model.fan_input(picture)[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_a_fan_for_64_px_sees_sr_itself_and_a_joined_network_is_its_parts():
    torch.manual_seed(0)
    model, lr = shaken(SuperFAN(replace(SMALL, fan_size=32))), torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        out = model(lr)
        assert torch.equal(out["sr"], model.generator(lr)["sr"])
        assert torch.equal(out["heatmaps"], model.fan(out["sr"])["heatmaps"])


@pytest.mark.parametrize(("scale", "blocks"), [(4, (12, 3, 0)), (4, (12, 3, 2)), (8, (12, 3, 0, 0))])
def test_the_generator_is_twelve_three_two(scale, blocks):
    config = GeneratorConfig(scale=scale, n3_blocks=blocks[-1])
    with torch.device("meta"):
        body = [type(layer) for layer in Generator(config).body]
    enlarge = [nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d]
    expected = [ResidualBlock] * blocks[0]
    for count in blocks[1:]:
        expected += [*enlarge, *[ResidualBlock] * count]
    assert body == expected


def test_nothing_follows_the_addition_of_a_residual_block():
    block, x = ResidualBlock(4), torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        block.bn2.weight.zero_()
    assert torch.equal(block(x), x)


def test_parts_trained_alone_fit_into_the_whole():
    with torch.device("meta"):
        whole, fan, generator = SuperFAN(SUPER_FAN), FAN(FAN_256), Generator(SUPER_FAN_GENERATOR)
    for part, alone in ((whole.fan, fan), (whole.generator, generator)):
        assert {k: v.shape for k, v in part.state_dict().items()} == {k: v.shape for k, v in alone.state_dict().items()}
    assert SUPER_FAN.fan() == FAN_256 and SUPER_FAN_64.fan() == FAN_64


def test_what_folding_keeps():
    torch.manual_seed(0)
    model = shaken(SuperFAN(SMALL))
    folded = assert_folds_equal(model, torch.rand(2, 3, 8, 8))
    norms = [layer for layer in folded.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2  # those of the two enlargements, which follow an addition


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, scale=8), replace(SMALL, shuffle=True, n3_blocks=1)])
def test_every_weight_learns_and_comes_back(config, tmp_path):
    torch.manual_seed(0)
    model, lr = SuperFAN(config), torch.rand(2, 3, 8, 8)
    hr = torch.rand(2, 3, 8 * config.scale, 8 * config.scale)
    assert_learns(model, lambda m: (m(lr)["sr"] - hr).square().mean() + (m(lr)["stages"] - 0.5).square().mean())
    assert_round_trip("super_fan", model, lr, tmp_path / "super_fan.pt")


def test_the_heatmap_loss_reaches_the_generator_through_a_frozen_fan():
    torch.manual_seed(0)
    model, lr = SuperFAN(SMALL), torch.rand(2, 3, 8, 8)
    model.fan.requires_grad_(False).eval()
    model(lr)["heatmaps"].square().mean().backward()
    assert model.generator.first.weight.grad.any()
    assert all(weight.grad is None for weight in model.fan.parameters())


def test_the_critic_is_homogeneous_and_takes_a_gradient_penalty():
    """No biases and no sigmoid: twice the picture gives twice the answer. The penalty trains its weights."""
    torch.manual_seed(0)
    critic, picture = Critic(), torch.rand(2, 3, 64, 64, requires_grad=True)
    score = critic(picture)
    assert score.shape == (2,)
    torch.testing.assert_close(critic(2.0 * picture), 2.0 * score)
    (slope,) = torch.autograd.grad(score.sum(), picture, create_graph=True)
    (slope.flatten(1).norm(dim=1) - 1.0).square().mean().backward()
    assert all(weight.grad.any() for weight in critic.parameters())
    assert [layer.negative_slope for layer in critic.layers if isinstance(layer, nn.LeakyReLU)] == [0.2] * 4


def test_the_critic_of_128_px_has_one_layer_more():
    with torch.device("meta"):
        critic = Critic(128)
        assert critic(torch.zeros(3, 3, 128, 128)).shape == (3,)
    assert [layer.out_channels for layer in critic.layers if isinstance(layer, nn.Conv2d)] == [
        64,
        128,
        256,
        512,
        1024,
        1,
    ]


@pytest.mark.parametrize("wrong", [{"scale": 3}, {"fan_size": 96}, {"fan_size": 32}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ModelError):
        replace(SUPER_FAN, **wrong)
    with pytest.raises(ModelError, match="power of two"):
        Critic(96)
    assert SUPER_FAN_64.fan().heatmap_size == 16 and SUPER_FAN_X8.fan().heatmap_size == 64


def test_one_onnx_graph_from_lr_to_heatmaps():
    torch.manual_seed(0)
    model = shaken(SuperFAN(SMALL))
    kinds = assert_exports(model, model.spec("small", licence="test"))
    assert kinds.count("ConvTranspose") == 2
    assert kinds.count("Resize") == 1 + 2 * SMALL.fan_depth  # SR to FAN, and a level of two hourglasses each


def test_the_generator_exports_with_pixel_shuffle():
    torch.manual_seed(0)
    model = shaken(Generator(GeneratorConfig(**NARROW, shuffle=True)))
    kinds = assert_exports(model, model.spec("small", licence="test"))
    assert kinds.count("DepthToSpace") == 2 and "ConvTranspose" not in kinds
