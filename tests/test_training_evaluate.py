"""Evaluation on a made archive: the numbers against the metrics called by hand, and the command itself."""

import json

import numpy as np
import pytest

from sdk.image.metrics import PROTOCOLS, score_pair
from sdk.image.resample import resize
from training.data.packs import open_pack
from training.evaluate import Options, evaluate, examples, main
from training.evaluate_examples import jittered
from training.predictors import Bicubic, enlarge, open_predictor


class Oracle(Bicubic):
    """Knows the points up to a constant shift."""

    name = "oracle"

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.at = points, 0

    def __call__(self, lr):
        self.at += len(lr)
        return enlarge(lr, 8), self.points[self.at - len(lr) : self.at]


def test_bicubic_scores_are_those_of_the_metric(face_pack):
    pack = open_pack(face_pack)
    result = evaluate(Bicubic(), pack, Options("val", 16, "fsrnet"))
    assert result["n"] == 4 and result["psnr"] == result["bicubic_psnr"]
    row = pack.select("val")[2]
    hr = resize(pack.picture(row), (128, 128))
    low = resize(hr, (16, 16))
    expected = score_pair(enlarge(low[None], 8)[0], hr, PROTOCOLS["fsrnet"])
    got = next(r for r in result["per_image"] if r["id"] == row["id"])
    assert (got["psnr"], got["ssim"]) == pytest.approx(expected)
    assert result["nme"] is None and result["failure_rate"] is None


def test_landmark_errors_are_in_percent_of_the_eye_distance(face_pack):
    pack, options = open_pack(face_pack), Options("val", 16, "fsrnet")
    truth = np.stack([e.points for e in examples(pack, options, 8)])
    eyes = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)
    shift = np.zeros_like(truth)
    shift[:, :, 0] = 0.04 * eyes[:, None]
    shift[0] *= 4.0  # 16 %: a failure
    result = evaluate(Oracle(truth + shift), pack, options)
    assert result["nme"] == pytest.approx((16 + 3 * 4) / 4, rel=1e-4)
    assert result["failure_rate"] == 0.25
    assert result["auc"] == pytest.approx(3 * (1 - 0.4) / 4, rel=1e-4)


def test_jitter_moves_points_with_the_picture(face_pack):
    pack = open_pack(face_pack)
    picture, points = pack.picture(pack.rows[0]), pack.points["face_00"]
    cut, moved = jittered(picture, points, np.random.default_rng(0), 128)
    assert cut.shape == (128, 128, 3)
    for before, after in zip(points[36:48], moved[36:48], strict=True):
        x, y = np.rint(after).astype(int)
        assert cut[y, x].sum() < 250, "the dark dot that marks the point"
        assert np.abs(after - before).max() > 1.0


def test_pictures_below_the_truth_s_size_give_points_but_no_psnr(face_pack):
    result = evaluate(Bicubic(), open_pack(face_pack), Options("val", 64, "fsrnet"))  # 256 px asked, 160 there
    assert result["psnr"] is None and result["n"] == 4


def test_degradation_is_the_same_in_every_run_and_hurts(face_pack):
    pack = open_pack(face_pack)
    clean = evaluate(Bicubic(), pack, Options("val", 16, "fsrnet"))
    rough, again = (evaluate(Bicubic(), pack, Options("val", 16, "fsrnet", degraded="all")) for _ in range(2))
    assert rough["per_image"] == again["per_image"]
    assert rough["psnr"] < clean["psnr"]


def test_the_archive_s_own_lr_files(face_pack):
    """An archive with HR and enlarged LR rows, as the FSRNet pairs are published."""
    import cv2

    pack = open_pack(face_pack)
    lines = ["id,file,split,kind"]
    for row in pack.select("val"):
        hr = resize(pack.picture(row), (128, 128))
        for kind, picture in (("HR", hr), ("LR_8x", np.full_like(hr, 90))):
            name = f"img/{row['id']}_{kind}.png"
            cv2.imwrite(str(face_pack / name), picture[..., ::-1])
            lines.append(f"{row['id']},{name},val,{kind}")
    (face_pack / "index.csv").write_text("\n".join(lines) + "\n")
    result = evaluate(Bicubic(), open_pack(face_pack), Options("val", 16, "fsrnet", lr_files=True))
    hr = open_pack(face_pack).picture(open_pack(face_pack).select("val", kind="HR")[0])
    expected = score_pair(np.full_like(hr, 90), hr, PROTOCOLS["fsrnet"])[0]
    assert result["n"] == 4 and result["per_image"][0]["psnr"] == pytest.approx(expected)


def test_the_command_writes_its_results(face_pack, tmp_path, capsys):
    out = tmp_path / "deep" / "out.json"
    arguments = ["bicubic", "--pack", str(face_pack), "--split", "val", "--lr-size", "32", "--json", str(out)]
    assert main(arguments) == 0
    assert "| bicubic |" in capsys.readouterr().out
    written = json.loads(out.read_text())
    result = written["results"][0]
    assert written["command"].startswith("python -m training.evaluate bicubic --pack faces68_made")
    wanted = {"model", "pack", "split", "lr_size", "n", "psnr", "ssim", "nme", "auc", "failure_rate"}
    assert wanted | {"bicubic_psnr", "bicubic_ssim", "per_image"} <= result.keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bicubic", "--pack", "{pack}", "--split", "test"], "pick a split"),
        (["bicubic", "--pack", "/nowhere.tar"], "an archive folder"),
        (["bicubic", "--pack", "{pack}", "--lr-files"], "leave out --lr-files"),
        (["nonsense", "--pack", "{pack}"], "check the spelling"),
        (["missing.pt", "--pack", "{pack}"], "does not exist"),
    ],
)
def test_mistakes_are_named(face_pack, capsys, arguments, words):
    assert main([a.format(pack=face_pack) for a in arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_network_of_one_size_refuses_another(tmp_path):
    from training import checkpoint
    from training.models.picoface import PicoFace, PicoFaceConfig

    config = PicoFaceConfig(
        scale=8, lr_size=16, channels=8, blocks=1, tail_channels=8, head_channels=8, head_blocks=(1, 1, 1)
    )
    model = PicoFace(config)
    content = {"model": "picoface", "config": config.as_dict(), "weights": model.state_dict()}
    checkpoint.save(tmp_path / "tiny.pt", content)
    predictor = open_predictor(str(tmp_path / "tiny.pt"))
    pictures, points = predictor(np.zeros((2, 16, 16, 3), np.uint8))
    assert pictures.shape == (2, 128, 128, 3) and points.shape == (2, 68, 2)
    with pytest.raises(ValueError, match="its own size"):
        predictor.scale(32)


@pytest.mark.parametrize("columns", ["id,file,file128,split,w", "id,file,file128,split", "id,file128,split"])
def test_archives_with_truths_of_128_px(face_pack, columns):
    """Points are in pixels of `file` where there is one, else of `file128`; both give the same face."""
    import cv2

    pack = open_pack(face_pack)
    expected = next(iter(examples(pack, Options("val", 16, "fsrnet"), 8)))
    lines = [columns]
    points = []
    for row in pack.rows:
        name = f"img/{row['id']}_128.png"
        cv2.imwrite(str(face_pack / name), resize(pack.picture(row), (128, 128))[..., ::-1])
        values = {**row, "file128": name}
        lines.append(",".join(values[c] for c in columns.split(",")))
        found = pack.points[row["id"]]
        points.append(found if "file," in columns else (found + 0.5) * 0.8 - 0.5)
    (face_pack / "index.csv").write_text("\n".join(lines) + "\n")
    np.savez(face_pack / "landmarks.npz", id=np.array([r["id"] for r in pack.rows]), pts68=np.stack(points))
    got = next(iter(examples(open_pack(face_pack), Options("val", 16, "fsrnet"), 8)))
    np.testing.assert_array_equal(got.hr, expected.hr)
    np.testing.assert_allclose(got.points, expected.points, atol=1e-4)
