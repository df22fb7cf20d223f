"""SRCNN, VDSR and URDGN: the sizes, and a case each that can be followed by hand."""

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
from training.models import CONFIGS, MODELS
from training.models.baselines import (
    SRCNN,
    SRCNN_X4,
    URDGN,
    URDGN_X8,
    VDSR,
    VDSR_X4,
    SRCNNConfig,
    URDGNConfig,
    URDGNDiscriminator,
    VDSRConfig,
)

COUNTED = {  # counts.json, "baseline/...": (network, configuration, parameters, GMACs at 128 px, URDGN's at 16)
    "srcnn_955_Y_128": (SRCNN, SRCNN_X4, 57_281, 0.9369),
    "srcnn_915_Y_128": (SRCNN, replace(SRCNN_X4, kernels=(9, 1, 5)), 8_129, 0.1316),
    "srcnn_955_rgb_128": (SRCNN, replace(SRCNN_X4, channels=3), 69_251, 1.133),
    "vdsr20_Y_128": (VDSR, VDSR_X4, 664_704, 10.8905),
    "vdsr20_Y_bias_128": (VDSR, replace(VDSR_X4, bias=True), 665_921, 10.8905),
    "vdsr20_rgb_128": (VDSR, replace(VDSR_X4, bias=True, channels=3), 668_227, 10.9283),
    "urdgn_G_x8": (URDGN, URDGN_X8, 1_054_243, 14.5848),
}
SMALL = {
    "srcnn": SRCNNConfig(scale=2, lr_size=12, widths=(6, 4)),
    "vdsr": VDSRConfig(scale=2, lr_size=12, depth=4, width=6),
    "urdgn": URDGNConfig(lr_size=4, widths=(4, 5, 6, 7)),
}

pytestmark = [  # of torch's exporter and of onnx's own helpers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("key", COUNTED)
def test_parameters_and_multiply_adds(key):
    network, config, parameters, giga_macs = COUNTED[key]
    size = 16 if network is URDGN else 128
    channels = 3 if network is URDGN else config.channels
    counted, macs = size_of(network, config, (1, channels, size, size))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


def test_the_typed_numbers_are_those_of_the_file():
    assert_counts_file_agrees({key: each[2:] for key, each in COUNTED.items()}, prefix="baseline/")


def test_the_discriminator_is_the_one_that_mtun_takes_over():
    with torch.device("meta"):
        model = URDGNDiscriminator()
        assert model(torch.zeros(3, 3, 128, 128)).shape == (3,)
    assert sum(weight.numel() for weight in model.parameters()) == 6_859_425  # counts.json, "mtun/D"
    assert_counts_file_agrees({"D": (6_859_425, 0.5437)}, prefix="mtun/")


def network(name):
    torch.manual_seed(0)
    return shaken(MODELS[name](SMALL[name]))


def picture_for(model):
    spec = model.spec("small")
    return torch.rand(2, spec.channels, spec.input_size, spec.input_size)


@pytest.mark.parametrize("name", SMALL)
def test_it_folds_learns_and_comes_back(name, tmp_path):
    model = network(name)
    lr = picture_for(model)
    folded = assert_folds_equal(model, lr)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert_round_trip(name, model, lr, tmp_path / f"{name}.pt")
    target = torch.rand_like(model(lr)["sr"].detach())
    assert_learns(model, lambda m: (m(lr)["sr"] - target).square().mean())


@pytest.mark.parametrize("name", SMALL)
def test_onnx_computes_the_same(name):
    model = network(name)
    kinds = assert_exports(model, model.spec(name))
    allowed = {"srcnn": {"Conv", "Relu"}, "vdsr": {"Conv", "Relu", "Add"}, "urdgn": {"Conv", "Relu", "Resize"}}
    assert set(kinds) == allowed[name]


def test_vdsr_adds_to_its_input_and_srcnn_does_not():
    lr = torch.rand(1, 1, 9, 11)
    for name, expected in (("vdsr", lr), ("srcnn", torch.zeros_like(lr))):
        model = MODELS[name](SMALL[name])
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        assert torch.equal(model(lr)["sr"], expected)


def test_urdgn_enlarges_by_repeating():
    """All kernels pass the middle on, so every pixel of the input becomes an 8 × 8 square."""
    model = URDGN(URDGNConfig(lr_size=4, widths=(3, 3, 3, 3)))
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)
                nn.init.zeros_(layer.bias)
    lr = torch.rand(1, 3, 4, 4)
    squares = lr.repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(model.eval()(lr)["sr"], squares, atol=1e-4, rtol=0)  # eval BN divides by sqrt(1 + 1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_specs_of_the_networks_for_enlarged_pictures(scale):
    for name in (f"srcnn_x{scale}", f"vdsr_x{scale}"):
        spec = MODELS[name.split("_")[0]](CONFIGS[name]).spec(name)
        assert (spec.scale, spec.colour, spec.input_upscaled, spec.any_size) == (scale, "y", True, True)
        assert spec.input_size % 4 == 0  # the exported file takes multiples of 4
    rgb = SRCNN(replace(SRCNN_X4, channels=3)).spec("rgb")
    assert (rgb.colour, rgb.channels) == ("rgb", 3)


def test_spec_of_urdgn():
    spec = URDGN(CONFIGS["urdgn"]).spec("urdgn")
    assert (spec.value_range, spec.lr_size, spec.hr_size) == ((-1.0, 1.0), 16, 128)
    with pytest.raises(ModelError, match="scale of 8"):
        URDGNConfig(scale=4)
