"""AFLW, CelebA, HELEN, WIDER, LFW and super-resolution folders, written by the tests as their authors do."""

import sqlite3

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from training.data.formats import aflw, lists, pairs
from training.data.formats.sample import Skips

RNG = np.random.default_rng(6)
COUNTED = np.arange(42, dtype=float).reshape(21, 2) + 10.25


def picture(path, size=(60, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    return path


def lines_of(skips):
    return [(entry.line, entry.reason) for entry in skips.entries]


def aflw_database(root):
    (root / "data").mkdir()
    base = sqlite3.connect(root / "data" / "aflw.sqlite")
    base.executescript("""
        CREATE TABLE Faces (face_id INTEGER PRIMARY KEY, file_id TEXT, db_id TEXT);
        CREATE TABLE FaceImages (image_id INTEGER, db_id TEXT, file_id TEXT, filepath TEXT, bw INTEGER, width, height);
        CREATE TABLE FaceRect (face_id INTEGER, x, y, w, h, annot_type_id INTEGER);
        CREATE TABLE FacePose (face_id INTEGER, roll, pitch, yaw, annot_type_id INTEGER, upsidedown);
        CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x, y, annot_type_id INTEGER);
    """)
    for number, name in ((39341, "0/a.jpg"), (39342, "0/a.jpg"), (39343, "2/gone.jpg"), (39344, "/etc/x.jpg")):
        base.execute("INSERT INTO Faces VALUES (?, ?, 'aflw')", (number, f"f{number}"))
        base.execute("INSERT INTO FaceImages VALUES (1, 'aflw', ?, ?, 0, 60, 50)", (f"f{number}", name))
        for feature in range(1, 22):
            if (number, feature) != (39341, 13):  # an ear that is not seen has no row
                x, y = COUNTED[feature - 1]
                base.execute("INSERT INTO FeatureCoords VALUES (?, ?, ?, ?, 0)", (number, feature, x, y))
    base.execute("INSERT INTO FaceRect VALUES (39341, 5, 6, 30, 31, 2)")
    base.execute("INSERT INTO FacePose VALUES (39341, 0.1, -0.2, 1.2, 2, 0)")
    for number, x in ((39345, "left"), (39346, None)):
        base.execute("INSERT INTO Faces VALUES (?, 'f39341', 'aflw')", (number,))
        base.execute("INSERT INTO FeatureCoords VALUES (?, 1, ?, 3, 0)", (number, x))
    base.execute("INSERT INTO Faces VALUES (39347, 'nowhere', 'aflw')")
    base.commit()
    base.close()


def test_aflw_database(tmp_path):
    aflw_database(tmp_path)
    picture(tmp_path / "data" / "flickr" / "0" / "a.jpg")
    skips = Skips()
    first, second = aflw.read_aflw(tmp_path, skips)
    np.testing.assert_array_equal(first.points[0], (10.25, 11.25))
    assert first.line == 39341 and not first.visible[12] and first.visible.sum() == 20 and np.isnan(first.points[12, 0])
    np.testing.assert_array_equal(first.box, (5, 6, 35, 37))
    assert first.pose.yaw_deg == pytest.approx(np.degrees(1.2)) and first.pose.roll_deg == pytest.approx(
        np.degrees(0.1)
    )
    assert second.visible.all() and second.box is None and second.pose is None and first.id != second.id
    found = dict(lines_of(skips))
    assert sorted(found) == [39343, 39344, 39345, 39346, 39347]
    assert found[39343] == "no picture 2/gone.jpg" and "absolute path" in found[39344]
    assert found[39345] == "no number: 'left'" and "FaceImages" in found[39347]
    (tmp_path / "data" / "aflw.sqlite").write_bytes(b"no database at all, but long enough" * 99)
    with pytest.raises(InputError, match="AFLW's database"):
        next(aflw.read_aflw(tmp_path, Skips()))


def test_aflw_matrix_of_19_points(tmp_path):
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy writes the MATLAB file")
    names = np.empty((4, 1), object)
    names[:, 0] = ["0/a.jpg", "0/b.jpg", "0/gone.jpg", "0/a.jpg"]
    data = np.hstack([np.tile(COUNTED[:19, 0], (4, 1)), np.tile(COUNTED[:19, 1], (4, 1))])
    mask = np.ones((4, 19))
    mask[1, 2] = 0
    content = {"nameList": names, "data": data, "mask_new": mask, "bbox": np.tile([3.0, 33.0, 4.0, 44.0], (4, 1))}
    content["bbox"][3] = [3, 3, 4, 4]
    scipy_io.savemat(tmp_path / "AFLWinfo_release.mat", content | {"ra": np.array([[2, 1, 3, 4]], np.uint16)})
    picture(tmp_path / "flickr" / "0" / "a.jpg")
    picture(tmp_path / "flickr" / "0" / "b.jpg")
    skips = Skips()
    second, first = aflw.read_aflw_list(tmp_path, skips)
    assert (second.line, first.line) == (2, 1) and second.split == "train"  # the order of `ra`
    np.testing.assert_allclose(first.points, COUNTED[:19])
    np.testing.assert_array_equal(first.box, (3, 4, 33, 44))  # left, right, top, bottom -> x0, y0, x1, y1
    assert second.visible.tolist() == [True, True, False, *[True] * 16]
    assert [line for line, _ in lines_of(skips)] == [3, 4] and "without size" in skips.entries[1].reason
    scipy_io.savemat(tmp_path / "AFLWinfo_release.mat", content | {"ra": np.array([[2, 1, 3, 3]])})
    with pytest.raises(InputError, match="arrays of one length"):
        next(aflw.read_aflw_list(tmp_path, Skips()))


def test_aflw_csv_of_19_points(tmp_path):
    header = ["image_name", "scale", "box_size", "center_w", "center_h"]
    header += [f"original_{i}_{axis}" for i in range(19) for axis in "xy"]
    row = ["0/a.jpg", "0.2", "40", "30", "25", *map(str, COUNTED[:19].ravel())]
    rows = [header, row, row[:-1], ["C:\\faces\\a.jpg", *row[1:]], ["0/../../a.jpg", *row[1:]]]
    text = "\r\n".join(",".join(r) for r in rows)
    (tmp_path / "face_landmarks_aflw_test.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "face_landmarks_aflw_test_frontal.csv").write_text(text)
    picture(tmp_path / "images" / "0" / "a.jpg")
    skips = Skips()
    (sample,) = aflw.read_aflw_list(tmp_path, skips)
    np.testing.assert_allclose(sample.points, COUNTED[:19])
    np.testing.assert_allclose(sample.box, (10, 5, 50, 45))
    assert (sample.split, sample.line) == ("test", 2) and [line for line, _ in lines_of(skips)] == [3, 4, 5]
    assert "absolute path" in skips.entries[1].reason and "leaves the data set" in skips.entries[2].reason


def test_celeba(tmp_path):
    rows = [
        "165 184 244 176 196 249 194 271 266 260",
        "140 204 220 204 168 254 146 289",
        "1 2 3 4 5 6 7 8 9 nan",
        "x",
        "y",
    ]
    rows[3] = rows[4] = rows[0]
    anno = tmp_path / "Anno"
    anno.mkdir()
    text = [
        "5",
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y",
    ]
    text += [f"{i:06d}.jpg  {row}" for i, row in enumerate(rows, 1)]
    (anno / "list_landmarks_celeba.txt").write_text("\r\n".join(text) + "\r\n")
    boxes = ["5", "image_id x_1 y_1 width height", "000001.jpg  95  71 226 313", "000005.jpg 0 0 0 0"]
    (anno / "list_bbox_celeba.txt").write_text("\n".join(boxes) + "\n")
    (tmp_path / "Eval").mkdir()
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text("000001.jpg 1\n000002.jpg 0\n")
    for number in (1, 2, 3, 5):
        picture(tmp_path / "Img" / "img_celeba" / f"{number:06d}.jpg")
    skips = Skips()
    (sample,) = lists.read_celeba(tmp_path, skips)
    np.testing.assert_array_equal(sample.points[4], (266, 260))
    np.testing.assert_array_equal(sample.box, (95, 71, 321, 384))
    assert (sample.split, sample.line, sample.id, sample.scheme) == ("val", 3, "000001", "5")
    assert [line for line, _ in lines_of(skips)] == [4, 5, 6, 7]
    with pytest.raises(InputError, match="list_landmarks_align_celeba.txt"):
        next(lists.read_celeba(tmp_path, Skips(), points="align"))
    text[0] = "9"
    (anno / "list_landmarks_align_celeba.txt").write_text("\n".join(text[:3]))
    picture(tmp_path / "Img" / "img_align_celeba" / "000001.jpg", (178, 218))
    (sample,) = lists.read_celeba(tmp_path, skips, points="align")
    assert sample.box is None and skips.entries[-1].reason == "9 pictures announced, 1 lines found"


def test_helen_194(tmp_path):
    points = RNG.uniform(1, 40, (194, 2)).round(2)

    def write(number, name, rows, end="\r\n"):
        text = end.join([name, *(f"{x} , {y}" for x, y in rows), ""])
        (tmp_path / "annotation" / f"{number}.txt").write_bytes(text.encode())

    (tmp_path / "annotation").mkdir()
    for number, name in ((1, "a_1"), (2, "b_1"), (2281, "c_1"), (3, "d_1")):
        write(number, name, points[: 194 if name != "d_1" else 193])
        picture(tmp_path / "helen_1" / f"{name}.jpg")
    write(4, "gone", points)
    write(5, "/etc/passwd", points)
    (tmp_path / "annotation" / "6.txt").write_text("")
    skips = Skips()
    found = list(lists.read_helen(tmp_path, skips))
    assert [(s.id, s.split) for s in found] == [("a_1", "train"), ("b_1", "train"), ("c_1", "test")]
    np.testing.assert_allclose(found[0].points, points, rtol=1e-6)
    names = [(e.source.name, e.reason) for e in skips.entries]
    assert names[0] == ("3.txt", "194 points expected, found 193") and [n for n, _ in names] == [
        f"{i}.txt" for i in range(3, 7)
    ]
    (tmp_path / "testnames.txt").write_text("b_1\n")
    assert [s.split for s in lists.read_helen(tmp_path, Skips())] == ["train", "test", "train"]
    assert [s.split for s in lists.read_helen(tmp_path, Skips(), points="fsrnet")] == ["train", "train", "test"]


def test_wider(tmp_path):
    text = """0--Parade/a.jpg
3
4 5 20 21 0 0 0 0 0 0
1 1 9 9 2 0 0 1 0 0
7 7 0 4 0 0 0 0 0 0
1--Handshaking/none.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/gone.jpg
1
1 2 3 4 0 0 0 0 0 0
1--Handshaking/few.jpg
2
1 2 30 40 0 0 0 0 0 0
"""
    split = tmp_path / "wider_face_split"
    split.mkdir()
    (split / "wider_face_val_bbx_gt.txt").write_text(text)
    for name in ("0--Parade/a.jpg", "1--Handshaking/none.jpg", "1--Handshaking/few.jpg"):
        picture(tmp_path / "WIDER_val" / "images" / name)
    skips = Skips()
    first, second = lists.read_wider(tmp_path, skips)
    np.testing.assert_array_equal(first.box, (4, 5, 24, 26))
    assert first.points.shape == (0, 2) and (first.split, first.line) == ("val", 3) and second.line == 14
    assert [line for line, _ in lines_of(skips)] == [4, 5, 6, 9, 13]
    assert "invalid" in skips.entries[0].reason and "2 faces of" in skips.entries[4].reason


def test_lfw_pairs(tmp_path):
    for name in ("Ann_A", "Bob_B"):
        for number in (1, 2):
            picture(tmp_path / "lfw" / name / f"{name}_{number:04d}.jpg")
    rows = ["2\t1", "Ann_A\t1\t2", "Ann_A\t1\tBob_B\t2", "Bob_B\t1\t2", "Bob_B\t1\tEve_E\t1"]
    (tmp_path / "pairs.txt").write_text("\n".join(rows) + "\n")
    skips = Skips()
    found = list(pairs.read_lfw(tmp_path, skips))
    assert [(p.same, p.fold, p.line) for p in found] == [(True, 1, 2), (False, 1, 3), (True, 2, 4)]
    assert found[1].right.name == "Bob_B_0002.jpg" and lines_of(skips) == [(5, "no picture Eve_E/Eve_E_0001.jpg")]
    (tmp_path / "pairs.txt").write_text("\n".join([rows[0], rows[2], rows[1]]))
    assert not list(pairs.read_lfw(tmp_path, skips)) and "4 pairs announced, 2 lines" in skips.entries[-1].reason


def test_folders_of_super_resolution(tmp_path):
    old = tmp_path / "old" / "Set5" / "image_SRF_2"
    for name in ("img_001_SRF_2_HR", "img_001_SRF_2_LR", "img_001_SRF_2_bicubic", "img_002_SRF_2_LR"):
        picture(old / f"{name}.png")
    skips = Skips()
    (pair,) = pairs.read_pairs(tmp_path / "old", skips)
    assert (pair.name, pair.scale, pair.split, pair.lr.stem) == ("img_001_SRF_2", 2, "Set5", "img_001_SRF_2_LR")
    assert [e.reason for e in skips.entries] == ["no ..._HR beside it"]
    new = tmp_path / "new" / "Set14"
    for name in ("HR/baby.png", "LR_bicubic/X2/babyx2.png", "LR_bicubic/X4/babyx4.png", "LR_bicubic/X4/birdx4.png"):
        picture(new / name)
    found = list(pairs.read_pairs(tmp_path / "new", skips))
    assert [(p.name, p.scale, p.split) for p in found] == [("baby", 2, "Set14"), ("baby", 4, "Set14")]
    assert skips.entries[-1].source.name == "birdx4.png"
    picture(tmp_path / "plain" / "Urban100" / "a.png")
    assert [(p.lr, p.split) for p in pairs.read_pairs(tmp_path / "plain", skips)] == [(None, "Urban100")]
