"""Adversarial losses. Critics and discriminators return logits or scores, higher for real pictures.

WGAN-GP      Gulrajani et al. (NIPS 2017); Super-FAN: 10 times the penalty, one update each
conditional  Isola et al. (CVPR 2017) with FSRGAN's critic, which sees the input beside the picture
plain        MTUN and URDGN: binary cross entropy; the generator asks for the label "real" (MTUN prints log D, which
             its code does not minimise)
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Judge = Callable[[Tensor], Tensor]  # pictures [N,C,H,W] -> logits or scores, of any shape that begins with N


def wgan_critic_loss(critic: Judge, fake: Tensor, real: Tensor, *, penalty: float, mix: Tensor) -> Tensor:
    """E[D(fake)] - E[D(real)] + penalty · E[(‖∇D‖ - 1)²]; fake is cut off from the generator here."""
    fake = fake.detach()
    distance = critic(fake).mean() - critic(real).mean()
    return distance + penalty * gradient_penalty(critic, fake, real, mix=mix)


def gradient_penalty(critic: Judge, fake: Tensor, real: Tensor, *, mix: Tensor) -> Tensor:
    """E[(‖∇D‖ - 1)²] at mix · real + (1 - mix) · fake; mix [N], drawn evenly from [0, 1) by the caller."""
    share = mix[:, None, None, None]
    between = (share * real + (1.0 - share) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1.0).square().mean()


def wgan_generator_loss(critic: Judge, fake: Tensor) -> Tensor:
    return -critic(fake).mean()


def discriminator_loss(judge: Judge, fake: Tensor, real: Tensor) -> Tensor:
    """Mean of -log D(real) and of -log(1 - D(fake)), added; from logits. fake is cut off from the generator here."""
    return F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()


def generator_loss(judge: Judge, fake: Tensor) -> Tensor:
    """Mean of -log D(fake), from logits: cross entropy against the label "real"."""
    return F.softplus(-judge(fake)).mean()
