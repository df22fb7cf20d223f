"""JASRNet, FSRNet and MTUN against their tables written out in straight lines, with the networks' own weights.

Counts cannot see a missing ReLU, a swapped sum or a pooling of the wrong kind: these can.
"""

from dataclasses import replace

import paper_networks as networks
import pytest
import torch
import torch.nn.functional as F
from torch import relu

from training.models.fsrnet import FSRNet, FSRNetConfig
from training.models.jasrnet import JASRNet, JASRNetConfig
from training.models.mtun import MTUN, MTUNConfig


class Weights:
    """A network's tensors by name, and the three layers that need them."""

    def __init__(self, model):
        self.of = dict(model.state_dict())

    def conv(self, name, x, stride=1, padding=None):
        weight = self.of[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, weight, self.of.get(f"{name}.bias"), stride=stride, padding=padding)

    def deconv(self, name, x, stride=2, padding=1, output_padding=0):
        weight, bias = self.of[f"{name}.weight"], self.of.get(f"{name}.bias")
        return F.conv_transpose2d(x, weight, bias, stride, padding, output_padding)

    def bn(self, name, x):
        mean, var, gain, offset = (
            self.of[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + offset

    def linear(self, name, x):
        return x @ self.of[f"{name}.weight"].T + self.of[f"{name}.bias"]


def twice(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def assert_same(model, lr, reference):
    """Every output to rounding; the reference gets the weights and lr."""
    with torch.inference_mode():
        found, expected = model(lr), reference(Weights(model), lr)
    assert set(expected) <= set(found)
    for name, value in expected.items():
        assert value.std() > 1e-3, f"{name} is flat and shows nothing"
        torch.testing.assert_close(found[name], value, atol=2e-5 * float(value.abs().max()), rtol=0, msg=name)


def jasrnet(w, lr):
    """PAPERS 3.1, blocks (1, 2, 1, 1), T = 2, three stages."""

    def rbr(name, x):
        return relu(x + w.conv(f"{name}.conv2", relu(w.conv(f"{name}.conv1", x))))

    def rb_tenth(name, x):
        return x + 0.1 * w.conv(f"{name}.conv2", relu(w.conv(f"{name}.conv1", x)))

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x0 = w.conv("head", (lr - mean[:, None, None]) / std[:, None, None])
    a = rbr("encoder.levels.0.0", x0)
    b = rbr("encoder.levels.1.1", rbr("encoder.levels.1.0", F.max_pool2d(a, 2)))
    c = rbr("encoder.levels.2.0", F.max_pool2d(b, 2))
    d = rbr("encoder.deep.1", rbr("encoder.deep.0", rbr("encoder.levels.3.0", F.max_pool2d(c, 2))))
    g = "encoder.fusion"
    fused = d + w.conv(f"{g}.2", w.conv(f"{g}.1", w.conv(f"{g}.0", a, 2) + b, 2) + c, 2)
    y = w.conv("sr_features.2", rb_tenth("sr_features.1", rb_tenth("sr_features.0", fused)))
    skip = x0
    for index in (0, 2, 4):
        skip = F.max_pool2d(w.conv(f"long_skip.{index}", skip), 2)
    y = y + skip
    for index in range(3):
        y = F.pixel_shuffle(w.conv(f"tail.ups.{index}", y), 2)
    y = w.conv("tail.out", y) / std[:, None, None] + (mean / std)[:, None, None]
    x = w.conv("landmarks.align.2", rbr("landmarks.align.1", rbr("landmarks.align.0", fused)))
    s = "landmarks.stages"
    stages = [w.conv(f"{s}.0.2", rbr(f"{s}.0.1", rbr(f"{s}.0.0", x)))]
    for n in (1, 2):
        m = relu(w.conv(f"{s}.{n}.0", torch.cat([x, stages[-1]], dim=1)))
        for block in (2, 3, 4):
            m = rbr(f"{s}.{n}.{block}", m)
        stages.append(w.conv(f"{s}.{n}.5", m))
    return {"sr": y, "stages": torch.stack(stages, dim=1), "heatmaps": stages[-1][:, :-1]}


def test_jasrnet_is_its_table():
    torch.manual_seed(0)
    config = JASRNetConfig(lr_size=4, points=5, channels=8, encoder_blocks=(1, 2, 1, 1), deep_blocks=2)
    assert_same(networks.shaken(JASRNet(config)), torch.rand(2, 3, 32, 32), jasrnet)


def fsrnet(w, lr, *, kernel, inter):
    """PAPERS 5.1 with one level a hourglass, two hourglasses, two encoder blocks."""

    def cbr(name, x, stride=1):
        return relu(w.bn(f"{name}.1", w.conv(f"{name}.0", x, stride)))

    def blocks(name, x, count):
        for n in range(count):
            b = f"{name}.{n}.body"
            x = x + w.bn(f"{b}.4", w.conv(f"{b}.3", relu(w.bn(f"{b}.1", w.conv(f"{b}.0", x)))))
        return x

    def bottleneck(name, x):
        y = x
        for n in (0, 3, 6):
            y = w.conv(f"{name}.body.{n + 2}", relu(w.bn(f"{name}.body.{n}", y)))
        return x + y

    coarse = w.conv("coarse.2", blocks("coarse.1", cbr("coarse.0", lr), 3))
    f = w.conv("encoder.2", blocks("encoder.1", cbr("encoder.0", coarse, 2), 2))
    x, stages = blocks("prior.stem.1", cbr("prior.stem.0", coarse, 2), 3), []
    for n in (0, 1):
        h = f"prior.hourglasses.{n}"
        low = bottleneck(f"{h}.0.before", F.max_pool2d(x, 2))
        low = bottleneck(f"{h}.0.after", bottleneck(f"{h}.0.inner", low))
        seen = cbr(f"{h}.1", bottleneck(f"{h}.0.beside", x) + twice(low))
        if inter or n == 1:
            head = f"prior.heads.{n if inter else 0}"
            maps = torch.cat([w.conv(f"{head}.heatmaps", seen), w.conv(f"{head}.parsing", seen)], dim=1)
            stages.append(maps)
        again = inter and n == 0
        x = x + w.conv("prior.features_back.0", seen) + w.conv("prior.maps_back.0", maps) if again else seen
    y = cbr("decoder.join", torch.cat([f, maps], dim=1))
    y = relu(w.bn("decoder.enlarge.1", w.deconv("decoder.enlarge.0", y, output_padding=int(kernel == 3))))
    out = {"sr": w.conv("decoder.out", blocks("decoder.blocks", y, 3)), "coarse": coarse}
    out |= {"heatmaps": maps[:, :5], "parsing": maps[:, 5:]}
    return out | {"stages": torch.stack(stages, dim=1)} if inter else out


@pytest.mark.parametrize(("kernel", "inter"), [(4, False), (3, True)])
def test_fsrnet_is_its_table(kernel, inter):
    torch.manual_seed(0)
    small = FSRNetConfig(lr_size=4, landmarks=5, parsing=3, channels=8, encoder_blocks=2, prior_channels=8)
    config = replace(small, hourglass_depth=1, deconv_kernel=kernel, inter_supervision=inter)
    model = networks.shaken(FSRNet(config))
    assert_same(model, torch.rand(2, 3, 32, 32), lambda w, lr: fsrnet(w, lr, kernel=kernel, inter=inter))


def mtun_features(w, lr):
    """PAPERS 4.1 and 4.2 up to P."""

    def ec(name, x, *, stride=2, padding=1):
        return F.leaky_relu(w.bn(f"{name}.1", w.conv(f"{name}.0", x, stride, padding)), 0.2)

    def dc(name, x, *, stride=2, padding=1):
        return relu(w.bn(f"{name}.1", w.deconv(f"{name}.0", x, stride, padding)))

    a = "autoencoder"
    e1 = ec(f"{a}.down.0", lr)
    e2 = ec(f"{a}.down.1", e1)
    e3 = ec(f"{a}.down.2", e2)
    d = dc(f"{a}.up.0", ec(f"{a}.down.3", e3, stride=1, padding=0), stride=1, padding=0)
    for n, e in ((1, e3), (2, e2), (3, e1)):
        d = dc(f"{a}.up.{n}", torch.cat([d, e], dim=1))
    u = dc("enlarge.1", dc("enlarge.0", torch.cat([lr, d], dim=1)))
    x = torch.cat([twice(twice(lr)), u], dim=1)
    s = "transformer.localise"
    t = relu(w.conv(f"{s}.1", F.max_pool2d(x, 2), padding=0))
    t = F.max_pool2d(relu(w.conv(f"{s}.4", F.max_pool2d(t, 2), padding=0)), 2).flatten(1)
    angle, scale, ty, tx = w.linear(f"{s}.7.3", relu(w.linear(f"{s}.7.1", t))).T
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([cosine, -sine, tx, sine, cosine, ty], dim=1).reshape(-1, 2, 3)
    x = F.grid_sample(x, F.affine_grid(matrix, list(x.shape), align_corners=True), align_corners=True)
    return relu(w.bn("upright.1", w.conv("upright.0", x)))


def mtun(w, lr):
    """PAPERS 4.1 from P on, two stacks."""

    def mr(name, x):
        y = w.conv(f"{name}.body.2", relu(w.bn(f"{name}.body.0", x)))
        y = w.conv(f"{name}.body.5", relu(w.bn(f"{name}.body.3", y)))
        return y + (w.conv(f"{name}.skip", x) if f"{name}.skip.weight" in w.of else x)

    def hourglass(name, x, depth=4):
        low, inner = mr(f"{name}.before", F.max_pool2d(x, 2)), f"{name}.inner"
        low = hourglass(inner, low, depth - 1) if depth > 1 else mr(inner, low)
        return mr(f"{name}.beside", x) + twice(low)

    p, h = mtun_features(w, lr), "heatmaps"
    x, stages = mr(f"{h}.enter.1", w.conv(f"{h}.enter.0", p)), []
    for n in (0, 1):
        y = mr(f"{h}.stacks.{n}.1", hourglass(f"{h}.stacks.{n}.0", x))
        y = relu(w.bn(f"{h}.stacks.{n}.3", w.conv(f"{h}.stacks.{n}.2", y)))
        stages.append(w.conv(f"{h}.heads.{n}", y))
        if n == 0:
            x = x + w.conv(f"{h}.features_back.0", y) + w.conv(f"{h}.maps_back.0", stages[0])
    q1 = twice(relu(mr("fuse.1", w.conv("fuse.0", torch.cat([p, stages[-1]], dim=1)))))
    q1 = relu(mr("fuse_large.1", w.conv("fuse_large.0", q1)))
    q2 = relu(mr("around.1", w.conv("around.0", twice(p))))
    y = relu(mr("out.2", mr("out.1", w.conv("out.0", torch.cat([q2, q1], dim=1)))))
    y = w.conv("out.7", relu(mr("out.5", w.conv("out.4", y))))
    return {"sr": y.clamp(-1.0, 1.0), "heatmaps": stages[-1], "stages": torch.stack(stages, dim=1)}


def test_mtun_is_its_table():
    torch.manual_seed(0)
    model = networks.shaken(MTUN(MTUNConfig(width=2, stacks=2)))
    assert_same(model, 2.0 * torch.rand(2, 3, 16, 16) - 1.0, mtun)
