"""JASRNet: the authors' sizes to the last weight, and a tail in one step that is the tail."""

from dataclasses import replace

import paper_networks as networks
import pytest
import torch
import torch.nn.functional as F

from sdk.errors import ModelError
from training.models.jasrnet import (
    JASRNET,
    JASRNET_64PX,
    JASRNET_AFLW,
    JASRNET_HELEN,
    JASRNET_ONE_STAGE,
    JASRNET_T16,
    JASRNET_TWO_STAGES,
    JASRNet,
    JASRNetConfig,
)
from training.models.jasrnet_tail import FIRST, INNER, LAST, CollapsedTail, Tail, collapse

SMALL = JASRNetConfig(lr_size=4, points=5, channels=8, encoder_blocks=(1, 1, 1, 1), deep_blocks=1)
FIXED = 36  # of the released code's colour affines, which it counts as parameters
FIXED_MACS = 2 * 9 * 128 * 128  # two of them, 3 -> 3 colours, run on the picture
COUNTS = {  # counts.json: parameters with the fixed ones, GMACs of a 128-px picture
    "full_T32_3stages": (19885814, 25.4692),
    "T16": (15163126, 24.2612),
    "1stage": (17501548, 24.8593),
    "2stages": (18693681, 25.1643),
    "K195_helen": (20611952, 25.655),
    "K20_aflw": (19603427, 25.3969),
    "K68_nobg": (19880051, 25.4677),
    "JT_F(no long skip)": (19443062, 22.2983),
    "JT(no fuse,no long)": (19000310, 21.5056),
    "BL_sr": (15208231, 20.5356),
}
VARIANTS = {
    "full_T32_3stages": JASRNET,
    "T16": JASRNET_T16,
    "1stage": JASRNET_ONE_STAGE,
    "2stages": JASRNET_TWO_STAGES,
    "K195_helen": JASRNET_HELEN,
    "K20_aflw": JASRNET_AFLW,
    "K68_nobg": replace(JASRNET, background=False),
    "JT_F(no long skip)": replace(JASRNET, long_skip=False),
    "JT(no fuse,no long)": replace(JASRNET, long_skip=False, fusion=False),
    "BL_sr": replace(JASRNET, long_skip=False, fusion=False, stages=0),
}

# torch's exporter and onnx's own helpers warn of their own deprecations
exporting = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def small(config=SMALL, **changes) -> JASRNet:
    torch.manual_seed(0)
    return networks.shaken(JASRNet(replace(config, **changes)))


def tail_of(channels: int) -> Tail:
    torch.manual_seed(0)
    return Tail(channels).double()


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_are_those_of_the_authors_code(name):
    parameters, macs = networks.size_of(JASRNet, VARIANTS[name], (1, 3, 128, 128))
    assert (parameters + FIXED, round((macs + FIXED_MACS) / 1e9, 4)) == COUNTS[name]


def test_counts_of_the_specification_are_the_ones_typed_here():
    networks.assert_counts_file_agrees(COUNTS, prefix="jasrnet/")


def test_the_64_px_setting_has_the_same_weights():
    parameters, macs = networks.size_of(JASRNet, JASRNET_64PX, (1, 3, 256, 256))
    assert parameters + FIXED == 19885814
    assert round((macs + 4 * FIXED_MACS) / 1e9, 4) == 101.8768


def test_the_image_of_one_cell_alone_spreads_over_five_cells_through_the_tail():
    """5×5 is enough, and needed: the response to one cell, less that to nothing."""
    tail, features = tail_of(3), torch.zeros(2, 3, 9, 9, dtype=torch.float64)
    features[1, 1, 4, 4] = 1.0
    with torch.inference_mode():
        response = tail(features)
    reached = F.max_pool2d((response[1] - response[0]).abs().sum(0, keepdim=True), 8)[0] > 1e-12
    rows, columns = torch.nonzero(reached, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 2, 6)


@pytest.mark.parametrize("size", [(3, 3), (4, 7), (16, 16)])
def test_the_tail_in_one_step_is_the_tail_at_the_border_too(size):
    tail = tail_of(4)
    collapsed = CollapsedTail(tail).double()
    for conv, exact in zip(collapsed.filters.values(), exact_filters(tail), strict=True):
        conv.weight.data, conv.bias.data = exact  # before the rounding to float32
    features = torch.randn(2, 4, *size, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(collapsed(features), tail(features), atol=1e-12, rtol=0)


def exact_filters(tail):
    seen = {FIRST: slice(2, 5), INNER: slice(0, 5), LAST: slice(0, 3)}
    for row in seen:
        for column in seen:
            weight, bias = collapse(tail, row=row, column=column)
            yield weight[:, :, seen[row], seen[column]].contiguous(), bias


def test_the_output_affine_is_the_one_of_the_code_not_the_inverse_of_the_input_s():
    model = small()
    colours = torch.rand(1, 3, 2, 2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = colours / std[:, None, None] + (mean / std)[:, None, None]
    torch.testing.assert_close(model.denormalise(colours), expected)
    torch.testing.assert_close(model.normalise(colours), (colours - mean[:, None, None]) / std[:, None, None])


@pytest.mark.parametrize(
    "changes", [{}, {"stages": 0}, {"long_skip": False, "fusion": False}, {"stages_read": "fused"}], ids=str
)
def test_folding_keeps_the_outputs(changes):
    model = small(**changes)
    folded = networks.assert_folds_equal(model, torch.rand(2, 3, 32, 32))
    assert isinstance(folded.tail, CollapsedTail) and isinstance(folded.denormalise, torch.nn.Identity)


def test_outputs_have_the_sizes_of_the_spec_and_the_background_is_for_the_loss():
    model = small()
    spec = model.spec("jasrnet_small")
    with torch.inference_mode():
        out = model(torch.rand(2, 3, spec.input_size, spec.input_size))
    assert out["sr"].shape == (2, 3, spec.hr_size, spec.hr_size)
    assert out["heatmaps"].shape == (2, spec.heatmap_count, spec.heatmap_size, spec.heatmap_size)
    assert out["stages"].shape == (2, 3, 6, 4, 4)
    assert torch.equal(out["stages"][:, 2, :5], out["heatmaps"])
    assert model.spec("x").landmark_scheme == "points5"
    assert (JASRNet(replace(SMALL, points=68)).spec("x").landmark_scheme, spec.sigma_cells) == ("300w68", 0.5)
    assert JASRNet(replace(SMALL, stages=0)).spec("x").output_names == ("sr",)


def test_stages_read_what_the_code_or_the_equation_says():
    """With the alignment features cut off, only a stage that reads F still sees the picture."""
    for reads, moves in (("aligned", False), ("fused", True)):
        model = small(stages_read=reads)
        for value in model.landmarks.align[-1].parameters():
            value.data.zero_()
        with torch.inference_mode():
            heatmaps = model(torch.rand(2, 3, 32, 32))["heatmaps"]
        assert bool((heatmaps[0] - heatmaps[1]).abs().max() > 1e-6) == moves


def test_weights_start_as_in_the_code():
    torch.manual_seed(0)
    model = JASRNet(replace(SMALL, channels=32))
    weights = torch.cat([m.weight.detach().flatten() for m in model.modules() if isinstance(m, torch.nn.Conv2d)])
    assert abs(float(weights.std()) - 0.01) < 2e-4
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, torch.nn.Conv2d))


def test_it_learns():
    picture, maps = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 6, 4, 4)

    def loss(model):
        out = model(picture)
        return (out["sr"] - picture).abs().mean() + (out["stages"] - maps).square().sum() / 4.0  # PAPERS 3.3

    networks.assert_learns(small(), loss, lr=1e-4)


def test_a_checkpoint_builds_the_same_network(tmp_path):
    networks.assert_round_trip("jasrnet", small(), torch.rand(1, 3, 32, 32), tmp_path / "j.pt")


@exporting
def test_it_exports_with_a_tail_of_one_step():
    model = small()
    kinds = networks.assert_exports(model, model.spec("jasrnet_small"))
    assert kinds.count("DepthToSpace") == 1
    assert not {"BatchNormalization", "Mul", "Div"} & set(kinds), sorted(set(kinds))


@pytest.mark.parametrize("changes", [{"lr_size": 2}, {"scale": 3, "lr_size": 9}, {"stages_read": "nothing"}], ids=str)
def test_a_configuration_that_cannot_be_built_is_refused(changes):
    with pytest.raises(ModelError):
        JASRNet(replace(SMALL, **changes))
