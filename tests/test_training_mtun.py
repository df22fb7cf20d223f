"""MTUN: sizes of the authors' code, a transformer that can stand still, folding, learning, export."""

import math
from dataclasses import replace

import numpy as np
import paper_networks as networks
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sdk.errors import ModelError
from training.models.mtun import (
    MTUN,
    MTUN_1,
    MTUN_2,
    MTUN_3,
    MTUN_4,
    MTUN_NO_SKIP,
    MTUN_SLIM,
    Discriminator,
    MTUNConfig,
)
from training.models.mtun_heatmaps import ComponentHeatmaps
from training.models.mtun_stn import InputAligner, SimilaritySampler, SpatialTransformer

SMALL = MTUNConfig(width=2, stacks=2)
OTHER_LOCALISER = 2780  # the file counts all but one with a third convolution in the transformer and FC 180→20
COUNTS = {  # counts.json: parameters, GMACs
    "G_skip_4stack_stn500": (44959007, 6.6764),
    "G_skip_4stack_stn180": (44956227, 6.6764),
    "G_skip_1stack": (43688823, 5.2286),
    "G_skip_2stack": (44111291, 5.7112),
    "G_skip_3stack": (44533759, 6.1938),
    "G_noskip": (44820483, 4.4618),
    "G_noAE": (2274915, 6.1887),
    "D": (6859425, 0.5437),
}
VARIANTS = {
    "G_skip_1stack": MTUN_1,
    "G_skip_2stack": MTUN_2,
    "G_skip_3stack": MTUN_3,
    "G_skip_4stack_stn180": MTUN_4,
    "G_noskip": MTUN_NO_SKIP,
    "G_noAE": MTUN_SLIM,
}
STILL = (0.0, 1.0, 0.0, 0.0)  # θ, s, ty, tx

# torch's exporter and onnx's own helpers warn of their own deprecations
exporting = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def small(**changes) -> MTUN:
    torch.manual_seed(0)
    return networks.shaken(MTUN(replace(SMALL, **changes)))


def picture(count: int = 1) -> torch.Tensor:
    return 2.0 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(3)) - 1.0


def test_the_network_of_the_paper_has_its_size():
    parameters, macs = networks.size_of(MTUN, MTUN_4, (1, 3, 16, 16))
    assert (parameters, round(macs / 1e9, 4)) == COUNTS["G_skip_4stack_stn500"]


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_their_sizes_but_for_the_localiser(name):
    parameters, macs = networks.size_of(MTUN, VARIANTS[name], (1, 3, 16, 16))
    assert (parameters - OTHER_LOCALISER, round(macs / 1e9, 4)) == COUNTS[name]


def test_the_discriminator_has_its_size_and_tells_one_number_a_picture():
    with torch.device("meta"):
        discriminator, hr = Discriminator(), torch.zeros(2, 3, 128, 128)
        assert discriminator(hr).shape == (2, 1)
        macs = networks.macs_of(discriminator, hr[:1])
    assert (sum(p.numel() for p in discriminator.parameters()), round(macs / 1e9, 4)) == COUNTS["D"]


def test_counts_of_the_specification_are_the_ones_typed_here():
    networks.assert_counts_file_agrees(COUNTS, prefix="mtun/")


@pytest.mark.parametrize("size", [16, 64])
def test_a_transformer_that_stands_still_is_the_identity(size):
    x = torch.rand(2, 3, size, size)
    moved = SimilaritySampler(size)(x, torch.tensor([STILL, STILL]))
    torch.testing.assert_close(moved, x, atol=2e-5, rtol=0)  # rounding of a coordinate times the steepest edge


@pytest.mark.parametrize("kind", ["printed", "fc80"])
def test_both_transformers_start_as_the_identity(kind):
    features, lr = torch.rand(1, 5, 64, 64), torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(SpatialTransformer(5, localiser=kind)(features), features, atol=2e-5, rtol=0)
        torch.testing.assert_close(InputAligner()(lr), lr, atol=2e-5, rtol=0)


def test_quarter_turns_halves_and_shifts_by_eye():
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    sample = SimilaritySampler(5)

    def moved(angle, scale, shift_y, shift_x):
        return sample(x, torch.tensor([[angle, scale, shift_y, shift_x]]))[0, 0].numpy()

    grid = x[0, 0].numpy()
    np.testing.assert_allclose(moved(math.pi / 2, 1, 0, 0), np.rot90(grid), atol=1e-5)
    np.testing.assert_allclose(moved(0, 0.5, 0, 0)[::4, ::4], [[6, 8], [16, 18]], atol=1e-5)
    down = np.zeros((5, 5))
    down[:4] = grid[1:]
    np.testing.assert_allclose(moved(0, 1, 0.5, 0), down, atol=1e-5)  # one pixel is 2 / (5 - 1)
    right = np.zeros((5, 5))
    right[:, :3] = grid[:, 2:]
    np.testing.assert_allclose(moved(0, 1, 0, 1.0), right, atol=1e-5)


def test_the_grid_is_affine_grid_s():
    x, motion = torch.rand(2, 3, 16, 16), torch.tensor([[0.3, 0.9, 0.1, -0.2], [-1.2, 1.3, 0.0, 0.4]])
    angle, scale, shift_y, shift_x = motion.T
    rows = [scale * angle.cos(), -scale * angle.sin(), shift_x, scale * angle.sin(), scale * angle.cos(), shift_y]
    matrix = torch.stack(rows, dim=1).reshape(2, 2, 3)
    expected = F.grid_sample(x, F.affine_grid(matrix, list(x.shape), align_corners=True), align_corners=True)
    torch.testing.assert_close(SimilaritySampler(16)(x, motion), expected, atol=1e-5, rtol=0)


OPTIONS = [{}, {"stacks": 1}, {"skip": False}, {"autoencoder": False}, {"localiser": "fc80"}]


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_folding_keeps_the_outputs_and_sizes_are_the_spec_s(changes):
    model = small(**changes)
    spec = model.spec("mtun_small")
    folded = networks.assert_folds_equal(model, picture(2))
    with torch.inference_mode():
        out = model(picture(2))
    assert out["sr"].shape == (2, 3, spec.hr_size, spec.hr_size)
    assert out["heatmaps"].shape == (2, spec.heatmap_count, spec.heatmap_size, spec.heatmap_size)
    assert torch.equal(out["stages"][:, -1], out["heatmaps"]) and out["stages"].shape[1] == model.config.stacks
    modules = [m.body for m in folded.modules() if type(m).__name__ == "ResidualModule"]
    left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(left) == len(modules) and all(isinstance(body[0], nn.BatchNorm2d) for body in modules)


def test_the_spec_promises_components_and_no_landmarks():
    spec = small().spec("mtun_small")
    assert (spec.heatmap_kind, spec.colour, spec.value_range) == ("components", "bgr", (-1.0, 1.0))


def test_concatenations_are_in_the_order_of_the_authors_weights():
    """Input first at 16² and 64², an encoder's level after the decoder's, P before H4, Q2 before Q1."""
    model, seen = small(), {}
    for name in ("transformer", "fuse", "out", "autoencoder.up.1"):
        model.get_submodule(name).register_forward_pre_hook(lambda m, x, name=name: seen.update({name: x[0]}))
    lr = picture()
    with torch.inference_mode():
        out = model(lr)
        assert torch.equal(model.autoencoder(lr)[:, :3], lr)
        down = model.autoencoder.down
        assert torch.equal(seen["autoencoder.up.1"][:, 64:], down[2](down[1](down[0](lr))))
        assert torch.equal(seen["transformer"][:, :3, ::4, ::4], lr)
        assert torch.equal(seen["fuse"][:, :4], model.upright_features(lr))
        assert torch.equal(seen["fuse"][:, 4:], out["heatmaps"])
        around = model.around(F.interpolate(model.upright_features(lr), scale_factor=2.0, mode="nearest"))
        assert torch.equal(seen["out"][:, :4], around)


def test_the_picture_is_clamped_when_not_training():
    model = small()
    with torch.no_grad():
        model.out[-1].bias.fill_(3.0)
        assert model(picture())["sr"].max() == 1.0
        assert model.train()(picture(2))["sr"].max() > 1.0


def test_heatmaps_of_one_stack_reach_the_next():
    torch.manual_seed(0)
    branch, x = ComponentHeatmaps(4, components=4, stacks=2, depth=2).eval(), torch.rand(1, 4, 16, 16)
    with torch.inference_mode():
        first, second = branch(x)
        branch.heads[0].bias += 1.0
        first_moved, second_moved = branch(x)
    torch.testing.assert_close(first_moved, first + 1.0)
    assert (second_moved - second).abs().max() > 1e-6


def test_it_learns():
    lr, hr, maps = picture(4), torch.rand(4, 3, 128, 128), torch.rand(4, 4, 64, 64)
    torch.manual_seed(0)
    model = networks.shaken(MTUN(SMALL))  # the transformer off the identity, else nothing reaches its first layers

    def loss(model):
        out = model(lr)
        return (out["sr"] - hr).square().mean() + (out["stages"] - maps[:, None]).square().mean(dim=(0, 2, 3, 4)).sum()

    networks.assert_learns(model, loss)


def test_a_checkpoint_builds_the_same_network(tmp_path):
    networks.assert_round_trip("mtun", small(), picture(), tmp_path / "m.pt")


@exporting
def test_it_exports_with_a_grid_of_multiplications():
    model = small(stacks=1)
    kinds = networks.assert_exports(model, model.spec("mtun_small"))
    assert kinds.count("GridSample") == 1 and {"Sin", "Cos", "Clip"} <= set(kinds)


@pytest.mark.parametrize("changes", [{"localiser": "x"}, {"stacks": 0}], ids=str)
def test_a_configuration_that_cannot_be_built_is_refused(changes):
    with pytest.raises(ModelError):
        MTUN(replace(SMALL, **changes))
