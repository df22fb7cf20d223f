"""trt-build as it is typed: exit codes, events, bad input, and nothing half-written. Engines by TensorRT-RTX."""

import json
import os
from pathlib import Path

import onnx
import pytest
from small_network import LR, save_small, small_graph, small_spec

from export import cli, pipeline
from sdk.errors import InputError
from sdk.runtime.manifest import read_engine

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")

PICTURE = small_spec(heatmap_kind=None, heatmap_count=0, heatmap_size=0, output_names=("sr",))
QUICK = ("--targets", "sm_86", "--calib-count", "64", "--batches", "2")


@pytest.fixture
def model(tmp_path):
    (tmp_path / "in").mkdir()
    return save_small(tmp_path / "in" / "small.onnx", spec=PICTURE)


def build(model, *more):
    return cli.main([str(model), *QUICK, *map(str, more)])


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_engine_and_its_manifest(model, tmp_path, capsys):
    out = tmp_path / "x.engine"
    assert build(model, "-o", out) == 0
    plan, manifest = read_engine(out)
    assert manifest.asked.keys() == {"stem", "b0.conv1", "b0.conv2", "b1.conv1", "b1.conv2", "out", "maps"}
    assert set(manifest.asked.values()) == {"fp16"} and manifest.found == {"fp16": 7}
    assert manifest.targets == ["sm_86"] and manifest.flavour == "tensorrt_rtx" and manifest.precision == "fp16"
    assert manifest.gate["ran"] == "not run" and manifest.gate["passed"] and not manifest.gate["allowed_loss"]
    assert manifest.gate["numbers"]["psnr_fp32_db"] > 50 and manifest.gate["source"] == "builtin"
    assert manifest.profiles == [{"lr": [[1, 3, LR, LR], [2, 3, LR, LR], [2, 3, LR, LR]]}]
    assert manifest.model_spec == PICTURE and manifest.command.startswith(f"trt-build {model} --targets sm_86")
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: ") and "7 layers in fp16" in printed.out
    assert "[5/6] build, about " in printed.err and "typed graph on onnxruntime; engine not run" in printed.err
    assert len(plan) == manifest.engine_bytes and sorted(os.listdir(tmp_path)) == ["in", "x.engine", "x.engine.json"]


def test_json_events(model, tmp_path, capsys):
    assert build(model, "-o", tmp_path / "x.engine", "--json", "--int8", "--explain") == 0
    told = events(capsys)
    assert [one["name"] for one in told if one["event"] == "stage"] == [
        "read model", "draw faces", "measure layers", "write precision", "gate the graph", "build", "save",
    ]  # fmt: skip
    assert all(one["eta_s"] >= 0 for one in told if one["event"] in ("stage", "progress"))
    assert "gate int8 on 32 faces of builtin" in next(one["text"] for one in told if one["event"] == "note")
    layers = next(one["layers"] for one in told if one["event"] == "layers")
    assert {row["name"]: row["asked"] for row in layers} == told[-1]["manifest"]["asked"]
    assert [row["found"] for row in layers] == [row["asked"] for row in layers]
    measured = {row["name"] for row in layers if row.get("psnr_fp32_db", 0) > 20}
    assert measured == {"b0.conv1", "b0.conv2", "b1.conv1", "b1.conv2"}
    assert told[-1]["event"] == "done" and told[-1]["engine"] == str(tmp_path / "x.engine")
    assert told[-1]["manifest"] == json.loads((tmp_path / "x.engine.json").read_text())
    assert told[-1]["manifest"]["found"] == {"fp16": 3, "int8": 4}


def test_quiet_and_the_default_name(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert build(model, "--quiet") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "") and Path("small_x2-fp16.engine").is_file()


def test_verbose_shows_tensorrts_own_log(model, tmp_path, capsys):
    assert build(model, "-o", tmp_path / "x.engine", "--verbose") == 0
    assert "verbose: Layers:" in capsys.readouterr().err


def test_the_gate_refuses_and_the_old_engine_stays(tmp_path, capsys):
    """Activations in the thousands: fp16 loses more than 50 dB."""
    model = save_small(tmp_path / "m.onnx", spec=PICTURE, gains={"stem.w": 30000.0})
    out = tmp_path / "x.engine"
    out.write_bytes(b"the old one")
    assert build(model, "-o", out) == 3
    printed = capsys.readouterr()
    assert out.read_bytes() == b"the old one" and not (tmp_path / "x.engine.json").exists()
    assert "REFUSED: PSNR against fp32 is" in printed.err and "trt-build: expected fp16 of small_x2" in printed.err
    assert "--precision fp32" in printed.err and "[5/6] build" not in printed.err
    assert build(model, "-o", out, "--json") == 3
    told = events(capsys)[-1]
    assert told["event"] == "error" and told["exit"] == 3 and told["gate"]["numbers"]["psnr_fp32_db"] < 50
    assert build(model, "-o", out, "--allow-loss") == 0
    manifest = read_engine(out)[1]
    assert manifest.gate["allowed_loss"] and not manifest.gate["passed"] and manifest.verified
    assert "although the gate refused it" in capsys.readouterr().out


def test_nan_is_refused_even_with_allow_loss(tmp_path, capsys):
    """Activations beyond 65504 are infinite in fp16, and NaN behind the next sum."""
    model = save_small(tmp_path / "m.onnx", spec=PICTURE, gains={"stem.w": 1.5e5})
    assert build(model, "-o", tmp_path / "x.engine", "--allow-loss") == 3
    assert "NaN or infinity in sr" in capsys.readouterr().err and not (tmp_path / "x.engine").exists()


def spoiled(kind, model, folder):
    path = folder / f"{kind}.onnx"
    whole = model.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "external":
        proto = onnx.load(model)
        onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        (folder / "weights.bin").unlink()
    elif kind == "operator":
        proto = onnx.load(model)
        proto.graph.node[1].op_type = "Frobnicate"
        path.write_bytes(proto.SerializeToString())
    elif kind == "spec":
        path.write_bytes(small_graph().SerializeToString())
    elif kind == "checkpoint":
        path = folder / "a.pt"
        path.write_bytes(b"PK")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "truncated or not ONNX"),
        ("text", "ONNX"),
        ("empty", "ONNX"),
        ("external", "weights.bin"),
        ("operator", "Frobnicate"),
        ("spec", "facetrt.spec"),
        ("checkpoint", "make one with: python -m export.to_onnx"),
        ("absent", "where there is no file"),
    ],
)
def test_bad_models_end_with_2_and_say_what_is_wrong(kind, words, model, tmp_path, capsys):
    assert build(spoiled(kind, model, tmp_path), "-o", tmp_path / "out" / "x.engine", "--json") == 2
    told = events(capsys)[-1]
    assert told["event"] == "error" and told["exit"] == 2 and told["remedy"]
    assert words in f"{told['expected']} {told['got']} {told['remedy']}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--precison", "fp16"), 2, "did you mean --precision?"),
        (("--targets", "sm_90"), 1, "got sm_90"),
        (("--max-shapes", "lr:1x3x8x8"), 2, "as many --min-shapes"),
        (("--calib", "/no/such/folder"), 2, "/no/such/folder"),
        (("--int8", "--keep-fp16", "nothing"), 2, "nothing"),
        (("--sizes", "16"), 2, "no --sizes for small_x2"),
        (("-o", "/proc/x.engine"), 2, "a folder to write x.engine to"),
    ],
)
def test_wrong_use(more, code, words, model, capsys):
    assert build(model, *more) == code
    assert words in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(model, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "build_engine", interrupted)
    assert build(model, "-o", tmp_path / "x.engine") == 130
    assert os.listdir(tmp_path) == ["in"] and "nothing was saved" in capsys.readouterr().err


def test_our_own_mistakes_are_one_line_too(model, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "load_faces", lambda *arguments, **more: 1 // 0)
    assert build(model, "--json") == 1
    assert "ZeroDivisionError" in events(capsys)[-1]["got"]
    assert build(model, "--verbose") == 1
    assert "Traceback" in capsys.readouterr().err


def test_errors_of_use_are_no_crash_for_argparse():
    with pytest.raises(InputError):
        cli.parse(["--workspace"])
