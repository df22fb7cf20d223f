"""Faces of one file each: 300-W, Menpo, 300W-LP, AFLW2000, LS3D-W. The samples are written as their authors' are."""

import struct

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from training.data.formats import lp, ls3dw, pts
from training.data.formats.mat5 import read_mat
from training.data.formats.sample import BadSampleError, Skips, numbers, text_lines
from training.data.formats.torch7 import read_t7

scipy_io = pytest.importorskip("scipy.io", reason="SciPy writes the MATLAB files")
RNG = np.random.default_rng(5)
FACE = np.round(RNG.uniform(20.0, 80.0, (68, 2)), 3)  # counted from 1, as the data sets do


def picture(path, size=(100, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    return path


def pts_text(points, *, end="\n", announced=None):
    rows = [f"{x:.6f} {y:.6f}" for x, y in points]
    n = len(points) if announced is None else announced
    return end.join(["version: 1", f"n_points:  {n}", "{", *rows, "}", ""])


def reasons(skips):
    return {entry.source.name: (entry.line, entry.reason) for entry in skips.entries}


def test_300w_points_lose_one_pixel_and_folders_give_splits(tmp_path):
    for folder in ("afw", "helen/testset", "lfpw/trainset", "ibug", "01_Indoor"):
        picture(tmp_path / folder / "a.png")
        (tmp_path / folder / "a.pts").write_text(pts_text(FACE), "ascii")
    skips = Skips()
    found = list(pts.read_300w(tmp_path, skips))
    assert not len(skips)
    splits = {s.id: s.split for s in found}
    assert splits == {
        "01_Indoor_a": "test", "afw_a": "train", "helen_testset_a": "common",
        "ibug_a": "challenge", "lfpw_trainset_a": "train",
    }  # fmt: skip
    np.testing.assert_allclose(found[0].points, FACE - 1.0, atol=1e-5)  # float32 of values below 100
    assert found[0].scheme == "68" and found[0].visible.all() and found[0].picture.suffix == ".png"
    whole = next(pts.read_300w(tmp_path, skips, first=0))
    np.testing.assert_allclose(whole.points, FACE, atol=1e-5)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "ascii"])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path, end, coding):
    picture(tmp_path / "a.JPG")
    (tmp_path / "a.pts").write_bytes(pts_text(FACE, end=end).encode(coding))
    (sample,) = pts.read_300w(tmp_path, Skips())
    np.testing.assert_allclose(sample.points, FACE - 1.0, atol=1e-5)


def test_bad_pts_files_are_named_with_their_line_and_skipped(tmp_path):
    good = pts_text(FACE).split("\n")
    bad = {
        "short": pts_text(FACE[:60]),
        "announced": pts_text(FACE[:67], announced=68),
        "cut": "\n".join(good[:40]),
        "nan": "\n".join([*good[:9], "nan 4.0", *good[10:]]),
        "word": "\n".join([*good[:9], "12,5x 4.0", *good[10:]]),
        "three": "\n".join([*good[:9], "1 2 3", *good[10:]]),
        "one": pts_text(np.full((68, 2), 7.0)),
        "empty": "",
        "binary": b"\xff\x00\x81",
    }
    for name, text in bad.items():
        picture(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.pts").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "absent.pts").write_text(pts_text(FACE))
    picture(tmp_path / "unlabelled.jpg")
    picture(tmp_path / "good.jpg")
    (tmp_path / "good.pts").write_text(pts_text(FACE))
    skips = Skips()
    assert [s.id for s in pts.read_300w(tmp_path, skips)] == ["good"]
    found = reasons(skips)
    assert len(found) == len(skips) == len(bad) + 2
    assert found["short.pts"] == (None, "68 points expected, found 60")
    assert found["announced.pts"] == (None, "n_points says 68, 67 found")
    assert found["cut.pts"][0] == 40 and "cut off" in found["cut.pts"][1]
    assert found["nan.pts"] == (10, "no finite number: 'nan'")
    assert found["word.pts"][0] == found["three.pts"][0] == 10
    assert "one spot" in found["one.pts"][1] and "UTF-8" in found["binary.pts"][1]
    assert found["absent.pts"][1].startswith("no picture absent") and "no annotation" in found["unlabelled.jpg"][1]
    assert "and 1 more" in skips.report() and f"skipped {len(skips)}" in skips.report()


def test_menpo_tells_profiles_from_frontal_faces(tmp_path):
    for name, count in (("front", 68), ("profile", 39), ("strange", 51)):
        picture(tmp_path / "train" / f"{name}.jpg")
        (tmp_path / "train" / f"{name}.pts").write_text(pts_text(FACE[:count]))
    skips = Skips()
    assert {s.id: s.scheme for s in pts.read_menpo(tmp_path, skips)} == {"train_front": "68", "train_profile": "39"}
    assert reasons(skips) == {"strange.pts": (None, "68 or 39 points expected, found 51")}


@pytest.mark.parametrize("packed", [False, True])
def test_300wlp_reads_both_kinds_of_points_and_the_pose(tmp_path, packed):
    picture(tmp_path / "AFW" / "AFW_1_0.jpg", (450, 450))
    (tmp_path / "landmarks" / "AFW").mkdir(parents=True)
    pose = np.radians([[10.0, -40.0, 5.0]])
    own = {"pt2d": FACE.T, "Pose_Para": np.hstack([pose, np.ones((1, 4))]), "roi": np.array([[1, 2, 3, 4]], np.int16)}
    scipy_io.savemat(tmp_path / "AFW" / "AFW_1_0.mat", own, do_compression=packed)
    (sample,) = lp.read_300wlp(tmp_path, Skips())
    np.testing.assert_allclose(sample.points, FACE - 1.0, atol=1e-5)
    angles = (sample.pose.yaw_deg, sample.pose.pitch_deg, sample.pose.roll_deg)
    np.testing.assert_allclose(angles, (-40.0, 10.0, 5.0), rtol=1e-12)
    skips = Skips()
    assert not list(lp.read_300wlp(tmp_path, skips, points="3d")) and "which holds pts_3d" in str(skips.entries[0])
    both = {"pts_2d": FACE.astype(np.float32), "pts_3d": FACE + 3.0}
    scipy_io.savemat(tmp_path / "landmarks" / "AFW" / "AFW_1_0_pts.mat", both, do_compression=packed)
    (sample,) = lp.read_300wlp(tmp_path, Skips(), points="3d")
    assert sample.scheme == "68-3d"
    np.testing.assert_allclose(sample.points, FACE + 2.0, atol=1e-5)
    both["pts_2d"][67, 1] = np.nan
    scipy_io.savemat(tmp_path / "landmarks" / "AFW" / "AFW_1_0_pts.mat", both)
    assert not list(lp.read_300wlp(tmp_path, skips)) and "point 68 of 68 is not finite" in skips.entries[-1].reason


def test_aflw2000_hides_the_points_marked_minus_one(tmp_path):
    picture(tmp_path / "image00002.jpg", (450, 450))
    points = RNG.uniform(50, 300, (2, 21))
    points[:, 3] = -1
    content = {"pt3d_68": np.vstack([FACE.T, np.zeros((1, 68))]), "pt2d": points, "Pose_Para": np.zeros((1, 7))}
    scipy_io.savemat(tmp_path / "image00002.mat", content)
    scipy_io.savemat(tmp_path / "image00004.mat", {"pt2d": points})
    picture(tmp_path / "image00004.jpg")
    skips = Skips()
    (sample,) = lp.read_aflw2000(tmp_path, skips)
    np.testing.assert_allclose(sample.points, FACE - 1.0, atol=1e-5)
    assert sample.split == "test" and "no numeric array 'pt3d_68'; the file holds pt2d" in str(skips.entries[0])
    sample = next(lp.read_aflw2000(tmp_path, Skips(), points="2d"))
    assert sample.scheme == "21" and sample.visible.sum() == 20 and not sample.visible[3]
    assert np.isnan(sample.points[3]).all()
    with pytest.raises(InputError, match="expected points of"):
        next(lp.read_aflw2000(tmp_path, Skips(), points="4d"))


@pytest.mark.parametrize("packed", [False, True])
def test_mat_reader_agrees_with_scipy(tmp_path, packed):
    cells = np.empty((2, 1), object)
    cells[:, 0] = ["0/image1.jpg", "3/b.jpg"]
    content = {
        "doubles": RNG.normal(size=(3, 5)), "singles": RNG.normal(size=(2, 2, 3)).astype(np.float32),
        "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3), "longs": np.array([[-(2**40)]]), "empty": np.zeros((0, 4)),
        "truth": np.array([[True, False]]), "text": "Größe", "names": cells, "structure": {"a": 1.0},
    }  # fmt: skip
    scipy_io.savemat(tmp_path / "a.mat", content, do_compression=packed)
    ours, theirs = read_mat(tmp_path / "a.mat"), scipy_io.loadmat(tmp_path / "a.mat")
    for name in ("doubles", "singles", "bytes", "longs", "empty", "truth"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert ours["text"] == "Größe" and ours["names"].ravel().tolist() == ["0/image1.jpg", "3/b.jpg"]
    assert ours["structure"].matlab_class == 2
    data = (tmp_path / "a.mat").read_bytes()
    for stop in (100, 130, len(data) // 2, len(data) - 3):
        (tmp_path / "b.mat").write_bytes(data[:stop])
        with pytest.raises(BadSampleError, match="MAT file"):
            read_mat(tmp_path / "b.mat")
    (tmp_path / "b.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(BadSampleError, match="-v7"):
        read_mat(tmp_path / "b.mat")


def t7_tensor(array, kind="Float", *, strides=None, offset=1):
    """A tensor as torch.save of Torch7 writes it: torch7 File.lua and generic/Tensor.c."""

    def text(value):
        return struct.pack("<i", len(value)) + value.encode()

    dtype = {"Float": "<f4", "Double": "<f8"}[kind]
    strides = strides or [s // array.itemsize for s in np.ascontiguousarray(array).strides]
    head = struct.pack("<ii", 4, 1) + text("V 1") + text(f"torch.{kind}Tensor") + struct.pack("<i", array.ndim)
    head += struct.pack(f"<{2 * array.ndim + 1}q", *array.shape, *strides, offset)
    flat = np.concatenate([np.zeros(offset - 1), array.T.ravel() if strides[0] == 1 else array.ravel()]).astype(dtype)
    storage = struct.pack("<ii", 4, 2) + text("V 1") + text(f"torch.{kind}Storage")
    return head + storage + struct.pack("<q", flat.size) + flat.tobytes()


def test_ls3dw_reads_tensors_and_matrices(tmp_path):
    samples = {
        "float": t7_tensor(FACE), "double": t7_tensor(FACE, "Double"), "late": t7_tensor(FACE, offset=5),
        "turned": t7_tensor(FACE, strides=[1, 68]),
        "table": struct.pack("<iiii", 3, 7, 1, 2) + struct.pack("<i", 3) + b"pts" + t7_tensor(FACE, "Double"),
    }  # fmt: skip
    for name, data in samples.items():
        picture(tmp_path / "Menpo-3D" / f"{name}.png")
        (tmp_path / "Menpo-3D" / f"{name}.t7").write_bytes(data)
    picture(tmp_path / "300VW-3D" / "Trainset" / "1" / "0001.jpg")
    scipy_io.savemat(tmp_path / "300VW-3D" / "Trainset" / "1" / "0001.mat", {"p": np.c_[FACE, np.zeros(68)].T})
    skips = Skips()
    found = {s.id: s for s in ls3dw.read_ls3dw(tmp_path, skips)}
    assert not len(skips) and len(found) == 6
    for sample in found.values():
        np.testing.assert_allclose(sample.points, FACE - 1.0, atol=1e-5)
        assert sample.scheme == "68-3d"
    assert found["300VW-3D_Trainset_1_0001"].split == "train" and found["Menpo-3D_late"].split == "test"


def test_damaged_t7_files_are_skipped(tmp_path):
    good = t7_tensor(FACE)
    bad = {
        "cut": good[:-7], "few": t7_tensor(FACE[:50]), "text": b"4\n1\n3\nV 1\n", "empty": b"",
        "class": good.replace(b"torch.FloatTensor", b"nn.SequentialXYZ1"), "beyond": t7_tensor(FACE, strides=[2, 5]),
    }  # fmt: skip
    for name, data in bad.items():
        picture(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.t7").write_bytes(data)
    skips = Skips()
    assert not list(ls3dw.read_ls3dw(tmp_path, skips)) and len(skips) == len(bad)
    assert reasons(skips)["few.t7"][1] == "one array of 68 points expected, found arrays of shape [50, 2]"
    with pytest.raises(BadSampleError, match="nn.SequentialXYZ1"):
        read_t7(tmp_path / "class.t7")


def test_numbers_and_lines_are_strict(tmp_path):
    for text in ("inf", "1_0", "", "0x1"):
        with pytest.raises(BadSampleError):
            numbers([text])
    with pytest.raises(BadSampleError, match="cannot be read"):
        text_lines(tmp_path / "none")
    with pytest.raises(InputError, match="a folder that holds the data set"):
        next(pts.read_300w(tmp_path / "none", Skips()))
