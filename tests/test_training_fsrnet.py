"""FSRNet and FSRGAN's critic: sizes, what reaches the decoder, folding, learning, export."""

from dataclasses import replace

import paper_networks as networks
import pytest
import torch
from torch import nn

from sdk.errors import ModelError
from training.models.fsrnet import (
    FSRNET,
    FSRNET_68,
    FSRNET_BASELINE_V1,
    FSRNET_BASELINE_V2,
    FSRNET_CELEBA,
    Critic,
    FSRNet,
    FSRNetConfig,
)

SMALL = FSRNetConfig(
    lr_size=4, landmarks=5, parsing=3, channels=8, encoder_blocks=1, prior_channels=8, hourglasses=2, hourglass_depth=1
)
COUNTS = {  # counts.json: parameters, GMACs of a 128-px picture
    "h1_194+11_maps": (3218445, 16.2112),
    "h2_194+11_maps": (3937293, 16.7136),
    "h4_194+11_maps": (5374989, 17.7186),
    "h2_68+11_maps(celebA)": (3848463, 16.3503),
    "h2_97+11": (3868908, 16.4339),
    "h2_parsing_only11": (3800523, 16.1542),
    "h2_194+11_inter_supervision": (4006618, 16.9957),
    "h2_basicblocks_hg": (10213901, 20.6653),
    "h2_feat_concat(cydiachen style)": (3543819, 16.4252),
    "h2_deconv4": (3965965, 16.8311),
    "h2_f256": (10910477, 30.7846),
}
THREE = replace(FSRNET, deconv_kernel=3)  # the file counts with 3×3 deconvolutions but for one
VARIANTS = {
    "h1_194+11_maps": replace(THREE, hourglasses=1),
    "h2_194+11_maps": THREE,
    "h4_194+11_maps": replace(THREE, hourglasses=4),
    "h2_68+11_maps(celebA)": replace(THREE, landmarks=68),
    "h2_97+11": replace(THREE, landmarks=97),
    "h2_parsing_only11": replace(THREE, landmarks=0),
    "h2_194+11_inter_supervision": replace(THREE, inter_supervision=True),
    "h2_basicblocks_hg": replace(THREE, hourglass_block="basic"),
    "h2_feat_concat(cydiachen style)": replace(THREE, landmarks=0, decoder_reads="features", hourglass_depth=3),
    "h2_deconv4": FSRNET,
    "h2_f256": replace(THREE, prior_channels=256),
}
OPTIONS = [
    {},
    {"deconv_kernel": 3},
    {"inter_supervision": True},
    {"decoder_reads": "features"},
    {"preactivation": True},
    {"tanh": True, "hourglass_block": "basic"},
    {"prior": False},
    {"prior_supervised": False},
]

# torch's exporter and onnx's own helpers warn of their own deprecations
exporting = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def small(**changes) -> FSRNet:
    torch.manual_seed(0)
    return networks.shaken(FSRNet(replace(SMALL, **changes)))


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_are_those_of_the_reconstruction(name):
    parameters, macs = networks.size_of(FSRNet, VARIANTS[name], (1, 3, 128, 128))
    assert (parameters, round(macs / 1e9, 4)) == COUNTS[name]


def test_counts_of_the_specification_are_the_ones_typed_here():
    critic = {"D_patchgan70_cond": (2768705, 0.7671)}
    networks.assert_counts_file_agrees(COUNTS, prefix="fsrnet/")
    networks.assert_counts_file_agrees(critic, prefix="fsrgan/")


def test_the_critic_is_a_conditional_patchgan_of_70_px():
    with torch.device("meta"):
        critic = Critic()
        pair = [torch.zeros(1, 3, 128, 128)] * 2
        assert (sum(p.numel() for p in critic.parameters()), networks.macs_of(critic, *pair)) == (2768705, 767066112)
        assert critic(*pair).shape == (1, 1, 14, 14)
    torch.manual_seed(0)
    critic = Critic(4).eval()
    picture, lr = torch.rand(1, 3, 128, 128, requires_grad=True), torch.rand(1, 3, 128, 128, requires_grad=True)
    critic(picture, lr)[0, 0, 7, 7].backward()
    for seen in (picture.grad, lr.grad):  # it judges a picture beside its input: both must reach it
        rows = torch.nonzero(seen[0].abs().sum(dim=(0, 2)))
        assert int(rows.max() - rows.min()) + 1 == 70


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_folding_keeps_the_outputs(changes):
    model = small(**changes)
    folded = networks.assert_folds_equal(model, torch.rand(2, 3, 32, 32))
    if not model.config.preactivation:  # what is left stands first in an hourglass block, after a sum or a pooling
        blocks = [m.body for m in folded.modules() if type(m).__name__ == "HourglassBlock"]
        left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(left) == len(blocks) and all(isinstance(block[0], nn.BatchNorm2d) for block in blocks)


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_outputs_have_the_sizes_of_the_spec(changes):
    model = small(**changes)
    spec = model.spec("fsrnet_small")
    with torch.inference_mode():
        out = model(torch.rand(2, 3, spec.input_size, spec.input_size))
    assert set(spec.output_names) <= set(out)
    assert out["sr"].shape == out["coarse"].shape == (2, 3, spec.hr_size, spec.hr_size)
    assert ("heatmaps" in out, "parsing" in out) == (bool(spec.heatmap_kind), bool(spec.parsing_count))
    if spec.heatmap_kind:
        assert out["heatmaps"].shape == (2, spec.heatmap_count, spec.heatmap_size, spec.heatmap_size)
        assert out["parsing"].shape == (2, spec.parsing_count, spec.heatmap_size, spec.heatmap_size)
    if "stages" in out:
        assert torch.equal(out["stages"][:, -1], torch.cat([out["heatmaps"], out["parsing"]], dim=1))
        assert out["stages"].shape[1] == 2


def test_the_named_configurations_are_the_paper_s():
    assert (FSRNET.landmarks, FSRNET_CELEBA.landmarks, FSRNET_68.parsing) == (194, 68, 0)
    with torch.device("meta"):
        specs = [FSRNet(c).spec("x") for c in (FSRNET, FSRNET_68, FSRNET_BASELINE_V1, FSRNET_BASELINE_V2)]
    assert [s.output_names for s in specs] == [("sr", "heatmaps", "parsing"), ("sr", "heatmaps"), ("sr",), ("sr",)]
    assert [s.landmark_scheme for s in specs[:2]] == ["helen194", "300w68"]
    assert (specs[0].heatmap_size, specs[0].input_size, specs[0].sigma_cells) == (64, 128, 2.0)


@pytest.mark.parametrize("reads", ["maps", "features"])
def test_the_decoder_sees_the_maps_and_not_only_the_features(reads):
    """Other heads, other picture: true of the paper's prior, not of the copies that concatenate features."""
    model, lr = small(decoder_reads=reads), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        before = model(lr)["sr"]
        for conv in model.prior.heads[0].values():
            conv.bias += 1.0
        moved = bool((model(lr)["sr"] - before).abs().max() > 1e-6)
    assert moved == (reads == "maps")


def test_twelve_encoder_blocks_are_twelve_not_one_applied_twelve_times():
    with torch.device("meta"):
        model = FSRNet(FSRNET)
    assert len({id(block) for block in model.encoder[1]}) == 12


@pytest.mark.parametrize(
    "changes", [{"inter_supervision": True}, {"prior": False}, {"prior_supervised": False, "preactivation": True}]
)
def test_it_learns(changes):
    hr, maps = torch.rand(2, 3, 32, 32), torch.rand(2, 8, 16, 16)
    model = FSRNet(replace(SMALL, **changes))

    def loss(model):
        out = model(hr)
        total = (out["sr"] - hr).square().sum() + (out["coarse"] - hr).square().sum()
        if "stages" in out:
            total = total + (out["stages"] - maps[:, None]).square().sum()
        return total / 4.0  # PAPERS 5.3

    networks.assert_learns(model, loss)


def test_a_checkpoint_builds_the_same_network(tmp_path):
    networks.assert_round_trip("fsrnet", small(), torch.rand(1, 3, 32, 32), tmp_path / "f.pt")


@exporting
def test_it_exports():
    model = small()
    kinds = networks.assert_exports(model, model.spec("fsrnet_small"))
    assert kinds.count("ConvTranspose") == 1 and kinds.count("Resize") == 2
    assert kinds.count("BatchNormalization") == 8  # one a block of the hourglasses


@pytest.mark.parametrize(
    "changes",
    [{"lr_size": 3, "scale": 1}, {"hourglass_block": "x"}, {"decoder_reads": "x"}, {"landmarks": 0, "parsing": 0}],
    ids=str,
)
def test_a_configuration_that_cannot_be_built_is_refused(changes):
    with pytest.raises(ModelError):
        FSRNet(replace(SMALL, **changes))
