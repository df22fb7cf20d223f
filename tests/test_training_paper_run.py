"""Training of the papers' networks: every stage learns, resumes bit for bit, and stops at NaN."""

from dataclasses import replace

import pytest
import torch
from paper_recipes import SMALL, small

from sdk.errors import InputError
from training import checkpoint
from training.data.examples import make_examples
from training.optimisers import clip_gradients, make_optimiser
from training.paper_run import PaperRun
from training.paper_task import PaperTask
from training.recipes.papers import PAPERS
from training.schedule import Plan
from training.train_paper import LABELLED

CPU = torch.device("cpu")
STAGES = [(name, stage.name) for name in SMALL for stage in PAPERS[name].stages]
RESUMED = ["srresnet_x4/pixel", "srinc_f/pixel", "jasrnet/joint", "fsrgan/gan", "mtun/gan"]


def silent(text: str) -> None:
    """A report nobody reads."""


def prepared(name: str, stage_name: str, pack):
    recipe = small(name, pack)
    stage = next(s for s in recipe.stages if s.name == stage_name)
    labelled = LABELLED.get(stage.heatmap_loss, "any")
    examples = make_examples(recipe.pipeline, recipe.packs, 3, labelled=labelled, report=silent)
    return recipe, stage, PaperTask(examples, stage, size=recipe.batch, device=CPU)


def started(recipe, stage, folder, *, steps: int = 4, seed: int = 3, **options) -> PaperRun:
    folder.mkdir(exist_ok=True)
    return PaperRun(recipe, stage, folder, seed=seed, plan=Plan(steps, 100), device=CPU, **options)


@pytest.mark.parametrize(("name", "stage_name"), STAGES)
def test_every_stage_moves_what_it_says_and_nothing_else(name, stage_name, face_pack, tmp_path):
    recipe, stage, task = prepared(name, stage_name, face_pack)
    run = started(recipe, stage, tmp_path / "run")
    before = {k: v.clone() for k, v in run.networks.model.state_dict().items()}
    critic = None if run.networks.critic is None else [p.clone() for p in run.networks.critic.parameters()]
    run.advance(task)
    moved = {k for k, v in run.networks.model.state_dict().items() if not torch.equal(v, before[k])}
    if stage.learns:
        assert moved and all(key.startswith(stage.learns) for key in moved), moved
    else:
        assert len(moved) > 0.5 * len(before)
    if critic is not None:
        assert all(not torch.equal(a, b) for a, b in zip(critic, run.networks.critic.parameters(), strict=True))


@pytest.mark.parametrize("which", RESUMED)
def test_a_broken_run_ends_bit_for_bit_like_an_unbroken_one(which, face_pack, tmp_path):
    recipe, stage, task = prepared(*which.split("/"), face_pack)
    whole = started(recipe, stage, tmp_path / "whole")
    whole.fit(task, validate_every=4, report=silent)
    broken = started(recipe, stage, tmp_path / "broken")
    for _ in range(2):
        broken.advance(task)
    broken.save()
    torch.rand(7)  # other random numbers drawn in between change nothing
    resumed = started(recipe, stage, tmp_path / "broken")
    assert resumed.step == 2
    resumed.fit(task, validate_every=4, report=silent)
    a, b = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "broken"))
    for part in ("weights", "raw_weights", *(k for k in ("critic", "teacher", "features") if k in a)):
        for key, value in a[part].items():
            assert torch.equal(value, b[part][key]), (part, key)
    assert a["history"][-1].items() >= {"step": 4}.items() and "psnr_y" in a["history"][-1]


@pytest.mark.parametrize("name", ["srresnet_x4", "fan_64"])
def test_training_lowers_the_loss(name, face_pack, tmp_path):
    recipe, stage, task = prepared(name, PAPERS[name].stages[0].name, face_pack)
    run = started(recipe, replace(stage, lr=1e-3), tmp_path / "run", steps=40)
    losses = [run.advance(task) for _ in range(40)]
    assert sum(losses[-8:]) < sum(losses[:8])


def test_nan_stops_the_run_and_the_last_good_weights_stay(face_pack, tmp_path):
    recipe, stage, task = prepared("srresnet_x4", "pixel", face_pack)
    run = started(recipe, stage, tmp_path / "run")
    run.advance(task)
    run.save()
    good = checkpoint.load(run.path)["raw_weights"]
    whole = task.batch(1)
    task.batch = lambda step: replace(whole, hr=whole.hr * torch.nan)
    with pytest.raises(FloatingPointError, match="last good weights"):
        run.fit(task, validate_every=4, report=silent)
    for key, value in checkpoint.load(run.path)["raw_weights"].items():
        assert torch.equal(value, good[key]), key
    assert all(torch.isfinite(p).all() for p in run.networks.model.parameters())


def test_the_second_fan_is_frozen_and_goes_with_the_checkpoint(face_pack, tmp_path):
    """Eq. 4: in the joint stage the network's own FAN learns, the other stays what it was before."""
    recipe, stage, task = prepared("super_fan_64", "joint", face_pack)
    run = started(recipe, stage, tmp_path / "run")
    first = {k: v.clone() for k, v in run.networks.teacher.state_dict().items()}
    run.advance(task)
    own = run.networks.model.fan.state_dict()
    assert all(torch.equal(v, run.networks.teacher.state_dict()[k]) for k, v in first.items())
    assert any(not torch.equal(v, own[k]) for k, v in first.items())
    assert set(run.payload()) >= {"teacher", "critic", "features", "optimisers"}


def test_what_stands_in_for_imagenet_is_said(face_pack, tmp_path):
    said = []
    for name, stage_name in (("super_fan_64", "pixel"), ("mtun", "gan"), ("srresnet_x4", "pixel")):
        recipe, stage, _ = prepared(name, stage_name, face_pack)
        run = started(recipe, stage, tmp_path / name, report=said.append)
        assert run.payload()["perceptual"] == (said[-1].strip() if stage.weights.features else "none")
    assert "NOT resnet50 but super_fan.fan.stem" in said[0] and "LEFT OUT; vgg19" in said[1] and len(said) == 2


@pytest.mark.parametrize("change", [{"batch": 4}, {"momentum": 0.5}, {"clip_at": 1.0}])
def test_another_run_does_not_go_on_in_the_same_folder(change, face_pack, tmp_path):
    recipe, stage, task = prepared("srresnet_x4", "pixel", face_pack)
    run = started(recipe, stage, tmp_path / "run")
    run.advance(task)
    run.save()
    with pytest.raises(InputError, match="another --out"):
        started(replace(recipe, **change), stage, tmp_path / "run")
    with pytest.raises(InputError, match="seed=3"):
        started(recipe, stage, tmp_path / "run", seed=4)


def test_clipping_is_that_of_its_name():
    for clip, expected in (("value", [0.01, -0.01, 0.001]), ("adjustable", [0.02, -0.02, 0.001]), ("", [3, -4, 0.001])):
        weight = torch.nn.Parameter(torch.zeros(3))
        weight.grad = torch.tensor([3.0, -4.0, 0.001])
        clip_gradients(replace(PAPERS["srinc"], clip=clip), [weight], 0.5)
        torch.testing.assert_close(weight.grad, torch.tensor(expected, dtype=torch.float32))
    weight.grad = torch.tensor([3.0, -4.0, 0.0])
    clip_gradients(replace(PAPERS["srinc"], clip="norm", clip_at=1.0), [weight], 0.5)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, -0.8, 0.0]), rtol=1e-5, atol=0)


def test_optimisers_are_the_papers():
    weight = [torch.nn.Parameter(torch.zeros(3))]
    kinds = {name: type(make_optimiser(PAPERS[name], weight, 1.0)).__name__ for name in ("srinc", "jasrnet", "mtun")}
    assert kinds == {"srinc": "SGD", "jasrnet": "Adam", "mtun": "RMSprop"}
    assert make_optimiser(PAPERS["jasrnet"], weight, 1.0).defaults["weight_decay"] == 5e-4
    assert make_optimiser(PAPERS["srinc"], weight, 1.0).defaults["momentum"] == 0.9
    assert make_optimiser(PAPERS["mtun"], weight, 1.0).defaults["alpha"] == 0.9
