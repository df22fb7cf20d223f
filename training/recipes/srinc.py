"""Recipes of SRINC and SRINC-F, PAPERS 1.2. Pipelines `srinc` and `srinc_f`: 51-px patches at ×2, ×3 and ×4 mixed."""

from dataclasses import replace

from training.models.srinc import SRINC_F_X4, SRINC_X4
from training.recipes.stage import FREE, PaperRecipe, Stage

_STAGE = Stage(
    "pixel",
    epochs=60,  # P
    lr=0.0596,  # P
    lr_drops=(20, 40),  # P: every 20 epochs
    lr_factor=1 / 3,  # P
    pixel_loss="half_sum",  # D: as VDSR's; by the mean of a patch, 2,601 times less, this rate would learn nothing
)

SRINC = {
    "srinc": PaperRecipe(
        "srinc",
        "srinc",
        SRINC_X4,  # the weights serve ×2 and ×3 as well
        "srinc",
        (_STAGE,),
        batch=32,  # P
        packs=("set291",),  # P
        optimiser="sgd",  # P
        momentum=0.9,  # D
        # P: "adjustable gradient clipping, threshold 0.01 per sample", words of CNTK, which cuts each number of a
        # batch's mean gradient there; "adjustable" is VDSR's rule, 0.01 / lr, 17 times as much: training blows up.
        clip="value",
        clip_at=0.01,
        patch_filter="drop_smooth",  # D: the printed direction would keep the patches it calls blurry
    ),
}
# P: the first 5,000 pictures of CelebA, cropped; dropout 0.1 is the configuration's.
SRINC["srinc_f"] = replace(SRINC["srinc"], name="srinc_f", config=SRINC_F_X4, pipeline="srinc_f", packs=(FREE,))
