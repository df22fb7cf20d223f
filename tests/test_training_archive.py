"""Windows, rows and points of an archive: boxes, orders of other counts than 68, hidden points, poses."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from sdk.image.crop import landmark_box, square_windows
from training.data.archive import Options, Writer, window_of
from training.data.convert import convert
from training.data.formats.sample import BadSampleError, Pose, Skips, face
from training.data.labels import read_labels
from training.data.mirror import FLIPS
from training.data.packs import open_pack

RNG = np.random.default_rng(7)


def photo():
    return np.full((120, 130, 3), 90, np.uint8)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_other_orders_of_points_have_their_own_file(tmp_path):
    source = tmp_path / "helen"
    (source / "annotation").mkdir(parents=True)
    points = RNG.uniform(30, 90, (194, 2))
    (source / "annotation" / "1.txt").write_text("a_1\n" + "\n".join(f"{x} , {y}" for x, y in points))
    Image.fromarray(photo()).save(source / "a_1.jpg")
    assert convert("helen194", source, out=tmp_path / "a").points == {"194": 1}
    pack = open_pack(tmp_path / "a")
    assert not pack.points  # the 68 of 300-W alone
    labels = read_labels(pack, "194")
    assert labels.points["a_1"].shape == (194, 2) and labels.visible["a_1"].all()
    with pytest.raises(InputError, match=r"landmarks_19.npz in a; got \['landmarks_194.npz'\]"):
        read_labels(pack, "19")
    for broken in (np.zeros((1, 190, 2)), np.full((1, 194, 2), [[np.nan, 0.0]] + [[0.0, 0.0]] * 193)):
        np.savez(tmp_path / "a" / "landmarks_194.npz", id=np.array(["a_1"]), points=broken)
        with pytest.raises(InputError, match="194 finite points"):
            read_labels(pack, "194")


def test_boxes_are_cut_by_the_rule_for_boxes(tmp_path):
    source = tmp_path / "wider"
    source.mkdir()
    Image.fromarray(photo()).save(source / "a.jpg")
    (source / "wider_face_train_bbx_gt.txt").write_text("a.jpg\n2\n40 30 40 50 0 0 0 0 0 0\n3 3 5 5 0 0 0 0 0 0\n")
    made = convert("wider", source, out=tmp_path / "a")
    assert made.pictures == 1 and "below 16" in made.skips.entries[0].reason
    (row,) = rows_of(tmp_path / "a" / "index.csv")
    side = 1.38 * np.sqrt(40 * 50)
    assert float(row["native_side"]) == pytest.approx(side, abs=0.01)
    edges = [float(row[f"box_{e}"]) for e in ("x0", "y0", "x1", "y1")]
    x0, y0 = 60 - side / 2, 55 + 0.06 * side - side / 2
    expected = np.array([40 - x0, 30 - y0, 80 - x0, 80 - y0]) * int(row["w"]) / side
    np.testing.assert_allclose(edges, expected, atol=0.01)


def test_without_a_box_points_from_brow_to_chin_decide_else_the_whole_picture(tmp_path):
    rows = np.concatenate([[[30.0, 40.0], [70.0, 42.0]], RNG.uniform(35, 65, (17, 2))])
    columns = ",".join(f"original_{i}_{axis}" for i in range(19) for axis in "xy")
    source = tmp_path / "aflw"
    source.mkdir()
    line = ",".join(f"{v:.3f}" for v in rows.ravel())
    text = f"image_name,scale,box_size,center_w,center_h,{columns}\na.jpg,0.25,50,50,45,{line}\n"
    (source / "face_landmarks_aflw_train.csv").write_text(text)
    Image.fromarray(photo()).save(source / "a.jpg")
    convert("aflw-list", source, out=tmp_path / "box")
    convert("aflw-list", source, out=tmp_path / "points", options=Options(window="landmarks"))
    sides = [float(rows_of(tmp_path / n / "index.csv")[0]["native_side"]) for n in ("box", "points")]
    np.testing.assert_allclose(sides, [1.38 * 50, 1.5 * np.ptp(rows.round(3), axis=0).max()], atol=0.01)

    seen = np.arange(19) % 5 != 3
    points = np.where(seen[:, None], rows, np.nan)
    picture, source = source / "a.jpg", source / "a.csv"
    pose = Pose(-35.0, 4.0, 1.5)
    aflw = face(picture, points, scheme="19", source=source, visible=seen, pose=pose, id="a")
    celeba = face(picture, rows[:5], scheme="5", source=source, id="b")
    wanted = square_windows(landmark_box(rows[seen][None]), kind="landmarks")
    found = window_of(aflw, (120, 130), Options(window="face"))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # float32 points
    assert window_of(celeba, (120, 130), Options(window="landmarks"))[0].tolist() == [[0.0, -5.0, 130.0, 125.0]]
    writer = Writer(tmp_path / "w", Options(window="face"), Skips())
    for sample in (aflw, celeba):
        writer.add_face(sample)
    writer.finish(tmp_path)
    pack = open_pack(tmp_path / "w")
    assert [(r["yaw"], r["pitch"], r["roll"]) for r in pack.rows] == [("-35.0", "4.0", "1.5"), ("", "", "")]
    labels = read_labels(pack, "19")
    assert (labels.visible["a"] == seen).all() and (np.isfinite(labels.points["a"]).all(axis=1) == seen).all()
    assert list(read_labels(pack, "5").points) == ["b"]


def test_mirrors_are_involutions():
    for order in FLIPS.values():
        assert (order[order] == np.arange(len(order))).all()


def test_the_68_have_a_place_each_seen_or_not():
    points = RNG.uniform(0, 9, (68, 2))
    points[4] = np.nan
    with pytest.raises(BadSampleError, match="point 5 of 68"):  # what pts68 of an archive promises
        face(Path("a.jpg"), points, scheme="68", source=Path("a.pts"), visible=np.arange(68) != 4)
