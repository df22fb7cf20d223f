"""Super-FAN: super-resolution ×4 and 68 landmarks of faces of 16 px in any pose, trained jointly with a GAN.

Bulat, Tzimiropoulos: Super-FAN: Integrated facial landmark localization and super-resolution of real-world low
resolution faces in arbitrary poses with GANs (CVPR 2018). Its figures of the generator ("12-3-2") and of the system:

    lr 16² ─ 3×3 ReLU ─ 12 × RB ─ BN ReLU deconv ─ 3 × RB ─ BN ReLU deconv ─ 3×3 ReLU ─ 3×3 ─> sr 64²
             RB: x + BN(3×3(ReLU(BN(3×3(x))))), nothing after the addition, no long skip
    sr 64² ─ bilinear to 256² ─ FAN of 2 hourglasses ─> 68 heatmaps of 64 × 64 cells, of the last hourglass
    sr or hr ─ Critic (WGAN-GP) ─> one number

What the paper leaves open, and what stands here:
    enlargement     by transposed 4×4 convolutions of stride 2, as others describe it; `shuffle=True` takes 3×3 and
                    pixel shuffle instead, with other weights.
    "2" of 12-3-2   the two convolutions at 64²: in the paper's notation SRResNet is 16-1-1, whose last 1 is a single
                    convolution. `n3_blocks=2` puts two residual blocks before them.
    first kernel    3×3 and ReLU; `first_kernel=9` as one reimplementation.
    SR to FAN       bilinear inside the network, unclamped so that every pixel has a gradient. `fan_size=64` feeds the
                    picture as it is, for a FAN trained at 64 px (see fan.py).
    ×8              one more "BN ReLU deconv"; the critic gets one more convolution of twice the channels.
    critic          DCGAN without BN, biases and sigmoid, 64 to 512 channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdk.errors import ModelError
from sdk.spec import ModelSpec
from training.models.fan import FAN, FANConfig

SCALES = (4, 8)


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the super-resolution network. Raises ModelError."""

    scale: int = 4  # 4: the paper's; 8: one more enlargement
    lr_size: int = 16  # px
    channels: int = 64
    n1_blocks: int = 12  # residual blocks at LR size
    n2_blocks: int = 3  # at 2 × LR size
    n3_blocks: int = 0  # at HR size; 2: the other reading of 12-3-2
    first_kernel: int = 3  # 3 or 9
    shuffle: bool = False  # pixel shuffle instead of transposed convolutions

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ModelError(f"a scale of {SCALES}", str(self.scale), "correct the configuration")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class SuperFANConfig(GeneratorConfig):
    """Generator and FAN in one network. Raises ModelError."""

    points: int = 68  # heatmaps
    fan_stacks: int = 2
    fan_depth: int = 4
    fan_channels: int = 256
    fan_size: int = 256  # px the picture is enlarged to for FAN; scale * lr_size: not at all
    decoder: str = "quarter"  # FAN's rule
    sigma_cells: float = 1.75  # of FAN's targets: nominally 1, drawn from a 7×7 kernel that gives 1.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fan_size % (self.scale * self.lr_size):
            expected = f"fan_size in multiples of {self.scale * self.lr_size} px"
            raise ModelError(expected, f"{self.fan_size} px", "correct the configuration")

    def fan(self) -> FANConfig:
        """The FAN part, which is trained by itself first."""
        return FANConfig(
            points=self.points,
            stacks=self.fan_stacks,
            depth=self.fan_depth,
            channels=self.fan_channels,
            input_size=self.fan_size,
        )


class ResidualBlock(nn.Module):
    """x + BN(3×3(ReLU(BN(3×3(x))))). [N,C,H,W] -> [N,C,H,W]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def fold(self) -> None:
        """Put both BN into their convolutions, in place; needs eval mode."""
        self.conv1, self.bn1 = fuse_conv_bn_eval(self.conv1, self.bn1), nn.Identity()
        self.conv2, self.bn2 = fuse_conv_bn_eval(self.conv2, self.bn2), nn.Identity()


def _enlarge(channels: int, *, shuffle: bool) -> Sequence[nn.Module]:
    """BN, ReLU, then twice the size. Its BN follows an addition and cannot be folded."""
    head = [nn.BatchNorm2d(channels), nn.ReLU()]
    if shuffle:
        return [*head, nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2)]
    return [*head, nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)]


class Generator(nn.Module):
    """lr float32 [N,3,h,w], RGB in [0,1] -> {"sr": [N,3,h·s,w·s] unclamped}."""

    config_type = GeneratorConfig

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.channels, config.first_kernel
        self.first = nn.Conv2d(3, width, kernel, padding=kernel // 2)
        self.body = nn.Sequential(
            *[ResidualBlock(width) for _ in range(config.n1_blocks)],
            *_enlarge(width, shuffle=config.shuffle),
            *[ResidualBlock(width) for _ in range(config.n2_blocks)],
            *_enlarge(width, shuffle=config.shuffle),
            *(_enlarge(width, shuffle=config.shuffle) if config.scale == 8 else []),
            *[ResidualBlock(width) for _ in range(config.n3_blocks)],
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        x = self.body(F.relu(self.first(lr)))  # [N,C,h·s,w·s]
        return {"sr": self.last(F.relu(self.conv(x)))}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config = self.config
        return ModelSpec(name=name, lr_size=config.lr_size, scale=config.scale, licence=licence, notes=notes)

    def folded(self) -> Generator:
        """A copy for deployment, the residual blocks' BN folded."""
        deployed = copy.deepcopy(self).eval()
        for module in deployed.body:
            if isinstance(module, ResidualBlock):
                module.fold()
        return deployed


class SuperFAN(nn.Module):
    """lr float32 [N,3,16,16], RGB in [0,1] -> {"sr": [N,3,64,64] unclamped, "heatmaps": [N,68,64,64], "stages":
    [N,stacks,68,64,64], which training compares with a frozen FAN's of the HR picture}."""

    config_type = SuperFANConfig

    def __init__(self, config: SuperFANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.fan = FAN(config.fan())

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        sr = self.generator(lr)["sr"]
        return {"sr": sr, **self.fan(self.fan_input(sr))}

    def fan_input(self, picture: Tensor) -> Tensor:
        """A picture, SR or HR, as FAN gets it: [N,3,h·s,w·s] -> [N,3,S,S]."""
        factor = self.config.fan_size // (self.config.scale * self.config.lr_size)
        if factor == 1:
            return picture
        return F.interpolate(picture, scale_factor=float(factor), mode="bilinear", align_corners=False)

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network.

        Cell i of s pixels lies at pixel i·s + (s - 1)/2, as everywhere in sdk.image, which also draws the targets.
        FAN's own code says fan.FAN_PIXEL_OFFSET more, in pixels of FAN's input: 1/8 px of sr at 256 px.
        """
        config = self.config
        return ModelSpec(
            name=name,
            lr_size=config.lr_size,
            scale=config.scale,
            heatmap_kind="landmarks",
            heatmap_count=config.points,
            heatmap_size=config.fan().heatmap_size,
            decoder=config.decoder,
            sigma_cells=config.sigma_cells,
            output_names=("sr", "heatmaps"),
            licence=licence,
            notes=notes,
        )

    def folded(self) -> SuperFAN:
        """A copy for deployment, BN folded where it can be."""
        deployed = copy.deepcopy(self).eval()
        deployed.generator, deployed.fan = self.generator.folded(), self.fan.folded()
        return deployed


class Critic(nn.Module):
    """picture float32 [N,3,S,S], RGB in [0,1] -> [N], higher for real ones; S = hr_size, 4 times a power of two."""

    def __init__(self, hr_size: int = 64) -> None:
        super().__init__()
        halvings = (hr_size // 4).bit_length() - 1  # 64 -> 4, 128 -> 5
        if halvings < 1 or hr_size != 4 * 2**halvings:
            raise ModelError("hr_size as 4 times a power of two", f"{hr_size} px", "use 64 or 128")
        layers: list[nn.Module] = []
        inputs = 3
        for number in range(halvings):
            outputs = 64 * 2**number
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, bias=False))

    def forward(self, picture: Tensor) -> Tensor:
        return self.layers(picture).flatten()


SUPER_FAN_GENERATOR = GeneratorConfig()
SUPER_FAN_GENERATOR_X8 = GeneratorConfig(scale=8)
SUPER_FAN_GENERATOR_SHUFFLE = GeneratorConfig(shuffle=True)
SUPER_FAN = SuperFANConfig()
SUPER_FAN_X8 = SuperFANConfig(scale=8)
SUPER_FAN_64 = SuperFANConfig(fan_size=64, decoder="dark", sigma_cells=1.0)  # ours: quarters of 4-px cells are coarse
