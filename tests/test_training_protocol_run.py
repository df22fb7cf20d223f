"""The command with whole protocols: checkpoints in, result files out, rows kept, mistakes named before the work."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_papers import checkpoint_of, identity, pairs_archive, sets_archive

from sdk.errors import InputError
from sdk.image.metrics import auc
from sdk.image.resample import resize
from training import evaluate_papers
from training.data.packs import open_pack
from training.evaluate import main
from training.evaluate_protocol import evaluate
from training.landmark_gain import Detector, errors_of, open_detector, relative_gain
from training.paper_results import ResultFile, digest, training_of
from training.predictors import open_network
from training.protocol_examples import examples
from training.protocol_run import Asked, run_protocol
from training.protocols import PRESETS


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_rows_of_the_same_weights_are_kept(tmp_path, capsys):
    pack, out = pairs_archive(tmp_path / "pairs"), tmp_path / "out" / "papers_fsrnet_helen50.json"
    model = checkpoint_of(tmp_path / "fsrnet.pt", "fsrnet", finished=False)
    arguments = (model, "--protocol", "fsrnet_helen50", "--pack", pack, "--json", out)
    assert run(*arguments) == 0
    first = json.loads(out.read_text())
    assert [r["model"] for r in first["results"]] == ["bicubic", "fsrnet"] and first["schema"] == "papers-1"
    assert first["pictures"]["id"] == ["face_0", "face_1", "face_2"] and first["limit"] is None
    row = first["results"][1]
    assert row["n"] == 3 == len(row["per_image"]["psnr"]) and row["psnr"] == pytest.approx(
        np.mean(row["per_image"]["psnr"]), abs=1e-3
    )
    assert row["training"]["budget_minutes"] == 10.0 and row["training"]["paper_share"] == 0.02
    assert row["training"]["finished"] is False and row["training"]["steps"] == 20
    assert "| fsrnet | 3 |" in capsys.readouterr().out
    assert run(*arguments, "--aug") == 0  # one row more, the others as they were
    both = json.loads(out.read_text())["results"]
    assert both[:2] == first["results"] and both[2]["augmented"] and "with augmentation" in capsys.readouterr().out
    run(*arguments)
    assert "fsrnet_helen50: fsrnet" not in capsys.readouterr().err  # nothing was done again
    checkpoint_of(tmp_path / "fsrnet.pt", "fsrnet", seed=1)
    run(*arguments)
    after = json.loads(out.read_text())["results"]
    assert len(after) == 3 and after[1]["psnr"] != row["psnr"] and after[1]["training"]["finished"]
    run(*arguments, "--limit", 2)
    assert [r["n"] for r in json.loads(out.read_text())["results"]] == [2, 2]


def test_a_file_that_is_no_result_is_written_anew(tmp_path):
    pack, out = pairs_archive(tmp_path / "pairs", faces=1), tmp_path / "out.json"
    for text in ("{", "[]", '{"schema": "other"}', '{"schema": "papers-1", "results": [1]}', "\udcff"):
        out.write_bytes(text.encode("utf-8", "surrogateescape"))
        assert run("bicubic", "--protocol", "fsrnet_helen50", "--pack", pack, "--json", out) == 0
        assert json.loads(out.read_text())["results"][0]["n"] == 1


def test_rows_of_two_commands_at_once_and_of_a_new_detector(tmp_path):
    ours, theirs = (ResultFile(tmp_path / "out.json", {"limit": None}) for _ in range(2))
    for file, detector in ((ours, "a"), (theirs, "b")):
        file.put({"model": "bicubic", "augmented": False, "detector": detector, "detector_sha256": "1"})
        file.write("made")
    both = ResultFile(tmp_path / "out.json", {"limit": None})
    assert [row["detector"] for row in both.rows] == ["b", "a"]
    key = {"model": "bicubic", "augmented": False, "detector": "b", "detector_sha256": "2"}
    assert not both.has(key, None)
    both.put(key)
    assert both.has(key, None) and len(both.rows) == 2  # in the place of the old detector's
    assert ResultFile(tmp_path / "out.json", {"limit": 3}).rows == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bicubic", "--protocol", "nonsense", "--pack", "x"], "fsrnet_helen50"),
        (["bicubic", "--protocol", "fsrnet"], "give one by --pack"),
        (["bicubic", "--pack", "x", "--aug"], "no --aug"),
        (["bicubic", "--protocol", "fsrnet_helen50", "--jitter"], "leave --jitter out"),
        (["bicubic", "--protocol", "fsrnet_helen50", "--detector", "picoface_x4"], "kind 'gain'"),
        (["bicubic", "--protocol", "lfw"], "--embedder"),
        (["bicubic", "--protocol", "parsing"], "--parser"),
        (["picoface_x4", "--protocol", "fsrnet_helen50", "--pack", "x"], "its own scale"),
        (["fan.pt", "--protocol", "fsrnet_helen50", "--pack", "x"], "--detector"),
        (["bicubic", "--protocol", "fsrnet_helen50", "--pack", "{faces}"], "pick a split"),
        (["bicubic", "--protocol", "superfan_helen", "--split", "val", "--pack", "{unlabelled}"], "points of"),
        (["bicubic", "--protocol", "fsrnet_helen50", "--limit", "1", "--pack", "{odd}"], "pass the archive"),
    ],
)
def test_mistakes_are_named(face_pack, tmp_path, capsys, monkeypatch, arguments, words):
    from training import checkpoint

    monkeypatch.chdir(tmp_path)
    checkpoint_of(tmp_path / "jasrnet.pt", "jasrnet")
    fan = checkpoint.load(tmp_path / "jasrnet.pt")
    if "fan.pt" in arguments:
        from paper_recipes import SMALL

        from training.models import MODELS

        model = MODELS["fan"](SMALL["fan_64"])
        fan = {"model": "fan", "config": model.config.as_dict(), "weights": model.state_dict()}
        checkpoint.save(tmp_path / "fan.pt", fan)
    places = {"faces": face_pack, "unlabelled": tmp_path / "none", "odd": tmp_path / "odd"}
    pairs_archive(places["unlabelled"], split="val")
    pairs_archive(places["odd"])
    text = (places["odd"] / "index.csv").read_text()
    (places["odd"] / "index.csv").write_text(text.replace("img/0_LR_8x.png", "small.png"))
    import cv2

    cv2.imwrite(str(places["odd"] / "small.png"), np.zeros((16, 16, 3), np.uint8))
    assert run(*[argument.format(**places) for argument in arguments]) == 2
    assert words in capsys.readouterr().err


def test_srinc_s_experiment(face_pack, tmp_path):
    """A landmark network of known errors: gains and intervals by hand, the truth and the baseline in the table."""
    out = tmp_path / "papers_landmark_gain_x8.json"
    rows = run_protocol(
        "landmark_gain_x8", [str(checkpoint_of(tmp_path / "urdgn.pt", "urdgn"))],
        Asked(pack=str(face_pack), split="val", detectors=("picoface_x4", "picoface_x8")), path=out, command="made",
        report=lambda text: None,
    )  # fmt: skip
    assert [(r["model"], r["detector"]) for r in rows] == [
        (model, detector) for model in ("bicubic", "truth", "urdgn") for detector in ("picoface_x4", "picoface_x8")
    ]
    base, truth, method = rows[::2]
    assert base["relative_gain"] == 0.0 == base["gain_interval"][1] and base["detector_px"] == 64
    errors = [np.array(r["per_image"]["error"]) for r in (base, truth, method)]
    assert truth["relative_gain"] == pytest.approx(1 - errors[1].mean() / errors[0].mean(), abs=1e-4)
    assert method["truth_error"] == pytest.approx(errors[1].mean(), abs=1e-4)
    assert method["auc"] == pytest.approx(auc(errors[2] / 100, 0.10), abs=1e-5)
    low, high = method["gain_interval"]
    assert low <= method["relative_gain"] <= high
    assert truth["psnr"] is None or truth["psnr"] == float("inf")


def test_the_bootstrap_keeps_pairs_together():
    rng = np.random.default_rng(0)
    base = rng.uniform(2, 20, 400)
    gain, (low, high) = relative_gain(base, 0.9 * base)
    assert (gain, low, high) == pytest.approx((0.1, 0.1, 0.1))  # pairs differ by one factor: no spread at all
    noisy = 0.9 * base + rng.normal(0, 1.0, 400)
    gain, (low, high) = relative_gain(base, noisy)
    spread = 1.0 / base.mean() / np.sqrt(400)  # of the mean of the noise
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15) and low < 0.1 < high


def test_detectors_resize_and_answer_in_the_picture_s_pixels(face_pack, tmp_path):
    model = checkpoint_of(tmp_path / "super_fan_64.pt", "super_fan_64")
    detector = open_detector(str(model))
    assert detector.side == 64 and detector.name.endswith("FAN")
    rule = PRESETS["landmark_gain_x4"]
    chosen = examples(rule, open_pack(face_pack), split="val", limit=3)
    fake = Detector("fake", model, 64, lambda p: np.full((len(p), 68, 2), 31.5, np.float32))
    assert np.all(fake(np.stack([e.hr for e in chosen])) == 63.5)  # the middle stays the middle
    assert errors_of(fake, [e.hr for e in chosen], chosen, rule).shape == (3,)
    small = resize(chosen[0].hr, (64, 64))
    inside, outside = detector(small[None]), detector(resize(small, (128, 128))[None])
    assert np.median(np.abs(outside - (2 * inside + 0.5))) < 4.0
    with pytest.raises(InputError, match="points of every face"):
        errors_of(fake, [chosen[0].hr], [replace(chosen[0], points=None)], rule)


def test_all_that_is_there_and_what_is_absent(tmp_path, capsys, monkeypatch):
    pack = pairs_archive(tmp_path / "pairs", faces=1)
    sets_archive(tmp_path / "sets")
    runs = tmp_path / "runs"
    checkpoint_of(runs / "fsrnet" / "fsrnet.pt", "fsrnet")
    checkpoint_of(runs / "jasrnet" / "joint" / "last.pt", "jasrnet", finished=False)
    presets = {"fsrnet_helen50": replace(PRESETS["fsrnet_helen50"], pack=str(pack))}
    presets["srinc_set5_x4"] = replace(PRESETS["srinc_set5_x4"], pack=str(tmp_path / "sets"))
    monkeypatch.setattr("training.protocols.PRESETS", presets)
    monkeypatch.setenv("FACETRT_MODELS", str(tmp_path / "none"))
    arguments = ["--runs", runs, "--results", tmp_path / "results", "--only", "fsrnet_helen50", "srinc_set5_x4"]
    assert evaluate_papers.main([str(a) for a in arguments]) == 0
    said = capsys.readouterr().out
    assert "| fsrnet with augmentation | 1 |" in said and "| jasrnet | 1 |" in said and "| picoface_x8 | 1 |" in said
    assert "absent: mtun (for fsrnet_helen50); train it: python -m training.train --recipe mtun" in said
    assert "srinc_set5_x4: expected pictures for x4 of Set5" in said
    written = json.loads((tmp_path / "results" / "papers_fsrnet_helen50.json").read_text())
    assert len(written["results"]) == 5 and written["command"].startswith("python -m training.evaluate_papers")
    longer = checkpoint_of(tmp_path / "longer.pt", "jasrnet", seed=2, steps=90)
    arguments[-1:] = ["--use", f"jasrnet={longer}"]
    assert evaluate_papers.main([str(a) for a in arguments]) == 0
    after = json.loads((tmp_path / "results" / "papers_fsrnet_helen50.json").read_text())["results"]
    assert [r["training"]["steps"] for r in after if r["model"] == "jasrnet"] == [90]
    assert [r for r in after if r["model"] != "jasrnet"] == [r for r in written["results"] if r["model"] != "jasrnet"]
    capsys.readouterr()
    for wrong in (["--only", "nonsense"], ["--use", "nonsense=x.pt"]):
        assert evaluate_papers.main(wrong) == 2
        assert "nonsense" in capsys.readouterr().err


def test_a_finished_network_tells_of_its_stages_plans(tmp_path):
    checkpoint_of(tmp_path / "fsrnet" / "pixel" / "last.pt", "fsrnet", finished=False)
    told = training_of(checkpoint_of(tmp_path / "fsrnet" / "fsrnet.pt", "fsrnet", steps=100))
    assert (told["paper_share"], told["budget_minutes"], told["finished"]) == (0.1, 10.0, True)
    assert told["departures"] == ["batch 4 in place of 14"] and told["packs"] == [
        "faces68_helen_nc",
        "faces_clean_ccby_pd",
    ]
    alone = training_of(checkpoint_of(tmp_path / "other.pt", "fsrnet"))
    assert (alone["paper_share"], alone["minutes"], alone["finished"]) == (None, 2.0, True)


def test_a_checkpoint_rewritten_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    """A run in progress saves every minute: the row's digest must be that of the weights evaluated."""
    pack, path = pairs_archive(tmp_path / "pairs", faces=1), checkpoint_of(tmp_path / "urdgn.pt", "urdgn")
    opened = []

    def open_and_rewrite(model):
        network = open_network(model)
        opened.append(network)
        if len(opened) == 1:
            checkpoint_of(path, "urdgn", seed=1)
        return network

    monkeypatch.setattr("training.protocol_run.open_network", open_and_rewrite)
    asked = Asked(pack=str(pack))
    rows = run_protocol("fsrnet_helen50", [str(path)], asked, path=None, command="", report=lambda text: None)
    assert len(opened) == 2 and rows[1]["training"]["sha256"] == digest(path)


def test_a_picture_equal_to_its_truth_has_no_number(tmp_path):
    """PSNR is infinite there: null in the file, not a crash."""
    pack = open_pack(pairs_archive(tmp_path / "pairs", faces=1))
    chosen = [replace(e, baseline=e.hr) for e in examples(PRESETS["fsrnet_helen50"], pack, split="helen", limit=None)]
    assert evaluate(None, PRESETS["fsrnet_helen50"], chosen)["psnr"] == float("inf")
    assert identity(None).spec.input_upscaled
