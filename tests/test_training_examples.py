"""Batches of the papers' pipelines: functions of (seed, step), shared among processes, with points in place."""

import cv2
import numpy as np
import pytest

from sdk.errors import InputError
from sdk.image.pixels import rgb_to_y
from sdk.image.resample import resize
from training.data.examples import FaceExamples, Order, PatchExamples, cut_faces, make_examples, split_rows
from training.data.packs import open_pack
from training.data.pipelines import pipeline


def silent(text: str) -> None:
    """A report nobody reads."""


@pytest.fixture
def pictures(tmp_path):
    """An archive without points and splits: 22 noisy pictures of different sizes."""
    root, rng = tmp_path / "pictures", np.random.default_rng(0)
    root.mkdir()
    lines = ["id,file"]
    for n in range(22):
        coarse = rng.integers(0, 256, (12, 14 + n % 3, 3)).astype(np.uint8)
        large = cv2.resize(coarse, (8 * coarse.shape[1], 8 * coarse.shape[0]), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / f"{n}.png"), large)
        lines.append(f"{n},{n}.png")
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    return root


def test_every_epoch_is_a_permutation():
    order = Order(7, seed=1)
    epochs = [[order[7 * e + i] for i in range(7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and epochs[0] != epochs[1]
    assert epochs[2] == [Order(7, seed=1)[14 + i] for i in range(7)]


@pytest.mark.parametrize("name", ["jasrnet", "fsrnet", "mtun", "super_fan", "urdgn", "fan_64"])
def test_processes_together_see_what_one_would(name, face_pack):
    examples = make_examples(name, [str(face_pack)], 5, report=silent)
    whole = examples.batch(3, size=4)
    parts = [examples.batch(3, size=4, rank=rank, world=2) for rank in (0, 1)]
    for key, value in vars(whole).items():
        for rank, part in enumerate(parts if value is not None else ()):  # no parsing labels here
            np.testing.assert_array_equal(value[rank::2], vars(part)[key])
    rule = pipeline(name)
    assert whole.hr.shape == (4, 3, rule.hr_px, rule.hr_px) and whole.weight.max() == 1.0
    assert whole.hr.min() >= rule.value_range[0] and whole.hr.max() <= rule.value_range[1]
    assert not np.array_equal(whole.lr, examples.batch(4, size=4).lr)


def test_points_lie_where_the_picture_has_them(face_pack):
    """The drawn faces have dark dots at their points: moved with the picture, they stay dark."""
    for name in ("jasrnet", "fsrnet", "fan_64"):
        batch = make_examples(name, [str(face_pack)], 5, report=silent).batch(0, size=8)
        for picture, points, weight in zip(batch.hr.mean(axis=1), batch.points, batch.weight, strict=True):
            x, y = points[weight > 0].round().astype(int).T.clip(0, picture.shape[1] - 1)
            assert np.median(picture[y, x]) < 0.6 * picture.mean(), name


def test_a_picture_that_holds_the_window_is_cut_and_another_is_not(face_pack):
    pack, said = open_pack(face_pack), []
    rows = pack.select("train")
    cut = cut_faces(pipeline("jasrnet"), pack, rows, report=said.append)
    whole = cut_faces(pipeline("fsrnet"), pack, rows, report=said.append)  # twice the points' box: wider than these
    assert "cut as PAPERS 3.3 says" in said[0] and "as the archive cut them" in said[1]
    picture = pack.picture(rows[0])
    np.testing.assert_array_equal(whole.pictures[0], resize(picture, (128, 128)).astype(np.uint8))
    known = pack.points[rows[0]["id"]]
    np.testing.assert_allclose(whole.points[0], (known + 0.5) * 0.8 - 0.5, atol=1e-4)
    side = max(np.ptp(known, axis=0)) * 1.2
    np.testing.assert_allclose(np.ptp(cut.points[0], axis=0), np.ptp(known, axis=0) * 128 / side, rtol=1e-4)


def test_faces_with_points_are_all_or_half_of_a_batch(face_pack, tmp_path):
    with np.load(face_pack / "landmarks.npz") as archive:
        ids, points = archive["id"], archive["pts68"]
    kept = [0, 1, 3]  # one of them to learn from
    np.savez(face_pack / "landmarks.npz", id=ids[kept], pts68=points[kept])
    shares = {}
    for labelled in ("any", "half", "only"):
        examples = make_examples("fsrnet", [str(face_pack)], 0, labelled=labelled, report=silent)
        batch = examples.batch(0, size=8)
        shares[labelled] = batch.weight.any(axis=1).mean()
    assert shares["any"] == 1 / 8 and shares["half"] >= 0.5 and shares["only"] == 1.0


def test_patches_are_the_pictures_own_in_eight_versions(pictures):
    examples = make_examples("srinc", [str(pictures)], 0, patch_filter="none", report=silent)
    assert isinstance(examples, PatchExamples) and len(examples) == 8 * len(examples.places)
    batch = examples.batch(0, size=16)
    assert batch.lr.shape == batch.hr.shape == (16, 1, 51, 51) and not batch.weight.any()
    for hr in batch.hr[:, 0]:
        versions = [np.rot90(side, k) for side in (hr, hr[:, ::-1]) for k in range(4)]
        found = any(
            np.array_equal(version, examples.truths[n][0, y : y + 51, x : x + 51])
            for n, y, x in examples.places
            for version in versions
        )
        assert found
    truth = open_pack(pictures).picture(open_pack(pictures).rows[1])
    np.testing.assert_allclose(examples.truths[0][0], rgb_to_y(truth, rounded=False)[:96] / 255, atol=1e-5)


def test_the_patch_filter_has_a_direction(pictures):
    counts = {}
    for name in ("none", "drop_smooth", "drop_sharp"):
        try:
            counts[name] = len(make_examples("srinc_f", [str(pictures)], 0, patch_filter=name, report=silent))
        except InputError:
            counts[name] = 0
    assert counts["drop_smooth"] + counts["drop_sharp"] == counts["none"] and counts["drop_smooth"] > 0
    with pytest.raises(InputError, match="patch_filter"):
        make_examples("srinc", [str(pictures)], 0, patch_filter="sharp", report=silent)


def test_test_sets_are_not_trained_on(pictures, face_pack):
    assert [len(rows) for rows in split_rows(open_pack(pictures))] == [20, 2]
    assert [len(rows) for rows in split_rows(open_pack(face_pack))] == [8, 4]
    index = pictures / "index.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join([lines[0] + ",split", *(line + ",Set5" for line in lines[1:])]) + "\n")
    with pytest.raises(InputError, match="Set5"):
        split_rows(open_pack(pictures))
    index.write_text("\n".join([lines[0] + ",split", *(line + ",T91" for line in lines[1:])]) + "\n")
    assert [len(rows) for rows in split_rows(open_pack(pictures))] == [20, 2]


def test_validation_is_upright_and_the_same_each_time(face_pack):
    examples = make_examples("mtun", [str(face_pack)], 0, report=silent)
    assert isinstance(examples, FaceExamples)
    a, b = examples.validation(count=3), examples.validation(count=3)
    np.testing.assert_array_equal(a.lr, b.lr)
    assert len(a.lr) == 3 and len(examples.validation(count=99).lr) == 4
