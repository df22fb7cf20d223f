"""Recipes of Super-FAN and of FAN by itself, PAPERS 2.4 and 2.5."""

from training.models.fan import FAN_64, FAN_256
from training.models.super_fan import SUPER_FAN, SUPER_FAN_64
from training.recipes.stage import FACES, HELEN, LossWeights, PaperRecipe, Stage

# C: 2.5e-4, 1e-4 from epoch 50, 5e-5 from 70, 1e-5 from 90; here one factor for the three drops, to the same end.
_FAN = Stage(
    "fan",
    epochs=100,
    lr=2.5e-4,
    lr_drops=(50, 70, 90),
    lr_factor=0.04 ** (1 / 3),
    heatmap_loss="fan",
    weights=LossWeights(pixel=0.0, heatmap=1.0),
)


def _fan(name: str, config: object, pipeline: str) -> PaperRecipe:
    return PaperRecipe(
        name,
        "fan",
        config,
        pipeline,
        (_FAN,),
        batch=10,  # C
        packs=(HELEN,),
        optimiser="rmsprop",  # C
        # C: 1.75 cells of 4 px; D: 1 cell where the map has 16 of them
        heatmap_sigma_px=7.0 if pipeline == "fan" else 4.0,
    )


def _super_fan(name: str, config: object, *, sigma_px: float, cells: int) -> PaperRecipe:
    generator = ("generator",)
    # D: α, β, γ and ζ are not given. γ is for means over cells; Eq. 4 sums over them.
    weights = LossWeights(pixel=1.0, features=0.1, heatmap=0.005 / cells**2)
    adversarial = LossWeights(pixel=1.0, features=0.1, heatmap=0.005 / cells**2, adversarial=0.01)
    seen = {"features": "resnet50", "own_features": "fan.stem", "heatmap_loss": "super_fan"}
    stages = (
        Stage(**{**vars(_FAN), "learns": ("fan",)}),  # with --init FAN.pt it is left out
        Stage("pixel", 60, 2.5e-4, weights, generator, schedule="cosine", lr_end=1e-5, **seen),  # P; cosine: D
        Stage("gan", 5, 2.5e-4, adversarial, generator, critic="wgan", **seen),  # P: 5 epochs
        Stage("joint", 5, 2.5e-4, adversarial, critic="wgan", **seen),  # P: 5 epochs at 2.5e-4
    )
    return PaperRecipe(
        name,
        "super_fan",
        config,
        "super_fan",
        stages,
        batch=16,  # D
        packs=FACES,
        optimiser="rmsprop",  # P
        heatmap_sigma_px=sigma_px,  # of the truth's 64 px
        options={"penalty": 10.0},  # D: WGAN-GP's own
    )


SUPER_FAN_RECIPES = {
    "fan": _fan("fan", FAN_256, "fan"),
    "fan_64": _fan("fan_64", FAN_64, "fan_64"),
    "super_fan": _super_fan("super_fan", SUPER_FAN, sigma_px=1.75, cells=64),
    "super_fan_64": _super_fan("super_fan_64", SUPER_FAN_64, sigma_px=4.0, cells=16),
}
