"""FAN: the sizes, hourglasses that can be followed by hand, and where its heatmaps' cells lie in the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from paper_networks import assert_counts_file_agrees, assert_learns, assert_round_trip, shaken, size_of
from torch import nn

from sdk.errors import ModelError
from sdk.image.heatmap import cells_to_image, decode, encode
from training.models import CONFIGS
from training.models.fan import FAN, FAN_64, FAN_256, FAN_PIXEL_OFFSET, ConvBlock, FANConfig, Hourglass, Stack, Stem

SMALL = FANConfig(points=5, stacks=2, depth=2, channels=16, input_size=32)
COUNTED = {  # counts.json, "fan/...": (parameters, GMACs)
    "2HG_68_256in": (FAN_256, (12_106_504, 13.9236)),
    "4HG_68_256in": (replace(FAN_256, stacks=4), (23_820_176, 25.2353)),
    "1HG_68_256in": (replace(FAN_256, stacks=1), (6_249_668, 8.2678)),
    "2HG_68_128in": (replace(FAN_256, input_size=128), (12_106_504, 3.4809)),
    "2HG_68_64in": (FAN_64, (12_106_504, 0.8702)),
}


@pytest.mark.parametrize("key", COUNTED)
def test_parameters_and_multiply_adds(key):
    config, (parameters, giga_macs) = COUNTED[key]
    counted, macs = size_of(FAN, config, (1, 3, config.input_size, config.input_size))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


def test_the_typed_numbers_are_those_of_the_file():
    assert_counts_file_agrees({key: numbers for key, (_, numbers) in COUNTED.items()}, prefix="fan/")


def silenced(module):
    """Convolutions that answer zero: a block of equal widths is then the identity."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
    return module.eval()


def test_a_silent_block_passes_its_input_on():
    x = torch.rand(2, 8, 5, 6)
    assert torch.equal(silenced(ConvBlock(8, 8))(x), x)
    assert not silenced(ConvBlock(8, 12))(x).any()  # the skip has a convolution here


def test_a_silent_hourglass_adds_up_the_averages():
    """depth 1: x + enlarged(mean of 2 × 2); depth 2: that once more, inside."""
    rows = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(1, 4, 1, 1)
    half = torch.tensor([[2.5, 4.5], [10.5, 12.5]])
    expected = rows[0, 0] + half.repeat_interleave(2, 0).repeat_interleave(2, 1)
    torch.testing.assert_close(silenced(Hourglass(4, 1))(rows)[0, 2], expected)
    torch.testing.assert_close(silenced(Hourglass(4, 2))(rows)[0, 2], expected + 7.5)


class Affine(nn.Module):
    def __init__(self, gain, shift):
        super().__init__()
        self.gain, self.shift = gain, shift

    def forward(self, x):
        return self.gain * x + self.shift


def test_an_hourglass_has_a_block_before_and_one_behind_its_inner_part():
    hourglass = Hourglass(4, 2)
    hourglass.up, hourglass.down = Affine(0.0, 0.0), Affine(1.0, 1.0)
    hourglass.inner, hourglass.back = Affine(2.0, 0.0), Affine(1.0, 10.0)
    assert torch.equal(hourglass(torch.ones(1, 4, 4, 4)), torch.full((1, 4, 4, 4), (1.0 + 1.0) * 2.0 + 10.0))


def test_a_block_puts_its_three_convolutions_side_by_side():
    block, x = shaken(ConvBlock(8, 16)), torch.rand(1, 8, 4, 4)
    with torch.inference_mode():
        parts = block(x) - block.skip(x)
        a = block.conv1(torch.relu(block.bn1(x)))
        b = block.conv2(torch.relu(block.bn2(a)))
    assert (a.shape[1], b.shape[1], parts.shape[1]) == (8, 4, 16)
    torch.testing.assert_close(parts[:, :8], a)
    torch.testing.assert_close(parts[:, 8:12], b)


def test_the_stem_takes_averages():
    torch.manual_seed(0)
    stem, picture = shaken(Stem(16)), torch.rand(1, 3, 16, 12)
    with torch.inference_mode():
        wide = stem.block1(torch.relu(stem.bn(stem.conv(picture))))  # [1,8,8,6]
        means = wide.reshape(1, 8, 4, 2, 3, 2).mean(dim=(3, 5))
        torch.testing.assert_close(stem(picture), stem.block3(stem.block2(means)), atol=1e-5, rtol=0)


def test_a_stack_feeds_features_and_heatmaps_back():
    stack = silenced(Stack(SMALL, last=False))
    with torch.no_grad():
        stack.heat.bias.fill_(2.0)
        stack.feed_features.bias.fill_(0.25)
        stack.feed_heatmaps.weight.fill_(0.5)
        stack.feed_heatmaps.bias.zero_()
        fed, heatmaps = stack(torch.ones(1, 16, 8, 8))
    torch.testing.assert_close(heatmaps, torch.full((1, 5, 8, 8), 2.0))
    torch.testing.assert_close(fed, torch.full((1, 16, 8, 8), 1.0 + 0.25 + 5 * 2.0 * 0.5))


@pytest.mark.parametrize(("size", "cells"), [(256, 64), (64, 16)])
def test_shapes_of_the_two_profiles(size, cells):
    with torch.device("meta"):
        out = FAN(replace(FAN_256, input_size=size))(torch.zeros(3, 3, size, size))
    assert out["heatmaps"].shape == (3, 68, cells, cells)
    assert out["stages"].shape == (3, 2, 68, cells, cells)
    assert FANConfig(input_size=size).heatmap_size == cells


def test_the_last_stack_answers():
    torch.manual_seed(0)
    out = shaken(FAN(SMALL))(torch.rand(2, 3, 32, 32))
    assert torch.equal(out["stages"][:, -1], out["heatmaps"])
    assert not torch.allclose(out["stages"][:, 0], out["heatmaps"])


def test_coordinates_of_its_own_code_are_half_a_pixel_further():
    """Its code: peak cell, a quarter of a cell towards the larger neighbour, then times 4 plus 2. Ours: sdk.image."""
    points = np.array([[[20.3, 31.8]]])  # cells
    maps = encode(points, (64, 64), sigma_cells=1.75)
    ours = cells_to_image(decode(maps, mode="quarter").points, (64, 64), (256, 256))
    theirs = np.array([[[20.25, 31.75]]]) * 4.0 + 2.0  # peaks 20 and 32, steps +1/4 and -1/4
    np.testing.assert_allclose(ours + FAN_PIXEL_OFFSET, theirs, atol=1e-4)


def test_folding_leaves_the_norms_before_relu_and_convolution():
    model = shaken(FAN(SMALL))
    folded, x = model.folded(), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x)["stages"], model(x)["stages"], atol=1e-4, rtol=0)
    count = [sum(isinstance(layer, nn.BatchNorm2d) for layer in each.modules()) for each in (model, folded)]
    assert count[0] - count[1] == 1 + SMALL.stacks


def test_it_learns_and_comes_back(tmp_path):
    torch.manual_seed(0)
    x, target = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 5, 8, 8)
    assert_round_trip("fan", shaken(FAN(SMALL)), x, tmp_path / "fan.pt")
    assert_learns(FAN(SMALL), lambda m: (m(x)["stages"] - target).square().mean())


def test_the_first_stack_learns_from_its_own_heatmaps_alone():
    model, x = FAN(SMALL), torch.rand(2, 3, 32, 32)
    model(x)["stages"][:, 0].square().mean().backward()
    assert model.stem.conv.weight.grad.any() and model.stacks[0].heat.weight.grad.any()
    assert all(weight.grad is None or not weight.grad.any() for weight in model.stacks[1].parameters())


@pytest.mark.parametrize("wrong", [{"input_size": 96}, {"input_size": 0}, {"channels": 30}])
def test_sizes_that_do_not_halve_are_refused(wrong):
    with pytest.raises(ModelError, match="multiples of"):
        replace(FAN_256, **wrong)


def test_named_configurations():
    assert CONFIGS["fan"] == FAN_256 and CONFIGS["fan_64"] == FAN_64
