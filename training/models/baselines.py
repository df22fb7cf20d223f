"""Small networks that the papers compare themselves with: SRCNN, VDSR and URDGN. SRResNet has a file of its own.

SRCNN   Dong, Loy, He, Tang: Image Super-Resolution Using Deep Convolutional Networks (TPAMI 2016), Fig. 2: 9-5-5.
        Y enlarged by bicubic in, Y out. Zero padding in place of valid convolutions, so that the size is kept.
VDSR    Kim, Lee, Lee: Accurate Image Super-Resolution Using Very Deep Convolutional Networks (CVPR 2016), Fig. 1.
        Y enlarged by bicubic in, 20 convolutions, their sum with the input out; one network for all scales. Without
        biases unless asked for. MTUN's ×8 is ×2 applied three times.
URDGN   Yu, Porikli: Ultra-Resolving Face Images by Discriminative Generative Networks (ECCV 2016), as in the authors'
        released code: five convolutions and three nearest enlargements, pictures in [-1,1]. RGB. Its discriminator,
        which MTUN takes over, ends before the sigmoid: that belongs to the loss, where it keeps its precision.
"""

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdk.errors import ModelError
from sdk.spec import ModelSpec


@dataclass(frozen=True)
class SRCNNConfig:
    """The network, and the size it is used at."""

    scale: int  # factor of the bicubic enlargement before the network
    lr_size: int  # px: nominal face before that enlargement; scale * lr_size is a multiple of 4
    kernels: tuple[int, int, int] = (9, 5, 5)  # (9, 1, 5): the small one
    widths: tuple[int, int] = (64, 32)
    channels: int = 1  # 1: Y; 3: RGB

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class SRCNN(nn.Module):
    """lr float32 [N,C,H,W] in [0,1], already enlarged -> {"sr": [N,C,H,W] unclamped}."""

    config_type = SRCNNConfig

    def __init__(self, config: SRCNNConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.channels, *config.widths, config.channels)
        first, middle, last = [
            nn.Conv2d(sizes[n], sizes[n + 1], kernel, padding=kernel // 2) for n, kernel in enumerate(config.kernels)
        ]
        self.layers = nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)
        for layer in (first, middle, last):
            nn.init.normal_(layer.weight, std=0.001)  # the paper's
            nn.init.zeros_(layer.bias)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        return {"sr": self.layers(lr)}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        return _spec_of_enlarged(self.config, name, licence=licence, notes=notes)

    def folded(self) -> "SRCNN":
        """A copy for deployment; there is nothing to fold."""
        return copy.deepcopy(self).eval()


@dataclass(frozen=True)
class VDSRConfig:
    """The network, and the size it is used at."""

    scale: int  # factor of the bicubic enlargement before the network
    lr_size: int  # px: nominal face before that enlargement; scale * lr_size is a multiple of 4
    depth: int = 20  # convolutions
    width: int = 64
    bias: bool = False
    channels: int = 1  # 1: Y; 3: RGB

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class VDSR(nn.Module):
    """lr float32 [N,C,H,W] in [0,1], already enlarged -> {"sr": [N,C,H,W] unclamped}."""

    config_type = VDSRConfig

    def __init__(self, config: VDSRConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.channels, *(config.width for _ in range(config.depth - 1)), config.channels)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=config.bias)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            layers += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        return {"sr": lr + self.layers(lr)}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        return _spec_of_enlarged(self.config, name, licence=licence, notes=notes)

    def folded(self) -> "VDSR":
        """A copy for deployment; there is nothing to fold."""
        return copy.deepcopy(self).eval()


def _spec_of_enlarged(config: SRCNNConfig | VDSRConfig, name: str, *, licence: str, notes: str) -> ModelSpec:
    """Of a network without landmarks that takes pictures of any size, enlarged by bicubic."""
    return ModelSpec(
        name=name,
        lr_size=config.lr_size,
        scale=config.scale,
        channels=config.channels,
        colour="y" if config.channels == 1 else "rgb",
        input_upscaled=True,
        any_size=True,
        licence=licence,
        notes=notes,
    )


@dataclass(frozen=True)
class URDGNConfig:
    """Sizes of the generator. ×8 alone. Raises ModelError."""

    lr_size: int = 16  # px
    widths: tuple[int, int, int, int] = (16, 64, 128, 256)  # of the convolutions but the last
    scale: int = 8

    def __post_init__(self) -> None:
        if self.scale != 8:
            raise ModelError("a scale of 8", str(self.scale), "correct the configuration")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class URDGN(nn.Module):
    """lr float32 [N,3,h,w], RGB in [-1,1] -> {"sr": [N,3,8h,8w] in about [-1,1], unclamped}."""

    config_type = URDGNConfig

    def __init__(self, config: URDGNConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.widths
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, a, 3, padding=1), nn.BatchNorm2d(a), nn.ReLU(), nn.Upsample(scale_factor=2.0)),
            *(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Upsample(scale_factor=2.0)),
            *(nn.Conv2d(b, c, 5, padding=2), nn.BatchNorm2d(c), nn.ReLU(), nn.Upsample(scale_factor=2.0)),
            *(nn.Conv2d(c, d, 5, padding=2), nn.BatchNorm2d(d), nn.ReLU()),
            nn.Conv2d(d, 3, 5, padding=2),
        )

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        return {"sr": self.layers(lr)}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config = self.config
        return ModelSpec(
            name=name,
            lr_size=config.lr_size,
            scale=config.scale,
            value_range=(-1.0, 1.0),
            licence=licence,
            notes=notes,
        )

    def folded(self) -> "URDGN":
        """A copy for deployment, BN folded."""
        deployed = copy.deepcopy(self).eval()
        for number, layer in enumerate(deployed.layers):
            if isinstance(layer, nn.BatchNorm2d):
                deployed.layers[number - 1] = fuse_conv_bn_eval(deployed.layers[number - 1], layer)
                deployed.layers[number] = nn.Identity()
        return deployed


class URDGNDiscriminator(nn.Module):
    """picture float32 [N,3,128,128] in [-1,1] -> logit [N], higher for real ones."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 32), (32, 64), (64, 128), (128, 96)):
            layers += [nn.Conv2d(inputs, outputs, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout2d(0.2)]
        self.features = nn.Sequential(*layers)  # [N,96,8,8]
        self.judge = nn.Sequential(nn.Linear(96 * 8 * 8, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 1))

    def forward(self, picture: Tensor) -> Tensor:
        return self.judge(torch.flatten(self.features(picture), 1))[:, 0]


SRCNN_X2 = SRCNNConfig(scale=2, lr_size=64)
SRCNN_X3 = SRCNNConfig(scale=3, lr_size=44)
SRCNN_X4 = SRCNNConfig(scale=4, lr_size=32)
VDSR_X2 = VDSRConfig(scale=2, lr_size=64)
VDSR_X3 = VDSRConfig(scale=3, lr_size=44)
VDSR_X4 = VDSRConfig(scale=4, lr_size=32)
URDGN_X8 = URDGNConfig()
