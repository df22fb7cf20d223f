"""Statistics measured anew: those of the batches, of the parts that learn alone, and nothing else changed."""

import torch
from torch import nn

from training.settling import settle


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.ModuleDict({
        "body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        "head": nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)),
    })  # fmt: skip
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(9.0)  # far from the truth
    return made


def run(made: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return made["head"](made["body"](pictures))


def test_statistics_are_the_mean_over_the_batches():
    made, batches = (
        network().eval(),
        [torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(n)) for n in range(5)],
    )
    settle(made, lambda n: run(made, batches[n]), batches=5)
    conv, norm = made["body"][0], made["body"][1]
    with torch.no_grad():
        seen = [conv(batch) for batch in batches]
    assert torch.allclose(norm.running_mean, torch.stack([s.mean((0, 2, 3)) for s in seen]).mean(0), atol=1e-5)
    variances = torch.stack([s.transpose(0, 1).flatten(1).var(dim=1) for s in seen]).mean(0)
    assert torch.allclose(norm.running_var, variances, atol=1e-4)


def test_named_parts_alone_are_measured():
    made = network().eval()
    settle(made, lambda n: run(made, torch.randn(4, 3, 12, 12)), parts=("head",), batches=3)
    assert (made["body"][1].running_mean == 9.0).all()
    assert (made["head"][1].running_mean != 9.0).all()


def test_modes_momenta_weights_and_dropout_are_left_as_they_were():
    made = network()
    made.train()
    made["head"].eval()
    before = {name: value.clone() for name, value in made.named_parameters()}
    outputs = []
    settle(made, lambda n: outputs.append(run(made, torch.ones(4, 3, 12, 12))), batches=3)
    assert torch.equal(outputs[0], outputs[2])  # no dropout, and the same batch
    assert made["body"].training and made["body"][1].training and not made["head"][1].training
    assert made["body"][1].momentum == 0.1
    assert all(torch.equal(value, before[name]) for name, value in made.named_parameters())


def test_a_network_without_batch_norm_is_not_run():
    settle(nn.Conv2d(3, 3, 1), lambda n: (_ for _ in ()).throw(AssertionError("must not be run")))
