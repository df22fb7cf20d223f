"""Presets choose what was left open, say why, and refuse what a device does not have."""

import pytest
from trt_by_version import open_fake

from export.arguments import parse
from export.options import TARGETS
from export.targets import DEVICES, choose, refuse_impossible
from sdk.errors import BuildError
from sdk.runtime import trt_api
from sdk.runtime.gpu import Gpu

ORIN = Gpu(0, "Orin", "sm_87", 7620, integrated=True)
THOR = Gpu(0, "Thor", "sm_110", 125000, integrated=True)
ADA = Gpu(0, "NVIDIA GeForce RTX 4090", "sm_89", 24210)
TURING = Gpu(0, "NVIDIA T4", "sm_75", 15360)


def options(line):
    return parse(["picoface_x8", *line.split()])


def test_every_target_but_the_cpu_has_a_device():
    assert set(DEVICES) == set(TARGETS) - {"cpu"}
    assert choose(options("--target cpu"), None, portable=False) == (options("--target cpu"), [])
    assert choose(options(""), None, portable=True) == (options(""), [])


def test_orin_nano_gets_a_quarter_of_its_memory_at_most_and_hears_why():
    chosen, lines = choose(options("--target jetson-orin-nano"), ORIN, portable=False)
    assert (chosen.workspace_mib, chosen.flavour, chosen.dla_core) == (1024, "tensorrt", None)
    said = "\n".join(lines)
    assert "at most a quarter of 7620 MiB" in said and "no FP8" in said and "DLA not used: it has none" in said


def test_what_was_said_stays():
    line = "--target agx-orin --workspace 77 --precision int8 --dla-core 1 --gpu-fallback"
    chosen, lines = choose(options(line), ORIN, portable=False)
    assert (chosen.workspace_mib, chosen.precision, chosen.dla_core) == (77, "int8", 1)
    assert any(one.startswith("DLA core 1: two cores with JetPack 6") for one in lines)
    assert not any(one.startswith("--workspace") for one in lines)


def test_a_small_gpu_gets_less_workspace():
    chosen, _ = choose(options("--target thor"), THOR, portable=False)
    assert chosen.workspace_mib == 8192
    chosen, _ = choose(options("--target datacenter"), TURING, portable=False)
    assert chosen.workspace_mib == 15360 // 4


def test_a_desktop_without_a_gpu_is_built_for_by_rtx():
    chosen, lines = choose(options("--target desktop"), None, portable=True)
    assert chosen.targets == ("sm_75", "sm_86", "sm_89", "sm_120") and chosen.workspace_mib is None
    assert any("without one" in one for one in lines)
    chosen, lines = choose(options("--target desktop --int8"), None, portable=True)
    assert chosen.targets == ("sm_86", "sm_89", "sm_120") and any("20 has no int8" in one for one in lines)
    chosen, _ = choose(options("--target desktop"), ADA, portable=True)
    assert chosen.targets == ()


@pytest.mark.parametrize(
    ("line", "gpu", "portable", "words"),
    [
        ("--target orin-nx", ADA, False, "a Jetson Orin NX .sm_87. .*got NVIDIA GeForce RTX 4090 .sm_89."),
        ("--target thor", None, False, "got no GPU; run trt-build on that device"),
        ("--target thor", None, True, "TensorRT for Jetson AGX Thor; got TensorRT-RTX"),
        ("--target jetson-orin-nano --dla-core 0", ORIN, False, "no DLA on Jetson Orin Nano"),
    ],
)
def test_the_wrong_place_is_named(line, gpu, portable, words):
    with pytest.raises(BuildError, match=words):
        choose(options(line), gpu, portable=portable)


@pytest.mark.parametrize(
    ("line", "gpu", "words"),
    [
        ("--precision fp8", ORIN, "a GPU with FP8 .*; got sm_87, which has none; use --precision int8"),
        ("--hardware-compatibility ampere_plus", TURING, "sm_80 or newer for ampere_plus; got sm_75"),
        ("--hardware-compatibility ampere_plus", ORIN, "a discrete GPU for ampere_plus; got Orin"),
        ("--targets sm_86", ADA, "TensorRT-RTX for --targets; got TensorRT 10.3.0"),
        ("--hardware-compatibility same_compute_capability", ADA, "10.3.0, which has none.*10.13 or newer"),
        ("", None, "a GPU for TensorRT 10.3.0 to build on; got no NVIDIA driver"),
    ],
)
def test_what_tensorrt_or_the_gpu_lacks_is_refused_before_the_work(line, gpu, words, monkeypatch):
    trt = open_fake("10.3.0", monkeypatch, gpus=0)
    with pytest.raises(BuildError, match=words):
        refuse_impossible(options(line), gpu, trt=trt)


def test_what_they_have_passes(monkeypatch):
    trt = open_fake("11.4.0.106", monkeypatch)
    line = "--precision fp8 --hardware-compatibility ampere_plus --version-compatible --strip-weights --refit"
    refuse_impossible(options(f"{line} --optimization-level 5 --tactic-sources jit --timing-cache t"), ADA, trt=trt)
    with pytest.raises(BuildError, match="the tactic source cudnn; got TensorRT 11.4.0.106"):
        refuse_impossible(options("--tactic-sources cudnn"), ADA, trt=trt)


@pytest.mark.parametrize(
    ("line", "gpu", "words"),
    [
        ("--targets sm_86,sm_87", None, "GPUs that TensorRT-RTX .* builds for: sm_75.*; got sm_87; leave"),
        ("--targets sm_90", None, "got sm_90"),
        ("--targets sm_110,sm_100", None, "got sm_110, sm_100"),
        ("", None, "GPUs to build for; got no GPU here and no --targets"),
        ("", ORIN, "got sm_87"),
        ("--targets sm_86 --dla-core 0 --int8", None, "deep-learning accelerators"),
        ("--targets sm_86 --version-compatible", None, "version-compatible engines"),
        ("--targets sm_86 --strip-weights", None, "engines without weights"),
        ("--targets sm_86 --refit", None, "refittable engines"),
        ("--targets sm_86 --hardware-compatibility ampere_plus", None, "hardware compatibility"),
        ("--targets sm_86 --timing-cache t.cache", None, "a timing cache"),
        ("--targets sm_86 --precision fp8", None, "a GPU with FP8"),
        (
            "--targets sm_86,sm_75 --int8",
            None,
            "sm_80 or newer for int8 .*; got sm_75, where it would run them in fp16",
        ),
    ],
)
def test_rtx_refuses_what_it_would_ignore_or_fail_at(line, gpu, words):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    with pytest.raises(BuildError, match=words):
        refuse_impossible(options(line), gpu, trt=trt_api.load("tensorrt_rtx"))
