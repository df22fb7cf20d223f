"""SRINC and SRINC-F: a super-resolution network of inception modules, one for all scales.

Knoche, Merget, Rigoll: Improving Facial Landmark Detection via a Super-Resolution Inception Network. Its figure:

    lr enlarged to HR size by bicubic, Y alone
      ─┬─ 3×3, 128 ─ ReLU ─ 19 × InceptionModule ─ 3×3, 1 ─ + ─> sr
       └─────────────────────────────────────────────────────┘

    InceptionModule, 128 -> 128, ReLU after each convolution:
        ┬─ 1×1, 32 ──────────────────────┐
        ├─ 1×1, 32 ─ 3×3, 32 ─ dropout ──┤ concatenated
        ├─ 1×1, 32 ─ 7×7, 32 ─ dropout ──┤
        └─ 1×1, 32 ─ 11×11, 32 ─ dropout ┘

19 modules: the stated receptive field of 195 px is 1 + 2 + 19·10 + 2. Zero padding; He initialisation.

SRINC-F is the same network trained on faces with 10 % dropout on the modules' 3×3, 7×7 and 11×11 convolutions.

What the paper leaves open, and what stands here:
    branch widths   are in a figure that is lost. Four branches of 32 behind 1×1 reductions to 32: the stated training
                    time leaves room for 3.8 M multiply-adds a pixel, not for the 14 M of a module without reductions.
                    `reduced=0` leaves the reductions out, `branch_widths=(0, 43, 43, 42)` the 1×1 branch.
    dropout         of single activations, behind the ReLU; neither the first nor the last convolution has any.
    colour          Y of BT.601, limited range, over 255; Cb and Cr come from bicubic.
"""

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.spec import ModelSpec

KERNELS = (1, 3, 7, 11)  # of the four branches, in the order they are concatenated


@dataclass(frozen=True)
class SRINCConfig:
    """The network, and the size it is used at: its weights serve every scale and size. Raises ModelError."""

    scale: int  # factor of the bicubic enlargement before the network
    lr_size: int  # px: nominal face before that enlargement; scale * lr_size is a multiple of 4
    channels: int = 128  # of the first layer and of every module
    modules: int = 19  # Sec. "receptive field": 195 px
    branch_widths: tuple[int, int, int, int] = (32, 32, 32, 32)  # outputs by branch, 0: no such branch
    reduced: int = 32  # outputs of the 1×1 before a large kernel; 0: no 1×1 there
    dropout: float = 0.0  # SRINC-F: 0.1
    last_gain: float = 1.0  # of the last layer's He initialisation; less starts nearer to bicubic

    def __post_init__(self) -> None:
        if len(self.branch_widths) != len(KERNELS) or sum(self.branch_widths) != self.channels:
            expected = f"branch_widths for the kernels {KERNELS} with the sum {self.channels}"
            raise ModelError(expected, str(self.branch_widths), "correct the configuration")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class InceptionModule(nn.Module):
    """Parallel kernels of four sizes, concatenated. [N,C,H,W] -> [N,C,H,W]"""

    def __init__(self, config: SRINCConfig) -> None:
        super().__init__()
        branches = [
            _branch(config, kernel, width) for kernel, width in zip(KERNELS, config.branch_widths, strict=True) if width
        ]
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _branch(config: SRINCConfig, kernel: int, width: int) -> nn.Sequential:
    """[1×1, ReLU,] k×k, ReLU[, dropout]: the 1×1 branch needs no reduction and drops nothing out."""
    layers: list[nn.Module] = []
    inputs = config.channels
    if kernel > 1 and config.reduced:
        layers += [nn.Conv2d(inputs, config.reduced, 1), nn.ReLU()]
        inputs = config.reduced
    layers += [nn.Conv2d(inputs, width, kernel, padding=kernel // 2), nn.ReLU()]
    if kernel > 1 and config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers)


class SRINC(nn.Module):
    """lr float32 [N,1,H,W], Y in [0,1], already enlarged -> {"sr": [N,1,H,W] Y, unclamped}."""

    config_type = SRINCConfig

    def __init__(self, config: SRINCConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(1, config.channels, 3, padding=1)
        self.inception = nn.Sequential(*[InceptionModule(config) for _ in range(config.modules)])
        self.last = nn.Conv2d(config.channels, 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        self.last.weight.data.mul_(config.last_gain)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        features = self.inception(torch.relu(self.first(lr)))  # [N,C,H,W]
        return {"sr": lr + self.last(features)}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        return ModelSpec(
            name=name,
            lr_size=self.config.lr_size,
            scale=self.config.scale,
            channels=1,
            colour="y",
            input_upscaled=True,
            any_size=True,
            licence=licence,
            notes=notes,
        )

    def folded(self) -> "SRINC":
        """A copy for deployment; there is nothing to fold."""
        return copy.deepcopy(self).eval()


SRINC_X2 = SRINCConfig(scale=2, lr_size=64)
SRINC_X3 = SRINCConfig(scale=3, lr_size=44)
SRINC_X4 = SRINCConfig(scale=4, lr_size=32)
SRINC_F_X2 = SRINCConfig(scale=2, lr_size=64, dropout=0.1)
SRINC_F_X3 = SRINCConfig(scale=3, lr_size=44, dropout=0.1)
SRINC_F_X4 = SRINCConfig(scale=4, lr_size=32, dropout=0.1)
