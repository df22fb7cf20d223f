"""Recipe of MTUN, PAPERS 4.4."""

from training.models.mtun import MTUN_4
from training.recipes.stage import FACES, LossWeights, PaperRecipe, Stage

MTUN_RECIPES = {
    "mtun": PaperRecipe(
        "mtun",
        "mtun",
        MTUN_4,
        "mtun",
        (
            Stage(
                "gan",
                epochs=100,  # D: not given
                lr=1e-3,  # P, C
                schedule="decay",
                lr_factor=0.99,  # C
                lr_end=1e-6,  # C
                warmup=((50, 1 / 50), (50, 1 / 5)),  # C
                heatmap_loss="mtun",
                critic="mtun",
                features="vgg19",  # P: relu3_2; no part of the network reads a large picture in its place
                # P: 0.01 twice; the code divides the gradient of the features by 127.5
                weights=LossWeights(pixel=1.0, heatmap=1.0, features=0.01 / 127.5, adversarial=0.01),
                adversarial_decay=0.995,  # C
                adversarial_floor=0.005,  # C
            ),
        ),
        batch=8,  # C
        packs=FACES,
        optimiser="rmsprop",  # P
        smoothing=0.9,  # C; P: "decay rate 0.01"
        heatmap_sigma_px=4.0,  # D: 2 cells of 64
    ),
}
