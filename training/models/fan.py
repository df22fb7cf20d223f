"""FAN: the face alignment network, stacked hourglasses that turn a face into 68 heatmaps.

Bulat, Tzimiropoulos: How far are we from solving the 2D & 3D face alignment problem? (ICCV 2017), in the form that
Super-FAN uses: 2 hourglasses for a face of 256 px. Layers as in the authors' PyTorch code:

    x ─ 7×7/2 BN ReLU ─ ConvBlock 128 ─ average pool ─ ConvBlock 128 ─ ConvBlock 256 ─ f        a quarter of x's size
    2 × [ f ─ Hourglass ─ ConvBlock ─ 1×1 BN ReLU ─ y ─ 1×1 ─> 68 heatmaps ;  f = f + 1×1(y) + 1×1(heatmaps) ]

Departures from the paper:
    pooling     averages, as in the authors' PyTorch code (their Torch original takes the maximum).
    input size  `input_size=64` is a profile of ours for a FAN trained at 64 px: 16 times fewer multiply-adds, heatmaps
                of 16 × 16 cells. A FAN trained at 256 px does not find the points of a 64-px picture.

Coordinates: heatmaps drawn and decoded by sdk.image.heatmap put cell i at pixel i·s + (s - 1)/2, s = 4. FAN's own code
puts it at i·s + s/2, after the same step of a quarter cell: FAN_PIXEL_OFFSET px further.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdk.errors import ModelError

REDUCTION = 4  # px of the input a cell: stem and first pooling
FAN_PIXEL_OFFSET = 0.5  # px of FAN's input: its own code's coordinates minus sdk.image.heatmap.cells_to_image's


@dataclass(frozen=True)
class FANConfig:
    """Sizes of one variant. Raises ModelError."""

    points: int = 68  # heatmaps
    stacks: int = 2  # Super-FAN: 2; the FAN paper: 4
    depth: int = 4  # halvings inside an hourglass
    channels: int = 256  # of the hourglasses
    input_size: int = 256  # px; 64: the direct profile

    def __post_init__(self) -> None:
        step = REDUCTION * 2**self.depth
        if self.input_size < 1 or self.input_size % step or self.channels % 4:
            expected = f"input_size in multiples of {step} and channels in multiples of 4"
            raise ModelError(expected, f"{self.input_size} px, {self.channels} channels", "correct the configuration")

    @property
    def heatmap_size(self) -> int:
        """Cells a side."""
        return self.input_size // REDUCTION

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class ConvBlock(nn.Module):
    """Three 3×3 of o/2, o/4 and o/4 channels, each behind BN and ReLU, side by side. [N,i,H,W] -> [N,o,H,W]"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(quarter), nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(F.relu(self.bn1(x)))
        b = self.conv2(F.relu(self.bn2(a)))
        c = self.conv3(F.relu(self.bn3(b)))
        return torch.cat([a, b, c], dim=1) + self.skip(x)


class Hourglass(nn.Module):
    """Halve, go on inside, double, add what was kept at full size. [N,C,H,W] -> [N,C,H,W]"""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.up = ConvBlock(channels, channels)
        self.down = ConvBlock(channels, channels)
        self.inner = Hourglass(channels, depth - 1) if depth > 1 else ConvBlock(channels, channels)
        self.back = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.back(self.inner(self.down(F.avg_pool2d(x, 2))))
        return self.up(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class Stem(nn.Module):
    """[N,3,H,W] -> [N,C,H/4,W/4]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, channels // 4, 7, stride=2, padding=3), nn.BatchNorm2d(channels // 4)
        self.block1 = ConvBlock(channels // 4, channels // 2)
        self.block2 = ConvBlock(channels // 2, channels // 2)
        self.block3 = ConvBlock(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(F.relu(self.bn(self.conv(x))))
        return self.block3(self.block2(F.avg_pool2d(x, 2)))


class Stack(nn.Module):
    """One hourglass and its heatmaps: features [N,C,h,w] -> (features for the next stack, heatmaps [N,K,h,w])."""

    def __init__(self, config: FANConfig, *, last: bool) -> None:
        super().__init__()
        channels = config.channels
        self.hourglass = Hourglass(channels, config.depth)
        self.block = ConvBlock(channels, channels)
        self.conv, self.bn = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)
        self.heat = nn.Conv2d(channels, config.points, 1)
        self.feed_features = None if last else nn.Conv2d(channels, channels, 1)
        self.feed_heatmaps = None if last else nn.Conv2d(config.points, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.bn(self.conv(self.block(self.hourglass(x)))))
        heatmaps = self.heat(y)
        if self.feed_features is None or self.feed_heatmaps is None:
            return x, heatmaps
        return x + self.feed_features(y) + self.feed_heatmaps(heatmaps), heatmaps


class FAN(nn.Module):
    """picture float32 [N,3,S,S], RGB in [0,1], no mean subtracted -> {"heatmaps": [N,K,S/4,S/4] of the last stack,
    "stages": [N,stacks,K,S/4,S/4], which training supervises}.

    It has no picture to put out, hence no spec of its own: a runtime gets it inside SuperFAN.
    """

    config_type = FANConfig

    def __init__(self, config: FANConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config.channels)
        self.stacks = nn.ModuleList([Stack(config, last=n == config.stacks - 1) for n in range(config.stacks)])

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        features, stages = self.stem(picture), []
        for stack in self.stacks:
            features, heatmaps = stack(features)
            stages.append(heatmaps)
        return {"heatmaps": stages[-1], "stages": torch.stack(stages, dim=1)}

    def folded(self) -> FAN:
        """A copy for deployment. BN is folded where it follows a convolution whose output nobody else reads: in the
        stem and before the heatmaps. The blocks' stand before ReLU and convolution and stay, as scale and shift."""
        deployed = copy.deepcopy(self).eval()
        for module in [deployed.stem, *deployed.stacks]:
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
        return deployed


FAN_256 = FANConfig()
FAN_64 = FANConfig(input_size=64)
