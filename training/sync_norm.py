"""Batch norm over all processes that share a batch, so that together they compute what one alone would.

torch's own SyncBatchNorm runs on GPUs alone; this one needs nothing but a sum over processes, and is tested on CPUs.
Mean and variance take a sum each, in float32: from a sum of squares the variance of large values would lose digits.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of the pictures of all processes. Same weights, same names."""

    def forward(self, x: Tensor) -> Tensor:  # [N,C,H,W]
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        values = x.float()
        count = values.new_tensor([float(values.numel() / values.shape[1])])
        sums = all_reduce(torch.cat([values.sum(dim=(0, 2, 3)), count]))  # its gradient is summed over processes too
        n = sums[-1].detach()
        mean = sums[:-1] / n
        values = values - mean[:, None, None]
        var = all_reduce(values.square().sum(dim=(0, 2, 3))) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * (n / (n - 1.0).clamp_min(1.0)), share)
        normal = values * torch.rsqrt(var + self.eps)[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)


def share_batch_norms(model: nn.Module) -> nn.Module:
    """Every BatchNorm2d below becomes a SharedBatchNorm2d, in place, with its weights and statistics."""
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
            shared.load_state_dict(child.state_dict())
            shared.train(child.training)
            setattr(model, name, shared)
        else:
            share_batch_norms(child)
    return model
