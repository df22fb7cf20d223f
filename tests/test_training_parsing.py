"""Face-parsing labels: they stay on their pixels through cuts, turns and mirrors, and FSRNet's heads learn them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from paper_recipes import SMALL
from test_training_paper_run import silent, started

from sdk.errors import InputError
from training.data.examples import make_examples
from training.data.feeding import degrade_pair
from training.data.packs import open_pack
from training.data.parsing import CLASSES, FLIP_CLASSES, UNKNOWN, cut_classes, move_classes, read_classes
from training.data.pipelines import pipeline
from training.losses_heatmap import fsrnet_loss, parsing_maps
from training.paper_task import PaperTask
from training.recipes.papers import PAPERS

CONFIG = replace(SMALL["fsrnet"], parsing=11)
GREY = 20  # grey levels between classes in pictures that show their own labels


@pytest.fixture
def parsed_pack(face_pack):
    """face_pack whose pictures show their own labels: each of 11 classes a region with its grey level."""
    rng = np.random.default_rng(7)
    rows = (face_pack / "index.csv").read_text().splitlines()
    (face_pack / "parsing").mkdir()
    lines = [rows[0] + ",parsing"]
    for number, row in enumerate(rows[1:]):
        name = row.split(",")[0]
        classes = np.kron(rng.integers(0, 11, (8, 8)), np.ones((20, 20))).astype(np.uint8)
        cv2.imwrite(str(face_pack / "parsing" / f"{name}.png"), classes)
        cv2.imwrite(str(face_pack / "img" / f"{name}.png"), np.repeat(classes[..., None] * GREY, 3, axis=2))
        lines.append(row + (f",parsing/{name}.png" if number != 1 else ","))  # the second face has none
    (face_pack / "index.csv").write_text("\n".join(lines) + "\n")
    return face_pack


def examples_of(pack, *, classes: int = 11, report=silent):
    return make_examples("fsrnet", [str(pack)], 3, labelled="half", classes=classes, report=report)


def test_a_mirror_swaps_left_and_right_and_nothing_else():
    for number, name in enumerate(CLASSES):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert CLASSES[FLIP_CLASSES[number]] == swapped
    assert FLIP_CLASSES[UNKNOWN] == UNKNOWN and (FLIP_CLASSES[FLIP_CLASSES] == np.arange(256)).all()


def test_labels_follow_turns_and_mirrors_of_the_picture():
    rng, seen = np.random.default_rng(0), set()
    classes = np.kron(rng.integers(0, 11, (16, 16)), np.ones((8, 8))).astype(np.uint8)
    picture = np.repeat(classes[..., None] * GREY, 3, axis=2)
    for _ in range(40):
        pair = degrade_pair(pipeline("fsrnet"), picture, rng)
        shown = (pair.hr[..., 0] // GREY).astype(np.uint8)
        np.testing.assert_array_equal(move_classes(classes, pair), FLIP_CLASSES[shown] if pair.mirrored else shown)
        seen.add((pair.mirrored, tuple(pair.to_hr[:, :2].round().ravel())))
    assert len(seen) == 8


def test_labels_follow_a_jitter_up_to_half_a_pixel():
    rng = np.random.default_rng(1)
    classes = np.kron(np.arange(4).reshape(2, 2), np.ones((64, 64))).astype(np.uint8)
    pair = degrade_pair(pipeline("jasrnet"), np.repeat(classes[..., None] * 60, 3, axis=2), rng)
    shown = pair.hr[..., 0] / 60.0
    moved = FLIP_CLASSES[move_classes(classes, pair)] if pair.mirrored else move_classes(classes, pair)
    plain = np.abs(shown - shown.round()) < 0.02  # not at a border, where the picture is blended
    assert plain.mean() > 0.9 and (moved[plain] == shown.round()[plain]).mean() > 0.995


def test_a_window_of_labels():
    classes = np.arange(36, dtype=np.uint8).reshape(6, 6)
    whole = np.array([0.0, 0.0, 6.0, 6.0])
    np.testing.assert_array_equal(cut_classes(classes, whole, picture_hw=(6, 6), size=6), classes)
    np.testing.assert_array_equal(cut_classes(classes, whole, picture_hw=(6, 6), size=3), classes[1::2, 1::2])
    shifted = cut_classes(classes, whole + np.array([2.0, 1.0, 2.0, 1.0]), picture_hw=(6, 6), size=6)
    np.testing.assert_array_equal(shifted, np.pad(classes[1:, 2:], ((0, 1), (0, 2)), mode="edge"))
    twice = cut_classes(classes, 2.0 * whole, picture_hw=(12, 12), size=6)  # a picture twice as large as its labels
    np.testing.assert_array_equal(twice, classes)


def test_maps_are_the_classes_shares_of_each_cell():
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 5, (3, 8, 8)).astype(np.uint8)
    classes[1] = UNKNOWN
    maps, known = parsing_maps(torch.from_numpy(classes), count=5, size=4)
    assert known.tolist() == [[1.0] * 5, [0.0] * 5, [1.0] * 5]
    for n, k, y, x in np.ndindex(3, 5, 4, 4):
        if n != 1:
            share = (classes[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] == k).mean()
            assert float(maps[n, k, y, x]) == pytest.approx(share)
    error = float(fsrnet_loss(torch.zeros(3, 5, 4, 4), maps, known))  # sum of squares over twice the batch, by hand
    assert error == pytest.approx(float((maps[0] ** 2).sum() + (maps[2] ** 2).sum()) / 6.0)


def test_batches_hold_the_labels_of_their_pictures(parsed_pack):
    batch = examples_of(parsed_pack).batch(0, size=12)
    assert batch.classes.shape == (12, 128, 128) and batch.classes.dtype == np.uint8
    shown = batch.hr[:, 0] * 255.0 / GREY
    for labels, picture in zip(batch.classes, shown, strict=True):
        if (labels == UNKNOWN).all():
            continue
        plain = np.abs(picture - picture.round()) < 0.02
        colours = picture.round().astype(np.uint8)
        same = [(labels == c)[plain].mean() for c in (colours, FLIP_CLASSES[np.minimum(colours, 255)])]
        assert plain.mean() > 0.5 and max(same) > 0.99
    assert any((labels == UNKNOWN).all() for labels in examples_of(parsed_pack).train.classes)
    assert examples_of(parsed_pack, classes=0).batch(0, size=2).classes is None


def test_both_heads_learn(parsed_pack, tmp_path):
    recipe = replace(PAPERS["fsrnet_parsing"], config=CONFIG, packs=(str(parsed_pack),), batch=2)
    stage = replace(recipe.stages[0], lr=2e-3, lr_drops=())
    task = PaperTask(examples_of(parsed_pack), stage, size=2, device=torch.device("cpu"))
    same = task.batch(1)
    task.batch = lambda step: same
    run = started(recipe, stage, tmp_path / "run", steps=200)
    before = {k: v.clone() for k, v in run.networks.model.prior.heads.state_dict().items()}
    losses = [run.advance(task) for _ in range(12)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    moved = [k for k, v in run.networks.model.prior.heads.state_dict().items() if not torch.equal(v, before[k])]
    assert {k.split(".")[1] for k in moved} == {"heatmaps", "parsing"}
    assert 0.0 <= task.validate(run.average.eval())["parsing"] <= 100.0
    assert '"parsing_count": 11' in run.networks.model.spec("x").to_json()


def test_a_face_without_labels_teaches_the_parsing_head_nothing(parsed_pack, tmp_path):
    recipe = replace(PAPERS["fsrnet_parsing"], config=CONFIG, packs=(str(parsed_pack),), batch=2)
    stage = replace(recipe.stages[0], weights=replace(recipe.stages[0].weights, pixel=0.0, coarse=0.0))
    task = PaperTask(examples_of(parsed_pack), stage, size=2, device=torch.device("cpu"))
    batch = task.batch(0)
    task.batch = lambda step: replace(batch, classes=torch.full_like(batch.classes, UNKNOWN))
    run = started(recipe, stage, tmp_path / "run")
    run.advance(task)
    head = run.networks.model.prior.heads[0]
    assert not head["parsing"].weight.grad.any() and head["heatmaps"].weight.grad.any()


def test_labels_that_cannot_be_used_stand_in_the_list(parsed_pack):
    cv2.imwrite(str(parsed_pack / "parsing" / "face_02.png"), np.full((9, 9), 11, np.uint8))
    cv2.imwrite(str(parsed_pack / "parsing" / "face_04.png"), np.zeros((9, 9, 3), np.uint8))
    (parsed_pack / "parsing" / "face_05.png").unlink()
    said: list[str] = []
    examples = examples_of(parsed_pack, report=said.append)
    assert [(e.line, e.source.name) for e in examples.skips.entries] == [(n, "index.csv") for n in (4, 6, 7)]
    assert all("class numbers below 11" in e.reason for e in examples.skips.entries)
    assert any("3 of 8 cannot be used" in text for text in said)
    with pytest.raises(InputError, match="grey PNG"):
        read_classes(open_pack(parsed_pack), open_pack(parsed_pack).rows[2], count=11)


def test_recipes_with_and_without(parsed_pack, face_pack, tmp_path):
    said: list[str] = []
    examples_of(parsed_pack, classes=0, report=said.append)
    assert any("parsing labels are not learned by this recipe" in text for text in said)
    rows = (face_pack / "index.csv").read_text().splitlines()
    (face_pack / "index.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in rows))
    with pytest.raises(InputError, match="faces with parsing labels, the column `parsing`"):
        examples_of(face_pack)
    with pytest.raises(InputError, match="--data"):
        make_examples("fsrnet", PAPERS["fsrnet_parsing"].packs, 0, classes=11, report=silent)
