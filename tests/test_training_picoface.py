"""PicoFace: what the folded network must share with the trained one, and its size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sdk.image.resample import resize
from training.models import CONFIGS, MODELS
from training.models.picoface import BicubicEnlarge, PicoFace, PicoFaceConfig, RepConv3x3

NAMES = sorted(name for name, config in CONFIGS.items() if isinstance(config, PicoFaceConfig))
SMALL = PicoFaceConfig(
    scale=4, lr_size=16, channels=8, blocks=1, tail_channels=8, head_channels=8, head_blocks=(1, 1, 1)
)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Every branch away from its zero start, so that a branch forgotten in folding shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return module


def test_a_folded_convolution_is_the_sum_of_its_branches():
    conv = shaken(RepConv3x3(3, 5))
    x = torch.rand(2, 3, 6, 7)
    laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]) / 4.0
    edges = F.conv2d(x, laplacian.expand(3, 1, 3, 3), padding=1, groups=3)
    expected = (
        F.conv2d(x, conv.weight, conv.bias, padding=1)
        + F.conv2d(x, conv.point[:, :, None, None])
        + F.conv2d(edges, conv.edge[:, :, None, None])
    )
    torch.testing.assert_close(conv.folded()(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_folding_keeps_the_outputs_and_leaves_plain_convolutions(name):
    model = shaken(MODELS["picoface"](CONFIGS[name])).eval()
    folded = model.folded()
    assert not [m for m in folded.modules() if isinstance(m, RepConv3x3)]
    lr = torch.rand(2, 3, model.config.lr_size, model.config.lr_size)
    with torch.inference_mode():
        before, after = model(lr), folded(lr)
    for key in before:
        scale = float(before[key].abs().max())
        torch.testing.assert_close(after[key], before[key], atol=2e-5 * max(scale, 1.0), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_at_most_two_million_parameters_after_folding(name):
    assert sum(p.numel() for p in MODELS["picoface"](CONFIGS[name]).folded().parameters()) <= 2_000_000


@pytest.mark.parametrize(("name", "size"), [("picoface_x8", 16), ("picoface_x4", 32), ("picoface_x4", 64)])
def test_output_sizes_are_those_of_the_spec(name, size):
    model = PicoFace(CONFIGS[name]).eval()
    spec = model.spec(name)
    with torch.inference_mode():
        out = model(torch.rand(1, 3, size, size))
    assert out["sr"].shape == (1, 3, size * spec.scale, size * spec.scale)
    assert out["heatmaps"].shape == (1, 68, spec.heatmap_cells(size), spec.heatmap_cells(size))


@pytest.mark.parametrize("scale", [4, 8])
def test_the_built_in_bicubic_is_the_sdk_s(scale):
    picture = np.random.default_rng(0).random((12, 14, 3)).astype(np.float32)
    ours = BicubicEnlarge(scale)(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    expected = resize(picture, (12 * scale, 14 * scale))
    inner = slice(2 * scale, -2 * scale)  # at the border the network repeats edge pixels, Pillow drops them
    np.testing.assert_allclose(ours[inner, inner], expected[inner, inner], atol=2e-6)


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("run", [lambda m, x: m(x)["heatmaps"], lambda m, x: m.heatmaps(x)])
def test_landmarks_teach_the_super_resolution_branch_nothing(reads, run):
    """The licence of the super-resolution branch rests on this: landmark data never touches it."""
    model = PicoFace(replace(SMALL, head_reads_trunk=reads))
    run(model, torch.rand(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is None for p in model.sr.parameters())
    assert all(p.grad is not None for p in model.landmarks.parameters())
