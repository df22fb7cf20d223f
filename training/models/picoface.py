"""PicoFace: our own network for the edge. One pass turns a tiny face into a sharp face and 68 heatmaps.

Two branches, so that each can be trained on its own data and licence:

    lr ─┬─ SuperResolution: conv · n × [x + conv(relu(conv x))] · conv, all at LR size; shuffle ×2, tail,
        │        │          shuffle ×(s/2), + bicubic ×s of lr                                             -> "sr"
        │        └ features, read only (×8 variant)
        └─ LandmarkHeatmaps: a one-level hourglass at 16 × 16 cells [, shuffle ×2]                         -> "heatmaps"

No gradient flows from the landmarks into the super-resolution branch: what that branch knows comes from its own data.

Only plain 3×3 convolutions, ReLU, add, pixel shuffle; nothing heavy runs above LR size. While training, every 3×3 is
the sum of a 3×3, a 1×1, an identity and an edge branch (ECBSR, Zhang et al. 2021), folded *before* each convolution is
run, so the branches cost nothing; `PicoFace.folded()` makes the deployed network of plain `nn.Conv2d`.

Not from a paper: widths and depths are ours, chosen for <= 2 M parameters and a few milliseconds on two CPU cores.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.image.resample import resample_weights
from sdk.spec import ModelSpec


@dataclass(frozen=True)
class PicoFaceConfig:
    """Sizes of one variant."""

    scale: int  # SR factor: 8 (16 -> 128) or 4 (32 -> 128)
    lr_size: int  # pixels of the nominal input
    channels: int = 64  # trunk width
    blocks: int = 14  # residual blocks at LR size
    tail_channels: int = 48  # width at 2 x LR size
    tail_blocks: int = 1  # residual blocks at 2 x LR size
    head_channels: int = 64  # width of the landmark branch
    head_unshuffle: int = 1  # 2: the landmark branch starts at half of LR size
    head_upscale: int = 2  # heatmap cells per cell of the branch; 1: no shuffle at the end
    head_blocks: tuple[int, int, int] = (1, 4, 2)  # residual blocks before, inside and after the hourglass level
    head_reads_trunk: bool = False  # the landmark branch also sees the super-resolution branch's features
    points: int = 68  # heatmaps

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class RepConv3x3(nn.Module):
    """A 3×3 convolution trained as a sum of linear branches, run as one kernel. [N,I,H,W] -> [N,O,H/stride,W/stride]"""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.point = nn.Parameter(torch.zeros(outputs, inputs))  # 1x1 branch, in the centre tap
        self.edge = nn.Parameter(torch.zeros(outputs, inputs))  # Laplacian branch
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.weight.data.mul_(gain)
        laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]) / 4.0
        self.register_buffer("laplacian", laplacian, persistent=False)

    def kernel(self) -> Tensor:
        """The one 3×3 kernel that equals the sum of the branches, [O,I,3,3]."""
        centre = F.pad(self.point[:, :, None, None], (1, 1, 1, 1))
        return self.weight + centre + self.edge[:, :, None, None] * self.laplacian

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, stride=self.stride, padding=1)

    def folded(self) -> nn.Conv2d:
        outputs, inputs = self.weight.shape[:2]
        conv = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1)
        conv.weight.data.copy_(self.kernel().data)
        conv.bias.data.copy_(self.bias.data)
        return conv


class ResidualBlock(nn.Module):
    """x + conv(relu(conv x)); the second convolution starts small so that a deep trunk starts near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = RepConv3x3(channels, channels)
        self.conv2 = RepConv3x3(channels, channels, gain=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class BicubicEnlarge(nn.Module):
    """Bicubic ×scale (a = -0.5, edges repeated) as a fixed 5×5 convolution and a shuffle. [N,3,h,w] -> [N,3,h·s,w·s]

    A convolution, since TensorRT's Resize knows cubic only in late versions, and ONNX's default there is a = -0.75.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        taps = torch.from_numpy(resample_weights(5, 5 * scale)[2 * scale : 3 * scale].copy()).float()  # [s, 5]
        phase = torch.einsum("iy,jx->ijyx", taps, taps).reshape(scale * scale, 5, 5)
        weight = torch.zeros(3 * scale * scale, 3, 5, 5)
        for channel in range(3):
            weight[channel * scale * scale : (channel + 1) * scale * scale, channel] = phase
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, lr: Tensor) -> Tensor:
        padded = F.pad(lr, (2, 2, 2, 2), mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.weight), self.scale)


class SuperResolution(nn.Module):
    """lr [N,3,h,w] RGB in [0,1] -> sr [N,3,h·s,w·s], unclamped."""

    def __init__(self, config: PicoFaceConfig) -> None:
        super().__init__()
        width, tail, rest = config.channels, config.tail_channels, config.scale // 2
        self.rest = rest
        self.bicubic = BicubicEnlarge(config.scale)
        self.stem = RepConv3x3(3, width)
        self.trunk = nn.Sequential(
            *[ResidualBlock(width) for _ in range(config.blocks)], RepConv3x3(width, width, gain=0.2)
        )
        self.up = RepConv3x3(width, 4 * tail)
        self.tail = nn.Sequential(*[ResidualBlock(tail) for _ in range(config.tail_blocks)])
        self.out = RepConv3x3(tail, 3 * rest * rest, gain=0.1)

    def features(self, lr: Tensor) -> Tensor:
        """What the trunk sees, [N,C,h,w]."""
        shallow = self.stem(4.0 * lr - 2.0)
        return shallow + self.trunk(shallow)

    def picture(self, lr: Tensor, features: Tensor) -> Tensor:
        wide = self.tail(F.relu(F.pixel_shuffle(self.up(features), 2)))  # [N,T,2h,2w]
        return self.bicubic(lr) + F.pixel_shuffle(self.out(wide), self.rest)

    def forward(self, lr: Tensor) -> Tensor:
        return self.picture(lr, self.features(lr))


class LandmarkHeatmaps(nn.Module):
    """lr [N,3,h,w] RGB in [0,1] -> heatmaps [N,68,h·t/u,w·t/u], u = head_unshuffle, t = head_upscale.

    The peak of a sure landmark is about 1.
    """

    def __init__(self, config: PicoFaceConfig) -> None:
        super().__init__()
        width, (before, inside, after) = config.head_channels, config.head_blocks
        self.unshuffle = config.head_unshuffle
        self.stem = RepConv3x3(3 * self.unshuffle**2, width)
        self.read = nn.Conv2d(config.channels, width, 1) if config.head_reads_trunk else None
        if self.read is not None:
            nn.init.zeros_(self.read.weight)  # a branch trained without features goes on where it was
            nn.init.zeros_(self.read.bias)
        self.before = nn.Sequential(*[ResidualBlock(width) for _ in range(before)])
        self.down = RepConv3x3(width, width, stride=2)
        self.inside = nn.Sequential(*[ResidualBlock(width) for _ in range(inside)])
        self.back = nn.Conv2d(width, 4 * width, 1)
        self.after = nn.Sequential(*[ResidualBlock(width) for _ in range(after)])
        self.upscale = config.head_upscale
        self.up = RepConv3x3(width, self.upscale**2 * config.tail_channels)
        self.out = RepConv3x3(config.tail_channels, config.points, gain=0.3)

    def forward(self, lr: Tensor, features: Tensor | None = None) -> Tensor:
        """features [N,channels,h,w] of the super-resolution branch, for a head that reads them."""
        x = 4.0 * lr - 2.0
        x = self.stem(F.pixel_unshuffle(x, self.unshuffle) if self.unshuffle > 1 else x)
        if self.read is not None:
            assert features is not None, "this head reads the trunk"
            x = x + self.read(features)
        fine = self.before(F.relu(x))  # [N,C,g,g]
        coarse = self.inside(F.relu(self.down(fine)))  # [N,C,g/2,g/2]
        x = self.after(fine + F.pixel_shuffle(self.back(coarse), 2))
        x = self.up(x)
        return self.out(F.relu(F.pixel_shuffle(x, self.upscale) if self.upscale > 1 else x))


class PicoFace(nn.Module):
    """lr float32 [N,3,h,w], RGB in [0,1] -> {"sr": [N,3,h·s,w·s] unclamped, "heatmaps": [N,68,h·t/u,w·t/u]}."""

    config_type = PicoFaceConfig

    def __init__(self, config: PicoFaceConfig) -> None:
        super().__init__()
        self.config = config
        self.sr = SuperResolution(config)
        self.landmarks = LandmarkHeatmaps(config)

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        features = self.sr.features(lr)
        return {"sr": self.sr.picture(lr, features), "heatmaps": self.landmarks(lr, features.detach())}

    def heatmaps(self, lr: Tensor) -> Tensor:
        """The landmark branch alone, with no gradient to the other branch."""
        if not self.config.head_reads_trunk:
            return self.landmarks(lr)
        with torch.no_grad():
            features = self.sr.features(lr)
        return self.landmarks(lr, features)

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        config = self.config
        return ModelSpec(
            name=name,
            lr_size=config.lr_size,
            scale=config.scale,
            any_size=config.head_unshuffle > 1,  # trained at two input sizes; the other variant at one only
            heatmap_kind="landmarks",
            heatmap_count=config.points,
            heatmap_size=config.lr_size * config.head_upscale // config.head_unshuffle,
            decoder="centroid",
            decoder_radius=4,
            output_names=("sr", "heatmaps"),
            licence=licence,
            notes=notes,
        )

    def folded(self) -> "PicoFace":
        """A copy with plain convolutions only, equal in output up to rounding; what is exported and quantised."""
        copy = PicoFace(self.config)
        copy.load_state_dict(self.state_dict())
        _fold_children(copy)
        return copy.eval()


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, RepConv3x3):
            setattr(module, name, child.folded())
        else:
            _fold_children(child)
    if isinstance(module, LandmarkHeatmaps) and module.unshuffle == 2:
        module.stem, module.unshuffle = _fold_unshuffle(module.stem), 1


def _fold_unshuffle(stem: nn.Module) -> nn.Conv2d:
    """pixel_unshuffle(2) then 3×3 is one 6×6 convolution of stride 2: no reshape is left in the exported graph."""
    assert isinstance(stem, nn.Conv2d) and stem.bias is not None, stem
    outputs, inputs = stem.weight.shape[0], stem.weight.shape[1] // 4
    conv = nn.Conv2d(inputs, outputs, 6, stride=2, padding=2)
    blocks = stem.weight.data.reshape(outputs, inputs, 2, 2, 3, 3)  # [O, I, i, j, ky, kx]
    conv.weight.data.copy_(blocks.permute(0, 1, 4, 2, 5, 3).reshape(outputs, inputs, 6, 6))
    conv.bias.data.copy_(stem.bias.data)
    return conv


PICOFACE_X8 = PicoFaceConfig(scale=8, lr_size=16, head_reads_trunk=True)
PICOFACE_X4 = PicoFaceConfig(scale=4, lr_size=32, blocks=8, tail_blocks=0, head_unshuffle=2, head_upscale=1)
