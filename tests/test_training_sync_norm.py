"""Batch norm over two processes: values, gradients and statistics are those of one process with the whole batch."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from paper_recipes import small
from test_training_paper_run import silent
from torch import nn

from training import processes
from training.data.examples import make_examples
from training.paper_run import PaperRun
from training.paper_task import PaperTask
from training.schedule import Plan
from training.sync_norm import SharedBatchNorm2d, share_batch_norms

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def layer_run(norm: nn.Module, *, rank: int, world: int) -> list:
    """Two passes of this process's share of a batch whose mean is large: value, gradient, state, weight's gradient."""
    torch.manual_seed(1)
    x = (3.0 * torch.randn(6, 4, 5, 3) + 50.0)[rank::world].clone().requires_grad_(True)
    weight = torch.linspace(-1.0, 1.0, 5 * 3).reshape(5, 3)
    norm.weight.data.copy_(torch.tensor([1.0, 2.0, -1.0, 0.5]))
    for _ in range(2):
        norm.zero_grad()
        x.grad = None
        y = norm(x)
        (y.square() * weight).mean().backward()
    processes.average_gradients(norm.parameters())
    return [y.detach(), x.grad, norm.state_dict(), norm.weight.grad]


def network_run(pack: str, folder: str) -> dict[str, torch.Tensor]:
    """Changes of FSRGAN and its critic, both with batch norm, by two plain steps of SGD."""
    recipe = small("fsrgan", pack, batch=4)
    recipe = replace(recipe, optimiser="sgd")
    stage = replace(recipe.stages[1], lr=1e-7, lr_drops=())
    examples = make_examples(recipe.pipeline, recipe.packs, 3, labelled="half", report=silent)
    task = PaperTask(examples, stage, size=recipe.batch, device=CPU)
    run = PaperRun(recipe, stage, Path(folder), seed=3, plan=Plan(2, 2), device=CPU)
    networks = {"model": run.networks.model, "critic": run.networks.critic}
    before = {f"{who}.{k}": v.clone() for who, net in networks.items() for k, v in net.state_dict().items()}
    for _ in range(2):
        run.advance(task)
    after = {f"{who}.{k}": v for who, net in networks.items() for k, v in net.state_dict().items()}
    return {key: (value - before[key]).double() for key, value in after.items()}


def test_two_processes_are_one(face_pack, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    both = []
    for rank in range(2):
        command = [sys.executable, __file__, str(face_pack), str(tmp_path / f"rank{rank}")]
        environment = {**os.environ, **place, "RANK": str(rank), "PYTHONPATH": path}
        both.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=150)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    y, grad, state, weight_grad = layer_run(nn.BatchNorm2d(4), rank=0, world=1)
    network = network_run(str(face_pack), str(tmp_path / "one"))
    for rank in range(2):
        (own_y, own_grad, own_state, own_weight_grad), own_network = torch.load(tmp_path / f"rank{rank}")
        torch.testing.assert_close(own_y, y[rank::2], rtol=1e-4, atol=1e-4)
        # each process's loss is the mean of its own half: its gradient stands for both halves' mean
        torch.testing.assert_close(own_grad / 2.0, grad[rank::2], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(own_weight_grad, weight_grad, rtol=1e-4, atol=1e-6)
        for name, value in state.items():
            torch.testing.assert_close(own_state[name], value, rtol=1e-5, atol=1e-5)
        largest = {who: max(float(v.norm()) for k, v in network.items() if who in k) for who in ("model", "critic")}
        for key, change in network.items():
            apart = float((own_network[key] - change).norm())
            # Rounding grows through the layers, up to 0.7 % seen; statistics of one's own half give tens of percent.
            assert apart <= 2e-2 * float(change.norm()) + 1e-6 * largest[key.split(".")[0]], (key, apart)


def test_one_process_and_evaluation_are_plain_batch_norm():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, affine=False)))
    plain[1].running_mean.fill_(2.0)
    shared = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, affine=False)))
    shared.load_state_dict(plain.state_dict())
    share_batch_norms(shared)
    assert [type(m) for m in shared.modules()].count(SharedBatchNorm2d) == 2
    x = torch.randn(2, 3, 4, 4)
    for training in (True, False):
        torch.testing.assert_close(shared.train(training)(x), plain.train(training)(x))
    assert shared.state_dict().keys() == plain.state_dict().keys()


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes.start(CPU)
    found = layer_run(SharedBatchNorm2d(4), rank=processes.rank(), world=2)
    torch.save([found, network_run(sys.argv[1], sys.argv[2] + "_run")], sys.argv[2])
    processes.stop()
