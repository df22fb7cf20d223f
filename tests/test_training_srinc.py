"""SRINC: the sizes, the receptive field of 195 px, and what a network for every scale owes its runtime."""

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
from sdk.image.pixels import from_network, rgb_to_y, to_network
from sdk.image.resample import resize
from training.models import CONFIGS
from training.models.srinc import SRINC, SRINC_F_X4, SRINC_X4, InceptionModule, SRINCConfig

SMALL = SRINCConfig(scale=2, lr_size=12, channels=8, modules=2, branch_widths=(2, 2, 2, 2), reduced=3)
COUNTED = {  # counts.json, "srinc/...": (parameters, GMACs of a 128-px picture)
    "rec_bottleneck32_128px": (SRINC_X4, (3_800_609, 62.1973)),
    "no_bottleneck32_128px": (replace(SRINC_X4, reduced=0), (14_013_185, 229.5501)),
    "rec_b32_no1x1branch(43,43,42)": (replace(SRINC_X4, branch_widths=(0, 43, 43, 42)), (4_846_369, 79.3311)),
    "n18_bottleneck32": (replace(SRINC_X4, modules=18), (3_600_705, 58.9258)),
}

pytestmark = [  # of torch's exporter and of onnx's own helpers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("key", COUNTED)
def test_parameters_and_multiply_adds(key):
    config, (parameters, giga_macs) = COUNTED[key]
    counted, macs = size_of(SRINC, config, (1, 1, 128, 128))
    assert (counted, round(macs / 1e9, 4)) == (parameters, giga_macs)


def test_the_typed_numbers_are_those_of_the_file():
    assert_counts_file_agrees({key: numbers for key, (_, numbers) in COUNTED.items()}, prefix="srinc/")


def test_one_network_serves_all_scales_and_both_trainings():
    names = [name for name, config in CONFIGS.items() if isinstance(config, SRINCConfig)]
    assert len(names) == 6
    with torch.device("meta"):
        shapes = [{k: v.shape for k, v in SRINC(CONFIGS[name]).state_dict().items()} for name in names]
    assert all(own == shapes[0] for own in shapes)


def reached(config):
    """Where one pixel of a black picture changes the answer: bool [231, 231]. Random weights made positive, so that no
    ReLU hides a path and nothing cancels; no biases, so that the far corners' tiny numbers stand beside zeros."""
    torch.manual_seed(0)
    model = SRINC(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()
        picture = torch.zeros(1, 1, 231, 231, dtype=torch.float64)
        picture[0, 0, 115, 115] = 1.0
        return (model(picture)["sr"] != 0)[0, 0].numpy()


@pytest.mark.parametrize(("modules", "field_px"), [(19, 195), (18, 185), (0, 5)])
def test_receptive_field(modules, field_px):
    narrow = replace(SRINC_X4, channels=4, branch_widths=(1, 1, 1, 1), reduced=1, modules=modules)
    expected = np.zeros((231, 231), dtype=bool)
    half = field_px // 2
    expected[115 - half : 116 + half, 115 - half : 116 + half] = True
    np.testing.assert_array_equal(reached(narrow), expected)


def test_without_a_residual_the_answer_is_the_input():
    picture = torch.rand(1, 1, 13, 17)
    assert torch.equal(SRINC(replace(SMALL, last_gain=0.0))(picture)["sr"], picture)


def test_a_module_is_its_four_branches_side_by_side():
    """Only the branch of one kernel is open: its channels alone answer, and they see that far."""
    module = InceptionModule(SMALL)
    with torch.no_grad():
        for weight in module.parameters():
            weight.abs_()
        impulse = torch.zeros(1, 8, 23, 23)
        impulse[:, :, 11, 11] = 1.0
        out = module(impulse) - module(torch.zeros_like(impulse))
    seen = [int((out[0, channel] != 0).any(dim=0).sum()) for channel in range(8)]
    assert seen == [1, 1, 3, 3, 7, 7, 11, 11]
    assert out.min() >= 0.0


def test_dropout_sits_behind_the_large_kernels_of_the_modules_alone():
    with torch.device("meta"):
        model = SRINC(SRINC_F_X4)
    followed = []
    for branch in [branch for module in model.inception for branch in module.branches]:
        layers = list(branch)
        followed += [layers[n - 2].kernel_size[0] for n, layer in enumerate(layers) if isinstance(layer, nn.Dropout)]
    assert followed == [3, 7, 11] * 19
    assert sum(isinstance(layer, nn.Dropout) for layer in model.modules()) == 57
    assert not [layer for layer in SRINC(SMALL).modules() if isinstance(layer, nn.Dropout)]


def test_dropout_works_while_training_only():
    model, picture = SRINC(replace(SMALL, dropout=0.1)), torch.rand(1, 1, 16, 16)
    assert not torch.equal(model.train()(picture)["sr"], model(picture)["sr"])
    assert torch.equal(model.eval()(picture)["sr"], model(picture)["sr"])


def test_branches_that_do_not_add_up_are_refused():
    with pytest.raises(ModelError, match="sum 128"):
        SRINCConfig(scale=2, lr_size=64, branch_widths=(32, 32, 32, 31))


def test_colour_goes_around_the_network():
    """Of a network that adds nothing comes the bicubic picture: Y through the network, Cb and Cr around it."""
    spec = SRINC(SMALL).spec("srinc_x2")
    crops = np.random.default_rng(0).integers(60, 190, (2, 12, 12, 3)).astype(np.float32)
    lr = to_network(crops, spec)
    assert lr.shape == (2, 1, spec.input_size, spec.input_size)
    np.testing.assert_allclose(lr[:, 0], rgb_to_y(resize(crops, (24, 24)), rounded=False) / 255.0, atol=1e-6)
    model = SRINC(replace(SMALL, last_gain=0.0)).eval()
    with torch.inference_mode():
        sr = model(torch.from_numpy(lr))["sr"].numpy()
    bicubic = np.clip(np.floor(resize(crops, (24, 24)) + 0.5), 0, 255)
    assert np.abs(from_network(sr, spec, lr=crops).astype(int) - bicubic).max() <= 1  # level: a tie falls either way


@pytest.mark.parametrize("name", ["srinc_x2", "srinc_x3", "srinc_x4", "srinc_f_x3"])
def test_spec(name):
    with torch.device("meta"):
        spec = SRINC(CONFIGS[name]).spec(name)
    assert (spec.colour, spec.channels, spec.input_upscaled, spec.any_size) == ("y", 1, True, True)
    assert spec.input_size % 4 == 0 and spec.heatmap_kind is None  # the exported file takes multiples of 4


def test_it_folds_learns_and_comes_back(tmp_path):
    torch.manual_seed(0)
    model, picture = shaken(SRINC(SMALL)), torch.rand(2, 1, 24, 24)
    assert_folds_equal(model, picture, relative=0.0)
    assert_round_trip("srinc", model, picture, tmp_path / "srinc.pt")
    target = picture.flip(3)
    assert_learns(model, lambda m: (m(picture)["sr"] - target).square().mean())


def test_onnx_computes_the_same_at_two_sizes():
    torch.manual_seed(0)
    kinds = assert_exports(shaken(SRINC(SMALL)), SRINC(SMALL).spec("srinc_x2"))
    assert set(kinds) == {"Conv", "Relu", "Concat", "Add"}
    assert kinds.count("Relu") == kinds.count("Conv") - 1  # after every convolution but the last
