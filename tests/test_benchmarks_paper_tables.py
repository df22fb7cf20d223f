"""Tables of the papers' protocols: our numbers and the papers' side by side, sources, budgets, nothing invented."""

import json
from pathlib import Path

import pytest

from benchmarks import paper_tables
from benchmarks.report import GENERATORS
from sdk.errors import InputError
from training.protocols import PRESETS

LISTED = Path(__file__).parents[2] / "shared" / "docs" / "paper_tables.json"  # present in some checkouts only
TRAINING = {
    "steps": 500, "batch": 8, "minutes": 61.2, "paper_share": 0.0123, "finished": True,
    "perceptual": "perceptual loss: NOT vgg16 but fsrnet.encoder", "departures": ["batch 8 in place of 14"],
}  # fmt: skip
ROW = {"model": "fsrnet", "augmented": False, "n": 50, "psnr": 24.9, "ssim": 0.7, "training": TRAINING}
ROW |= {"nme": 7.125, "auc": 0.31, "failure_rate": 0.02}


def write(results, protocol, rows, **more):
    told = {"name": protocol, "differs": ["other faces"]}
    machine = {"processor": "made", "threads": 1, "torch": "2"}
    content = {"command": "python -m training.evaluate_papers --runs runs", "schema": "papers-1", "machine": machine}
    content |= {"protocol": told, "limit": None, "pictures": {}, "results": rows, **more}
    (results / f"papers_{protocol}.json").write_text(json.dumps(content))


def test_figures_are_the_papers_where_they_are_listed():
    found = paper_tables.figures()
    assert {f["protocol"] for f in found} <= set(PRESETS)
    keys = [tuple(sorted((k, str(v)) for k, v in f.items() if k not in ("value", "source"))) for f in found]
    assert len(set(keys)) == len(keys)
    fsrnet = {f["number"]: f["value"] for f in found if (f["protocol"], f["model"]) == ("fsrnet_helen50", "fsrnet")
              and f.get("augmented")}  # fmt: skip
    assert fsrnet == {"psnr": 26.21, "ssim": 0.772}
    if not LISTED.is_file():
        return
    records = json.loads(LISTED.read_text())["records"]
    for figure in found:
        paper, source = figure["source"].split(" ", 1)
        same = [
            r for r in records if r["paper"] == paper and source.startswith(r["table"]) and source.endswith(r["method"])
        ]
        values = {round(r["value"] * factor, 6) for r in same for factor in (1.0, 0.01)}
        assert figure["value"] in values, figure


def test_ours_beside_the_paper_s(tmp_path):
    aug = {**ROW, "augmented": True, "psnr": 25.1}
    bicubic = {**ROW, "model": "bicubic", "psnr": 23.69, "training": None}
    stranger = {**ROW, "model": "picoface_x8", "training": {"file": "x.onnx", "steps": None}}
    write(tmp_path, "fsrnet_helen50", [bicubic, ROW, aug, stranger], limit=6)
    text = paper_tables.papers_fsrnet(tmp_path)
    lines = text.splitlines()
    assert lines[2] == "| `fsrnet_helen50` | `bicubic` | 50 | 23.69 | 23.69 | 0.7000 | 0.6592 | – |"
    told = "500 steps of 8, 61 min, 1.2 % of the paper's steps"
    assert lines[3] == f"| `fsrnet_helen50` | `fsrnet` | 50 | 24.90 | 25.87 | 0.7000 | 0.7602 | {told} |"
    assert "| `fsrnet` with augmentation | 50 | 25.10 | 26.21 |" in lines[4]
    assert "| `picoface_x8` | 50 | 24.90 | – | 0.7000 | – | see its file |" in lines[5]
    for words in (
        "FSRNet Table 2, Helen",
        "**the first 6 pictures alone**",
        "other faces",
        "NOT vgg16",
        "made, 1 thread",
    ):
        assert words in text, words
    assert "python -m training.evaluate_papers --runs runs" in text


def test_landmarks_poses_and_gains(tmp_path):
    write(tmp_path, "jasrnet_helen", [{**ROW, "model": "jasrnet", "training": {**TRAINING, "finished": False}}])
    text = paper_tables.papers_landmarks(tmp_path)
    assert "| 7.12 | 5.29 | 0.310 | 2.0 % |" in text and "not finished" in text and "300W full" in text
    parts = [
        {"yaw_deg": yaw, "n": n, "psnr": 20.0, "ssim": 0.7, "nme": 5.0, "auc": 0.5}
        for yaw, n in (("0-30", 9), ("30-60", 1))
    ]
    empty = {"yaw_deg": "60-90", "n": 0, "psnr": None, "ssim": None, "nme": None, "auc": None}
    row = {**ROW, "model": "super_fan_64", "bins": [*parts, empty]}
    write(tmp_path, "superfan_helen", [row], pictures={"yaw_from": "points"})
    text = paper_tables.papers_poses(tmp_path)
    assert (
        "| `super_fan_64` | 0-30° | 9 | 20.00 | 20.85 | 0.7000 |" in text and "estimated from the true points" in text
    )
    assert "| `super_fan_64` | 60-90° | 0 | – | 22.24 | – |" in text and "| 0.670 |" in text
    gain = {**ROW, "model": "srinc_f", "detector": "fan", "detector_px": 64, "error": 5.5, "relative_gain": 0.081}
    write(tmp_path, "landmark_gain_x4", [{**gain, "gain_interval": [0.05, 0.11]}])
    text = paper_tables.papers_gain(tmp_path)
    assert "| fan at 64 px | `srinc_f` | 50 | 5.50 | 8.1 % | 5.0 % to 11.0 % | 13.2 % |" in text


def test_what_is_not_measured_says_how(tmp_path):
    for name in ("fsrnet", "srinc", "landmarks", "poses", "gain", "mtun"):
        name = f"papers_{name}"
        assert GENERATORS[name](tmp_path).startswith("Not measured yet: `python -m training.evaluate_papers --only")
    write(tmp_path, "mtun", [], schema="papers-0")
    with pytest.raises(InputError, match="papers-1"):
        paper_tables.papers_mtun(tmp_path)
