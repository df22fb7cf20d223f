"""face-enhance --json: the report is there whatever ends the run, and says what it lacks."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import save_tiny

from sdk import photo
from sdk import run as runs
from sdk.cli import main

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny.onnx"))


@pytest.fixture
def run(model, capsys, tmp_path, monkeypatch):
    """The command in a folder with in/a.png and in/b.png, without a face each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(PHOTO).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "boxes.json").write_text('{"a.png": [], "b.png": []}')

    def call(*arguments):
        code = main(["in", "-o", "out", "--boxes", "boxes.json", *arguments, "--model", model, "--threads", "1"])
        return (code, *capsys.readouterr())

    return call


def test_an_unwritable_report_stops_before_the_first_file(run, tmp_path):
    (tmp_path / "file").touch()
    for report in ("file/all.json", "dir.json"):
        (tmp_path / "dir.json").mkdir(exist_ok=True)
        code, _, errors = run("--json", report)
        assert code == 2 and report in errors and errors.count("; ") == 2 and not (tmp_path / "out").exists()


def test_a_killed_run_leaves_its_report(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SAVE_S", 0.0)
    monkeypatch.setattr(runs, "SAVE_SHARE", 0.0)
    real = photo.write_file
    seen = []

    def watched(path, data):
        if path.name == "b.png":
            seen.append(json.loads((tmp_path / "all.json").read_text()))
            raise SystemExit(9)
        real(path, data)

    monkeypatch.setattr(photo, "write_file", watched)
    with pytest.raises(SystemExit):
        run("--json", "all.json")
    assert [entry["input"] for entry in seen[0]["files"]] == ["in/a.png"]
    assert len(json.loads((tmp_path / "all.json").read_text())["files"]) == 1


def test_the_report_beside_comes_before_the_picture(run, tmp_path, monkeypatch):
    real = photo.write_file
    order = []
    monkeypatch.setattr(photo, "write_file", lambda path, data: (order.append(path.name), real(path, data)))
    assert run("--json")[0] == 0
    assert order == ["a.png.json", "a.png", "b.png.json", "b.png"]


def test_finished_files_without_a_record_are_said(run, tmp_path):
    assert run()[0] == 0
    for report in (["--json", "all.json"], ["--json"]):
        code, _, errors = run(*report)
        assert code == 0 and errors.count("the JSON report has no record of it") == 2
        assert "2 already there (2 without a record)" in errors
    assert run("--json", "all.json", "--force")[0] == 0
    assert "without a record" not in run("--json", "all.json")[2]
