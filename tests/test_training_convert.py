"""Archives made of data sets: what training and evaluation then see, and what is said about the rest."""

import csv

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError, OutputError
from sdk.image.crop import landmark_box, square_windows
from training.data.archive import Options
from training.data.convert import convert, main
from training.data.packs import open_pack
from training.data.store import load_store
from training.evaluate import Options as EvaluateOptions
from training.evaluate import examples

RNG = np.random.default_rng(7)
FACE = np.stack([60 + 40 * np.cos(np.arange(68)), 55 + 45 * np.sin(np.arange(68) * 1.7)], axis=1).round(2)


def write_pts(path, points):
    rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points + 1.0)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


def photo(size=(130, 120), dot=None):
    """Grey [H, W, 3], with one bright pixel at `dot` (x, y)."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    if dot is not None:
        pixels[dot[1], dot[0]] = 255
    return pixels


@pytest.fixture
def faces(tmp_path):
    """Three faces of 300-W in photos of two sizes, the first with a bright pixel where point 30 is."""
    source = tmp_path / "300W"
    for folder in ("afw", "ibug"):
        (source / folder).mkdir(parents=True)
    points = FACE.copy()
    points[30] = (63, 51)
    Image.fromarray(photo(dot=(63, 51))).save(source / "afw" / "dot.png")
    write_pts(source / "afw" / "dot.pts", points)
    for folder, name, scale in (("afw", "small", 0.4), ("ibug", "large", 6.0)):
        Image.fromarray(photo((int(130 * scale), int(120 * scale)))).save(source / folder / f"{name}.jpg")
        write_pts(source / folder / f"{name}.pts", FACE * scale)
    return source


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("name", ["archive", "archive.tar", "archive.v1.tar.xz"])
def test_training_and_evaluation_take_the_archive(faces, tmp_path, monkeypatch, name):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    made = convert("300w", faces, out=tmp_path / name)
    assert (made.pictures, made.points, len(made.skips)) == (3, {"68": 3}, 0)
    pack = open_pack(tmp_path / name)
    assert {r["id"]: r["split"] for r in pack.rows} == {
        "afw_dot": "train",
        "afw_small": "train",
        "ibug_large": "challenge",
    }
    store = load_store(pack, pack.select("train"), canvas=64)
    assert len(store) == 2 and np.isfinite(store.points.numpy()).all()
    (found,) = examples(pack, EvaluateOptions("challenge", 16, "fsrnet"), 8)
    assert found.hr.shape == (128, 128, 3) and found.native and found.points.shape == (68, 2)


def test_points_stay_on_their_pixels_and_windows_follow_the_rule(faces, tmp_path):
    convert("300w", faces, out=tmp_path / "a")
    pack = open_pack(tmp_path / "a")
    rows = {r["id"]: r for r in pack.rows}
    pixels = pack.square_picture(rows["afw_dot"]).astype(float)[..., 0] - 90.0
    across, down = pixels.sum(axis=0), pixels.sum(axis=1)
    centre = [line @ np.arange(len(line)) / line.sum() for line in (across, down)]
    np.testing.assert_allclose(centre, pack.points["afw_dot"][30], atol=0.05)  # 8-bit rounding of the dot's slopes
    window = square_windows(landmark_box(FACE[None] * 6.0), kind="landmarks")[0]
    large = rows["ibug_large"]
    assert int(large["w"]) == 256 and float(large["native_side"]) == pytest.approx(window[2] - window[0], abs=0.02)
    assert (float(large["x0"]), float(large["y0"])) == pytest.approx(tuple(window[:2]), abs=0.01)
    assert int(rows["afw_small"]["w"]) == round(float(rows["afw_small"]["native_side"])) < 80  # nothing is enlarged
    expected = (FACE * 6.0 + 0.5 - window[:2]) * 256 / (window[2] - window[0]) - 0.5
    np.testing.assert_allclose(pack.points["ibug_large"], expected, atol=1e-3)


def test_bad_samples_stand_in_the_list_with_their_reason(faces, tmp_path, capsys):
    (faces / "ibug" / "large.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    data = (faces / "afw" / "small.jpg").read_bytes()
    (faces / "afw" / "small.jpg").write_bytes(data[: len(data) // 2])
    write_pts(faces / "afw" / "far.pts", FACE + 5000.0)
    Image.fromarray(photo()).save(faces / "afw" / "far.png")
    write_pts(faces / "afw" / "tiny.pts", FACE * 0.05)
    Image.fromarray(photo()).save(faces / "afw" / "tiny.png")
    write_pts(faces / "afw" / "line.pts", FACE * [1.0, 0.0] + 4.0)
    Image.fromarray(photo()).save(faces / "afw" / "line.png")
    assert main(["300w", str(faces), "-o", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "1 pictures, 1 with points 68" in said and "skipped 5:" in said
    found = {r["file"]: r["reason"] for r in rows_of(tmp_path / "a" / "skipped.csv")}
    assert found["ibug/large.pts"] == "n_points says 68, 1 found"
    assert "small.jpg cannot be read" in found["afw/small.pts"] and "outside the picture" in found["afw/far.pts"]
    assert "below 16" in found["afw/tiny.pts"] and "one line" in found["afw/line.pts"] and len(found) == 5


def test_nothing_usable_and_nothing_overwritten(faces, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no sample at all"):
        convert("300w", empty, out=tmp_path / "b")
    with pytest.raises(InputError, match="below 4096"):
        convert("300w", faces, out=tmp_path / "b", options=Options(max_side=5000, min_side=4096))
    convert("300w", faces, out=tmp_path / "a.tar")
    with pytest.raises(OutputError, match="something there already"):
        convert("300w", faces, out=tmp_path / "a.tar")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["300W", "a.tar", "empty"]  # no half archive is left behind
    for arguments in (["--points", "3d"], ["--jpeg", "0"], ["--limit", "0"], ["--min-side", "0"]):
        assert main(["300w", str(faces), "-o", str(tmp_path / "b"), *arguments]) == 2
        assert "expected" in capsys.readouterr().err
    with pytest.raises(InputError, match="first-pixel"):
        convert("lfw", faces, out=tmp_path / "b", first_pixel=1)


def test_a_killed_conversion_leaves_nothing_under_the_archives_name(faces, tmp_path, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.data.convert.os.rename", kill)
    with pytest.raises(KeyboardInterrupt):
        convert("300w", faces, out=tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["300W"]


def test_the_same_source_gives_the_same_tar(faces, tmp_path):
    for name in ("a", "b"):
        convert("300w", faces, out=tmp_path / name / "x.tar", options=Options(jpeg=95, limit=2))
    first, second = ((tmp_path / n / "x.tar").read_bytes() for n in ("a", "b"))
    assert first == second


def test_a_turn_in_the_exif_data_is_not_applied(tmp_path):
    (tmp_path / "s").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees; annotations are of the stored pixels
    Image.fromarray(photo((130, 120), dot=(63, 51))).save(tmp_path / "s" / "a.png", exif=exif)
    points = FACE.copy()
    points[30] = (63, 51)
    write_pts(tmp_path / "s" / "a.pts", points)
    convert("300w", tmp_path / "s", out=tmp_path / "a")
    pack = open_pack(tmp_path / "a")
    pixels = pack.square_picture(pack.rows[0])[..., 0]
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    np.testing.assert_allclose(pack.points["a"][30], (column, row), atol=0.6)


def test_verification_and_picture_pairs(tmp_path):
    lfw = tmp_path / "lfw"
    for name in ("A", "B"):
        (lfw / name).mkdir(parents=True)
        for number in (1, 2):
            Image.fromarray(photo((250, 250))).save(lfw / name / f"{name}_{number:04d}.jpg")
    (lfw / "B" / "B_0002.jpg").write_bytes(b"no picture")
    (lfw / "pairs.txt").write_text("1\t2\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t2\tB\t1\n")
    made = convert("lfw", lfw, out=tmp_path / "v")
    assert made.pictures == 3 and [e.line for e in made.skips.entries] == [3, 3]
    pairs = [tuple(r.values()) for r in rows_of(tmp_path / "v" / "pairs.csv")]
    assert pairs == [("A_0001", "A_0002", "1", "1"), ("A_0001", "B_0001", "0", "1"), ("A_0002", "B_0001", "0", "1")]
    assert open_pack(tmp_path / "v").square_picture({"id": "", "file": "img/lfw/A_0001.webp"}).shape == (250, 250, 3)

    sets = tmp_path / "sets" / "Set5"
    for name, size in (("HR/a.png", (43, 30)), ("LRbicx2/a.png", (21, 15)), ("LRbicx3/a.png", (20, 10))):
        (sets / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(sets / name)
    made = convert("pairs", tmp_path / "sets", out=tmp_path / "p")
    rows = rows_of(tmp_path / "p" / "index.csv")
    assert [(r["id"], r["kind"], r["scale"], r["w"], r["h"]) for r in rows] == [
        ("Set5_a_SRF_2_HR", "HR", "2", "42", "30"), ("Set5_a_SRF_2_LR", "LR", "2", "21", "15"),
    ]  # fmt: skip
    assert "20 x 10 px of a truth of 43 x 30 is not 1/3" in made.skips.entries[0].reason
    kept = np.asarray(Image.open(sets / "LRbicx2" / "a.png"))
    np.testing.assert_array_equal(open_pack(tmp_path / "p").picture(rows[1]), kept)  # stored without loss
