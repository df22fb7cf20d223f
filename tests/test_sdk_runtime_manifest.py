"""sdk.runtime.manifest: what is written is read; what was touched since is refused; every misfit is named."""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from tiny_onnx import tiny_spec

from sdk.errors import EngineError, OutputError
from sdk.runtime.machine import Machine, jetpack_release
from sdk.runtime.manifest import Manifest, misfits, notes, read_engine, read_manifest, write_manifest

PLAN = b"a plan " * 9
ORIN = Machine("tensorrt", "10.3.0", "540.4.0", "12.6", "Orin", "sm_87", "6.2 (L4T 36.4.3)", "aarch64")
ADA = Machine("tensorrt", "10.13.2.6", "580.65", "13.0", "NVIDIA L4", "sm_89", None, "x86_64")
RTX = dataclasses.replace(ADA, flavour="tensorrt_rtx", tensorrt="1.7.1.116")


def made(machine=ORIN, **changes):
    """The manifest of PLAN built on `machine`."""
    values = dict(
        facetrt="0.1.0", created="2026-11-20T12:00:00Z", command="trt-build tiny.onnx --precision fp16",
        spec=json.loads(tiny_spec().to_json()), onnx_sha256="ab" * 32, engine_sha256=hashlib.sha256(PLAN).hexdigest(),
        engine_bytes=len(PLAN), precision="fp16", asked={"conv": "fp16"}, found={"fp16": 1}, build_s=1.5,
        profiles=[{"lr": [[1, 3, 16, 16], [8, 3, 16, 16], [64, 3, 16, 16]]}],
        gate={"ran": "engine", "passed": True, "allowed_loss": False, "psnr_db": 61.5}, **dataclasses.asdict(machine),
    )  # fmt: skip
    return Manifest(**{**values, **changes})


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "tiny.engine"
    path.write_bytes(PLAN)
    write_manifest(path, made())
    return path


def edit(engine, change):
    path = engine.with_name("tiny.engine.json")
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_written_is_what_is_read(engine):
    assert read_manifest(engine) == made() and read_engine(str(engine)) == (PLAN, made())
    assert read_manifest(engine).model_spec == tiny_spec()
    assert sorted(path.name for path in engine.parent.iterdir()) == ["tiny.engine", "tiny.engine.json"]
    keys = set(json.loads(engine.with_name("tiny.engine.json").read_text()))
    assert keys == {field.name for field in dataclasses.fields(Manifest)} | {"digest"}


def test_numbers_of_numpy_and_nan_are_written():
    gate = {"ran": "engine", "passed": np.bool_(True), "allowed_loss": False, "db": np.float32(2.5), "nan": np.nan}
    assert Manifest.from_json(made(gate=gate).to_json()).gate == {**gate, "db": 2.5, "nan": None}


def test_manifest_missing(engine):
    engine.with_name("tiny.engine.json").unlink()
    with pytest.raises(EngineError, match=r"tiny\.engine\.json beside the engine; got no such file; .*trt-build MODEL"):
        read_engine(engine)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 100_000, "[" * 990 + "]" * 990, "\x00", '{"manifest_version": 2}']
)
def test_manifest_that_is_none(engine, text):
    engine.with_name("tiny.engine.json").write_text(text)
    with pytest.raises(EngineError, match=r"expected .*tiny\.engine\.json.*; got .*; build it again: trt-build"):
        read_manifest(engine)


def test_manifest_of_bytes_that_are_no_text(engine):
    engine.with_name("tiny.engine.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EngineError, match="readable manifest"):
        read_manifest(engine)


def test_manifest_edited(engine):
    edit(engine, lambda values: values.update(sm="sm_89"))
    with pytest.raises(EngineError, match="edited since"):
        read_manifest(engine)
    edit(engine, lambda values: values.pop("digest"))
    with pytest.raises(EngineError, match="edited since"):
        read_manifest(engine)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(typo=1), r"unknown \['typo'\]"),
        (dict(engine_bytes="63"), r"engine_bytes .* as int; got '63'"),
        (dict(engine_bytes=True), "engine_bytes .* as int; got True"),
        (dict(build_s=None), "build_s .* as float; got None"),
        (dict(sm=87), r"sm .* as str \| None; got 87"),
        (dict(targets="sm_89"), r"targets .* as list\[str\]"),
        (dict(found={"fp16": 1.5}), r"found .* as dict\[str, int\]"),
        (dict(profiles=[{"lr": [1, 2, 3]}]), "profiles"),
        (dict(version_compatible=1), "version_compatible .* as bool"),
    ],
)
def test_manifest_with_a_wrong_field(engine, change, words):
    edit(engine, lambda values: values.update(change))
    with pytest.raises(EngineError, match=words):
        read_manifest(engine)


def test_every_field_is_needed(engine):
    text = engine.with_name("tiny.engine.json").read_text()
    for field in dataclasses.fields(Manifest):
        values = json.loads(text)
        del values[field.name]
        with pytest.raises(EngineError, match=f"missing|{field.name}"):
            Manifest.from_json(json.dumps(values))


@pytest.mark.parametrize("change", [dict(precision="fp12"), dict(flavour="trt"), dict(hardware_compatibility="all"),
                                    dict(gate={}), dict(manifest_version=2)])  # fmt: skip
def test_words_that_nobody_knows(change):
    with pytest.raises(EngineError, match="of a manifest among"):
        made(**change)


def test_engine_truncated_or_bit_flipped(engine):
    engine.write_bytes(PLAN[:-1])
    with pytest.raises(EngineError, match=rf"got the engine has {len(PLAN) - 1} bytes, its manifest says {len(PLAN)}"):
        read_engine(engine)
    engine.write_bytes(bytes([PLAN[0] ^ 1]) + PLAN[1:])
    with pytest.raises(EngineError, match="SHA-256 begins with"):
        read_engine(engine)
    engine.unlink()
    with pytest.raises(EngineError, match="No such file"):
        read_engine(engine)


def test_nothing_half_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected to write"):
        write_manifest(tmp_path / "file" / "tiny.engine", made())
    (tmp_path / "tiny.engine.json").mkdir()
    with pytest.raises(OutputError):
        write_manifest(tmp_path / "tiny.engine", made())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "tiny.engine.json"]


def at(machine=ORIN, **changes):
    return dataclasses.replace(machine, **changes)


BUILT = {"ampere": dict(hardware_compatibility="ampere_plus"), "same": dict(hardware_compatibility=
         "same_compute_capability"), "lean": dict(version_compatible=True)}  # fmt: skip


@pytest.mark.parametrize(
    ("manifest", "machine", "words"),
    [
        (made(ORIN), ORIN, []),
        (made(ORIN), at(driver="999", cuda="14.0"), []),
        (made(ORIN), at(sm="sm_89", gpu="NVIDIA L4"), ["built for sm_87 (Orin), this GPU is sm_89"]),
        (made(ORIN), at(tensorrt="10.13.2"), ["built with TensorRT 10.3.0, installed is 10.13.2"]),
        (made(ORIN), at(platform="x86_64"), ["built on aarch64, this machine is x86_64"]),
        (made(ORIN), at(sm=None, gpu=None), ["built for sm_87 (Orin), this machine has no usable GPU"]),
        (made(ORIN), at(RTX), ["built for TensorRT, installed is TensorRT-RTX"]),
        (made(ADA), at(ADA, gpu="NVIDIA L40"), ["built on NVIDIA L4, this GPU is NVIDIA L40 (without hardware compat"]),
        (made(ADA, **BUILT["same"]), at(ADA, gpu="NVIDIA L40"), []),
        (made(ADA, **BUILT["same"]), at(ADA, sm="sm_90"), ["sm_89 (NVIDIA L4) with hardware compatibility same_compu"]),
        (made(ADA, **BUILT["ampere"]), at(ADA, sm="sm_120", gpu="B"), []),
        (made(ADA, **BUILT["ampere"]), at(ADA, sm="sm_80", gpu="A100"), []),
        (made(ADA, **BUILT["ampere"]), at(ADA, sm="sm_75", gpu="T4"), ["ampere_plus, this GPU is sm_75"]),
        (made(ORIN, **BUILT["ampere"]), at(sm="sm_110"), ["with hardware compatibility ampere_plus, this GPU is sm_1"]),
        (made(ADA, **BUILT["lean"]), at(ADA, tensorrt="11.4.0"), []),
        (made(ADA, **BUILT["lean"]), at(ADA, tensorrt="10.16.1"), []),
        (made(ADA, **BUILT["lean"]), at(ADA, tensorrt="10.13.1"), ["10.13.2.6, version-compatible, installed is"]),
        (made(ADA, tensorrt="8.6.0", **BUILT["lean"]), at(ADA, tensorrt="10.3.0"), []),
        (made(ADA, tensorrt="8.6.0", **BUILT["lean"]), at(ADA, tensorrt="11.0.0"), ["installed is 11.0.0"]),
        (made(ADA, tensorrt="8.5.3", **BUILT["lean"]), at(ADA, tensorrt="8.6.0"), ["installed is 8.6.0"]),
        (made(RTX, targets=["sm_86", "sm_89"]), RTX, []),
        (made(RTX, targets=["sm_86", "sm_89"], sm=None, gpu=None, platform="aarch64"), RTX, []),
        (made(RTX, targets=["sm_86", "sm_120"]), RTX, ["built for sm_86, sm_120, this GPU is sm_89"]),
        (made(RTX, targets=["sm_89"], **BUILT["lean"]), at(RTX, tensorrt="1.8"), ["RTX 1.7.1.116, installed is 1.8"]),
        (made(ORIN), at(ADA), ["10.13.2.6", "this GPU is sm_89", "this machine is x86_64"]),
    ],
)  # fmt: skip
def test_engine_of_another_version_or_gpu(manifest, machine, words):
    found = misfits(manifest, machine)
    assert len(found) == len(words), found
    for sentence, word in zip(found, words, strict=True):
        assert word in sentence and "\n" not in sentence


def test_misfits_of_the_file_and_of_what_is_asked():
    gate = {"ran": "engine", "passed": False, "allowed_loss": False}
    asked = dict(onnx_sha256="cd" * 32, precision="int8", engine_bytes=1, engine_sha256="ef" * 32)
    text = "; ".join(misfits(made(gate=gate), ORIN, **asked))
    assert re.search(r"has 1 bytes.*gate failed.*built as fp16, asked for is int8.*abab.*, this one is cdcd", text)
    assert misfits(made(gate={**gate, "allowed_loss": True}), ORIN) == []


def test_notes_keep_the_engine():
    unrun = made(RTX, targets=["sm_89"], gate={"ran": "not run", "passed": True, "allowed_loss": False})
    assert notes(made(), ORIN) == []
    assert notes(made(), at(driver="550", jetpack="6.1 (L4T 36.4.0)")) == [
        "built under driver 540.4.0, this is 550",
        "built under JetPack 6.2 (L4T 36.4.3), this is 6.1 (L4T 36.4.0)",
    ]
    assert ["could not run" in note for note in notes(unrun, RTX)] == [True]


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "6.2 (L4T 36.4.3)"),
        ("# R36 (release), REVISION: 2.0, GCID: 1", "6.0 (L4T 36.2.0)"),
        ("# R38 (release), REVISION: 2", "7.0 (L4T 38.2.0)"),
        ("# R99 (release), REVISION: 1.0", "L4T 99.1.0"),
        ("nothing known", None),
    ],
)
def test_jetpack_release(tmp_path, text, release):
    (tmp_path / "nv_tegra_release").write_text(text)
    assert jetpack_release(tmp_path / "nv_tegra_release") == release
    assert jetpack_release(tmp_path / "absent") is None
