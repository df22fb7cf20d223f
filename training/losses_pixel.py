"""Losses of pictures [N,C,H,W], each with the reduction of the paper that uses it. Gradients go to the first argument.

mean_square    SRResNet, URDGN, VDSR, Super-FAN's pixel loss, MTUN's L_p
half_sum       SRINC's and FSRNet's ‖·‖²/(2N): sums over pixels and channels, N the batch
mean_absolute  JASRNet's L1
"""

from torch import Tensor


def mean_square(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean over all elements of the squared difference."""
    return (sr - hr).square().mean()


def half_sum(sr: Tensor, hr: Tensor) -> Tensor:
    """Sum over all elements of the squared difference, divided by twice the batch."""
    return (sr - hr).square().sum() / (2.0 * len(sr))


def mean_absolute(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean over all elements of the difference's size."""
    return (sr - hr).abs().mean()


PIXEL_LOSSES = {"mean_square": mean_square, "half_sum": half_sum, "mean_absolute": mean_absolute}
