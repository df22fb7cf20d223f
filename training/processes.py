"""Several processes that share each batch: `torchrun --nproc-per-node 2 -m training.train --recipe jasrnet`.

Each takes every n-th example of the batch, and gradients are averaged, so that losses that are means over the batch
give what one process would compute, up to rounding; batch norm takes the statistics of all (training.sync_norm).
Dropout and the penalty's mix are drawn by each process for itself. Process 0 writes files.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(device: torch.device) -> torch.device:
    """Join the processes that torchrun started, if it did; the device of this one."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        return device
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type != "cuda":
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(own)
    return own


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def wait() -> None:
    """Until all have come here, so that what process 0 has written is there for the others."""
    if world() > 1:
        dist.barrier()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in place."""
    if world() == 1:
        return
    found = list(tensors)
    if not found:
        return
    flat = torch.cat([t.reshape(-1).float() for t in found])
    dist.all_reduce(flat)
    flat /= world()
    for tensor, part in zip(found, flat.split([t.numel() for t in found]), strict=True):
        tensor.copy_(part.reshape(tensor.shape))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    average(p.grad for p in parameters if p.grad is not None)


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Running means and variances of batch norm."""
    average(b for b in model.buffers() if b.is_floating_point())


def any_of(flag: bool) -> bool:
    """Whether one process says so: all of them stop at the same step."""
    if world() == 1:
        return flag
    value = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(value)
    return bool(value > 0)


def largest_of(value: float) -> float:
    """Of all processes: their plans must agree."""
    if world() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return float(found)
