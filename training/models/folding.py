"""Batch norms into the convolutions before them."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@torch.no_grad()
def fold_batch_norms(model: nn.Module) -> None:
    """In every `nn.Sequential` below, in place: [convolution, BN] becomes one convolution, in eval mode the same map.

    A BN elsewhere, or first in its sequence, stays: it follows a sum or a pooling, or its input has another reader.
    """
    for child in model.children():
        fold_batch_norms(child)
    if not isinstance(model, nn.Sequential):
        return
    kept: list[nn.Module] = []
    for layer in list(model):
        previous = kept[-1] if kept else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d | nn.ConvTranspose2d):
            previous.weight, previous.bias = fuse_conv_bn_weights(
                previous.weight,
                previous.bias,
                layer.running_mean,
                layer.running_var,
                layer.eps,
                layer.weight,
                layer.bias,
                transpose=isinstance(previous, nn.ConvTranspose2d),
            )
        else:
            kept.append(layer)
    for index in reversed(range(len(model))):
        del model[index]
    model.extend(kept)
