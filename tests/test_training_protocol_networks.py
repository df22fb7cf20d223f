"""Every network of the papers, as its recipe leaves it, through the protocols it takes part in."""

import math

import numpy as np
import pytest
from made_papers import checkpoint_of, doubled, pairs_archive, sets_archive

from training.evaluate_papers import NETWORKS, detectors_of, find_model
from training.protocol_run import Asked, run_protocol
from training.protocols import PRESETS

X8 = ("srresnet_x8", "urdgn", "jasrnet", "fsrnet", "fsrgan", "mtun")
FINDS_POINTS = {"jasrnet", "fsrnet", "fsrgan", "super_fan_64"}


def row_of(path, protocol, pack, *, split, **asked):
    given = Asked(pack=str(pack), split=split, limit=1, **asked)
    return run_protocol(protocol, [str(path)], given, path=None, command="", report=lambda text: None)[-1]


@pytest.mark.parametrize("name", X8)
def test_eightfold_enlargements(name, face_pack, tmp_path):
    path, pairs = checkpoint_of(tmp_path / f"{name}.pt", name), pairs_archive(tmp_path / "pairs", faces=1)
    row = row_of(path, "fsrnet_helen50", pairs, split="helen")
    assert (row["model"], row["n"]) == (name, 1) and math.isfinite(row["psnr"]) and -1 <= row["ssim"] <= 1
    assert row["input"] == ("enlarged files" if name in ("jasrnet", "fsrnet", "fsrgan") else "16 px")
    row = row_of(path, "jasrnet_helen", doubled(face_pack), split="val")
    assert (row["nme"] is not None) == (name in FINDS_POINTS) and math.isfinite(row["psnr"])
    assert row["input"] == {"jasrnet": "OpenCV's bicubic"}.get(name, "bicubic" if name.startswith("fs") else "16 px")
    row = row_of(path, "mtun", pairs, split="helen")
    assert row["input"].endswith(", turned back") == (name != "mtun")
    assert set(row["also"]) == {"mtun_y"}


@pytest.mark.parametrize("name", ["srresnet_x4", "srgan_x4", "super_fan_64"])
def test_fourfold_enlargements(name, face_pack, tmp_path):
    path = checkpoint_of(tmp_path / f"{name}.pt", name)
    row = row_of(path, "superfan_helen", face_pack, split="val")
    assert (row["auc"] is not None) == (name in FINDS_POINTS) and sum(b["n"] for b in row["bins"]) == 1
    row = row_of(path, "superfan_gain", face_pack, split="val", detectors=("picoface_x4",))
    assert row["error"] > 0 and sum(b["n"] for b in row["bins"]) == 1


@pytest.mark.parametrize("name", ["srcnn_x2", "vdsr", "srinc", "srinc_f"])
def test_luminance_networks(name, face_pack, tmp_path):
    path, sets = checkpoint_of(tmp_path / f"{name}.pt", name), sets_archive(tmp_path / "sets")
    row = row_of(path, "srinc_set5_x2", sets, split="Set5")
    assert row["n"] == 1 and math.isfinite(row["psnr"]) and len(row["cumulative_psnr_db"]) == 255
    if name != "srcnn_x2":  # a network of one scale
        row = row_of(path, "landmark_gain_x4", face_pack, split="val")
        assert row["detector"] == "picoface_x4" and np.isfinite(row["relative_gain"])


def test_networks_are_found_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_MODELS", str(tmp_path / "released"))
    runs = [tmp_path / "one", tmp_path / "two"]
    assert find_model("mtun", runs) is None and find_model("picoface_x8", runs) == "picoface_x8"
    progress = checkpoint_of(runs[1] / "super_fan_64" / "pixel" / "last.pt", "super_fan_64", finished=False)
    fan = checkpoint_of(runs[1] / "super_fan_64" / "fan" / "last.pt", "super_fan_64", finished=False)
    assert find_model("super_fan_64", runs) == str(progress)
    assert find_model("super_fan_64", runs, unfinished=False) is None
    assert detectors_of(runs) == (str(fan), "picoface_x4") and detectors_of(runs[:1]) == ("picoface_x4",)
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / "super_fan_64.onnx").write_bytes(b"")
    assert find_model("super_fan_64", runs) == "super_fan_64"
    done = checkpoint_of(runs[0] / "super_fan_64" / "super_fan_64.pt", "super_fan_64")
    assert find_model("super_fan_64", runs) == str(done)
    assert set(NETWORKS) < set(PRESETS)
