"""What a run may start from, and go on with: checkpoints of other networks, sizes, versions and times are refused."""

from dataclasses import replace

import pytest
import torch
from paper_recipes import SMALL, small
from test_training_paper_run import prepared, started
from test_training_train_paper import train

from sdk.errors import FaceTRTError, InputError, ModelError
from training import checkpoint
from training.models import MODELS
from training.recipes.papers import PAPERS
from training.starting import check_same_run, fitting_weights, flat
from training.train_paper import stages_of


def saved_of(name: str) -> dict:
    return {"model": name, "weights": MODELS[name](SMALL[RECIPE_OF[name]]).state_dict()}


RECIPE_OF = {"srresnet": "srresnet_x8", "urdgn": "urdgn", "fan": "fan_64", "fsrnet": "fsrnet", "jasrnet": "jasrnet"}


@pytest.mark.parametrize("name", sorted(RECIPE_OF))
def test_only_weights_of_the_same_network(name):
    own = MODELS[name](SMALL[RECIPE_OF[name]])
    assert set(fitting_weights(own, saved_of(name), name=name)) == set(own.state_dict())
    for other in sorted(set(RECIPE_OF) - {name}):
        with pytest.raises(InputError, match=f"a checkpoint of '{name}' to start from; got one of '{other}'"):
            fitting_weights(own, saved_of(other), name=name)


def test_other_sizes_of_the_same_network():
    """×4 gives ×8 all but the enlargement; nothing in common is refused."""
    own = MODELS["srresnet"](SMALL["srresnet_x8"])
    four = {"model": "srresnet", "weights": MODELS["srresnet"](SMALL["srresnet_x4"]).state_dict()}
    assert 0 < len(fitting_weights(own, four, name="srresnet")) < len(own.state_dict())
    wide = {"model": "srresnet", "weights": {k: torch.zeros(9) for k in own.state_dict()}}
    with pytest.raises(InputError, match="of other sizes"):
        fitting_weights(own, wide, name="srresnet")
    with pytest.raises(InputError, match="of other sizes"):
        fitting_weights(own, {"model": "srresnet"}, name="srresnet")


def test_a_generator_goes_to_its_place_in_super_fan():
    whole = MODELS["super_fan"](SMALL["super_fan_64"])
    given = {"model": "super_fan_generator", "weights": whole.generator.state_dict()}
    found = fitting_weights(whole, given, name="super_fan")
    assert found and all(key.startswith("generator.") for key in found)


def test_a_fan_of_other_pictures_is_refused():
    """Its arrays would fit: a FAN has no size of its own. Its points would not."""
    whole = MODELS["super_fan"](SMALL["super_fan_64"])
    given = {"model": "fan", "weights": whole.fan.state_dict(), "config": {"input_size": 64}}
    assert fitting_weights(whole, given, name="super_fan")
    with pytest.raises(InputError, match="pictures of 64 px, as this recipe's does; got one of 256 px"):
        fitting_weights(whole, {**given, "config": {"input_size": 256}}, name="super_fan")


@pytest.fixture
def stopped(face_pack, tmp_path):
    """(recipe, stage, folder) of a run of one step, saved."""
    recipe, stage, task = prepared("srresnet_x4", "pixel", face_pack)
    run = started(recipe, stage, tmp_path / "run")
    run.advance(task)
    run.save()
    return recipe, stage, tmp_path / "run"


def changed(folder, **values) -> None:
    saved = checkpoint.load(folder / "last.pt")
    for name, value in values.items():
        saved.pop(name, None) if value is None else saved.update({name: value})
    del saved["format"]
    checkpoint.save(folder / "last.pt", saved)


@pytest.mark.parametrize("lacking", ["raw_weights", "optimisers", "plan", "step", "history", "recipe", "config"])
def test_a_checkpoint_of_another_version_is_refused(lacking, stopped):
    recipe, stage, folder = stopped
    changed(folder, **{lacking: None})
    with pytest.raises(ModelError, match=r"last.pt of another kind, without .*another --out"):
        started(recipe, stage, folder)


def test_a_checkpoint_of_another_model_or_size_is_refused(stopped, face_pack):
    recipe, stage, folder = stopped
    wider = replace(recipe, config=replace(recipe.config, channels=6))
    with pytest.raises(InputError, match=r"config.channels=4 as in the run of .*last.pt; got 6"):
        started(wider, stage, folder)
    other, other_stage, _ = prepared("jasrnet", "joint", face_pack)
    with pytest.raises(InputError, match="as in the run of"):
        started(other, other_stage, folder)


def test_a_number_that_a_recipe_got_later_had_its_default(stopped):
    """A run begun before `lr_shares` existed goes on; one whose share differs does not."""
    recipe, stage, folder = stopped
    told = checkpoint.load(folder / "last.pt")["recipe"]
    del told["stage"]["lr_shares"], told["patch_filter"]
    changed(folder, recipe=told)
    assert started(recipe, stage, folder).step == 1
    with pytest.raises(InputError, match="stage.lr_shares"):
        started(recipe, replace(stage, lr_shares=(("first", 0.1),)), folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"cut"])
def test_a_damaged_last_checkpoint_is_named(content, stopped):
    recipe, stage, folder = stopped
    whole = (folder / "last.pt").read_bytes()
    (folder / "last.pt").write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    with pytest.raises(FaceTRTError, match=r"last\.pt"):
        started(recipe, stage, folder)


def test_names_are_told_with_their_parts():
    assert flat({"stage": {"lr": 1, "weights": {"pixel": 2}}, "x": 3}) == {
        "stage.lr": 1,
        "stage.weights.pixel": 2,
        "x": 3,
    }
    with pytest.raises(ModelError, match="recipe.stage"):
        keys = ("raw_weights", "weights", "optimisers", "step", "seconds", "history", "running", "earlier")
        check_same_run({**dict.fromkeys((*keys, "plan", "config")), "recipe": {}}, {"earlier": []}, path="p")


def test_another_kind_of_run_in_the_stages_folder_is_no_traceback(face_pack, tmp_path):
    """PicoFace's checkpoint, and a finished network's, where a stage's should be."""
    recipe = small("srresnet_x4", face_pack)
    for content in ({"model": "picoface", "step": 3, "recipe": {"name": "x"}}, {"model": "srresnet", "weights": {}}):
        checkpoint.save(tmp_path / "run" / "pixel" / "last.pt", content)
        with pytest.raises(ModelError, match=r"pixel/last.pt of another kind"):
            train(recipe, tmp_path / "run", steps=2)


def test_a_run_goes_on_with_the_init_it_began_with(face_pack, tmp_path):
    """Without it the stage it had taken the place of would be trained beside what is there."""
    first, gan = small("fsrnet", face_pack), small("fsrgan", face_pack)
    assert train(first, tmp_path / "first", steps=1)
    init = tmp_path / "first" / "fsrnet.pt"
    assert [stage.name for stage in stages_of(gan, checkpoint.load(init))] == ["gan"]
    assert train(gan, tmp_path / "gan", steps=1, init=init)
    assert not (tmp_path / "gan" / "pixel").exists()
    assert [run["part"] for run in checkpoint.load(tmp_path / "gan" / "fsrgan.pt")["runs"]] == ["pixel", "gan"]
    with pytest.raises(InputError, match="the --init that the run in .* began with, in place of its stage 'pixel'"):
        train(gan, tmp_path / "gan", steps=1)
    assert train(replace(first, name="other"), tmp_path / "other", steps=1)
    with pytest.raises(InputError, match=r"earlier=\['fsrnet pixel'\] as in the run"):
        train(gan, tmp_path / "gan", steps=1, init=tmp_path / "other" / "other.pt")
    assert train(gan, tmp_path / "gan", steps=1, init=init)


def test_a_finished_run_is_not_passed_off_as_another(face_pack, tmp_path):
    recipe = small("srresnet_x4", face_pack)
    assert train(recipe, tmp_path, steps=1) and train(recipe, tmp_path, steps=1)
    for more, words in (({"lr_times": 2.0}, "lr="), ({"batch": 4}, "batch=2"), ({"seed": 4}, "seed=3")):
        with pytest.raises(InputError, match=f"{words}.* as in the run of"):
            train(recipe, tmp_path, steps=1, **more)


def test_which_stages_an_init_takes_the_place_of(face_pack):
    gan, alone = PAPERS["fsrgan"], PAPERS["fsrnet"]

    def saved(model: str, *parts: str) -> dict:
        return {"model": model, "runs": [{"name": "x", "part": part} for part in parts]}

    def left(recipe, initial) -> list[str]:
        return [stage.name for stage in stages_of(recipe, initial)]

    assert left(gan, None) == ["pixel", "gan"]
    assert left(gan, saved("fsrnet", "pixel")) == ["gan"]
    assert left(gan, saved("fsrnet", "pixel", "gan")) == ["pixel", "gan"]  # trained further from its end
    assert left(gan, saved("fsrnet")) == ["pixel", "gan"] and left(alone, saved("fsrnet", "pixel")) == ["pixel"]
    assert left(PAPERS["super_fan"], saved("fan", "fan")) == ["pixel", "gan", "joint"]
    assert left(PAPERS["super_fan"], saved("super_fan", "fan", "pixel")) == ["gan", "joint"]
    assert left(PAPERS["fan"], saved("fan", "fan")) == ["fan"]
