"""What evaluation refuses before it starts, and the file it writes."""

import json

import numpy as np
import pytest

from sdk.image.resample import resize
from training import evaluate_boxes
from training.data.packs import open_pack
from training.evaluate import Options, evaluate, examples, main
from training.predictors import Bicubic
from training.results import ROOT, recorded_command, write_results


def with_lr_files(folder, *, sides=(128, 128, 128, 128)):
    """Replace the index by HR rows and as many LR_8x rows as there are sides."""
    import cv2

    pack = open_pack(folder)
    lines = ["id,file,split,kind"]
    for number, row in enumerate(pack.select("val")):
        lines.append(f"{row['id']},{row['file']},val,HR")
        if number < len(sides):
            name = f"img/{row['id']}_lr.png"
            cv2.imwrite(str(folder / name), resize(pack.picture(row), (sides[number],) * 2))
            lines.append(f"{row['id']},{name},val,LR_8x")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("sides", "more", "words"),
    [
        ((128,) * 3, [], "none for face_09"),
        ((128, 128, 64, 128), [], "64 for face_06"),
        ((128,) * 4, ["--lr-size", "32"], "LR_4x"),
        ((128,) * 4, ["--jitter"], "leave one of them out"),
        ((128,) * 4, ["--degraded", "all"], "leave one of them out"),
    ],
)
def test_lr_files_that_do_not_fit(face_pack, capsys, sides, more, words):
    with_lr_files(face_pack, sides=sides)
    assert main(["bicubic", "--pack", str(face_pack), "--lr-files", *more]) == 2
    assert words in capsys.readouterr().err


def test_a_jittered_window_smaller_than_the_truth_is_not_native(face_pack):
    """Pictures of 160 px and a truth of 160: native exactly where the window was not shrunk."""
    pack = open_pack(face_pack)
    rng, expected = np.random.default_rng(0), []
    for _ in pack.rows:
        expected.append(rng.uniform(0.9, 1.1) >= 1.0)
        rng.uniform(size=2)
    options = Options(None, 40, "fsrnet", jitter=True)
    assert [e.native for e in examples(pack, options, 4)] == expected and len(set(expected)) == 2


class Guess(Bicubic):
    """Some points for every picture."""

    def __call__(self, lr):
        return super().__call__(lr)[0], np.arange(len(lr) * 136, dtype=np.float32).reshape(-1, 68, 2)


def test_faces_with_points_are_counted(face_pack):
    pack = open_pack(face_pack)
    for row in pack.select("val")[:3]:
        del pack.points[row["id"]]
    options = Options("val", 16, "fsrnet")
    assert evaluate(Guess(), pack, options)["n_landmarks"] == 1
    assert evaluate(Bicubic(), pack, options)["n_landmarks"] == 0


@pytest.mark.parametrize("command", [lambda a: main(["bicubic", *a]), evaluate_boxes.main])
def test_where_nothing_can_be_written_is_told_first(face_pack, tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    for target in (tmp_path, tmp_path / "file" / "out.json"):
        assert command(["--pack", str(face_pack), "--json", str(target)]) == 2
        out, err = capsys.readouterr()
        assert not out and "expected a f" in err


def test_every_model_is_opened_before_the_work(face_pack, capsys, monkeypatch):
    monkeypatch.setattr("training.evaluate.evaluate", lambda *_: pytest.fail("work before the check"))
    assert main(["bicubic", "missing.pt", "--pack", str(face_pack)]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_numbers_that_are_none_are_null(tmp_path):
    content = {"a": [float("nan"), {"b": float("inf")}], "c": np.float64("nan"), "d": 1.5}
    write_results(tmp_path / "out.json", content)
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": [None, {"b": None}], "c": None, "d": 1.5}
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_the_recorded_command_does_not_depend_on_what_is_there(tmp_path):
    inside, model = ROOT / "benchmarks" / "none.json", ROOT / "models" / "none.onnx"
    words = [str(model), "bicubic", "--pack", "/data/faces.v1.tar.xz", f"--pack={tmp_path}", "--json", str(inside)]
    expected = f"python -m made models/none.onnx bicubic --pack faces.v1 --pack={tmp_path.name} --json benchmarks/none"
    assert recorded_command("made", words) == f"{expected}.json"
    outside = tmp_path / "out.json"
    first = recorded_command("made", ["--jitter", "--json", str(outside)])
    outside.write_text("")
    assert (
        recorded_command("made", ["--jitter", "--json", str(outside)])
        == first
        == "python -m made --jitter --json out.json"
    )
