"""The trainer against bad archives, options and ends: counted, listed, refused in a sentence, nothing lost."""

import csv
import os
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from paper_recipes import small
from test_training_train_paper import command, train

from sdk.errors import InputError, ModelError, OutputError
from training import checkpoint, starting
from training import train as training_train
from training.data.examples import make_examples
from training.train import main


@pytest.fixture
def small_recipe(monkeypatch, face_pack):
    """`--recipe small`: a small SRResNet ×4 on the drawn faces; yields the archive."""
    monkeypatch.setitem(training_train.PAPERS, "small", small("srresnet_x4", face_pack))
    return face_pack


def run(out, *more: str) -> int:
    return main(["--recipe", "small", "--out", str(out), *more])


def test_bad_faces_are_counted_and_listed_and_the_rest_is_learned(small_recipe, tmp_path, capsys):
    """Absent, damaged, not square, points on one spot; CR/LF, a byte order mark and mixed sizes change nothing."""
    pack = small_recipe
    index = (pack / "index.csv").read_text()
    (pack / "index.csv").write_bytes(b"\xef\xbb\xbf" + index.replace("\n", "\r\n").encode())
    (pack / "img" / "face_01.png").unlink()
    (pack / "img" / "face_02.png").write_bytes(b"no picture")
    picture = cv2.imread(str(pack / "img" / "face_04.png"))
    cv2.imwrite(str(pack / "img" / "face_04.png"), picture[:100])
    cv2.imwrite(str(pack / "img" / "face_05.png"), cv2.resize(picture, (400, 400)))  # larger than the others
    (pack / "img" / "face_06.png").unlink()  # of the validation
    points = dict(np.load(pack / "landmarks.npz"))
    ids = [*points["id"][:-1], "nobody"]  # the last face has no points, somebody else has
    np.savez(pack / "landmarks.npz", id=np.array(ids), pts68=points["pts68"])
    assert run(tmp_path / "run", "--steps", "2") == 0
    said = capsys.readouterr().err
    assert "5 faces, as the archive cut them; 3 of 8 cannot be used" in said and "skipped 4:" in said
    assert "points of nobody and 0 more belong to no picture" in said
    with (tmp_path / "run" / "pixel" / "skipped.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["line"], row["reason"].split(":")[0]) for row in rows] == [
        ("3", "face_01"),
        ("4", "face_02"),
        ("6", "face_04"),
        ("8", "face_06"),
    ]
    assert all(row["file"] == str(pack / "index.csv") for row in rows) and "160 x 100" in rows[2]["reason"]


def test_no_usable_face_is_refused_with_the_first_reason(small_recipe, tmp_path, capsys):
    for path in (small_recipe / "img").iterdir():
        path.write_bytes(b"")
    assert run(tmp_path / "run", "--steps", "2") == 2
    assert "index.csv:3: face_01: expected a readable picture" in capsys.readouterr().err


def test_pictures_of_patches_that_cannot_be_read_are_listed_too(tmp_path, monkeypatch, capsys):
    rng, pack = np.random.default_rng(0), tmp_path / "pictures"
    pack.mkdir()
    for number in range(5):
        cv2.imwrite(str(pack / f"{number}.png"), rng.integers(0, 255, (64, 60 + number, 3), np.uint8))
    (pack / "3.png").write_bytes(b"PNG")
    (pack / "index.csv").write_text("id,file\n" + "".join(f"p{n},{n}.png\n" for n in range(5)))
    monkeypatch.setitem(training_train.PAPERS, "small", small("vdsr", pack))
    assert run(tmp_path / "run", "--steps", "1") == 0
    assert "skipped 1:" in capsys.readouterr().err
    assert "5,p3: expected a readable picture" in (tmp_path / "run" / "pixel" / "skipped.csv").read_text()


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(small_recipe, tmp_path, capsys):
    assert run(tmp_path / "run", "--steps", "4", "--lr-times", "1e30") == 2
    said = capsys.readouterr().err
    assert "expected a finite loss and gradient" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        ("jasrnet", ["--features", "x.pt"], "leave --features out"),
        ("fsrgan", ["--caffe"], "--caffe alone"),
        ("mtun", ["--batch", "1"], "a batch of 2 or more for mtun"),
        ("fsrnet_parsing", [], "pass some by --data"),
        ("fsrnet", ["--budget", "20"], "20m"),
        ("fsrnet", ["--init", "/nowhere.pt"], "/nowhere.pt"),
        ("fsrnet", ["--device", "cuda"], "a GPU that torch can use"),
    ],
)
def test_options_that_cannot_be(recipe, more, words, face_pack, tmp_path, capsys):
    if "cuda" in more and torch.cuda.is_available():
        pytest.skip("this machine has a GPU that torch can use")
    data = [] if recipe == "fsrnet_parsing" else ["--data", str(face_pack)]
    assert main(["--recipe", recipe, "--out", str(tmp_path / "x"), *data, *more]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("expected") == 1


@pytest.mark.parametrize("value", [["--batch", "0"], ["--batch", "1.5"], ["--lr-times", "0"], ["--lr-times", "nan"]])
def test_numbers_that_cannot_be(value, capsys):
    with pytest.raises(SystemExit):
        main(["--recipe", "jasrnet", *value])
    said = capsys.readouterr().err
    assert f"argument {value[0]}: " in said and value[1] in said


@pytest.mark.parametrize("blocked", ["log.csv", "samples", "last.pt.part"])
def test_a_file_that_cannot_be_written_is_named_and_the_checkpoint_stays(blocked, face_pack, tmp_path):
    recipe = small("srresnet_x4", face_pack)
    assert not train(recipe, tmp_path / "run", steps=3, stop_after=1)
    at = tmp_path / "run" / "pixel" / blocked
    shutil.rmtree(at) if at.is_dir() else at.unlink(missing_ok=True)
    at.touch() if blocked == "samples" else at.mkdir()
    with pytest.raises(OutputError, match=f"room and permission to write .*({blocked}|last.pt)"):
        train(recipe, tmp_path / "run", steps=3)
    assert checkpoint.load(tmp_path / "run" / "pixel" / "last.pt")["step"] >= 1
    at.unlink() if blocked == "samples" else at.rmdir()
    assert train(recipe, tmp_path / "run", steps=3)


KILLED = """
import os, signal, torch
from training import checkpoint, starting
whole = torch.save
saves = []
def half(payload, path):
    saves.append(1)
    whole(payload, path)
    if len(saves) == 2:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.torch.save = half
from training import loop
loop.SAVE_EVERY_S = 0.0
"""


def test_kill_9_in_the_middle_of_saving_loses_nothing_but_the_steps_since(face_pack, tmp_path):
    """The half-written file is another one; the same command goes on from the save before, to the same weights."""
    recipe = small("srresnet_x4", face_pack, batch=4)
    script, env = command("srresnet_x4", face_pack, tmp_path / "run", '"--steps", "4", "--seed", "3"', tmp_path)
    script.write_text(KILLED + script.read_text())
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = sorted(os.listdir(tmp_path / "run" / "pixel"))
    assert "last.pt" in left and "last.pt.part" in left
    assert checkpoint.load(tmp_path / "run" / "pixel" / "last.pt")["step"] == 1
    with pytest.raises(ModelError, match="last.pt.part"):
        checkpoint.load(tmp_path / "run" / "pixel" / "last.pt.part")
    assert train(recipe, tmp_path / "run", steps=4) and train(recipe, tmp_path / "whole", steps=4)
    a, b = (checkpoint.load(tmp_path / name / "srresnet_x4.pt")["weights"] for name in ("run", "whole"))
    assert all(torch.equal(value, b[key]) for key, value in a.items())
    assert "last.pt.part" not in os.listdir(tmp_path / "run" / "pixel")


def test_the_wrong_kind_of_init(face_pack, tmp_path):
    assert train(small("srresnet_x4", face_pack), tmp_path / "sr", steps=1)
    with pytest.raises(InputError, match="a checkpoint of 'jasrnet' to start from; got one of 'srresnet'"):
        train(small("jasrnet", face_pack), tmp_path / "x", steps=1, init=tmp_path / "sr" / "srresnet_x4.pt")


def test_two_trainings_do_not_share_a_folder(face_pack, tmp_path, monkeypatch):
    """Each would overwrite the other's checkpoints, and a half-written one be renamed by the other."""
    monkeypatch.setattr(starting, "LOCK_S", 0.1)
    recipe = small("srresnet_x4", face_pack)
    with starting.alone(tmp_path / "run"), pytest.raises(InputError, match="another process that trains into"):
        train(recipe, tmp_path / "run", steps=1)
    assert train(recipe, tmp_path / "run", steps=1)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a folder to write to"):
        train(recipe, tmp_path / "file", steps=1)


def test_points_that_cannot_be_are_listed_where_faces_are_cut_by_them(face_pack):
    """On one spot, far outside, and so wide that the crop would take all memory."""
    points = dict(np.load(face_pack / "landmarks.npz"))
    points["pts68"][1] = 40.0
    points["pts68"][2] += 500.0
    points["pts68"][4, 0] = 1e9
    np.savez(face_pack / "landmarks.npz", **points)
    examples = make_examples("jasrnet", [str(face_pack)], 0, report=lambda text: None)
    assert [(entry.line, entry.reason[:7]) for entry in examples.skips.entries] == [
        (3, "face_01"),
        (4, "face_02"),
        (6, "face_04"),
    ]
    assert len(examples) == 5
