"""benchmarks.release_tables: what lies in release/, the engines and the figures, as Markdown; strangers are refused."""

import json

import pytest

from benchmarks.release_tables import figures, papers_rtx, released
from sdk.errors import InputError

TRAINING = {"packs": ["faces_a"], "batch": 4, "steps": 2000, "minutes": 60.0, "paper_share": 0.034, "finished": True}
CARD = {
    "facetrt_release": 1,
    "name": "jasrnet",
    "command": "python -m export.release runs/jasrnet/jasrnet.pt --slim jasrnet",
    "files": {"jasrnet.onnx": {"bytes": 100_000}, "jasrnet.safetensors": {"bytes": 21_100_000}},
    "store": "int8",
    "licence": "the terms of faces_a",
    "training": TRAINING,
    "verified": {"levels_mean": 0.2345, "levels_max": 2},
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (tmp_path / "release").mkdir()
    return folder


def test_released_by_eye(results):
    assert "no network lies in `release/`" in released(results)
    (results.parents[1] / "release" / "jasrnet.json").write_text(json.dumps(CARD))
    told = released(results)
    row = "| `jasrnet` | 21.2 | int8 | 0.23 on average, 2 at most | 2000 steps of 4, 60 min, 3.4 % of the paper's steps"
    assert f"{row} | faces_a |" in told and "All together 21.2 MB" in told and CARD["command"] in told


@pytest.mark.parametrize("content", ["no json", "[]", '{"facetrt_release": 2}', '{"name": "x"}'])
def test_strangers_in_the_release_folder(results, content):
    (results.parents[1] / "release" / "jasrnet.json").write_text(content)
    with pytest.raises(InputError, match=r"release/jasrnet\.json"):
        released(results)


def test_engines_by_eye(results):
    assert "Not measured yet" in papers_rtx(results)
    row = {"model": "mtun", "weights": "untrained", "precision": "int8", "layers": {"int8": 60, "fp16": 3}}
    row |= {"engine_mib": 45.123, "build_s": 12.3, "tensorrt": "TensorRT-RTX 1.7", "targets": ["sm_86", "sm_120"]}
    file = {"command": "python -m export.papers_rtx", "results": [row]}
    (results / "papers_rtx.json").write_text(json.dumps(file))
    told = papers_rtx(results)
    assert "| `mtun` | untrained | int8 | 60 int8, 3 fp16 | 45.1 | 12 |" in told
    assert "TensorRT-RTX 1.7 for sm_86, sm_120" in told and "not yet run" in told


def test_figures_by_eye(results):
    assert "Not measured yet" in figures(results)
    told = {"gain.svg": {"title": "SRINC's Figure 4", "caption": "Below zero is better."}}
    (results / "figures.json").write_text(json.dumps({"command": "python -m training.report", "figures": told}))
    assert "### SRINC's Figure 4\n\n![SRINC's Figure 4](results/gain.svg)\n\nBelow zero is better." in figures(results)
