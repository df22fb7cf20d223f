"""The papers' recipes with networks small enough to train in a test."""

from dataclasses import replace

from training.models.baselines import SRCNNConfig, URDGNConfig, VDSRConfig
from training.models.fan import FANConfig
from training.models.fsrnet import FSRNetConfig
from training.models.jasrnet import JASRNetConfig
from training.models.mtun import MTUNConfig
from training.models.srinc import SRINCConfig
from training.models.srresnet import SRResNetConfig
from training.models.super_fan import SuperFANConfig
from training.recipes.papers import PAPERS
from training.recipes.stage import PaperRecipe

_SRINC = SRINCConfig(scale=4, lr_size=32, channels=8, modules=1, branch_widths=(2, 2, 2, 2), reduced=2, dropout=0.1)
_FSRNET = FSRNetConfig(
    landmarks=68, parsing=0, channels=4, encoder_blocks=1, prior_channels=4, hourglasses=1, hourglass_depth=1
)
SMALL = {
    "srresnet_x8": SRResNetConfig(scale=8, channels=4, blocks=1),
    "srresnet_x4": SRResNetConfig(scale=4, channels=4, blocks=1),
    "srgan_x4": SRResNetConfig(scale=4, channels=4, blocks=1),
    "urdgn": URDGNConfig(widths=(4, 4, 4, 4)),
    "srcnn_x2": SRCNNConfig(scale=2, lr_size=64, kernels=(3, 1, 3), widths=(4, 4)),
    "vdsr": VDSRConfig(scale=4, lr_size=32, depth=3, width=4),
    "srinc": replace(_SRINC, dropout=0.0),
    "srinc_f": _SRINC,
    "jasrnet": JASRNetConfig(channels=4, encoder_blocks=(1, 1, 1, 1), deep_blocks=1),
    "fsrnet": _FSRNET,
    "fsrgan": _FSRNET,
    "mtun": MTUNConfig(width=2, stacks=1),
    "fan_64": FANConfig(stacks=1, depth=1, channels=8, input_size=64),
    "super_fan_64": SuperFANConfig(
        channels=4, n1_blocks=1, n2_blocks=1, fan_stacks=1, fan_depth=1, fan_channels=8, fan_size=64
    ),
}


def small(name: str, pack: object, *, batch: int = 2) -> PaperRecipe:
    return replace(PAPERS[name], config=SMALL[name], packs=(str(pack),), batch=batch)
