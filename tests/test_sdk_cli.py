"""face-enhance: what is written, what is left alone, what is said, and the exit code."""

import json
import signal

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import save_tiny

from sdk import photo
from sdk.cli import main

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOX = "20,15,40,35"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny.onnx"))


@pytest.fixture
def run(model, capsys):
    def call(*arguments):
        code = main([*map(str, arguments), "--model", model, "--threads", "1"])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def folder(tmp_path):
    """Two sound photos, one in a subfolder, and two files that are none."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(PHOTO).save(tmp_path / "in" / "a.png")
    Image.fromarray(PHOTO[::-1]).save(tmp_path / "in" / "sub" / "b.jpg")
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "text.png").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not asked for")
    return tmp_path / "in"


def pixels(path):
    return np.asarray(Image.open(path))


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_photo(run, folder, tmp_path):
    out = tmp_path / "out.png"
    code, said, errors = run(folder / "a.png", "-o", out, "--boxes", BOX, "--box-kind", "crop")
    assert (code, errors) == (0, "") and "1 face (1 ok)" in said
    changed = (pixels(out) != PHOTO).any(axis=2)
    assert changed[15:35, 20:40].any() and not changed[:15].any() and not changed[35:].any()
    before = out.read_bytes()
    code, said, _ = run(folder / "a.png", "-o", out, "--boxes", BOX, "--strength", "0.1")
    assert code == 0 and "already there (--force does it again)" in said and out.read_bytes() == before
    run(folder / "a.png", "-o", out, "--boxes", BOX, "--strength", "0.1", "--force")
    assert out.read_bytes() != before


def test_a_folder_does_what_can_be_done(run, folder, tmp_path):
    out = tmp_path / "out"
    code, said, errors = run(folder, "-o", out)
    assert code == 1 and names(out) == ["a.png", "sub/b.jpg"]
    assert "empty.jpg: failed: expected a picture file; got" in errors and "text.png: failed: expected" in errors
    assert "4/4 files" in errors and "2 done with 0 faces, 0 already there, 2 failed" in errors
    assert (out / "sub" / "b.jpg").read_bytes() == (folder / "sub" / "b.jpg").read_bytes() and "is copied" in said
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "empty.jpg").unlink()
    (folder / "text.png").unlink()
    code, said, errors = run(folder, "-o", out)
    assert code == 0 and "1 done with 0 faces, 2 already there, 0 failed" in errors


def test_ctrl_c_leaves_whole_files_and_a_summary(run, folder, tmp_path, monkeypatch):
    real = photo.write_file

    def interrupted(path, data):
        if path.name == "b.jpg":
            signal.raise_signal(signal.SIGINT)
        real(path, data)

    monkeypatch.setattr(photo, "write_file", interrupted)
    (folder / "empty.jpg").unlink()
    code, _, errors = run(folder, "-o", tmp_path / "out")
    assert code == 130 and names(tmp_path / "out") == ["a.png"]
    assert "interrupted" in errors and "1 done with 0 faces, 0 already there, 0 failed, 2 left" in errors


def test_json(run, folder, tmp_path):
    out, report = tmp_path / "out", tmp_path / "all.json"
    run(folder / "a.png", "-o", out, "--json", report, "--boxes", BOX, "--box-kind", "crop")
    code, _, _ = run(folder / "sub", folder / "empty.jpg", "-o", out, "--json", report)
    files = {entry["input"]: entry for entry in json.loads(report.read_text())["files"]}
    assert code == 1 and len(files) == 3  # the earlier run's entry is kept
    face = files[str(folder / "a.png")]["faces"][0]
    assert face["box_xyxy_px"] == [20, 15, 40, 35] and face["status"] == "ok"
    assert np.shape(face["landmarks_px"]) == (68, 2) and np.shape(face["scores"]) == (68,)
    assert {"read", "enhance", "write"} <= set(files[str(folder / "a.png")]["timings_ms"])
    assert "empty" in files[str(folder / "empty.jpg")]["error"]
    again = tmp_path / "again.png"  # what --json wrote goes back in as boxes
    assert run(folder / "a.png", "-o", again, "--boxes", report, "--box-kind", "crop")[0] == 0
    np.testing.assert_array_equal(pixels(again), pixels(out / "a.png"))
    run(folder / "a.png", "-o", tmp_path / "x.png", "--json", "--boxes", BOX, "--box-kind", "crop")
    assert json.loads((tmp_path / "x.png.json").read_text())["faces"][0]["status"] == "ok"


def test_json_never_overwrites_a_stranger(run, folder, tmp_path):
    stranger = tmp_path / "mine.json"
    stranger.write_text('{"my": "file"}')
    code, _, errors = run(folder / "a.png", "-o", tmp_path / "x.png", "--json", stranger)
    assert code == 2 and "a file of another kind" in errors and stranger.read_text() == '{"my": "file"}'


def test_json_without_a_name_does_not_swallow_an_input(run, folder, tmp_path):
    code, _, _ = run("-o", tmp_path / "x.png", "--json", folder / "a.png")
    assert code == 0 and names(tmp_path / "in" / "sub") == ["b.jpg"] and (tmp_path / "x.png").exists()


def test_faces_alone_and_compare(run, folder, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [[20, 15, 40, 35], [50, 10, 50, 20], [40, 20, 66, 50]]}))
    out = tmp_path / "out"
    assert run(folder / "a.png", "-o", out, "--boxes", boxes, "--no-paste")[0] == 0
    assert names(out) == ["a_face00.png", "a_face02.png"] and pixels(out / "a_face00.png").shape == (128, 128, 3)
    assert "already there" in run(folder / "a.png", "-o", out, "--boxes", boxes, "--no-paste")[1]
    run(folder / "a.png", "-o", out, "--boxes", BOX, "--compare", "--suffix", "_new", "--ext", "jpg")
    assert "a_new.jpg" in names(out)
    sheet = pixels(out / "a_new_compare.jpg")
    assert sheet.shape == (60, 162, 3)
    np.testing.assert_allclose(sheet[:, :80].astype(float).mean(), PHOTO.mean(), atol=2)


def test_aligned_keeps_alpha_and_grey(run, folder, tmp_path):
    face = RNG.integers(0, 256, (20, 20), dtype=np.uint8)
    Image.fromarray(np.dstack([face] * 3 + [np.full_like(face, 77)])).save(folder / "rgba.png")
    Image.fromarray(face).save(folder / "grey.png")
    code, _, errors = run(
        folder / "rgba.png", folder / "grey.png", folder / "a.png", "-o", tmp_path / "out", "--aligned"
    )
    assert code == 1 and "square face pictures; got 80 x 60 px" in errors
    assert pixels(tmp_path / "out" / "rgba.png").shape == (128, 128, 4)
    assert (pixels(tmp_path / "out" / "rgba.png")[..., 3] == 77).all()
    assert pixels(tmp_path / "out" / "grey.png").shape == (128, 128)


def test_orientation_is_honoured(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: shown 60 wide and 80 high
    Image.fromarray(PHOTO).save(tmp_path / "turned.png", exif=exif)
    run(tmp_path / "turned.png", "-o", tmp_path / "x.png", "--boxes", "30,50,50,70", "--box-kind", "crop")
    upright = np.rot90(PHOTO, -1)
    changed = (pixels(tmp_path / "x.png") != upright).any(axis=2)
    assert changed[50:70, 30:50].any() and not changed[:50].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in/a.png", "in", "-o", "x.png"], "a folder as output"),
        (["in/a.png", "-o", "x.xyz"], "an output folder, or a file ending in"),
        (["in/a.png", "-o", "x.png", "--suffix", "_s"], "no --suffix"),
        (["in/a.png", "-o", "x.png", "--strength", "1.5"], "--strength in 0..1"),
        (["in/a.png", "-o", "x.png", "--max-megapixels", "0"], "--max-megapixels"),
        (["in/a.png", "-o", "x.png", "--boxes", "1,2,3"], "x0,y0,x1,y1"),
        (["in/a.png", "-o", "x.png", "--boxes", "absent.json"], "a JSON file of boxes"),
        (["in", "-o", "out", "--boxes", BOX], "boxes by file name"),
        (["in/a.png", "-o", "x.png", "--aligned", "--no-paste"], "--aligned alone"),
        (["in/a.png", "-o", "x.png", "--threads", "0"], "threads"),
        (["in/a.png", "-o", "x.png", "--detector", "absent.onnx"], "YuNet"),
    ],
)
def test_wrong_usage_is_2(folder, tmp_path, monkeypatch, capsys, model, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--model", model]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("; ") >= 2 and not (tmp_path / "x.png").exists()
    for no_parse in (["-o", "x.png"], ["in/a.png"], ["in/a.png", "-o", "x.png", "--ext", "bmp"]):
        with pytest.raises(SystemExit) as caught:
            main(no_parse)
        assert caught.value.code == 2


def test_a_missing_model_stops_at_once(folder, tmp_path, capsys):
    assert main([str(folder), "-o", str(tmp_path / "out"), "--model", "picoface_x9"]) == 2
    assert "picoface_x8" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_outputs_that_cannot_be_are_failures_of_their_file(run, folder, tmp_path):
    (folder / "empty.jpg").unlink()
    (folder / "text.png").unlink()
    (folder / "a.jpg").write_bytes((folder / "sub" / "b.jpg").read_bytes())
    code, _, errors = run(folder, "absent.jpg", "-o", tmp_path / "out", "--ext", "png")
    assert code == 1 and "already takes" in errors and "no absent.jpg" in errors
    assert names(tmp_path / "out") == ["a.png", "sub/b.png"]
    code, _, errors = run(folder / "a.png", "-o", folder)
    assert code == 1 and "the input itself" in errors
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sub").touch()
    code, _, errors = run(folder, "-o", tmp_path / "blocked")
    assert code == 1 and "to write" in errors and names(tmp_path / "blocked") == ["a.jpg", "a.png", "sub"]
