"""Which machine code a GPU gets: the shipped binary when it is whole, up to date and fits, else NVRTC, with reasons."""

import hashlib
import json
import lzma

import pytest

from sdk.errors import BackendError, MissingPackageError
from sdk.runtime import kernel_files
from sdk.runtime.kernel_files import load_code, runs_on, source_digest

PACKED = lzma.compress(b"code")
TARGETS = ["sm_75", "sm_80", "sm_87", "sm_90", "sm_120", "compute_80"]


@pytest.fixture
def folder(tmp_path):
    """Sources with a header, and a binary made from them."""
    (tmp_path / "built").mkdir()
    (tmp_path / "common.cuh").write_text('#include "host/runner.hpp"\n')
    (tmp_path / "demo.cuh").write_text('#include "common.cuh"\nstruct DemoArgs {};\n')
    (tmp_path / "demo.cu").write_text('#include "demo.cuh"\n#include <cuda_fp16.h>\n')
    (tmp_path / "built" / "demo.fatbin.xz").write_bytes(PACKED)
    write_index(tmp_path)
    return tmp_path


def write_index(folder, **changes):
    about = dict(
        source_sha256=source_digest(folder, "demo"),
        binary="demo.fatbin.xz",
        binary_sha256=hashlib.sha256(PACKED).hexdigest(),
        kernels={"demo_f16": {"args_bytes": 24, "threads": 128}},
    )
    index = {"version": 1, "targets": TARGETS, "files": {"demo": {**about, **changes}}}
    (folder / "built" / "index.json").write_text(json.dumps(index))


def nvrtc(source, sm):
    return f"{source.name} for {sm}".encode()


def no_nvrtc(source, sm):
    raise MissingPackageError("compiling kernels on the device", "NVRTC", "pip install nvidia-cuda-nvrtc", got="none")


@pytest.mark.parametrize(
    ("sm", "origin"),
    [
        ("sm_87", "cubin sm_87"),
        ("sm_86", "cubin sm_80"),  # binary compatible within a major, upwards
        ("sm_121", "cubin sm_120"),
        ("sm_110", "PTX compute_80, compiled by the driver"),
    ],
)
def test_the_binary_serves_a_gpu(folder, sm, origin):
    code = load_code("demo", sm, compiler=no_nvrtc, folder=folder)
    assert (code.image, code.origin) == (b"code", origin)
    assert code.kernels["demo_f16"].args_bytes == 24 and code.kernels["demo_f16"].threads == 128


def test_what_runs_on_what():
    assert runs_on("sm_80", "sm_89") and not runs_on("sm_89", "sm_80") and not runs_on("sm_80", "sm_90")
    assert runs_on("compute_80", "sm_120") and not runs_on("compute_80", "sm_75") and runs_on("sm_100", "sm_103")
    assert not runs_on("sm_80", "a toaster")


def test_digest_covers_the_headers_and_not_the_host_runner(folder):
    before = source_digest(folder, "demo")
    (folder / "host").mkdir()
    (folder / "host" / "runner.hpp").write_text("// of the tests")
    (folder / "other.cuh").write_text("// not included")
    assert source_digest(folder, "demo") == before
    (folder / "common.cuh").write_text("// edited")
    assert source_digest(folder, "demo") != before


def edit_header(folder):
    (folder / "demo.cuh").write_text("// edited")


def lose_binary(folder):
    (folder / "built" / "demo.fatbin.xz").unlink()


def flip_bit(folder):
    (folder / "built" / "demo.fatbin.xz").write_bytes(PACKED[:-1] + b"?")


def lose_index(folder):
    (folder / "built" / "index.json").unlink()


def cut_index(folder):
    (folder / "built" / "index.json").write_text('{"version": 1, "fil')


def old_index(folder):
    (folder / "built" / "index.json").write_text('{"version": 0, "files": {}}')


def other_index(folder):
    (folder / "built" / "index.json").write_text('{"version": 1, "targets": [], "files": {}}')


def no_archive(folder):
    (folder / "built" / "demo.fatbin.xz").write_bytes(b"plain")
    write_index(folder, binary_sha256=hashlib.sha256(b"plain").hexdigest())


def lose_sizes(folder):
    write_index(folder, kernels={"demo_f16": {"threads": 128}})


DAMAGES = [
    (edit_header, "demo.fatbin.xz is stale"),
    (lose_binary, "demo.fatbin.xz is missing"),
    (flip_bit, "demo.fatbin.xz is damaged"),
    (no_archive, "demo.fatbin.xz cannot be unpacked"),
    (lose_index, "no built/index.json"),
    (cut_index, "built/index.json is damaged"),
    (old_index, "of another release"),
    (other_index, "says nothing usable of demo"),
    (lose_sizes, "says nothing usable of demo"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES, ids=[one[0].__name__ for one in DAMAGES])
def test_nvrtc_steps_in_and_the_log_says_why(folder, caplog, damage, reason):
    damage(folder)
    code = load_code("demo", "sm_87", compiler=nvrtc, folder=folder)
    assert code.image == b"demo.cu for sm_87" and code.kernels == {}
    assert reason in code.origin and code.origin.startswith("NVRTC on the device")
    assert "kernels/demo" in caplog.text and reason in caplog.text
    with pytest.raises(BackendError, match="machine code of the kernel demo for sm_87") as caught:
        load_code("demo", "sm_87", compiler=no_nvrtc, folder=folder)
    assert reason in caught.value.got and "NVRTC: none" in caught.value.got
    assert "make -C kernels" in caught.value.remedy and "pip install nvidia-cuda-nvrtc" in caught.value.remedy


def test_a_gpu_that_is_not_covered(folder):
    assert "has nothing for sm_72" in load_code("demo", "sm_72", compiler=nvrtc, folder=folder).origin


def test_a_binary_that_the_driver_refuses(folder):
    code = load_code("demo", "sm_87", compiler=nvrtc, folder=folder, refused="the driver refuses it")
    assert code.origin == "NVRTC on the device (the driver refuses it)"


def test_sources_that_are_gone(folder):
    (folder / "common.cuh").unlink()
    with pytest.raises(BackendError, match="common.cuh cannot be read"):
        load_code("demo", "sm_87", compiler=no_nvrtc, folder=folder)


def test_the_checkout_has_sources(monkeypatch, tmp_path):
    assert kernel_files.kernel_folder().name in ("kernels", "_kernels")
    monkeypatch.setattr(kernel_files, "__file__", str(tmp_path / "sdk" / "runtime" / "kernel_files.py"))
    with pytest.raises(BackendError, match="install facetrt again"):
        kernel_files.kernel_folder()
