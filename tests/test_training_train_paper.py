"""The command that trains a paper's network: stages, budgets, resuming, signals, several processes."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from paper_recipes import SMALL, small

from sdk.errors import InputError
from training import checkpoint
from training.recipes.papers import PAPERS
from training.recipes.stage import LossWeights, Stage
from training.schedule import Plan, adversarial_weight, learning_rate, paper_steps, seconds
from training.train import main
from training.train_paper import finished, stages_of, train_recipe

ROOT = Path(__file__).resolve().parents[1]


def arguments(**given) -> Namespace:
    names = ("packs", "init", "features", "steps", "budget", "validate_every", "batch")
    fixed = {"seed": 3, "device": "cpu", "bf16": False, "caffe": False, "workers": 0, "lr_times": 1.0}
    return Namespace(**{**dict.fromkeys(names), **fixed, **given})


def train(recipe, folder: Path, said: list[str] | None = None, *, stop_after: int | None = None, **given) -> bool:
    calls = []

    def should_stop() -> bool:
        calls.append(1)
        return stop_after is not None and len(calls) > stop_after

    report = said.append if said is not None else lambda text: None
    return train_recipe(recipe, folder, arguments(**given), report=report, should_stop=should_stop)


def test_schedules_are_the_papers_at_any_length():
    jasrnet, fan = PAPERS["jasrnet"].stages[0], PAPERS["super_fan"].stages[1]
    for steps in (100, 400):
        at = [learning_rate(jasrnet, round(share * steps), steps=steps) for share in (0.0, 0.49, 0.5, 0.75)]
        assert at == pytest.approx([5e-5, 5e-5, 2.5e-5, 1.25e-5])
    srinc = PAPERS["srinc"].stages[0]
    assert learning_rate(srinc, 59, steps=60) == pytest.approx(0.0596 / 9)
    assert [learning_rate(fan, s, steps=60) for s in (0, 30, 60)] == pytest.approx([2.5e-4, 1.3e-4, 1e-5])
    mtun = PAPERS["mtun"].stages[0]
    warm = [learning_rate(mtun, s, steps=100_000) for s in (0, 49, 50, 99, 100)]
    assert warm == pytest.approx([2e-5, 2e-5, 2e-4, 2e-4, 1e-3])
    assert learning_rate(mtun, 10_000, steps=100_000) == pytest.approx(1e-3 * 0.99**10)
    assert learning_rate(replace(mtun, epochs=1e6), 99, steps=100) == 1e-6
    assert learning_rate(PAPERS["fan"].stages[0], 95, steps=100) == pytest.approx(1e-5)


def test_adversarial_weights_decay_to_their_floor():
    mtun = replace(PAPERS["mtun"].stages[0], epochs=200)
    assert adversarial_weight(mtun, 0, steps=200) == 0.01
    assert adversarial_weight(mtun, 10, steps=200) == pytest.approx(0.01 * 0.995**10)
    assert adversarial_weight(mtun, 199, steps=200) == 0.005
    assert adversarial_weight(PAPERS["super_fan"].stages[-1], 3, steps=4) == 0.01


def test_recipes_say_what_the_papers_say():
    assert [s.epochs for s in PAPERS["super_fan"].stages] == [100, 60, 5, 5]
    assert paper_steps(PAPERS["srinc"].stages[0], examples=1_200_000, batch=32) == 2_250_000
    assert PAPERS["jasrnet"].batch == 8 and PAPERS["fsrnet"].batch == 14 and PAPERS["srinc"].batch == 32
    gan = PAPERS["fsrgan"].stages[1].weights
    assert (gan.features, gan.adversarial) == (1e-1, 1e-3) and PAPERS["srinc_f"].config.dropout == 0.1


@pytest.mark.parametrize(("text", "value"), [("90s", 90.0), ("20m", 1200.0), ("1.5h", 5400.0)])
def test_times_are_read(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "20", "0m", "-3s", "m", "1d", "nan"])
def test_other_times_are_refused(text):
    with pytest.raises(InputError, match="20m"):
        seconds(text)


def test_a_budget_is_kept_and_told(face_pack, tmp_path):
    recipe, said = small("srresnet_x4", face_pack), []
    recipe = replace(recipe, stages=(replace(recipe.stages[0], epochs=1e6),))
    begun = time.process_time()
    assert train(recipe, tmp_path, said, budget="2s")
    assert time.process_time() - begun < 15  # of processor time: other load costs nothing
    plan = checkpoint.load(tmp_path / "pixel" / "last.pt")["plan"]
    assert plan["budget_s"] == 2.0 and plan["paper_steps"] == 4_000_000
    assert 1 <= plan["steps"] <= 2.0 / plan["seconds_a_step"]
    assert plan["share"] == pytest.approx(plan["steps"] / 4_000_000)
    assert any("% of the paper's schedule" in text for text in said)
    assert train(recipe, tmp_path, budget="2s")  # done: nothing is measured again
    with pytest.raises(InputError, match="began with"):
        train(recipe, tmp_path, budget="9s")


def test_stages_follow_one_another_and_a_stopped_run_goes_on(face_pack, tmp_path):
    recipe = small("super_fan_64", face_pack)
    recipe = replace(recipe, stages=tuple(replace(stage, epochs=1) for stage in recipe.stages))
    assert train(recipe, tmp_path / "whole", steps=8)
    assert not train(recipe, tmp_path / "broken", steps=8, stop_after=4)
    assert not (tmp_path / "broken" / "super_fan_64.pt").exists()
    assert train(recipe, tmp_path / "broken", steps=8)
    a, b = (checkpoint.load(tmp_path / name / "super_fan_64.pt") for name in ("whole", "broken"))
    assert all(torch.equal(value, b["weights"][key]) for key, value in a["weights"].items())
    assert [run["part"] for run in a["runs"]] == ["fan", "pixel", "gan", "joint"]
    assert "super_fan.fan.stem" in a["perceptual"] and "faces68_made" in a["spec"]
    assert "sr" in checkpoint.build(a)(torch.rand(1, 3, 16, 16))


def test_batches_made_ahead_are_the_same(face_pack, tmp_path):
    recipe = small("srresnet_x4", face_pack)
    for workers in (0, 2):
        assert train(recipe, tmp_path / str(workers), steps=4, workers=workers)
    a, b = (checkpoint.load(tmp_path / name / "srresnet_x4.pt")["weights"] for name in ("0", "2"))
    assert all(torch.equal(value, b[key]) for key, value in a.items())


def test_a_checkpoint_of_ours_stands_in_for_imagenet(face_pack, tmp_path):
    assert train(small("srresnet_x4", face_pack), tmp_path / "first", steps=1)
    features, said = tmp_path / "first" / "srresnet_x4.pt", []
    assert train(small("mtun", face_pack), tmp_path / "mtun", said, steps=1, features=features, bf16=True)
    assert any("NOT vgg19 but the trunk of srresnet" in text for text in said)
    saved = checkpoint.load(tmp_path / "mtun" / "gan" / "last.pt")
    assert saved["recipe"]["bf16"] and all(v.dtype != torch.bfloat16 for v in saved["weights"].values())


def test_a_trained_fan_takes_the_first_stage_s_place(face_pack, tmp_path):
    fan = small("fan_64", face_pack)
    assert train(fan, tmp_path / "fan", steps=2)
    saved = checkpoint.load(tmp_path / "fan" / "fan_64.pt")
    joint = small("super_fan_64", face_pack)
    assert [stage.name for stage in stages_of(joint, saved)] == ["pixel", "gan", "joint"]
    pixel = replace(joint, stages=joint.stages[:2])
    assert train(pixel, tmp_path / "joint", steps=1, init=tmp_path / "fan" / "fan_64.pt")
    got = checkpoint.load(tmp_path / "joint" / "super_fan_64.pt")["weights"]
    assert all(torch.equal(value, got[f"fan.{key}"]) for key, value in saved["weights"].items())
    with pytest.raises(InputError, match="another --init"):
        train(small("srinc_f", face_pack), tmp_path / "x", steps=1, init=tmp_path / "fan" / "fan_64.pt")


def test_every_recipe_names_what_exists_and_finishes_with_a_spec():
    for name, recipe in PAPERS.items():
        assert recipe.name == name and all(isinstance(stage, Stage) for stage in recipe.stages)
        assert isinstance(recipe.stages[0].weights, LossWeights)
    recipe = replace(PAPERS["jasrnet"], config=SMALL["jasrnet"])
    saved = {"model": "jasrnet", "config": {}, "weights": {}, "perceptual": "none"}
    assert '"jasrnet"' in finished(recipe, saved)["spec"]
    assert Plan(5, 10).as_dict()["share"] == 0.5


def test_wrong_archives_end_with_a_sentence(tmp_path, capsys):
    command = ["--recipe", "jasrnet", "--out", str(tmp_path / "x"), "--steps", "1", "--data"]
    assert main([*command, "/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--budget", "9s"], ["--bf16"], ["--workers", "2"], ["--features", "x"]])
def test_options_that_would_be_ignored_are_refused(more, tmp_path, capsys):
    assert main(["--recipe", "picoface_x8_sr", "--out", str(tmp_path), *more]) == 2
    assert f"leave {more[0]} out" in capsys.readouterr().err
    assert main(["--recipe", "jasrnet", "--out", str(tmp_path), "--pseudo", "x.npz"]) == 2
    assert "leave --pseudo out" in capsys.readouterr().err


SCRIPT = """
import sys
from paper_recipes import small
from training import train
train.PAPERS["small"] = small({name!r}, {pack!r}, batch=4)
sys.exit(train.main(["--recipe", "small", "--out", {out!r}, {more}]))
"""


def command(name: str, pack: Path, out: Path, more: str, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    script = tmp_path / f"{out.name}.py"
    script.write_text(SCRIPT.format(name=name, pack=str(pack), out=str(out), more=more))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return script, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_sigterm_saves(face_pack, tmp_path):
    out = tmp_path / "run"
    script, env = command("srresnet_x4", face_pack, out, '"--steps", "100000", "--validate-every", "2"', tmp_path)
    process = subprocess.Popen([sys.executable, str(script)], env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("pixel/samples/*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"stopped at step {checkpoint.load(out / 'pixel' / 'last.pt')['step']}" in said


def test_two_processes_learn_what_one_does(face_pack, tmp_path):
    """JASRNet: no batch norm, whose statistics each process takes of its own pictures."""
    assert train(small("jasrnet", face_pack, batch=4), tmp_path / "one", steps=3)
    script, env = command("jasrnet", face_pack, tmp_path / "two", '"--steps", "3", "--seed", "3"', tmp_path)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*run, str(script)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    a, b = (checkpoint.load(tmp_path / name / "jasrnet.pt")["weights"] for name in ("one", "two"))
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-4, atol=2e-6)
