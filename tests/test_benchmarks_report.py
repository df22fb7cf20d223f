"""benchmarks.report and benchmarks.tables: blocks found, tables made, differences noticed, bad files named."""

import json

import pytest

from benchmarks import report
from benchmarks.tables import markdown
from sdk.errors import InputError

COMMAND = "python -m training.evaluate picoface_x8 --json out.json"
ROW = {
    "model": "picoface_x8",
    "pack": "faces",
    "split": "val",
    "lr_size": 16,
    "n": 50,
    "psnr": 25.876,
    "ssim": 0.75512,
    "nme": 4.12,
    "auc": 0.5,
    "failure_rate": 0.02,
    "bicubic_psnr": 23.65,
    "bicubic_ssim": 0.663,
}
BLOCK = "before\n<!-- numbers:evaluation -->\nold\n<!-- /numbers -->\nafter\n"


@pytest.fixture
def project(tmp_path):
    """A README with one block and a results folder with one evaluation: (root, results)."""
    results = tmp_path / "results"
    results.mkdir()
    content = {"command": COMMAND, "protocol": "fsrnet", "results": [ROW]}
    (results / "evaluation_val.json").write_text(json.dumps(content))
    (tmp_path / "README.md").write_text(BLOCK)
    return tmp_path, results


def test_markdown_by_eye():
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_write_replaces_the_block_alone_and_settles(project):
    root, results = project
    assert report.update(write=False, root=root, results=results) == [root / "README.md"]
    assert (root / "README.md").read_text() == BLOCK
    report.update(write=True, root=root, results=results)
    text = (root / "README.md").read_text()
    assert text.startswith("before\n<!-- numbers:evaluation -->\n| model |") and text.endswith(
        "<!-- /numbers -->\nafter\n"
    )
    assert "| `picoface_x8` | faces, val | 16 px | 50 | 25.88 | 0.7551 | 23.65 | 0.6630 | fsrnet |" in text
    assert COMMAND in text and "old" not in text
    assert report.update(write=False, root=root, results=results) == []
    assert sorted(path.name for path in root.iterdir()) == ["README.md", "results"]


def test_landmark_rows_need_an_nme(project):
    _, results = project
    content = {"command": "other", "protocol": "fsrnet", "results": [{**ROW, "model": "bicubic", "nme": None}]}
    (results / "evaluation_bicubic.json").write_text(json.dumps(content))
    table = report.GENERATORS["landmarks"](results)
    assert "| `picoface_x8` | faces, val | 16 px | 50 | 4.12 | 0.500 | 2.0 % |" in table
    assert "bicubic" not in table and "other" not in table


def test_detector_and_latency_tables_by_eye(tmp_path):
    recall = {
        "command": "python -m benchmarks.detector_recall",
        "results": [{"set": "photos", "size_px": [20, 24], "faces": 8, "found": 7, "recall": 0.875}],
        "false_positives_per_1080p_frame": 0.25,
        "painted_false_positives_per_1080p_frame": None,
        "ms_per_1080p_frame": {"wall": 123.4, "cpu": 120.0},
    }
    (tmp_path / "detector_recall.json").write_text(json.dumps(recall))
    table = report.GENERATORS["detector"](tmp_path)
    assert "| photos | 20 to 24 px | 8 | 7 | 87.5 % |" in table
    assert "One 1080p frame: 123 ms (median), 0.25 false boxes." in table
    times = {"command": "x", "results": [{"stage": "paste", "faces": 16, "median_ms": 8.126, "per_face": [1, 2]}]}
    (tmp_path / "sdk_latency.json").write_text(json.dumps(times))
    assert "| stage | faces | median ms |\n| --- | ---: | ---: |\n| paste | 16 | 8.13 |" in report.GENERATORS[
        "latency"
    ](tmp_path)


@pytest.mark.parametrize("name", sorted(report.GENERATORS.keys() - {"models"}))  # that one reads the models themselves
def test_without_results_every_table_says_so(name, tmp_path):
    assert "Not measured yet" in report.GENERATORS[name](tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- numbers:speed -->\n<!-- /numbers -->\n", "got numbers:speed"),
        ("<!-- numbers:evaluation -->\n", "got 1 markers and 0 pairs"),
    ],
)
def test_bad_markers_are_named(text, message):
    with pytest.raises(InputError, match=message):
        report.block_names(text, origin="README.md")


@pytest.mark.parametrize("content", ["{", "[]", '{"results": []}'])
def test_bad_results_files_are_named(content, project):
    root, results = project
    (results / "evaluation_val.json").write_text(content)
    with pytest.raises(InputError, match=r"expected .*evaluation_val\.json.*; got .*; "):
        report.update(write=False, root=root, results=results)
