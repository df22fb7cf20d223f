"""MTUN: Face Super-resolution Guided by Facial Component Heatmaps (Yu, Fernando, Ghanem, Porikli, Hartley; ECCV 2018).

A tilted face of 16 px becomes an upright one of 128 px, guided by maps of eyes, nose, mouth and chin:

    lr ─ autoencoder ─ 16² ─ 2 deconvolutions ─ cat with lr ×4 ─ spatial transformer ─ conv = P (64²)
      P ─ 4 hourglasses = component maps H1..H4                                                     -> "heatmaps" (H4)
      cat(P, H4) ─ ×2 = Q1 ┐
      P ─ ×2 ──────── = Q2 ┴─ cat ─ residual modules ─ conv 5×5 (128²)                              -> "sr"

Sizes, biases and the order of concatenations are the authors' released Torch code's; their file of the transformer is
missing, see mtun_stn.py. Pictures are BGR in [-1, 1]. The output is clamped to that when not training, as theirs at
test time. The branches are in mtun_heatmaps.py and mtun_stn.py; `Discriminator` (URDGN's) returns a logit, the sigmoid
is the loss's. Departures: `skip=False` is the Ours† of Table 1, without Q2; `autoencoder=False` drops the encoder and
decoder around 16², 95 % of the weights, which no paper reports.
"""

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import ModelError
from sdk.spec import ModelSpec
from training.models.folding import fold_batch_norms
from training.models.mtun_heatmaps import ComponentHeatmaps, ResidualModule
from training.models.mtun_stn import SpatialTransformer

LR_SIZE, SCALE = 16, 8  # the autoencoder ends at 1 × 1 and the transformer's grid is 64 × 64: one size only
COMPONENTS = ("eyes", "nose", "mouth", "chin")


@dataclass(frozen=True)
class MTUNConfig:
    """Sizes of one variant; the defaults are the paper's final network."""

    width: int = 32  # g: channels of the first encoder layer; everything else is a multiple
    components: int = 4
    stacks: int = 4  # hourglasses; the paper also tests 1, 2, 3
    skip: bool = True  # Q2, features around the component maps
    autoencoder: bool = True  # False: deconvolutions on the picture itself
    localiser: str = "printed"  # of the spatial transformer: "printed" (FC 500→20) or "fc80"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def encode(inputs: int, outputs: int, *, kernel: int = 4, stride: int = 2, padding: int = 1) -> nn.Sequential:
    """Convolution to half the size, BN, LeakyReLU 0.2."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


def decode(inputs: int, outputs: int, *, kernel: int = 4, stride: int = 2, padding: int = 1) -> nn.Sequential:
    """Transposed convolution to twice the size, BN, ReLU."""
    conv = nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Autoencoder(nn.Module):
    """lr [N,3,16,16] -> [N,3+8g,16,16]: down to one cell and back, each level before its encoder's; lr comes first."""

    def __init__(self, g: int) -> None:
        super().__init__()
        last = encode(16 * g, 64 * g, kernel=2, stride=1, padding=0)
        self.down = nn.ModuleList([encode(3, g), encode(g, 4 * g), encode(4 * g, 16 * g), last])  # 8², 4², 2², 1²
        first = decode(64 * g, 32 * g, kernel=2, stride=1, padding=0)
        self.up = nn.ModuleList([first, decode(48 * g, 24 * g), decode(28 * g, 16 * g), decode(17 * g, 8 * g)])

    def forward(self, lr: Tensor) -> Tensor:
        e1 = self.down[0](lr)
        e2 = self.down[1](e1)
        e3 = self.down[2](e2)
        x = self.up[0](self.down[3](e3))
        x = self.up[1](torch.cat([x, e3], dim=1))
        x = self.up[2](torch.cat([x, e2], dim=1))
        x = self.up[3](torch.cat([x, e1], dim=1))
        return torch.cat([lr, x], dim=1)


class MTUN(nn.Module):
    """lr float32 [N,3,16,16], BGR in [-1,1] -> {"sr": [N,3,128,128], the upright face, "heatmaps": [N,K,64,64],
    "stages": [N,stacks,K,64,64], for the loss}."""

    config_type = MTUNConfig

    def __init__(self, config: MTUNConfig) -> None:
        super().__init__()
        if config.localiser not in ("printed", "fc80") or config.stacks < 1:
            got = f"localiser {config.localiser!r}, {config.stacks} stacks"
            raise ModelError('localiser "printed" or "fc80", 1 or more stacks', got, "correct the configuration")
        self.config = config
        g, wide = config.width, 2 * config.width
        self.autoencoder = Autoencoder(g) if config.autoencoder else None
        self.enlarge = nn.Sequential(decode(8 * g + 3 if config.autoencoder else 3, 4 * g), decode(4 * g, wide))
        self.transformer = SpatialTransformer(wide + 3, localiser=config.localiser)
        self.upright = nn.Sequential(conv3(wide + 3, wide), nn.BatchNorm2d(wide), nn.ReLU())
        self.heatmaps = ComponentHeatmaps(wide, components=config.components, stacks=config.stacks)
        self.fuse = nn.Sequential(conv3(wide + config.components, wide), ResidualModule(wide, wide), nn.ReLU())
        self.fuse_large = nn.Sequential(conv3(wide, g), ResidualModule(g, g), nn.ReLU())
        self.around = nn.Sequential(conv3(wide, wide), ResidualModule(wide, wide), nn.ReLU()) if config.skip else None
        self.out = nn.Sequential(
            *([conv3(wide + g, wide), ResidualModule(wide, g)] if config.skip else [conv3(g, g), ResidualModule(g, g)]),
            ResidualModule(g, g),
            nn.ReLU(),
            conv3(g, g // 2),
            ResidualModule(g // 2, g // 2),
            nn.ReLU(),
            nn.Conv2d(g // 2, 3, 5, padding=2),
        )

    def upright_features(self, lr: Tensor) -> Tensor:
        """P [N,2g,64,64]: what the transformer has turned upright, after one convolution."""
        features = lr if self.autoencoder is None else self.autoencoder(lr)
        large = F.interpolate(lr, scale_factor=4.0, mode="nearest")
        return self.upright(self.transformer(torch.cat([large, self.enlarge(features)], dim=1)))

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        upright = self.upright_features(lr)
        stages = self.heatmaps(upright)
        fused = self.fuse(torch.cat([upright, stages[-1]], dim=1))
        fused = self.fuse_large(F.interpolate(fused, scale_factor=2.0, mode="nearest"))  # Q1
        if self.around is not None:
            around = self.around(F.interpolate(upright, scale_factor=2.0, mode="nearest"))  # Q2
            fused = torch.cat([around, fused], dim=1)
        sr = self.out(fused)
        sr = sr if self.training else sr.clamp(-1.0, 1.0)
        return {"sr": sr, "heatmaps": stages[-1], "stages": torch.stack(stages, dim=1)}

    def spec(self, name: str, *, licence: str = "", notes: str = "") -> ModelSpec:
        """What a runtime must know of this network."""
        return ModelSpec(
            name=name,
            lr_size=LR_SIZE,
            scale=SCALE,
            colour="bgr",
            value_range=(-1.0, 1.0),
            heatmap_kind="components",
            heatmap_count=self.config.components,
            heatmap_size=64,
            sigma_cells=2.0,
            output_names=("sr", "heatmaps"),
            licence=licence,
            notes=notes,
        )

    def folded(self) -> "MTUN":
        """An equal network to deploy: BN inside the convolution before it; the first BN of a module, whose input the
        module also adds to its output, stays."""
        deploy = copy.deepcopy(self).eval()
        fold_batch_norms(deploy)
        return deploy


class Discriminator(nn.Module):
    """picture [N,3,128,128], BGR in [-1,1] -> logit of being real [N,1]."""

    def __init__(self) -> None:
        super().__init__()
        widths, layers = (3, 32, 64, 128, 96), []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            conv = nn.Conv2d(inputs, outputs, 5, padding=2)
            layers += [conv, nn.MaxPool2d(2), nn.ReLU(), nn.Dropout2d(0.2)]
        decide = [nn.Linear(96 * 8 * 8, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 1)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *decide)

    def forward(self, picture: Tensor) -> Tensor:
        return self.layers(picture)


MTUN_4 = MTUNConfig()
MTUN_1 = MTUNConfig(stacks=1)
MTUN_2 = MTUNConfig(stacks=2)
MTUN_3 = MTUNConfig(stacks=3)
MTUN_NO_SKIP = MTUNConfig(skip=False)
MTUN_SLIM = MTUNConfig(autoencoder=False)
