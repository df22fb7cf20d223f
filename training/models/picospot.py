"""PicoSpot: finds faces from 8 px in a whole frame. Ours; a face is its centre and the side of its window.

The idea is CenterNet's (Zhou, Wang, Krähenbühl: Objects as Points, 2019): no anchors, one heatmap of centres, and at
each centre where exactly it lies and how large the object is. Faces of 8 px leave two cells at stride 4, so the output
has stride 4; what tells a face from a stain is around it, so the features come down to stride 32 and back up.

    x ─ 3×3/2 ─ 3×3/2 ─ c4 ──────────────────────────────┐ 1×1
                        └ 2 blocks ─ c8 ──────────────┐   + ─ 2 blocks ─> 4 maps at stride 4
                              └ 3 blocks ─ c16 ────┐ 1×1+↑         (centre, x, y, log side)
                                    └ 3 ─ c32 ─ 1×1 ─↑+
    block: x + 1×1(ReLU6(BN(depthwise k×k(x))))), BN behind; a step down is the same with stride 2 and no skip.

Convolutions read a frame of any size; sides that are no multiple of 32 are for the caller to fill up.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from training.models.folding import fold_batch_norms

STRIDE = 4  # px a cell of the output
MULTIPLE = 32  # sides of the input
UNIT_PX = 8.0  # the side whose logarithm is 0: log side of faces of 8 to 128 px is 0 to 2.8
PRIOR = 0.01  # share of cells that are centres, as the training begins: else the many others drown them


@dataclass(frozen=True)
class PicoSpotConfig:
    """Channels at strides 2, 4, 8, 16 and 32, of the way back up, and blocks at strides 4 to 32. Raises ModelError."""

    channels: tuple[int, ...] = (16, 24, 48, 96, 128)
    up_channels: int = 32
    blocks: tuple[int, ...] = (1, 3, 3, 2)
    far_kernel: int = 5  # of the depthwise convolutions at strides 16 and 32

    def __post_init__(self) -> None:
        if len(self.channels) != 5 or len(self.blocks) != 4 or self.far_kernel % 2 == 0:
            got = f"{len(self.channels)}, {len(self.blocks)} and a kernel of {self.far_kernel}"
            raise ModelError("5 numbers of channels, 4 of blocks and an odd kernel", got, "correct the configuration")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Block(nn.Module):
    """Depthwise and pointwise convolution, each with BN, ReLU6 between and behind; added to its input where it fits."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel, stride=stride, padding=kernel // 2, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
        )
        self.pointwise = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.pointwise(F.relu6(self.depthwise(x))))
        return x + y if self.skips else y


def _dense(inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class PicoSpot(nn.Module):
    """frame [N,3,H,W] RGB in [0,1], H and W multiples of 32 -> {"centres": [N,1,H/4,W/4], "places": [N,3,H/4,W/4]}.

    centres: logits in training, probabilities of the folded network. places: x and y of the centre within its cell in
    cells (0 is the cell's middle), and the logarithm of the window's side by UNIT_PX.
    """

    config_type = PicoSpotConfig

    def __init__(self, config: PicoSpotConfig | None = None) -> None:
        super().__init__()
        self.config = config or PicoSpotConfig()
        c2, c4, c8, c16, c32 = self.config.channels
        far, up = self.config.far_kernel, self.config.up_channels
        self.stem = nn.Sequential(_dense(3, c2, stride=2), _dense(c2, c4, stride=2))
        kernels = (3, 3, far, far)
        widths = ((c4, c4), (c4, c8), (c8, c16), (c16, c32))
        self.stages = nn.ModuleList()
        for (inputs, outputs), count, kernel in zip(widths, self.config.blocks, kernels, strict=True):
            first = [Block(inputs, outputs, stride=2)] if len(self.stages) else []  # the stem has come to stride 4
            self.stages.append(nn.Sequential(*first, *(Block(outputs, outputs, kernel=kernel) for _ in range(count))))
        self.across = nn.ModuleList(_dense(width, up, kernel=1) for width in (c4, c8, c16, c32))
        self.merge = nn.ModuleList(Block(up, up) for _ in range(3))
        self.head = Block(up, up)
        self.out = nn.Conv2d(up, 4, 1)
        nn.init.constant_(self.out.bias, 0.0)
        with torch.no_grad():
            self.out.bias[0] = torch.logit(torch.tensor(PRIOR))
        self.deployed = False

    def forward(self, frame: Tensor) -> dict[str, Tensor]:
        x, levels = self.stem(frame - 0.5), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        y = self.across[3](levels[3])
        for number in (2, 1, 0):
            y = self.merge[number](self.across[number](levels[number]) + F.interpolate(y, scale_factor=2.0))
        maps = self.out(self.head(y))
        centres = maps[:, :1]
        return {"centres": torch.sigmoid(centres) if self.deployed else centres, "places": maps[:, 1:]}

    def folded(self) -> PicoSpot:
        """A copy to export: batch norms folded, centres as probabilities."""
        deploy = copy.deepcopy(self).eval()
        fold_batch_norms(deploy)
        deploy.deployed = True
        return deploy
