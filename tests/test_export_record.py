"""Where an engine may go, and that it arrives whole."""

import json
import os
import signal

import pytest
from small_network import small_model

from export import proof
from export.arguments import parse
from export.cpu import cpu_machine
from export.record import check_out, make_manifest, out_path, save
from sdk.errors import InputError, OutputError
from sdk.runtime.manifest import read_engine


def manifest(model, data, line="m"):
    return make_manifest(
        model,
        data,
        options=parse(line.split()),
        machine=cpu_machine(),
        gate=proof.PROVISIONAL,
        asked={"conv": "fp16"},
        found={"fp16": 1},
        build_s=1.23456,
        profiles=[{"lr": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}],
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("m", "net-fp16.engine"),
        ("m --int8", "net-int8.engine"),
        ("m --target cpu", "net-int8.onnx"),
        ("m -o a/b.plan", "a/b.plan"),
        ("m -o b.TRT", "b.TRT"),
    ],
)
def test_names(line, name):
    assert str(out_path(parse(line.split()), "net")) == name


def test_a_network_with_an_odd_name_gets_a_plain_file():
    assert str(out_path(parse(["m"]), "a/b c:d")) == "a_b_c_d-fp16.engine"


@pytest.mark.parametrize(("line", "better"), [("m -o x.onnx", "x.engine"), ("m -o x --target cpu", "x.onnx")])
def test_a_suffix_that_says_something_else(line, better):
    with pytest.raises(InputError, match=f"write -o {better}"):
        out_path(parse(line.split()), "net")


def test_what_would_fail_in_the_end_fails_at_once(tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"model")
    check_out(tmp_path / "new" / "folder" / "x.engine", model)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "the look leaves nothing behind"
    with pytest.raises(OutputError, match="got the folder"):
        check_out(tmp_path, model)
    (tmp_path / "y.engine.json").mkdir()
    with pytest.raises(OutputError, match="got the folder .*y.engine.json"):
        check_out(tmp_path / "y.engine", model)
    with pytest.raises(InputError, match="the model itself"):
        check_out(model, model)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a folder to write x.engine to; got .*file"):
        check_out(tmp_path / "file" / "x.engine", model)
    with pytest.raises(OutputError, match="a folder to write x.engine to; got /proc"):
        check_out(type(model)("/proc/x.engine"), model)
    for length in (255, 240):  # too long itself; too long for the hidden files on the way
        with pytest.raises(OutputError, match="File name too long"):
            check_out(tmp_path / f"{'x' * (length - 7)}.engine", model)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="a file that trt-build did not write"):
        check_out(other, model)
    (tmp_path / "other.onnx.json").write_text("{}")
    check_out(other, model)


def test_an_engine_and_its_manifest_belong_together(tmp_path):
    model = small_model(tmp_path)
    path = tmp_path / "deep" / "x.engine"
    path.parent.mkdir()
    path.write_bytes(b"the old one")
    save(path, b"plan", manifest=manifest(model, b"plan", "m --int8 -o x.engine"))
    data, read = read_engine(path)
    assert data == b"plan" and sorted(one.name for one in path.parent.iterdir()) == ["x.engine", "x.engine.json"]
    assert read.command == "trt-build m --int8 -o x.engine" and read.precision == "int8" and read.build_s == 1.23
    assert read.model_spec == model.spec and read.onnx_sha256 == model.sha256 and read.engine_bytes == 4
    assert read.profiles == [{"lr": [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]]}]
    assert json.loads(read.to_json())["created"].endswith("+00:00")


@pytest.mark.parametrize("name", ["", "/", ".", "a/..", "a\0b.engine"])
def test_an_output_without_a_name(name):
    with pytest.raises(InputError, match="name a file"):
        out_path(parse(["m", f"--out={name}"]), "net")


@pytest.mark.parametrize("room", [0, 1], ids=["not for the manifest", "not for the engine"])
def test_a_disk_that_is_full_keeps_the_old_pair(room, tmp_path, monkeypatch):
    model = small_model(tmp_path)
    path = tmp_path / "x.engine"
    save(path, b"old", manifest=manifest(model, b"old"))
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > room:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sdk.pictures.os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save(path, b"new", manifest=manifest(model, b"new"))
    assert read_engine(path)[0] == b"old" and not list(tmp_path.glob(".*"))


def test_ctrl_c_between_engine_and_manifest_waits_for_both(tmp_path, monkeypatch):
    model = small_model(tmp_path)
    path = tmp_path / "x.engine"
    save(path, b"old", manifest=manifest(model, b"old"))
    before, replace = signal.getsignal(signal.SIGINT), os.replace

    def interrupted(source, target):
        replace(source, target)
        os.kill(os.getpid(), signal.SIGINT if target == path else 0)

    monkeypatch.setattr("export.record.os.replace", interrupted)
    save(path, b"new", manifest=manifest(model, b"new"))
    assert read_engine(path)[0] == b"new" and not list(tmp_path.glob(".*"))
    assert signal.getsignal(signal.SIGINT) is before


def test_was_it_worth_it():
    numbers, sentence = proof.worth({1: 2.0, 8: 5.0}, {1: 2.0, 8: 10.0}, precision="int8", above="fp16")
    assert numbers == {
        "int8_b1_ms": 2.0,
        "fp16_b1_ms": 2.0,
        "speedup_b1": 1.0,
        "int8_b8_ms": 5.0,
        "fp16_b8_ms": 10.0,
        "speedup_b8": 2.0,
    }
    assert sentence == ("int8 against fp16 is worth it: 1.00 times as fast at batch 1, 2.00 times as fast at batch 8")
    _, sentence = proof.worth({1: 2.0}, {1: 2.02}, precision="int8", above="fp16")
    assert "not worth it (1.01 times as fast at batch 1): use --precision fp16" in sentence


def test_times_are_of_the_whole_call(tmp_path):
    model = small_model(tmp_path)
    seen = []
    times = proof.times_ms(lambda batch: seen.append(batch.shape) or {}, model.spec, batches=(1, 8))
    assert set(times) == {1, 8} and all(0 <= ms < 100 for ms in times.values())
    assert seen.count((1, 3, 8, 8)) == seen.count((8, 3, 8, 8)) == proof.WARM_UP + proof.ROUNDS
