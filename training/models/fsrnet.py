"""FSRNet: End-to-End Learning Face Super-Resolution with Facial Priors (Chen, Tai, Liu, Shen, Yang; CVPR 2018).

The network of the overview figure, for faces enlarged by bicubic from 16 to 128 px, and the critic of FSRGAN:

    lr ─ coarse SR ─ coarse_sr ─┬─ fine encoder (64²) ──────────────────────────────────┬─ cat ─ fine decoder -> "sr"
                     "coarse"   └─ prior net: h hourglasses (64²) ─ heads ─ "heatmaps" ─┘
                                                                    └────── "parsing" ──┘

The paper gives the parts and the blocks' numbers; sizes come from reimplementations and count 3.97 M parameters here.
Where the text is silent or two readings exist:

* what is concatenated: the estimated maps (`decoder_reads="maps"`, the text's prior p and its upper-bound test), or the
  128 features they are made of ("features", once called the prior feature);
* deconvolution 4×4 as the text says; 3×3 with output padding 1 in reimplementations (`deconv_kernel=3`);
* convolutions "pre-activation" in a note of the figure, conv-BN-ReLU in every reimplementation: `preactivation`. The
  layers that read a picture stay conv-first then, since a ReLU there would throw half of the picture away;
* supervision of the last hourglass only; `inter_supervision` adds maps to every one, fed back as in FAN;
* hourglass blocks: pre-activation bottlenecks, "basic" has two 3×3; `hourglass_depth` 3 is one reimplementation's;
* output linear in [0, 1]; `tanh` makes it tanh in [-1, 1], the other habit;
* convolutions outside the hourglasses and heads have no bias, so that the counts are the specification's.

Baseline_v1 is `prior=False`, Baseline_v2 the whole network whose maps nobody supervises (`prior_supervised=False`):
they mean nothing then and are not put out. FSRGAN is this network and `Critic`, which the paper does not describe: a
PatchGAN of 70 px on picture and input together. It returns logits; the sigmoid is the loss's.
"""

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.spec import ModelSpec
from training.models.folding import fold_batch_norms

SCHEMES = {194: "helen194", 68: "300w68"}


@dataclass(frozen=True)
class FSRNetConfig:
    """Sizes of one variant; the defaults are the paper's network for HELEN."""

    lr_size: int = 16  # pixels of the face before the bicubic enlargement
    scale: int = 8
    landmarks: int = 194  # heatmaps: HELEN 194, CelebA 68; 0: none
    parsing: int = 11  # face-parsing maps; 0: none
    channels: int = 64  # of the coarse network, encoder and decoder
    encoder_blocks: int = 12
    prior: bool = True  # False: Baseline_v1
    prior_supervised: bool = True  # False: Baseline_v2, same network, maps not put out
    prior_channels: int = 128
    hourglasses: int = 2  # h; the paper tests 1, 2, 4
    hourglass_depth: int = 4  # 64² -> 4²
    hourglass_block: str = "bottleneck"  # or "basic"
    inter_supervision: bool = False  # maps after every hourglass, in "stages"
    decoder_reads: str = "maps"  # or "features"
    deconv_kernel: int = 4  # or 3
    preactivation: bool = False  # BN-ReLU-conv outside the hourglasses
    tanh: bool = False  # pictures in [-1, 1], output through tanh

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def cbr(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, pre: bool = False) -> nn.Sequential:
    """Convolution, BN, ReLU; pre: BN and ReLU before the convolution."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(inputs if pre else outputs)
    return nn.Sequential(norm, nn.ReLU(), conv) if pre else nn.Sequential(conv, norm, nn.ReLU())


class ResidualBlock(nn.Module):
    """x + BN(conv(relu(BN(conv x)))); pre: x + conv(relu(BN(conv(relu(BN x)))))."""

    def __init__(self, channels: int, *, pre: bool) -> None:
        super().__init__()
        second = cbr(channels, channels, pre=pre)
        self.body = nn.Sequential(*cbr(channels, channels, pre=pre), *(second if pre else second[:2]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def residual_blocks(channels: int, count: int, *, pre: bool) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels, pre=pre) for _ in range(count)])


class HourglassBlock(nn.Module):
    """x + body(x), every convolution after BN and ReLU: 1×1 to half, 3×3, 1×1 back; basic: two 3×3."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        half = channels // 2
        bottleneck = ((channels, half, 1), (half, half, 3), (half, channels, 1))
        sizes = bottleneck if kind == "bottleneck" else ((channels, channels, 3),) * 2
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in sizes:
            conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=kind == "bottleneck")
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(), conv]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Hourglass(nn.Module):
    """Blocks at full size beside blocks at half size around the next level. [N,C,H,W] -> the same"""

    def __init__(self, channels: int, depth: int, kind: str) -> None:
        super().__init__()
        self.beside = HourglassBlock(channels, kind)
        self.before = HourglassBlock(channels, kind)
        deeper = depth > 1
        self.inner = Hourglass(channels, depth - 1, kind) if deeper else HourglassBlock(channels, kind)
        self.after = HourglassBlock(channels, kind)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        return self.beside(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class PriorNet(nn.Module):
    """coarse_sr [N,3,H,W] -> features [N,C,H/2,W/2] and, of every supervised hourglass, its maps [N,L or P,H/2,W/2]."""

    def __init__(self, config: FSRNetConfig) -> None:
        super().__init__()
        width, pre, h = config.prior_channels, config.preactivation, config.hourglasses
        self.stem = nn.Sequential(cbr(3, width, 7, stride=2), residual_blocks(width, 3, pre=pre))
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Hourglass(width, config.hourglass_depth, config.hourglass_block), cbr(width, width, 1, pre=pre)
            )
            for _ in range(h)
        )
        kinds = {"heatmaps": config.landmarks, "parsing": config.parsing}  # maps of each, in the order put together
        supervised = h if config.inter_supervision else 1
        self.heads = nn.ModuleList(
            nn.ModuleDict({kind: nn.Conv2d(width, maps, 1) for kind, maps in kinds.items() if maps})
            for _ in range(supervised)
        )
        self.features_back = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(supervised - 1))
        self.maps_back = nn.ModuleList(nn.Conv2d(sum(kinds.values()), width, 1) for _ in range(supervised - 1))

    def forward(self, coarse_sr: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
        x = self.stem(coarse_sr)
        features, stages = x, []
        for index, hourglass in enumerate(self.hourglasses):
            features = hourglass(x)
            last = index == len(self.hourglasses) - 1
            if last or len(self.heads) > 1:
                head = self.heads[index if len(self.heads) > 1 else 0]
                stages.append({kind: conv(features) for kind, conv in head.items()})
            if not last and self.features_back:
                x = x + self.features_back[index](features) + self.maps_back[index](together(stages[-1]))
            else:
                x = features
        return features, stages


def together(maps: dict[str, Tensor]) -> Tensor:
    """[N,L,h,w] and [N,P,h,w] -> [N,L+P,h,w]."""
    return torch.cat(list(maps.values()), dim=1)


class FineDecoder(nn.Module):
    """encoded [N,C,H/2,W/2] and prior [N,P,H/2,W/2] -> sr [N,3,H,W]."""

    def __init__(self, config: FSRNetConfig, prior_channels: int) -> None:
        super().__init__()
        width, kernel, pre = config.channels, config.deconv_kernel, config.preactivation
        self.join = cbr(width + prior_channels, width, pre=pre)
        deconv = nn.ConvTranspose2d(
            width, width, kernel, stride=2, padding=1, output_padding=int(kernel == 3), bias=False
        )
        norm = nn.BatchNorm2d(width)
        self.enlarge = nn.Sequential(norm, nn.ReLU(), deconv) if pre else nn.Sequential(deconv, norm, nn.ReLU())
        self.blocks = residual_blocks(width, 3, pre=pre)
        self.out = nn.Conv2d(width, 3, 3, padding=1, bias=False)

    def forward(self, encoded: Tensor, prior: Tensor | None) -> Tensor:
        joined = encoded if prior is None else torch.cat([encoded, prior], dim=1)
        return self.out(self.blocks(self.enlarge(self.join(joined))))


class FSRNet(nn.Module):
    """lr float32 [N,3,H,W], RGB in [0,1] ([-1,1] with tanh), enlarged by bicubic -> {"sr" and "coarse": [N,3,H,W],
    "heatmaps": [N,L,H/2,W/2], "parsing": [N,P,H/2,W/2], "stages": [N,h,L+P,H/2,W/2]}.

    "stages" only with inter_supervision, for the loss; maps only of a supervised prior. Output unclamped.
    """

    config_type = FSRNetConfig

    def __init__(self, config: FSRNetConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        width, pre = config.channels, config.preactivation
        self.coarse = nn.Sequential(
            cbr(3, width), residual_blocks(width, 3, pre=pre), nn.Conv2d(width, 3, 3, padding=1, bias=False)
        )
        self.encoder = nn.Sequential(
            cbr(3, width, stride=2),
            residual_blocks(width, config.encoder_blocks, pre=pre),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.prior = PriorNet(config) if config.prior else None
        prior = config.prior_channels if config.decoder_reads == "features" else config.landmarks + config.parsing
        self.decoder = FineDecoder(config, prior if config.prior else 0)
        self.shown = nn.Tanh() if config.tanh else nn.Identity()

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        config = self.config
        coarse = self.shown(self.coarse(lr))
        features, stages = (None, []) if self.prior is None else self.prior(coarse)
        read = features if config.decoder_reads == "features" or not stages else together(stages[-1])
        outputs = {"sr": self.shown(self.decoder(self.encoder(coarse), read)), "coarse": coarse}
        if self._has_maps():
            outputs |= stages[-1]
            if config.inter_supervision:
                outputs["stages"] = torch.stack([together(maps) for maps in stages], dim=1)
        return outputs

    def _has_maps(self) -> bool:
        return self.config.prior and self.config.prior_supervised

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config, fields = self.config, {}
        outputs = ("sr",)
        if self._has_maps() and config.landmarks:
            outputs += ("heatmaps",)
            fields |= {
                "heatmap_kind": "landmarks",
                "heatmap_count": config.landmarks,
                "heatmap_size": config.lr_size * config.scale // 2,
                "sigma_cells": 2.0,  # 4 px of the picture
                "landmark_scheme": SCHEMES.get(config.landmarks, f"points{config.landmarks}"),
            }
        if self._has_maps() and config.parsing:
            outputs += ("parsing",)
            fields["parsing_count"] = config.parsing
        return ModelSpec(
            name=name,
            lr_size=config.lr_size,
            scale=config.scale,
            value_range=(-1.0, 1.0) if config.tanh else (0.0, 1.0),
            input_upscaled=True,
            output_names=outputs,
            licence=licence,
            notes=notes,
            **fields,
        )

    def folded(self) -> "FSRNet":
        """An equal network to deploy: BN inside the convolution before it; the first of a block, after a sum, stays."""
        deploy = copy.deepcopy(self).eval()
        fold_batch_norms(deploy)
        return deploy


class Critic(nn.Module):
    """FSRGAN's conditional critic: picture and bicubic input, each [N,3,H,W] -> logits of 70-px patches [N,1,h,w]."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for factor, stride in ((1, 2), (2, 2), (4, 1)):
            inputs, outputs = factor * channels, 2 * factor * channels
            layers += [nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * channels, 1, 4, padding=1))

    def forward(self, picture: Tensor, lr: Tensor) -> Tensor:
        return self.layers(torch.cat([picture, lr], dim=1))


def _check(config: FSRNetConfig) -> None:
    size, step = config.lr_size * config.scale, 2 ** (config.hourglass_depth + 1)
    known = {"hourglass_block": ("bottleneck", "basic"), "decoder_reads": ("maps", "features"), "deconv_kernel": (4, 3)}
    for field, values in known.items():
        if getattr(config, field) not in values:
            raise ModelError(f"{field} one of {values}", repr(getattr(config, field)), "correct the configuration")
    if config.prior and size % step:
        raise ModelError(f"a picture of a multiple of {step} px a side", f"{size} px", "change lr_size or scale")
    if config.prior and not config.landmarks + config.parsing:
        raise ModelError("landmark or parsing maps", "neither", "give some, or prior=False")


FSRNET = FSRNetConfig()
FSRNET_H1 = FSRNetConfig(hourglasses=1)
FSRNET_H4 = FSRNetConfig(hourglasses=4)
FSRNET_BASELINE_V1 = FSRNetConfig(prior=False)
FSRNET_BASELINE_V2 = FSRNetConfig(prior_supervised=False)
FSRNET_CELEBA = FSRNetConfig(landmarks=68)
FSRNET_68 = FSRNetConfig(landmarks=68, parsing=0)  # for faces without parsing labels
