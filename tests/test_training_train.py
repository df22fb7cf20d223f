"""The trainer: it learns, resumes bit for bit, survives a kill, and stops at NaN with the last good weights."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdk.errors import InputError, ModelError, OutputError
from training import checkpoint
from training.join import join, licence
from training.loop import write_samples
from training.models.picoface import PicoFaceConfig
from training.recipes.picoface import NETWORKS, RECIPES
from training.run import Run, learning_rate
from training.tasks import make_task
from training.train import main

ROOT = Path(__file__).resolve().parents[1]
SMALL = PicoFaceConfig(
    scale=8, lr_size=16, channels=8, blocks=1, tail_channels=8, head_channels=8, head_blocks=(1, 1, 1)
)


@pytest.fixture(params=["sr", "landmarks"])
def recipe(request, face_pack):
    return replace(
        RECIPES[f"picoface_x8_{request.param}"],
        config=SMALL,
        packs=(str(face_pack),),
        steps=12,
        batch=4,
        warmup_steps=2,
    )


def silent(text: str) -> None:
    """A report nobody reads."""


def fitted(recipe, folder: Path, stop_at: int | None = None) -> Run:
    run = Run(recipe, folder, seed=3)
    task = make_task(recipe, 3)
    if stop_at is None:
        run.fit(task, validate_every=6, report=silent)
    else:
        while run.step < stop_at:
            run.advance(task)
        run.save()
    return run


def test_a_broken_run_ends_bit_for_bit_like_an_unbroken_one(recipe, tmp_path):
    whole = fitted(recipe, tmp_path / "whole")
    fitted(recipe, tmp_path / "broken", stop_at=5)
    resumed = fitted(recipe, tmp_path / "broken")
    for key, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[key]), key
    assert whole.history[-1]["step"] == 12 and len(whole.history) == 2
    assert (tmp_path / "whole" / "log.csv").read_text().count("\n") == 3
    assert sorted(p.name for p in (tmp_path / "whole" / "samples").iterdir()) == ["0000006.png", "0000012.png"]


def test_training_lowers_the_loss_and_leaves_the_other_branch_alone(recipe, tmp_path):
    recipe = replace(recipe, steps=60, lr=3e-3)
    run, task = Run(recipe, tmp_path, seed=0), make_task(recipe, 0)
    other = "landmarks" if recipe.part == "sr" else "sr"
    before = {k: v.clone() for k, v in run.model.state_dict().items() if k.startswith(other)}
    losses = [run.advance(task) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    for key, value in before.items():
        assert torch.equal(value, run.model.state_dict()[key]), key


def test_nan_stops_the_run_before_it_spoils_the_weights(recipe, tmp_path):
    run, task = Run(recipe, tmp_path, seed=0), make_task(recipe, 0)
    run.advance(task)
    run.save()
    good = {k: v.clone() for k, v in run.model.state_dict().items()}
    task.loss = lambda model, step: sum(p.sum() for p in model.parameters()) * float("nan")
    with pytest.raises(FloatingPointError, match="last good weights"):
        run.advance(task)
    for key, value in good.items():
        assert torch.equal(value, run.model.state_dict()[key]), key


def test_schedule_warms_up_holds_and_ends_at_zero():
    recipe = RECIPES["picoface_x8_sr"]
    assert learning_rate(recipe, 0) == pytest.approx(recipe.lr / recipe.warmup_steps)
    assert learning_rate(recipe, recipe.steps // 2) == recipe.lr
    assert learning_rate(recipe, recipe.steps - 1) < 1e-3 * recipe.lr


def test_sigterm_saves_and_says_so(face_pack, tmp_path):
    """The real command, stopped while it trains."""
    command = [sys.executable, "-m", "training.train", "--recipe", "picoface_x8_landmarks", "--packs", str(face_pack)]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run"), "--validate-every", "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("samples/*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    saved = checkpoint.load(tmp_path / "run" / "last.pt")
    assert f"stopped at step {saved['step']}" in said and saved["step"] >= 2


def test_joined_branches_come_from_their_own_runs(face_pack, tmp_path):
    config = replace(SMALL, head_reads_trunk=True)
    sr_recipe, points_recipe = (
        replace(RECIPES[f"picoface_x8_{part}"], config=config, packs=(str(face_pack),), steps=12, batch=4)
        for part in ("sr", "landmarks")
    )
    sr = checkpoint.load(fitted(sr_recipe, tmp_path / "sr", stop_at=3).path)
    stranger = checkpoint.load(fitted(points_recipe, tmp_path / "stranger", stop_at=3).path)
    with pytest.raises(ModelError, match="--other-trunk"):
        join(sr, stranger, "made")
    with pytest.raises(ModelError, match="landmark branch was trained"):
        join(sr, sr, "made")
    run = Run(points_recipe, tmp_path / "points", seed=3, initial=tmp_path / "sr" / "last.pt")
    run.advance(make_task(points_recipe, 3))
    run.save()
    points = checkpoint.load(run.path)
    joined = join(sr, points, "made")
    lr = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        got = checkpoint.build(joined)(lr)
        torch.testing.assert_close(got["heatmaps"], run.average(lr)["heatmaps"], atol=1e-5, rtol=0)
    assert [r["steps"] for r in joined["runs"]] == [3, 1]
    assert "3 steps of 4" in joined["spec"] and "the terms of its training data" in joined["spec"]


def test_a_free_branch_is_called_free_and_no_other():
    free, mixed = ({"part": "sr", "packs": [p], "name": p} for p in ("faces_clean_ccby_pd", "faces68_helen_nc"))
    assert "Apache-2.0" in licence("sr", [free])
    assert "research use only" in licence("sr", [free, mixed])
    assert "faces_of_mine" in licence("landmarks", [{"part": "landmarks", "packs": ["faces_of_mine"], "name": "x"}])


@pytest.mark.parametrize("change", [{"lr": 1.0}, {"batch": 5}, {"packs": ("elsewhere",)}])
def test_another_run_does_not_go_on_in_the_same_folder(recipe, tmp_path, change):
    fitted(recipe, tmp_path, stop_at=2)
    with pytest.raises(InputError, match="another --out"):
        Run(replace(recipe, **change), tmp_path, seed=3)
    with pytest.raises(InputError, match="seed=3"):
        Run(recipe, tmp_path, seed=4)
    assert Run(replace(recipe, steps=99), tmp_path, seed=3).step == 2


def test_an_archive_of_one_s_own_may_have_any_name(face_pack, tmp_path):
    own = face_pack.rename(face_pack.parent / "mine")
    recipe = replace(RECIPES["picoface_x8_landmarks"], config=SMALL, packs=(str(own),), steps=2, batch=2)
    run = fitted(recipe, tmp_path / "run")
    assert "nme_mine_16" in run.history[-1]
    (own / "landmarks.npz").unlink()
    with pytest.raises(InputError, match="faces with points"):
        make_task(recipe, 0)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    (tmp_path / "last.pt.part").mkdir()  # in the way, as a full disk would be
    with pytest.raises((OutputError, OSError)):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path)["step"] == 1


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="training.train"):
        checkpoint.load(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"format": checkpoint.FORMAT, "x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="cannot read safely"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_foreign_and_missing_checkpoints_are_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ModelError, match="facetrt-checkpoint-1"):
        checkpoint.load(tmp_path / "foreign.pt")
    with pytest.raises(ModelError, match="does not exist"):
        checkpoint.load(tmp_path / "none.pt")


def test_every_network_has_its_stages(tmp_path):
    assert all(stage in RECIPES for stages in NETWORKS.values() for stage in stages)
    assert main(["--recipe", "picoface_x8_sr", "--packs", "/nowhere", "--out", str(tmp_path / "x")]) == 2


def test_sample_sheet_is_laid_out_in_rows(tmp_path):
    write_samples([torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)], tmp_path / "sheet.png")
    import cv2

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (16, 24, 3) and not sheet[:8].any() and (sheet[8:] == 255).all()
