"""SRResNet and SRGAN's discriminator: the sizes, the long skip, and the export without batch norms."""

from dataclasses import replace

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
from training.models import CONFIGS
from training.models.srresnet import (
    SRRESNET_X4,
    SRRESNET_X8,
    ResidualBlock,
    SRGANDiscriminator,
    SRResNet,
    SRResNetConfig,
)

SMALL = SRResNetConfig(scale=4, lr_size=8, channels=8, blocks=2)
GENERATORS = {  # counts.json, "baseline/...": (configuration, input px, parameters, GMACs)
    "srresnet_x4_16": (SRRESNET_X4, 16, 1_549_462, 0.5679),
    "srresnet_x8_16": (SRRESNET_X8, 16, 1_697_175, 1.3629),
    "srresnet_x4_64in": (SRRESNET_X4, 64, 1_549_462, 9.0856),
}
DISCRIMINATORS = {"srgan_D_64": (64, 13_079_745, 0.393), "srgan_D_128": (128, 38_245_569, 1.5718)}

pytestmark = [  # of torch's exporter and of onnx's own helpers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("key", GENERATORS)
def test_parameters_and_multiply_adds(key):
    config, size, parameters, giga_macs = GENERATORS[key]
    counted, macs = size_of(SRResNet, config, (1, 3, size, size))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


@pytest.mark.parametrize("key", DISCRIMINATORS)
def test_parameters_and_multiply_adds_of_the_discriminator(key):
    size, parameters, giga_macs = DISCRIMINATORS[key]
    counted, macs = size_of(SRGANDiscriminator, size, (1, 3, size, size))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


def test_the_typed_numbers_are_those_of_the_file():
    typed = {key: each[-2:] for key, each in (GENERATORS | DISCRIMINATORS).items()}
    assert_counts_file_agrees(typed, prefix="baseline/")


def test_the_long_skip_carries_what_the_blocks_leave_out():
    """With silent blocks and a silent convolution after them, features are those of the first layer."""
    torch.manual_seed(0)
    model, lr = SRResNet(SMALL).eval(), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias.zero_()
        expected = model.last(model.up(model.first(lr)))
        assert torch.equal(model(lr)["sr"], expected)


def test_nothing_follows_the_addition_of_a_residual_block():
    block, x = ResidualBlock(4), torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        block.bn2.weight.zero_()
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_it_folds_learns_and_comes_back(scale, tmp_path):
    torch.manual_seed(0)
    model, lr = shaken(SRResNet(replace(SMALL, scale=scale))), torch.rand(2, 3, 8, 8)
    folded = assert_folds_equal(model, lr)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert_round_trip("srresnet", model, lr, tmp_path / "srresnet.pt")
    hr = torch.rand(2, 3, 8 * scale, 8 * scale)
    assert_learns(model, lambda m: (m(lr)["sr"] - hr).square().mean())


def test_onnx_computes_the_same():
    torch.manual_seed(0)
    model = shaken(SRResNet(SMALL))
    assert set(assert_exports(model, model.spec("small"))) == {"Conv", "PRelu", "Add", "DepthToSpace"}


def test_the_discriminator_tells_two_pictures_apart_after_some_steps():
    torch.manual_seed(0)
    real, fake = torch.rand(4, 3, 16, 16), 0.5 + 0.05 * torch.randn(4, 3, 16, 16)
    target = torch.cat([torch.ones(4), torch.zeros(4)])
    loss = nn.BCEWithLogitsLoss()
    assert_learns(SRGANDiscriminator(16), lambda m: loss(m(torch.cat([real, fake])), target), lr=1e-4)


def test_specs_and_refusals():
    for name, scale in (("srresnet_x4", 4), ("srresnet_x8", 8)):
        with torch.device("meta"):
            spec = SRResNet(CONFIGS[name]).spec(name)
        assert (spec.scale, spec.lr_size, spec.input_upscaled, spec.heatmap_kind) == (scale, 16, False, None)
    with pytest.raises(ModelError, match="a scale of"):
        SRResNetConfig(scale=3)
    with pytest.raises(ModelError, match="multiple of 16"):
        SRGANDiscriminator(72)
