"""python -m sdk.demo: two pictures and the numbers, from the base install alone."""

import re

from tiny_onnx import save_tiny, tiny_spec

from sdk.demo import main
from sdk.pictures import read_picture


def test_demo(tmp_path, capsys):
    model = save_tiny(tmp_path / "tiny.onnx", tiny_spec(32, 4))
    assert main(["-o", str(tmp_path / "out"), "--model", str(model)]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"bicubic \d+\.\d\d dB, ours \d+\.\d\d dB", said)) == 2
    assert read_picture(tmp_path / "out" / "faces.png").pixels.shape == (2 * (22 + 256), 5 * 256 + 4 * 6, 3)
    assert read_picture(tmp_path / "out" / "photo.png").pixels.shape == (512 + 22, 3 * 512 + 2 * 6, 3)


def test_without_its_model(tmp_path, capsys):
    assert main(["-o", str(tmp_path / "out"), "--model", "absent.onnx"]) == 2
    assert "expected a shipped model" in capsys.readouterr().err and not (tmp_path / "out").exists()
