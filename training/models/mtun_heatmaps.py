"""MTUN's heatmap estimation branch: four stacked hourglasses find the parts of a face, one map a component."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualModule(nn.Module):
    """MR(i→o): BN ReLU conv3(i→o) BN ReLU conv1(o→o), plus x, through a 1×1 where i is not o. [N,i,H,W] -> [N,o,H,W]"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Hourglass(nn.Module):
    """A module at full size beside one at half size and the next level. No third module on the way up (as FAN has)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.beside = ResidualModule(channels, channels)
        self.before = ResidualModule(channels, channels)
        self.inner = Hourglass(channels, depth - 1) if depth > 1 else ResidualModule(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.inner(self.before(F.max_pool2d(x, 2)))
        return self.beside(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class ComponentHeatmaps(nn.Module):
    """Upright features P [N,C,64,64] -> maps of every stack, each [N,components,64,64]."""

    def __init__(self, channels: int, *, components: int, stacks: int, depth: int = 4) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), ResidualModule(channels, channels))
        self.stacks = nn.ModuleList(
            nn.Sequential(
                Hourglass(channels, depth),
                ResidualModule(channels, channels),
                nn.Conv2d(channels, channels, 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(channels, components, 1) for _ in range(stacks))
        self.features_back = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.maps_back = nn.ModuleList(nn.Conv2d(components, channels, 1) for _ in range(stacks - 1))

    def forward(self, features: Tensor) -> list[Tensor]:
        x, maps = self.enter(features), []
        for index, (stack, head) in enumerate(zip(self.stacks, self.heads, strict=True)):
            seen = stack(x)
            maps.append(head(seen))
            if index < len(self.features_back):
                x = x + self.features_back[index](seen) + self.maps_back[index](maps[-1])
        return maps
