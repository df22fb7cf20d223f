"""SRResNet, and the discriminator that makes it SRGAN: the baseline of Super-FAN, FSRNet and JASRNet.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network (CVPR 2017), Fig. 4:

    lr ─ 9×9, 64 PReLU ─┬─ 16 × RB ─ 3×3 BN ─ + ─ 2 × [3×3, 256 ─ shuffle 2 ─ PReLU] ─ 9×9, 3 ─> sr
                        └─────────────────────┘        RB: x + BN(3×3(PReLU(BN(3×3(x)))))

Departures: pictures in [0,1] (the paper's output in [-1,1]); ×8 for faces of 16 px has a third enlargement, as the
papers that compare with it say. PReLU has one slope a layer. The discriminator ends before the sigmoid: that belongs
to the loss, where it keeps its precision.
"""

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdk.errors import ModelError
from sdk.spec import ModelSpec

SCALES = (2, 4, 8)


@dataclass(frozen=True)
class SRResNetConfig:
    """Sizes of one variant. Raises ModelError."""

    scale: int = 4
    lr_size: int = 16  # px
    channels: int = 64
    blocks: int = 16

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ModelError(f"a scale of {SCALES}", str(self.scale), "correct the configuration")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class ResidualBlock(nn.Module):
    """x + BN(3×3(PReLU(BN(3×3(x))))). [N,C,H,W] -> [N,C,H,W]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.act = nn.PReLU()
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class SRResNet(nn.Module):
    """lr float32 [N,3,h,w], RGB in [0,1] -> {"sr": [N,3,h·s,w·s] unclamped}."""

    config_type = SRResNetConfig

    def __init__(self, config: SRResNetConfig) -> None:
        super().__init__()
        self.config = config
        width, halvings = config.channels, config.scale.bit_length() - 1
        self.first = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*[ResidualBlock(width) for _ in range(config.blocks)])
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        up: list[nn.Module] = []
        for _ in range(halvings):
            up += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.up = nn.Sequential(*up)
        self.last = nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        shallow = self.first(lr)  # [N,C,h,w]
        deep = shallow + self.bn(self.conv(self.body(shallow)))
        return {"sr": self.last(self.up(deep))}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config = self.config
        return ModelSpec(name=name, lr_size=config.lr_size, scale=config.scale, licence=licence, notes=notes)

    def folded(self) -> "SRResNet":
        """A copy for deployment, every BN folded."""
        deployed = copy.deepcopy(self).eval()
        deployed.conv, deployed.bn = fuse_conv_bn_eval(deployed.conv, deployed.bn), nn.Identity()
        for block in deployed.body:
            block.conv1, block.bn1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.Identity()
            block.conv2, block.bn2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.Identity()
        return deployed


class SRGANDiscriminator(nn.Module):
    """picture float32 [N,C,S,S] in [0,1] -> logit [N], higher for real ones; S a multiple of 16."""

    def __init__(self, hr_size: int = 64, *, channels: int = 3) -> None:
        super().__init__()
        if hr_size < 16 or hr_size % 16:
            raise ModelError("hr_size as a multiple of 16", f"{hr_size} px", "use 64 or 128")
        layers: list[nn.Module] = [nn.Conv2d(channels, 64, 3, padding=1), nn.LeakyReLU(0.2)]
        inputs = 64
        for outputs, stride in ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.BatchNorm2d(outputs)]
            layers.append(nn.LeakyReLU(0.2))
            inputs = outputs
        self.features = nn.Sequential(*layers)  # [N,512,S/16,S/16]
        self.judge = nn.Sequential(nn.Linear(512 * (hr_size // 16) ** 2, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1))

    def forward(self, picture: Tensor) -> Tensor:
        return self.judge(torch.flatten(self.features(picture), 1))[:, 0]


SRRESNET_X4 = SRResNetConfig()
SRRESNET_X8 = SRResNetConfig(scale=8)
