"""Recipes of FSRNet and FSRGAN, PAPERS 5.2 and 5.3, with 68 points; `_parsing`: and the 11 parsing maps.

The archives at hand have no parsing labels, and a decoder that reads maps which nobody supervised is Baseline_v2: the
plain recipes therefore build the network without those maps.
"""

from dataclasses import replace

from training.models.fsrnet import FSRNET_68, FSRNET_CELEBA
from training.recipes.stage import FACES, LossWeights, PaperRecipe, Stage

_PIXEL = Stage(
    "pixel",
    epochs=100,  # D: not given
    lr=2.5e-4,  # P
    lr_drops=(60, 80),  # D
    lr_factor=0.5,  # D
    pixel_loss="half_sum",  # P: 1/(2N) of sums
    heatmap_loss="fsrnet",  # P: the same
    weights=LossWeights(pixel=1.0, coarse=1.0, heatmap=1.0),  # P: α = β = 1
)
_GAN = replace(
    _PIXEL,
    name="gan",
    epochs=20,  # D
    lr_drops=(12, 16),
    critic="conditional",
    features="vgg16",  # P: relu5_3
    own_features="encoder",
    weights=LossWeights(pixel=1.0, coarse=1.0, heatmap=1.0, features=1e-1, adversarial=1e-3),  # P: γ_P, γ_C
)
_FSRNET = PaperRecipe(
    "fsrnet",
    "fsrnet",
    FSRNET_68,
    "fsrnet",
    (_PIXEL,),
    batch=14,  # P
    packs=FACES,
    optimiser="rmsprop",  # P
    heatmap_sigma_px=4.0,  # D: 2 cells of 64
    ema=0.999,  # D: budgets end before the weights have settled
)

FSRNET_RECIPES = {"fsrnet": _FSRNET, "fsrgan": replace(_FSRNET, name="fsrgan", stages=(_PIXEL, _GAN))}
FSRNET_RECIPES |= {
    f"{name}_parsing": replace(recipe, name=f"{name}_parsing", config=FSRNET_CELEBA, packs=())
    for name, recipe in list(FSRNET_RECIPES.items())
}
