"""training.report and its plots: what measurements say is drawn, the same bytes each time; no picture that may not be
shown; what is absent is told, and old figures stay."""

import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from training import picture_sheet, plots, report

PROTOCOL = {"paper": "SRINC", "pack": "faces68", "split": "test", "scale": 4}


def texts(svg):
    """Comments of an SVG: matplotlib writes each text there, whose letters are drawn as paths."""
    return " ".join(part.split("-->")[0] for part in svg.decode().split("<!--")[1:])


def bars(svg, colour):
    """(left, right) of the bars of a colour."""
    found = []
    for path in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"):
        if f"fill: {colour}" in path.get("style", ""):
            numbers = [float(word) for word in path.get("d").split() if word not in "MLz"]
            found.append((min(numbers[::2]), max(numbers[::2])))
    return found


def gain_row(model, gain, detector="fan"):
    return {
        "model": model,
        "detector": detector,
        "n": 9,
        "relative_gain": gain,
        "gain_interval": [gain - 0.02, gain + 0.01],
    }


@pytest.fixture
def root(tmp_path):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    rows = [{"model": m, "cumulative_psnr_db": list(np.arange(255) * k)} for m, k in (("bicubic", 1.0), ("srinc", 2.0))]
    (results / "papers_srinc_set5_x2.json").write_text(json.dumps({"results": rows}))
    rows = [gain_row("bicubic", 0.0), gain_row("srinc", 0.10), gain_row("vdsr", -0.05), gain_row("truth", 0.30)]
    (results / "papers_landmark_gain_x4.json").write_text(json.dumps({"protocol": PROTOCOL, "results": rows}))
    runs = tmp_path / "runs"
    for stage, points in (("fan", [(60, 30.0, None)]), ("pixel", [(60, 9.0, 20.0), (180, 8.0, 21.0)])):
        (runs / "super_fan_64" / stage).mkdir(parents=True)
        log = [{"step": 1, "seconds": s, "nme": nme, "psnr_y": psnr} for s, nme, psnr in points]
        (runs / "super_fan_64" / stage / "log.json").write_text(json.dumps(log))
    (runs / "broken" / "pixel").mkdir(parents=True)
    (runs / "broken" / "pixel" / "log.json").write_text('[{"step": 1, "sec')
    return tmp_path


def made(root, *only):
    one = report.Report([root / "runs"], root, "the command")
    return report.written(one, only), root / "docs" / "results"


def test_gain_bars_by_eye():
    rows = [gain_row("bicubic", 0.0), gain_row("srinc", 0.10), gain_row("vdsr", -0.05), gain_row("truth", 0.30)]
    svg = plots.landmark_gain([("faces", rows)])
    ((better_left, better_right),) = bars(svg, plots.COLOURS["srinc"])
    ((worse_left, worse_right),) = bars(svg, plots.COLOURS["vdsr"])
    ((truth_left, zero),) = bars(svg, plots.COLOURS["truth"])
    assert better_right == worse_left == zero, "all begin at zero"
    scale = (better_right - better_left) / 10.0
    assert np.isclose((worse_right - worse_left) / scale, 5.0) and np.isclose((zero - truth_left) / scale, 30.0)
    assert not bars(svg, plots.COLOURS["bicubic"]), "the baseline has no gain over itself"


def test_figures_from_files(root):
    lines, folder = made(root, "cumulative_psnr", "landmark_gain", "training_curves")
    assert lines == [
        f"wrote docs/results/{name}.svg" for name in ("cumulative_psnr", "landmark_gain", "training_curves")
    ]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert all(b"<svg" in content and len(content) < 200_000 for content in before.values())
    told = texts(before["landmark_gain.svg"])
    assert "SRINC: faces68 test, ×4, 9 faces" in told and "truth" in told
    made(root, "cumulative_psnr", "landmark_gain", "training_curves")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "the same numbers, the same bytes"
    index = json.loads((root / "benchmarks/results/figures.json").read_text())
    assert set(index["figures"]) == set(before) and index["command"] == "the command"


def test_stages_follow_one_another_and_logs_outlive_their_folder(root):
    curves = report.logs_of([root / "runs"])
    assert [p["minutes"] for p in curves["super_fan_64"]] == [2.0, 4.0] and set(curves["super_fan_64: fan"][0]) == {
        "stage", "minutes", "nme"
    }  # fmt: skip
    made(root, "training_curves")
    (root / "runs").rename(root / "elsewhere")
    lines, _ = made(root, "training_curves")
    assert lines == ["wrote docs/results/training_curves.svg"]


def test_without_measurements_it_says_what_is_missing(tmp_path):
    lines, folder = made(tmp_path, "cumulative_psnr", "landmark_gain", "training_curves")
    assert len(lines) == 3 and not folder.exists() and "papers_srinc_*.json" in lines[0]


@pytest.mark.parametrize("face", ["faces68_helen_nc:1", "fsrnet_val_nc:x", "elsewhere:ff_train_3663"])
def test_only_free_archives_are_shown(face):
    with pytest.raises(InputError, match="faces of faces_clean_ccby_pd or demo_free, which may be shown"):
        picture_sheet.read_faces([face])


@pytest.fixture
def free_pack(tmp_path):
    folder = tmp_path / "demo_free"
    folder.mkdir()
    lines = ["id,file,split,licence,w,h"]
    for name, side, split in (("a", 160, "demo"), ("small", 64, "demo"), ("seen", 160, "train")):
        Image.new("RGB", (side, side), (200, 100, 50)).save(folder / f"{name}.png")
        lines.append(f"{name},{name}.png,{split},CC0,{side},{side}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_faces_that_were_trained_on_or_are_too_small_are_refused(free_pack):
    ((picture, credit),) = picture_sheet.read_faces([f"{free_pack}:a"])
    assert picture.shape == (128, 128, 3) and credit == "CC0" and (picture == (200, 100, 50)).all()
    for face, words in (("seen", "split train"), ("small", "with 64"), ("none", "no such face")):
        with pytest.raises(InputError, match=words):
            picture_sheet.read_faces([f"{free_pack}:{face}"])


def test_a_sheet_by_eye():
    class Brighter:
        name = "brighter"

        def __call__(self, lr):
            return np.full((len(lr), 64, 64, 3), 250, np.uint8), np.full((len(lr), 68, 2), 9.5, np.float32)

    faces = [(np.full((128, 128, 3), level, np.uint8), "CC0") for level in (10, 90)]
    rows = picture_sheet.rows_of(faces, [Brighter()], lr_px=16)
    assert list(rows[0].pictures) == ["input, 16 px", "bicubic", "brighter", "truth"]
    sheet = np.array(Image.open(io.BytesIO(picture_sheet.sheet(rows))))
    step, middle = picture_sheet.TILE_PX + picture_sheet.GAP_PX, picture_sheet.HEAD_PX + 64
    found = [[sheet[middle + line * step, 64 + column * step, 0] for column in range(4)] for line in range(2)]
    assert found == [[10, 10, 250, 10], [90, 90, 250, 90]]
    rows = picture_sheet.rows_of(faces, [Brighter()], lr_px=16, points=True)
    assert list(rows[0].pictures) == ["input, 16 px", "brighter", "truth"]
    dots = np.argwhere((rows[0].pictures["brighter"] == picture_sheet.DOT).all(axis=2))
    assert np.allclose(dots.mean(axis=0), 19.5, atol=0.6) and 1 <= len(dots) <= 9, (
        "twice as far in a tile twice as wide"
    )
