"""The tables of docs/ENGINES.md from a results file that is small enough to read."""

import json

import pytest

from benchmarks import precision_tables
from benchmarks.precision_tables import cpu_int8, engines, precision, sensitivity

NUMBERS = {"psnr_fp32_db": 48.26, "psnr_db": 26.014, "dpsnr_db": 0.0114, "dssim": 0.00061, "nme_percent": 4.617}
LAYER = {"name": "node_3", "dpsnr_db": 0.0012, "dnme_pt": -0.0004, "moved_pt": 0.0968}
FILE = {
    "command": "python -m export.measure --json precision.json",
    "results": [
        {
            "model": "picoface_x8",
            "quality": [
                {"lr_size": 16, "what": "int8, CPU", "faces": 100, "source": "helen (val)", "passed": True}
                | {"numbers": NUMBERS | {"dnme_pt": 0.0172}},
                {"lr_size": 16, "what": "int8, TensorRT", "faces": 100, "source": "helen (val)", "passed": False}
                | {"numbers": NUMBERS | {"dnme_pt": 0.31}},
            ],
            "sensitivity": [LAYER | {"layer": "sr.up", "psnr_fp32_db": 58.25}]
            + [LAYER | {"layer": f"landmarks.{i}", "psnr_fp32_db": 150.0} for i in range(20)],
            "speed": [{"lr_size": 16, "batch": 8, "threads": 2, "times_as_fast": 2.4, "quartiles": [2.2, 2.61]}],
            "builds": [
                {"precision": "int8", "targets": ["sm_86", "sm_89"], "tensorrt": "1.7", "engine_mib": 24.3}
                | {"found": {"int8": 50, "fp16": 5}, "build_s": 1.88}
            ],
        }
    ],
}


@pytest.fixture
def results(tmp_path):
    (tmp_path / "precision.json").write_text(json.dumps(FILE))
    return tmp_path


def test_precision_by_eye(results):
    table = precision(results)
    assert "| `picoface_x8` | 16 px | int8, CPU | 48.3 | 26.01 | 0.011 | 0.0006 | 4.62 | 0.017 | holds |" in table
    assert "| 0.310 | refused |" in table
    assert "100 faces of helen (val)." in table and FILE["command"] in table


def test_sensitivity_shows_the_worst_and_hides_what_a_layer_does_not_touch(results):
    table = sensitivity(results)
    assert "| `picoface_x8` | `sr.up` | 58.2 | 0.001 | -0.000 | 0.097 |" in table
    assert "| `picoface_x8` | `landmarks.0` | – | 0.001 |" in table
    assert table.count("landmarks.") == precision_tables.LAYERS - 1
    assert "The 8 worst of 21 of `picoface_x8`." in table


def test_speed_and_engines_by_eye(results):
    assert "| `picoface_x8` | 16 px | 8 | 2 | 2.40 | 2.20 to 2.61 |" in cpu_int8(results)
    assert "| `picoface_x8` | int8 | sm_86 sm_89 | 5 fp16, 50 int8 | 24.3 | 1.9 |" in engines(results)


@pytest.mark.parametrize("table", [precision, sensitivity, cpu_int8, engines])
def test_without_a_file_the_tables_say_so(tmp_path, table):
    assert table(tmp_path) == "Not measured yet: no such file as `benchmarks/results/precision.json`."
