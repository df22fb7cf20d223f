"""Learning rates by part of a network, and the recipes of SRCNN and VDSR that need them."""

from dataclasses import replace

import pytest
import torch
from paper_recipes import small
from test_training_paper_run import started

from training.data.examples import make_examples
from training.models import MODELS
from training.optimisers import clip_gradients, make_optimiser, parameter_groups, set_rate
from training.paper_task import PaperTask
from training.recipes.papers import PAPERS
from training.schedule import learning_rate, paper_steps


def silent(text: str) -> None:
    """A report nobody reads."""


def test_srcnns_last_layer_learns_at_a_tenth():
    """Dong et al.: 1e-4 in the first two layers, 1e-5 in the last. One plain step of SGD shows each layer's rate."""
    recipe = replace(PAPERS["srcnn_x2"], momentum=0.0)
    model = MODELS["srcnn"](recipe.config)
    optimiser = make_optimiser(recipe, parameter_groups(model, recipe.stages[0]), 1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_rate(optimiser, learning_rate(recipe.stages[0], 5, steps=10))
    optimiser.step()
    for name, parameter in model.named_parameters():
        expected = before[name] - (1e-5 if name.startswith("layers.4.") else 1e-4)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-8)


def test_one_group_where_no_share_is_named():
    model = MODELS["vdsr"](PAPERS["vdsr"].config)
    (group,) = parameter_groups(model, PAPERS["vdsr"].stages[0])
    assert len(group["params"]) == 20 and group["share"] == 1.0
    model.layers[0].weight.requires_grad_(False)
    assert len(parameter_groups(model, PAPERS["vdsr"].stages[0])[0]["params"]) == 19


def test_numbers_of_the_papers():
    vdsr, srcnn = PAPERS["vdsr"], PAPERS["srcnn_x3"]
    rates = [learning_rate(vdsr.stages[0], epoch, steps=80) for epoch in (0, 19, 20, 40, 60, 79)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4])
    assert (vdsr.batch, vdsr.momentum, vdsr.weight_decay) == (64, 0.9, 1e-4)
    assert 128 * paper_steps(srcnn.stages[0], examples=24_800, batch=128) == pytest.approx(8e8, rel=0.01)
    assert srcnn.config.scale == 3 and srcnn.batch == 128


def test_vdsrs_clipping_follows_the_rate():
    """A number's step is never longer than clip_at, whatever the rate: clip_at / lr · lr."""
    recipe = replace(PAPERS["vdsr"], momentum=0.0, weight_decay=0.0)
    for rate in (0.1, 0.01):
        weight = torch.nn.Parameter(torch.zeros(2))
        weight.grad = torch.tensor([1e3, -1e-5])
        optimiser = make_optimiser(recipe, [weight], rate)
        clip_gradients(recipe, [weight], rate)
        optimiser.step()
        torch.testing.assert_close(weight.detach(), torch.tensor([-recipe.clip_at, 1e-5 * rate]))


@pytest.fixture
def drawings(tmp_path):
    """Four pictures with edges of all directions, as an archive without splits."""
    import cv2
    import numpy as np

    (tmp_path / "lines").mkdir()
    rows, rng = ["id,file"], np.random.default_rng(2)
    for number in range(4):
        picture = np.full((96, 96, 3), 90, np.uint8)
        for _ in range(25):
            a, b = (tuple(int(v) for v in rng.integers(0, 96, 2)) for _ in range(2))
            cv2.line(picture, a, b, tuple(int(v) for v in rng.integers(0, 255, 3)), 2)
        cv2.imwrite(str(tmp_path / "lines" / f"{number}.png"), picture)
        rows.append(f"{number},{number}.png")
    (tmp_path / "lines" / "index.csv").write_text("\n".join(rows))
    return tmp_path / "lines"


@pytest.mark.parametrize(("name", "sides", "scales"), [("srcnn_x2", 33, (2,)), ("vdsr", 41, (2, 3, 4))])
def test_their_patches_and_their_loss_falls(name, sides, scales, drawings, tmp_path):
    recipe = small(name, drawings)
    recipe = replace(recipe, batch=8)
    said: list[str] = []
    examples = make_examples(recipe.pipeline, recipe.packs, 3, patch_filter=recipe.patch_filter, report=said.append)
    assert examples.rule.scales == scales and len(examples.truths) == 3 * len(scales)
    task = PaperTask(examples, recipe.stages[0], size=8, device=torch.device("cpu"))
    assert task.batch(0).lr.shape == (8, 1, sides, sides)
    run = started(recipe, recipe.stages[0], tmp_path / "run", steps=200)
    losses = [run.advance(task) for _ in range(60)]
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])
