"""face-enhance: no file of the user is overwritten, mixed up or passed over in silence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import save_tiny

from sdk.cli import main

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOX = "20,15,40,35"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny.onnx"))


@pytest.fixture
def run(model, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([*map(str, arguments), "--model", model, "--threads", "1"])
        return (code, *capsys.readouterr())

    return call


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PHOTO).save(path)
    return path.read_bytes()


def test_side_outputs_spare_inputs_and_strangers(run, tmp_path):
    before = save(tmp_path / "x_compare.png")
    for force in ([], ["--force"]):
        code, _, errors = run("x_compare.png", "-o", "x.png", "--compare", "--boxes", BOX, *force)
        assert code == 1 and "none of the inputs; got x_compare.png; " in errors
    assert (tmp_path / "x_compare.png").read_bytes() == before and not (tmp_path / "x.png").exists()
    save(tmp_path / "a.png")
    (tmp_path / "y_compare.png").write_text("mine")
    code, _, errors = run("a.png", "-o", "y.png", "--compare", "--boxes", BOX)
    assert code == 1 and "not there yet; got y_compare.png; " in errors
    assert (tmp_path / "y_compare.png").read_text() == "mine"
    assert run("a.png", "-o", "y.png", "--compare", "--boxes", BOX, "--force")[0] == 0
    before = save(tmp_path / "a_face00.png")
    code, _, errors = run("a_face00.png", "a.png", "-o", ".", "--no-paste", "--boxes", "{}.json", "--force")
    assert code == 2  # no such boxes file
    (tmp_path / "b.json").write_text(json.dumps({"a.png": [[20, 15, 40, 35]], "a_face00.png": []}))
    code, _, errors = run("a_face00.png", "a.png", "-o", ".", "--no-paste", "--boxes", "b.json", "--force")
    assert code == 1 and "none of the inputs; got a_face00.png" in errors
    assert (tmp_path / "a_face00.png").read_bytes() == before


def test_one_input_is_never_another_ones_output(run, tmp_path):
    before = [save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "a_new.png")]
    code, _, errors = run("in/a.png", "in/a_new.png", "-o", "in", "--suffix", "_new", "--force")
    assert code == 1 and "none of the inputs; got in/a_new.png" in errors
    assert [(tmp_path / "in" / name).read_bytes() for name in ("a.png", "a_new.png")] == before


def test_faces_are_done_whichever_box_is_the_first_sound_one(run, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.json").write_text("[[50, 10, 50, 20], [20, 15, 40, 35]]")
    assert run("a.png", "-o", "out", "--no-paste", "--boxes", "b.json")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_face01.png"]
    assert "already there" in run("a.png", "-o", "out", "--no-paste", "--boxes", "b.json")[1]


def test_a_sheet_takes_its_name(run, tmp_path):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "a_compare.png")
    (tmp_path / "b.json").write_text(json.dumps(dict.fromkeys(["a.png", "a_compare.png"], [[20, 15, 40, 35]])))
    for _ in range(2):
        code, _, errors = run("in", "-o", "out", "--compare", "--boxes", "b.json")
        assert code == 1 and "out/a_compare.png, which in/a.png already takes; " in errors


def test_outputs_that_are_folders_and_suffixes_with_folders(run, tmp_path):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    code, _, errors = run("in", "-o", "out")
    assert code == 1 and "a file as output; got out/a.png, which is a folder; " in errors
    code, _, errors = run("in", "-o", "out", "--suffix", "/../x")
    assert code == 2 and "--suffix as part of a file name" in errors


def test_boxes_of_equal_names_are_not_mixed_up(run, tmp_path):
    save(tmp_path / "p" / "a.png")
    save(tmp_path / "q" / "a.png")
    both = {"p/a.png": [[20, 15, 40, 35]], "q/a.png": [[1, 2, 30, 40], [20, 15, 40, 35]]}
    files = [{"input": name, "faces": [{"box_xyxy_px": box} for box in boxes]} for name, boxes in both.items()]
    (tmp_path / "b.json").write_text(json.dumps({"facetrt_faces": 1, "files": files}))
    code, said, _ = run("p", str(tmp_path / "q"), "-o", "out", "--boxes", "b.json", "--ext", "jpg")
    assert code == 1 and "p/a.png -> out/a.jpg: 1 face " in said
    code, said, _ = run(tmp_path / "q" / "a.png", "-o", "out.png", "--boxes", "b.json")
    assert code == 0 and "2 faces" in said
    code, _, errors = run(save_as(tmp_path / "r" / "a.png"), "-o", "r.png", "--boxes", "b.json")
    assert code == 1 and "boxes for " in errors and "several pictures named a.png; " in errors
    (tmp_path / "bare.json").write_text(json.dumps({"a.png": [[20, 15, 40, 35]]}))
    assert run("p/a.png", "-o", "p.png", "--boxes", "bare.json")[0] == 0
    code, _, errors = run("p/a.png", "q/a.png", "-o", "two", "--boxes", "bare.json")
    assert code == 1 and "several pictures named a.png" in errors


def save_as(path):
    save(path)
    return path


def test_a_boxes_file_nested_without_end(run, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.json").write_text("[" * 100000)
    code, _, errors = run("a.png", "-o", "x.png", "--boxes", "b.json")
    assert code == 2 and "expected a JSON file of boxes; got b.json: " in errors


def test_names_that_the_terminal_cannot_show(model, tmp_path):
    name = "\u540d.png"
    save(tmp_path / name)
    (tmp_path / "b.json").write_text("[]")
    command = [sys.executable, "-m", "sdk.cli", name, "-o", "x.png", "--boxes", "b.json", "--model", model]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "\\u540d.png -> x.png" in done.stdout, done.stderr


def test_ctrl_c_while_the_model_opens(run, tmp_path, monkeypatch):
    save(tmp_path / "a.png")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sdk.enhancer.FaceEnhancer", interrupted)
    code, _, errors = run("a.png", "-o", "x.png")
    assert code == 130 and errors == "face-enhance: interrupted\n"


def test_a_name_too_long_fails_alone(run, tmp_path):
    save(tmp_path / "in" / ("n" * 230 + ".png"))  # sound itself, but not with _compare behind it
    save(tmp_path / "in" / "z.png")
    (tmp_path / "b.json").write_text(json.dumps({"n" * 230 + ".png": [[20, 15, 40, 35]], "z.png": []}))
    code, _, errors = run("in", "-o", "out", "--compare", "--suffix", "_" * 20, "--boxes", "b.json", "--json")
    assert code == 1 and "File name too long; " in errors and "1 done with 0 faces" in errors
