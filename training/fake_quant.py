"""Quantisation-aware training: INT8's rounding in the forward pass, straight through it in the backward pass.

Jacob et al. 2018 (arXiv:1712.05877), with TensorRT's arithmetic: symmetric, zero points 0, [-127, 127], one scale a
tensor for activations and one an output channel for weights; the first and last convolutions stay as they are, as in
export.quantise. The branches of every re-parameterised convolution are folded first: rounding their sum is what a
device does, and branches that were trained apart and folded afterwards quantise badly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.picoface import PicoFace, RepConv3x3, ResidualBlock

EDGES = ("sr.stem", "sr.out", "landmarks.stem", "landmarks.out")
LARGEST = 127.0
MEMORY = 0.99  # of the running maximum: follows a drift within a few hundred batches


def whole(x: Tensor) -> Tensor:
    """x, in units of its scale, as whole numbers in [-127, 127]; the gradient passes where x is inside that range."""
    inside = torch.clamp(x, -LARGEST, LARGEST)
    return inside + (torch.round(inside) - inside).detach()


class QuantConv2d(nn.Module):
    """A convolution that sees its input and weights as INT8 would. The range of its input is the largest value seen."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None, conv
        self.weight, self.bias = nn.Parameter(conv.weight.detach().clone()), nn.Parameter(conv.bias.detach().clone())
        self.stride, self.padding = conv.stride, conv.padding
        self.register_buffer("largest", torch.zeros(()))  # 0: nothing seen yet

    def scale(self, x: Tensor) -> Tensor:
        """Scale of the input, a scalar; measures the range while training."""
        if self.training:
            with torch.no_grad():
                now = x.abs().amax().float()
                self.largest.copy_(torch.where(self.largest > 0, torch.maximum(now, MEMORY * self.largest), now))
        return self.largest.clamp_min(1e-8) / LARGEST

    def input_rounded(self, x: Tensor) -> Tensor:
        """x as the convolution sees it."""
        scale = self.scale(x)
        return whole(x.float() / scale) * scale

    def forward(self, x: Tensor) -> Tensor:
        """Convolves whole numbers: those up to 127 are exact in bfloat16, so autocast rounds no operand."""
        scale = self.scale(x)
        by_channel = self.weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8) / LARGEST
        sums = F.conv2d(
            whole(x.float() / scale), whole(self.weight / by_channel), stride=self.stride, padding=self.padding
        )
        return sums * (scale * by_channel.reshape(1, -1, 1, 1)) + self.bias.reshape(1, -1, 1, 1)


class QuantResidualBlock(nn.Module):
    """x + conv(relu(conv x)) whose skip branch carries the rounded x too, as on the device."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1, self.conv2 = block.conv1, block.conv2

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.conv1, QuantConv2d), self.conv1
        x = self.conv1.input_rounded(x)
        return x + self.conv2(F.relu(self.conv1(x)))


def prepare(model: PicoFace) -> PicoFace:
    """The model, changed in place: inner convolutions folded and replaced by QuantConv2d."""
    for name, module in list(model.named_modules()):
        for key, child in list(module.named_children()):
            full = f"{name}.{key}" if name else key
            if full not in EDGES and isinstance(child, RepConv3x3 | nn.Conv2d):
                conv = child.folded() if isinstance(child, RepConv3x3) else child
                setattr(module, key, QuantConv2d(conv))
    for module in list(model.modules()):
        for key, child in list(module.named_children()):
            if isinstance(child, ResidualBlock):
                setattr(module, key, QuantResidualBlock(child))
    return model


def plain_state(model: PicoFace) -> dict[str, Tensor]:
    """Weights of a prepared model under a plain PicoFace's names: the sum in one branch, zeros in the others."""
    own = PicoFace(model.config).state_dict()
    trained = model.state_dict()
    return {name: trained[name] if name in trained else torch.zeros_like(value) for name, value in own.items()}
