"""python -m export.measure on a small network in place of the shipped ones."""

import json

import numpy as np
import pytest
from small_network import save_small

import export.measure as measure
from export.graph import read_model
from export.quantise import cpu_int8


class Slow:
    """A backend that takes a known time."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def run(self, batch):
        self.clock[0] += self.seconds
        return {}


def test_ratios_are_those_of_neighbours(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    ratios = measure._ratios([Slow(clock, 0.03), Slow(clock, 0.01)], np.zeros((1, 3, 8, 8), np.float32))
    assert len(ratios) == measure.TURNS
    np.testing.assert_allclose(ratios, 3.0)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small network with an INT8 file beside it, registered as the only shipped one."""
    import onnx

    from export.faces import load_faces

    path = save_small(tmp_path / "small.onnx")
    model = read_model(path)
    onnx.save(cpu_int8(model, load_faces("builtin", spec=model.spec, count=64)), str(tmp_path / "small.int8.onnx"))
    monkeypatch.setattr(measure, "SHIPPED", {"small": str(path)})
    monkeypatch.setattr(measure, "model_path", lambda name: path)
    monkeypatch.setattr(measure, "int8_path", lambda _: tmp_path / "small.int8.onnx")
    monkeypatch.setattr(measure, "builds", lambda name: iter(()))
    monkeypatch.setattr(measure, "CALIBRATION_FACES", 64)
    monkeypatch.setattr(measure, "JUDGING_FACES", 64)
    monkeypatch.setattr(measure, "TURNS", 3)
    return path


def test_the_file_holds_every_table(small, tmp_path):
    out = tmp_path / "precision.json"
    assert measure.main(["--judge", "builtin", "--json", str(out), "--threads", "1"]) == 0
    file = json.loads(out.read_text())
    assert file["command"] == f"python -m export.measure --judge builtin --json {out} --threads 1"
    (network,) = file["results"]
    assert [row["what"] for row in network["quality"]] == ["fp16, TensorRT", "int8, TensorRT", "int8, CPU"]
    assert network["quality"][0]["numbers"]["psnr_fp32_db"] > network["quality"][1]["numbers"]["psnr_fp32_db"] > 30
    assert sorted(row["layer"] for row in network["sensitivity"]) == [
        "b0.conv1.w",
        "b0.conv2.w",
        "b1.conv1.w",
        "b1.conv2.w",
    ]
    assert [(row["lr_size"], row["batch"]) for row in network["speed"]] == [(8, 1), (8, 8)]
    assert not list(tmp_path.glob("*.part"))


def test_an_unknown_archive_is_told(small, tmp_path, capsys):
    assert measure.main(["--judge", "no_such_archive", "--json", str(tmp_path / "x.json")]) == 2
    assert "expected" in capsys.readouterr().err and not (tmp_path / "x.json").exists()
