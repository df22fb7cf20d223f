"""The papers' losses against NumPy, closed forms and cases small enough to check by eye."""

import numpy as np
import pytest
import torch
from torch import nn

from sdk.errors import ModelError
from sdk.image.heatmap import encode
from training import checkpoint
from training.losses_adversarial import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    wgan_critic_loss,
    wgan_generator_loss,
)
from training.losses_heatmap import (
    cells,
    component_maps,
    fan_loss,
    fsrnet_loss,
    jasrnet_loss,
    mtun_loss,
    point_maps,
    super_fan_loss,
    with_background,
)
from training.losses_perceptual import TRUNKS, ResNetFeatures, VGGFeatures, load_features, perceptual_loss
from training.losses_pixel import half_sum, mean_absolute, mean_square
from training.models import MODELS
from training.models.fan import FANConfig
from training.models.jasrnet import JASRNetConfig
from training.models.picoface import PicoFaceConfig
from training.models.srresnet import SRResNetConfig

RNG = np.random.default_rng(1)


def draw(*shape: int) -> tuple[np.ndarray, torch.Tensor]:
    values = RNG.normal(size=shape).astype(np.float32)
    return values, torch.from_numpy(values)


def test_pixel_losses_have_their_paper_s_reduction():
    (a, sr), (b, hr) = draw(4, 3, 5, 6), draw(4, 3, 5, 6)
    assert float(mean_square(sr, hr)) == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)
    assert float(half_sum(sr, hr)) == pytest.approx(((a - b) ** 2).sum() / 8, rel=1e-5)
    assert float(mean_absolute(sr, hr)) == pytest.approx(np.abs(a - b).mean(), rel=1e-5)


def test_maps_are_the_sdk_s_and_unknown_points_give_none():
    points = RNG.uniform(-2, 18, (2, 5, 2)).astype(np.float32)
    points[1, 3] = np.nan
    got = point_maps(torch.from_numpy(points), 16, sigma=0.5, cutoff=0.01)
    np.testing.assert_allclose(got.numpy(), encode(points, (16, 16), sigma_cells=0.5, cutoff=0.01), atol=1e-6)
    assert not got[1, 3].any() and (got[got > 0] >= 0.01).all()
    background = with_background(got)[:, -1]
    np.testing.assert_allclose(background.numpy(), 1.0 - got.numpy().max(axis=1), atol=1e-6)


def test_cells_and_pixels_have_their_centres_at_integers():
    """JASRNet's grid: cell i lies at pixel 8 i + 3.5."""
    assert cells(torch.tensor([[3.5, 11.5]]), hr_px=128, size=16).tolist() == [[0.0, 1.0]]


def test_components_are_the_largest_of_their_points():
    points = RNG.uniform(0, 63, (1, 68, 2)).astype(np.float32)
    points[0, 36] = np.nan
    maps = encode(points, (64, 64), sigma_cells=2.0)[0]
    parts = [[*range(17, 27), *range(36, 48)], [*range(27, 36)], [*range(48, 68)], [*range(17)]]
    expected = np.stack([maps[part].max(axis=0) for part in parts])
    got = component_maps(torch.from_numpy(points), 64, sigma=2.0)[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_heatmap_losses_have_their_paper_s_reduction():
    (a, stages), (b, target) = draw(2, 3, 4, 5, 5), draw(2, 4, 5, 5)
    weight = np.array([[1, 0, 1, 1], [1, 1, 0, 1]], np.float32)
    w = torch.from_numpy(weight)
    error = ((a - b[:, None]) * weight[:, None, :, None, None]) ** 2
    assert float(jasrnet_loss(stages, target, w)) == pytest.approx(error.sum() / 4, rel=1e-5)
    every = sum(error[:, s].mean() for s in range(3))
    assert float(fan_loss(stages, target, w)) == pytest.approx(every, rel=1e-5)
    assert float(mtun_loss(stages, target, w)) == pytest.approx(every, rel=1e-5)
    assert float(fsrnet_loss(stages[:, 2], target, w)) == pytest.approx(error[:, 2].sum() / 4, rel=1e-5)
    by_hand = np.mean([((a[n, 0, k] - b[n, k]) ** 2).sum() for n in range(2) for k in range(4)])
    assert float(super_fan_loss(stages[:, 0], target)) == pytest.approx(by_hand, rel=1e-5)


def linear_critic(slope: torch.Tensor):
    return lambda picture: (picture * slope).flatten(1).sum(dim=1)


def test_gradient_penalty_of_a_linear_critic_is_known():
    """Its gradient is the slope everywhere: (‖slope‖ - 1)²."""
    _, slope = draw(3, 4, 4)
    (_, fake), (_, real) = draw(5, 3, 4, 4), draw(5, 3, 4, 4)
    expected = (float(slope.norm()) - 1.0) ** 2
    critic, mix = linear_critic(slope), torch.rand(5)
    assert float(gradient_penalty(critic, fake, real, mix=mix)) == pytest.approx(expected, rel=1e-5)
    distance = float((critic(fake) - critic(real)).mean())
    loss = wgan_critic_loss(critic, fake, real, penalty=10.0, mix=mix)
    assert float(loss) == pytest.approx(distance + 10.0 * expected, rel=1e-5)
    assert float(wgan_generator_loss(critic, fake)) == pytest.approx(-float(critic(fake).mean()), rel=1e-5)


def test_gradient_penalty_is_taken_between_the_pictures_and_trains_the_critic():
    """D(x) = c ‖x‖²/2 has the gradient c x: at mix · real + (1 - mix) · fake, and d/dc is known too."""
    c = torch.tensor(0.7, requires_grad=True)
    (f, fake), (r, real) = draw(2, 1, 3, 3), draw(2, 1, 3, 3)
    mix = torch.tensor([0.25, 0.5])
    penalty = gradient_penalty(lambda x: c * x.flatten(1).square().sum(dim=1) / 2, fake, real, mix=mix)
    norms = [np.linalg.norm(m * r[i] + (1 - m) * f[i]) for i, m in enumerate((0.25, 0.5))]
    assert float(penalty.detach()) == pytest.approx(np.mean([(0.7 * n - 1) ** 2 for n in norms]), rel=1e-5)
    penalty.backward()
    assert float(c.grad) == pytest.approx(np.mean([2 * n * (0.7 * n - 1) for n in norms]), rel=1e-5)


def test_cross_entropies_are_those_of_the_sigmoid():
    (a, fake), (b, real) = draw(6, 1), draw(6, 1)
    judge = nn.Identity()
    p, q = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
    assert float(generator_loss(judge, fake)) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    expected = -np.log(q).mean() - np.log(1 - p).mean()
    assert float(discriminator_loss(judge, fake, real)) == pytest.approx(expected, rel=1e-5)
    assert float(generator_loss(judge, torch.full((1, 1), -200.0))) == pytest.approx(200.0)  # no overflow


def test_a_critic_s_loss_does_not_reach_the_generator():
    _, fake = draw(2, 1, 2, 2)
    fake.requires_grad_(True)
    scale = torch.tensor(1.5, requires_grad=True)
    judge = lambda x: scale * x.flatten(1).sum(dim=1)  # noqa: E731
    (discriminator_loss(judge, fake, torch.ones(2, 1, 2, 2))).backward()
    wgan_critic_loss(judge, fake, torch.ones(2, 1, 2, 2), penalty=10.0, mix=torch.rand(2)).backward()
    assert fake.grad is None and scale.grad is not None


@pytest.mark.parametrize(("name", "convolutions", "channels", "side"), [("vgg16", 13, 512, 2), ("vgg19", 6, 256, 8)])
def test_vgg_is_cut_behind_the_papers_relu(name, convolutions, channels, side, tmp_path):
    made = VGGFeatures(name)
    torch.save({**made.state_dict(), "classifier.0.bias": torch.zeros(1)}, tmp_path / "w.pth")
    network, notice = load_features(name, tmp_path / "w.pth")
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions and name in notice
    assert isinstance(network.features[-1], nn.ReLU)
    (seen,) = network(torch.rand(1, 3, 32, 32))
    assert seen.shape == (1, channels, side, side)
    assert not any(p.requires_grad for p in network.parameters()) and not network.training


def test_caffe_s_colours_are_bgr_levels_minus_their_mean():
    network = VGGFeatures("vgg19", caffe=True)
    seen = []
    network.features = nn.Sequential(nn.Identity())
    network.features.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    network(torch.tensor([1.0, 0.5, 0.0])[None, :, None, None])
    np.testing.assert_allclose(seen[0].flatten(), [0 - 103.939, 127.5 - 116.779, 255 - 123.68], rtol=1e-5)


def test_resnet_s_three_layers_and_the_loss_over_them(tmp_path):
    torch.save({**ResNetFeatures().state_dict(), "fc.weight": torch.zeros(1)}, tmp_path / "r.pth")
    network, _ = load_features("resnet50", tmp_path / "r.pth")
    assert sum(p.numel() for p in network.parameters()) == 8_543_296  # torchvision's resnet50 without layer4 and fc
    (_, sr), (_, hr) = draw(2, 3, 64, 64), draw(2, 3, 64, 64)
    a, b = network(sr), network(hr)
    assert [x.shape[1:] for x in a] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    expected = sum(float(((x - y) ** 2).mean()) for x, y in zip(a, b, strict=True))
    assert float(perceptual_loss(network, sr, hr)) == pytest.approx(expected, rel=1e-4)
    assert float(perceptual_loss(network, hr, hr)) == 0.0


OURS = {
    "picoface": PicoFaceConfig(
        scale=8, lr_size=16, channels=4, blocks=1, tail_channels=8, head_channels=8, head_blocks=(1, 1, 1)
    ),
    "srresnet": SRResNetConfig(channels=4, blocks=1),
    "fan": FANConfig(stacks=1, depth=1, channels=16, input_size=64),
    "jasrnet": JASRNetConfig(channels=4, encoder_blocks=(1, 1, 1, 1), deep_blocks=1),
}


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_network_of_ours_stands_in_and_says_so(kind, tmp_path):
    network = MODELS[kind](OURS[kind])
    payload = {"model": kind, "config": OURS[kind].as_dict(), "weights": network.state_dict()}
    checkpoint.save(tmp_path / "x.pt", payload)
    stand_in, notice = load_features("vgg16", tmp_path / "x.pt")
    assert "NOT vgg16" in notice and kind in notice
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    (seen,) = stand_in(picture)
    assert seen.shape[:2] == (1, 16 if kind == "fan" else 4)
    seen.square().sum().backward()
    assert float(picture.grad.abs().sum()) > 0.0
    assert not any(p.requires_grad for p in stand_in.parameters()) and not stand_in.training


def test_no_weights_and_wrong_weights_are_errors_and_never_random(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    (tmp_path / "text").write_text("weights")
    checkpoint.save(tmp_path / "x.pt", {"model": "srinc"})
    for path in (None, tmp_path / "none", tmp_path / "w.pth", tmp_path / "text", tmp_path / "x.pt"):
        with pytest.raises(ModelError, match="--features"):
            load_features("vgg16", path)
