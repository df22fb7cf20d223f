"""Recipe of JASRNet, PAPERS 3.2, 3.3. Its 15 copies of each picture, made beforehand, are drawn anew each time here."""

from training.models.jasrnet import JASRNET
from training.recipes.stage import FACES, LossWeights, PaperRecipe, Stage

JASRNET_RECIPES = {
    "jasrnet": PaperRecipe(
        "jasrnet",
        "jasrnet",
        JASRNET,
        "jasrnet",
        (
            Stage(
                "joint",
                epochs=40,  # P
                lr=5e-5,  # P
                lr_drops=(20, 30),  # P
                lr_factor=0.5,  # P
                pixel_loss="mean_absolute",  # P
                heatmap_loss="jasrnet",  # C: sum / (2 batch)
                weights=LossWeights(pixel=1.0, heatmap=1.0),  # C: α = 1
            ),
        ),
        batch=8,  # P
        packs=FACES,
        optimiser="adam",  # P
        betas=(0.9, 0.999),  # P
        weight_decay=5e-4,  # C
        heatmap_sigma_px=4.0,  # C
    ),
}
