"""Optimisers of the papers' recipes, their learning rates by part of the network, and the clipping of gradients."""

from typing import Any

import torch
from torch import nn

from training.recipes.stage import PaperRecipe, Stage


def parameter_groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """What learns in a stage, by its share of the learning rate: [{params, share}]."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share = next((share for part, share in stage.lr_shares if name.startswith(part)), 1.0)
            groups.setdefault(share, []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


def make_optimiser(
    recipe: PaperRecipe, learners: list[nn.Parameter] | list[dict[str, Any]], lr: float
) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.optimiser == "adam":
        return torch.optim.Adam(learners, lr=lr, betas=recipe.betas, weight_decay=decay)
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(learners, lr=lr, alpha=recipe.smoothing, weight_decay=decay)
    return torch.optim.SGD(learners, lr=lr, momentum=recipe.momentum, weight_decay=decay)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def clip_gradients(recipe: PaperRecipe, learners: list[nn.Parameter], rate: float) -> None:
    """In place: "norm" of all together, "value" each number, "adjustable" each number by VDSR's clip_at / lr."""
    if recipe.clip == "norm":
        torch.nn.utils.clip_grad_norm_(learners, recipe.clip_at)
    elif recipe.clip:
        torch.nn.utils.clip_grad_value_(learners, recipe.clip_at / (rate if recipe.clip == "adjustable" else 1.0))
