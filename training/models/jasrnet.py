"""JASRNet: Joint Super-Resolution and Alignment of Tiny Faces (Yin, Robinson, Zhang, Fu, AAAI 2020).

One deep encoder serves a super-resolution branch and a landmark branch; no normalisation layers anywhere:

    bicubic x8 ─ norm ─ head ─ enc a (128²) ─ enc b (64²) ─ enc c (32²) ─ enc d ─ 32 blocks (16²) ─┐
                         │       └──── stride-2 convolutions, added on the way down ── fusion ─────+─ F
                         │
                         └ long skip: [conv, max-pool] × 3 ─┐
      F ─ 2 scaled blocks, conv ────────────────────────────+─ [conv, shuffle ×2] × 3, conv ─ affine  -> "sr"
      F ─ 2 blocks, conv = X ─ stage 1 ─ cat(X, maps) ─ stage 2 ─ cat(X, maps) ─ stage 3             -> "heatmaps"

Sizes are those of the authors' released code, which reproduces all four parameter counts they claim. Departures from
the printed text, all of them the code's: the encoder has 2+3+4+2 residual blocks where the text reads as one a level;
stages concatenate the alignment features X, not F as Eq. 3 has it (`stages_read="fused"` is the equation); the output
affine is y/std + mean/std and not the inverse of the input's, which the last convolution absorbs but which multiplies
its learning rate by about 4.4. The code keeps fixed colour affines as 1×1 convolutions, 36 numbers that it
counts as parameters; here they are two affines and no parameter.

`folded()` puts the affines inside convolutions and collapses the tail, which is affine: see jasrnet_tail.py.
"""

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.spec import ModelSpec
from training.models.jasrnet_tail import REDUCTION, CollapsedTail, Tail, conv3

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB in [0, 1]
SCHEMES = {68: "300w68", 194: "helen194", 19: "aflw19"}


@dataclass(frozen=True)
class JASRNetConfig:
    """Sizes of one variant; the defaults are the paper's full model on 300W."""

    lr_size: int = 16  # pixels of the face before the bicubic enlargement
    scale: int = 8  # SR factor; the 64-px experiment of the paper is lr_size 64, scale 4
    points: int = 68  # 300W; HELEN 194, AFLW 19
    background: bool = True  # one more map: where no landmark is
    channels: int = 128
    encoder_blocks: tuple[int, int, int, int] = (2, 3, 4, 2)  # residual blocks at 1, 1/2, 1/4, 1/8 of the picture
    deep_blocks: int = 32  # T of the paper's ablation; also 16
    stages: int = 3  # landmark stages; also 1, 2; 0: super-resolution only
    stages_read: str = "aligned"  # what stages 2.. see beside the maps: "aligned" X (code) or "fused" F (Eq. 3)
    fusion: bool = True  # False: the ablation without multi-scale fusion
    long_skip: bool = True  # False: the ablation without the long skip
    branch_scale: float = 0.1  # of the two blocks of the super-resolution branch

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class ScaledBlock(nn.Module):
    """x + 0.1 conv(relu(conv x)); no ReLU after the sum."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.conv1(x)))
        return x + (branch if self.scale == 1.0 else self.scale * branch)

    @torch.no_grad()
    def fold(self) -> None:
        for value in self.conv2.parameters():
            value.mul_(self.scale)
        self.scale = 1.0


class ColourAffine(nn.Module):
    """x · gain + offset, each a colour's; not learned. [N,3,H,W] -> [N,3,H,W]"""

    def __init__(self, gain: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain[:, None, None], persistent=False)
        self.register_buffer("offset", offset[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + self.offset


class Shift(ColourAffine):
    """What is left of the input's affine when the convolution after it has taken the gain: zero padding stays exact."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Encoder(nn.Module):
    """head's x0 [N,C,H,W] -> fused features F [N,C,H/8,W/8]."""

    def __init__(self, config: JASRNetConfig) -> None:
        super().__init__()
        width = config.channels
        self.levels = nn.ModuleList(
            nn.Sequential(*[ResidualBlock(width) for _ in range(count)]) for count in config.encoder_blocks
        )
        self.deep = nn.Sequential(*[ResidualBlock(width) for _ in range(config.deep_blocks)])
        self.fusion = nn.ModuleList(conv3(width, width, stride=2) for _ in range(3)) if config.fusion else None

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.levels[0](x)]  # A, B, C at 1, 1/2, 1/4, then the input of the deep part at 1/8
        for level in list(self.levels)[1:]:
            maps.append(level(F.max_pool2d(maps[-1], 2)))
        deep = self.deep(maps[3])
        if self.fusion is None:
            return deep
        down1, down2, down3 = self.fusion
        return deep + down3(down2(down1(maps[0]) + maps[1]) + maps[2])


class LongSkip(nn.Sequential):
    """x0 -> [conv, max-pool 2] × 3, no activation. [N,C,H,W] -> [N,C,H/8,W/8]"""

    def __init__(self, channels: int) -> None:
        super().__init__(*[layer for _ in range(3) for layer in (conv3(channels, channels), nn.MaxPool2d(2))])


class LandmarkStages(nn.Module):
    """fused F [N,C,h,w] -> maps of every stage, each [N,K,h,w]."""

    def __init__(self, config: JASRNetConfig) -> None:
        super().__init__()
        width, maps = config.channels, config.points + config.background
        self.reads_fused = config.stages_read == "fused"
        self.align = nn.Sequential(ResidualBlock(width), ResidualBlock(width), conv3(width, width))
        first = nn.Sequential(ResidualBlock(width), ResidualBlock(width), conv3(width, maps))
        self.stages = nn.ModuleList([first])
        for _ in range(config.stages - 1):
            blocks = [ResidualBlock(width) for _ in range(3)]
            self.stages.append(nn.Sequential(conv3(width + maps, width), nn.ReLU(), *blocks, conv3(width, maps)))

    def forward(self, fused: Tensor) -> list[Tensor]:
        aligned = self.align(fused)
        maps = [self.stages[0](aligned)]
        for stage in list(self.stages)[1:]:
            maps.append(stage(torch.cat([fused if self.reads_fused else aligned, maps[-1]], dim=1)))
        return maps


class JASRNet(nn.Module):
    """lr float32 [N,3,H,W], RGB in [0,1], enlarged by bicubic -> {"sr": [N,3,H,W] unclamped, "heatmaps": [N,K,H/8,W/8],
    "stages": [N,stages,K(+1 background, last),H/8,W/8], for the loss; a folded network leaves it out}."""

    config_type = JASRNetConfig

    def __init__(self, config: JASRNetConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        width, mean, std = config.channels, torch.tensor(MEAN), torch.tensor(STD)
        self.normalise = ColourAffine(1.0 / std, -mean / std)
        self.head = conv3(3, width)
        self.encoder = Encoder(config)
        blocks = [ScaledBlock(width, config.branch_scale) for _ in range(2)]
        self.sr_features = nn.Sequential(*blocks, conv3(width, width))
        self.long_skip = LongSkip(width) if config.long_skip else None
        self.tail: nn.Module = Tail(width)
        self.denormalise: nn.Module = ColourAffine(1.0 / std, mean / std)
        self.landmarks = LandmarkStages(config) if config.stages else None
        self.shows_stages = True
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)  # the code's; no Kaiming
                nn.init.zeros_(module.bias)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        x0 = self.head(self.normalise(lr))
        fused = self.encoder(x0)
        features = self.sr_features(fused)
        features = features if self.long_skip is None else features + self.long_skip(x0)
        outputs = {"sr": self.denormalise(self.tail(features))}
        if self.landmarks is not None:
            stages = self.landmarks(fused)
            outputs["heatmaps"] = stages[-1][:, : self.config.points]
            if self.shows_stages:
                outputs["stages"] = torch.stack(stages, dim=1)
        return outputs

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config = self.config
        maps: dict[str, object] = {
            "heatmap_kind": "landmarks",
            "heatmap_count": config.points,
            "heatmap_size": config.lr_size * config.scale // REDUCTION,
            "decoder": "centroid",  # 9×9 window, as the code; the paper's arg-max cannot reach its own errors
            "decoder_radius": 4,
            "sigma_cells": 0.5,  # 4 px of the picture
            "landmark_scheme": SCHEMES.get(config.points, f"points{config.points}"),
            "output_names": ("sr", "heatmaps"),
        }
        return ModelSpec(
            name=name,
            lr_size=config.lr_size,
            scale=config.scale,
            input_upscaled=True,
            licence=licence,
            notes=notes,
            **(maps if config.stages else {}),
        )

    @torch.no_grad()
    def folded(self) -> "JASRNet":
        """An equal network to deploy: affines and the 0.1 inside convolutions, the tail in one step, no background."""
        deploy = copy.deepcopy(self).eval()
        normalise, last = deploy.normalise, deploy.tail.out
        deploy.head.weight.mul_(normalise.gain[:, 0, 0][:, None, None])
        deploy.normalise = Shift(normalise.gain[:, 0, 0], (normalise.offset / normalise.gain)[:, 0, 0])
        gain, offset = deploy.denormalise.gain[:, 0, 0], deploy.denormalise.offset[:, 0, 0]
        last.weight.mul_(gain[:, None, None, None])
        last.bias.mul_(gain).add_(offset)
        deploy.denormalise = nn.Identity()
        deploy.tail = CollapsedTail(deploy.tail)
        for block in deploy.sr_features:
            if isinstance(block, ScaledBlock):
                block.fold()
        if deploy.landmarks is not None:
            conv, deploy.shows_stages = deploy.landmarks.stages[-1][-1], False
            conv.weight = nn.Parameter(conv.weight[: self.config.points].clone())
            conv.bias = nn.Parameter(conv.bias[: self.config.points].clone())
        return deploy


def _check(config: JASRNetConfig) -> None:
    size = config.lr_size * config.scale
    if size % REDUCTION or size < 3 * REDUCTION:
        raise ModelError(f"a picture of 3 or more times {REDUCTION} px a side", f"{size} px", "change lr_size or scale")
    if config.stages_read not in ("aligned", "fused"):
        raise ModelError('stages_read "aligned" or "fused"', repr(config.stages_read), "correct the configuration")


JASRNET = JASRNetConfig()
JASRNET_T16 = JASRNetConfig(deep_blocks=16)
JASRNET_ONE_STAGE = JASRNetConfig(stages=1)
JASRNET_TWO_STAGES = JASRNetConfig(stages=2)
JASRNET_HELEN = JASRNetConfig(points=194)
JASRNET_AFLW = JASRNetConfig(points=19)
JASRNET_64PX = JASRNetConfig(lr_size=64, scale=4)
