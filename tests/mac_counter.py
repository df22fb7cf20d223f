"""Multiply-adds of a network's convolutions, transposed convolutions and linear layers, as the papers count them."""

import torch
from torch import nn


def macs_of(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Counts one forward pass in eval mode on the meta device: shapes only, no arithmetic."""
    total = 0

    def count(module, arguments, output):
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            total += arguments[0].numel() * module.weight[0].numel()
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            total += output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    with torch.inference_mode():
        model.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return total
