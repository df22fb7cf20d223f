"""Recipes of the networks that the papers compare themselves with, at the ×8 of FSRNet's, JASRNet's and MTUN's tables.

SRResNet and SRGAN: Ledig et al., Sec. 3.2. URDGN: Yu and Porikli, numbers of MTUN's code, which shares its trainer.
SRCNN and VDSR, of SRINC's tables, on the 291 pictures as there: Dong et al. 2016, Sec. 4.1 and 4.2; Kim et al. 2016,
Sec. 3 and 4. Their convolutions pad here, so that the patches' borders are learned too.
"""

from training.models.baselines import SRCNN_X2, SRCNN_X3, SRCNN_X4, URDGN_X8, VDSR_X4, SRCNNConfig
from training.models.srresnet import SRRESNET_X4, SRRESNET_X8
from training.recipes.stage import FACES, LossWeights, PaperRecipe, Stage

_PIXEL = Stage("pixel", epochs=46, lr=1e-4)  # P: 10^6 updates of 16 from 350,000 pictures
# P: VGG-19 relu5_4 and 1e-3; D: VGG-16 relu5_3, as FSRGAN, beside the pixel loss. Half of the updates at 1e-5.
_GAN = Stage(
    "gan",
    epochs=9,
    lr=1e-4,
    lr_drops=(4.5,),
    lr_factor=0.1,
    critic="srgan",
    features="vgg16",
    own_features="body",
    weights=LossWeights(pixel=1.0, features=0.1, adversarial=1e-3),
)


def _srresnet(name: str, scale: int, *stages: Stage) -> PaperRecipe:
    return PaperRecipe(
        name,
        "srresnet",
        SRRESNET_X8 if scale == 8 else SRRESNET_X4,
        "srresnet_x8" if scale == 8 else "super_fan",  # D: the tables' own faces
        stages,
        batch=16,  # P
        packs=FACES,
        optimiser="adam",  # P
        betas=(0.9, 0.999),  # P: the first
        ema=0.999,  # D: budgets end before the weights have settled
    )


def _srcnn(name: str, config: SRCNNConfig) -> PaperRecipe:
    stage = Stage(
        "pixel",
        epochs=32_000,  # P: 8·10^8 patches seen of 24,800
        lr=1e-4,  # P
        lr_shares=(("layers.4.", 0.1),),  # P: 1e-5 for the last layer
        pixel_loss="half_sum",  # C: Caffe's
    )
    return PaperRecipe(
        name, "srcnn", config, name, (stage,), batch=128, packs=("set291",), optimiser="sgd", momentum=0.9,
        patch_filter="none",
    )  # fmt: skip


_VDSR = Stage(
    "pixel",
    epochs=80,  # P
    lr=0.1,  # P
    lr_drops=(20, 40, 60),  # P
    lr_factor=0.1,  # P
    pixel_loss="half_sum",  # P: 1/2 of the squared residual of a patch
)

BASELINES = {
    "srcnn_x2": _srcnn("srcnn_x2", SRCNN_X2),
    "srcnn_x3": _srcnn("srcnn_x3", SRCNN_X3),
    "srcnn_x4": _srcnn("srcnn_x4", SRCNN_X4),
    "vdsr": PaperRecipe(
        "vdsr",
        "vdsr",
        VDSR_X4,  # the weights serve ×2 and ×3 as well
        "vdsr",
        (_VDSR,),
        batch=64,  # P
        packs=("set291",),  # P
        optimiser="sgd",
        momentum=0.9,  # P
        weight_decay=1e-4,  # P
        clip="adjustable",  # P
        clip_at=1e-4,  # D: not given; 1e-2 diverges, 1e-4 is above bicubic after 60 updates
        patch_filter="none",
    ),
    "srresnet_x8": _srresnet("srresnet_x8", 8, _PIXEL),
    "srresnet_x4": _srresnet("srresnet_x4", 4, _PIXEL),
    "srgan_x8": _srresnet("srgan_x8", 8, _PIXEL, _GAN),
    "srgan_x4": _srresnet("srgan_x4", 4, _PIXEL, _GAN),
    "urdgn": PaperRecipe(
        "urdgn",
        "urdgn",
        URDGN_X8,
        "urdgn",
        (
            Stage(
                "gan",
                epochs=100,  # D
                lr=1e-3,  # P, C
                schedule="decay",
                lr_factor=0.99,  # C
                lr_end=1e-6,  # C
                critic="urdgn",
                weights=LossWeights(pixel=1.0, adversarial=0.01),  # P
                adversarial_decay=0.995,  # C
                adversarial_floor=0.005,  # C
            ),
        ),
        batch=8,  # C
        packs=FACES,
        optimiser="rmsprop",  # P
        smoothing=0.9,  # C
    ),
}
