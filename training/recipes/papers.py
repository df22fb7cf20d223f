"""The registry of the papers' recipes: name -> recipe. Recipes never import it."""

from training.recipes.baselines import BASELINES
from training.recipes.fsrnet import FSRNET_RECIPES
from training.recipes.jasrnet import JASRNET_RECIPES
from training.recipes.mtun import MTUN_RECIPES
from training.recipes.srinc import SRINC
from training.recipes.super_fan import SUPER_FAN_RECIPES

PAPERS = {**BASELINES, **SRINC, **JASRNET_RECIPES, **FSRNET_RECIPES, **MTUN_RECIPES, **SUPER_FAN_RECIPES}
