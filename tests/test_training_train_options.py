"""Options that change a paper's recipe: batch, rates, archives; processor time; bfloat16 with channels last."""

import time
from dataclasses import replace

import pytest
import torch
from paper_recipes import small
from test_training_paper_run import prepared, silent, started
from test_training_train_paper import arguments, train

from sdk.errors import InputError
from training import checkpoint, train_paper
from training.recipes.papers import PAPERS
from training.schedule import clock, learning_rate
from training.train_paper import with_changes


def test_nothing_asked_changes_nothing():
    for recipe in PAPERS.values():
        assert with_changes(recipe, arguments()) is recipe


def test_what_is_asked_for_takes_the_papers_place_and_nothing_else():
    recipe = PAPERS["mtun"]
    changed = with_changes(recipe, arguments(packs=["a", "b"], batch=4, lr_times=0.5))
    assert (changed.packs, changed.batch) == (("a", "b"), 4)
    back = replace(changed, packs=recipe.packs, batch=recipe.batch, stages=recipe.stages)
    assert back == recipe


@pytest.mark.parametrize("name", ["jasrnet", "super_fan", "mtun", "srinc", "srgan_x8"])
def test_lr_times_scales_every_rate_of_the_schedule(name):
    """Drops, cosine, decay with its floor, warm-up: all of them."""
    recipe = PAPERS[name]
    changed = with_changes(recipe, arguments(lr_times=3.0))
    for stage, other in zip(recipe.stages, changed.stages, strict=True):
        for step in (0, 7, 60, 199):
            assert learning_rate(other, step, steps=200) == pytest.approx(3.0 * learning_rate(stage, step, steps=200))
        assert replace(other, lr=stage.lr, lr_end=stage.lr_end) == stage


def test_a_batch_and_a_rate_of_ones_own_stand_in_the_checkpoint(face_pack, tmp_path):
    recipe = small("srresnet_x4", face_pack)
    assert train(recipe, tmp_path, steps=2, batch=3, lr_times=4.0)
    told = checkpoint.load(tmp_path / "pixel" / "last.pt")["recipe"]
    assert told["batch"] == 3 and told["lr"] == pytest.approx(4.0 * recipe.stages[0].lr)
    with pytest.raises(InputError, match=r"batch=3 as in the run of"):
        train(recipe, tmp_path, steps=3, lr_times=4.0)
    with pytest.raises(InputError, match="as in the run of"):
        train(recipe, tmp_path, steps=3, batch=3)


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_budget_on_a_cpu_counts_work_and_no_waiting(threads, monkeypatch):
    """Work of one thread counts in full however many torch may use."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    now = clock(torch.device("cpu"))
    begun = now()
    time.sleep(0.3)
    waited = now() - begun
    busy(0.2)
    worked = now() - begun - waited
    assert waited < 0.1 and 0.19 < worked < 0.4


def test_a_budget_on_a_gpu_counts_all_time():
    assert clock(torch.device("cuda")) is time.monotonic


@pytest.mark.parametrize(
    ("validation_s", "every", "steps", "validations"),
    [
        (1.0, None, 1000 - 5 - 10, 10),  # a step takes 1 s; four of them and a validation are measured
        (40.0, None, 1000 - 4 - 3 * 40, 2),  # no more than a tenth of the budget, here 2 of 40 s and the measured one
        (700.0, None, 1, 1),  # a budget that is hardly enough for one
        (4.0, 4, (1000 - 8) // 2, 10),  # as often as asked for: every step costs one second more
    ],
)
def test_validations_take_a_tenth_of_a_budget_at_most(
    validation_s, every, steps, validations, face_pack, tmp_path, monkeypatch
):
    recipe, stage, task = prepared("srresnet_x4", "pixel", face_pack)
    passed = [0.0]

    def takes(seconds: float):
        return lambda *arguments: passed.__setitem__(0, passed[0] + seconds)

    monkeypatch.setattr(train_paper, "clock", lambda device: lambda: passed[0])
    monkeypatch.setattr(train_paper.PaperRun, "advance", takes(1.0))
    monkeypatch.setattr(task, "validate", takes(validation_s))
    monkeypatch.setattr(task, "sample", takes(0.0))
    plan = train_paper.make_plan(
        recipe, stage, task, arguments(budget="1000s", validate_every=every), full=10**6, share=1.0, initial=None,
        run_args={"seed": 0, "device": torch.device("cpu")},
    )  # fmt: skip
    assert (plan.steps, plan.validations) == (steps, validations)


def test_a_plan_from_before_or_after_this_version_is_read(face_pack, tmp_path):
    recipe = small("srresnet_x4", face_pack)
    assert not train(recipe, tmp_path, steps=4, stop_after=1)
    path = tmp_path / "pixel" / "last.pt"
    saved = checkpoint.load(path)
    del saved["format"], saved["plan"]["validations"]
    saved["plan"]["later"] = 3
    checkpoint.save(path, saved)
    assert train(recipe, tmp_path)
    assert checkpoint.load(path)["step"] == 4


def test_bfloat16_runs_channels_last_keeps_float32_and_goes_on_bit_for_bit(face_pack, tmp_path):
    recipe, stage, task = prepared("jasrnet", "joint", face_pack)
    whole = started(recipe, stage, tmp_path / "whole", bf16=True)
    kernel = next(p for p in whole.networks.model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last) and kernel.dtype == torch.float32
    whole.fit(task, validate_every=4, report=silent)
    broken = started(recipe, stage, tmp_path / "broken", bf16=True)
    for _ in range(2):
        broken.advance(task)
    broken.save()
    resumed = started(recipe, stage, tmp_path / "broken", bf16=True)
    resumed.fit(task, validate_every=4, report=silent)
    a, b = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "broken"))
    assert all(torch.equal(v, b["weights"][k]) for k, v in a["weights"].items())
    plain = started(recipe, stage, tmp_path / "plain")
    plain.fit(task, validate_every=4, report=silent)
    exact = checkpoint.load(tmp_path / "plain" / "last.pt")["weights"]
    first = started(recipe, stage, tmp_path / "first").networks.model.state_dict()
    far = sum(float((v - first[k]).norm()) for k, v in exact.items())
    near = sum(float((v - exact[k]).norm()) for k, v in a["weights"].items())
    assert 0.0 < near < 0.5 * far  # the same way, with bfloat16's 8 bits
    with pytest.raises(InputError, match="bf16=True as in the run"):
        started(recipe, stage, tmp_path / "broken")
