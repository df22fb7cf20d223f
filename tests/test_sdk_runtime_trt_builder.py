"""What the builder of every release is told, and what it is not asked for because it lacks it."""

import dataclasses
import types

import pytest
from trt_by_version import LAYERS, VERSIONS, open_fake

from sdk.errors import BuildError, ModelError
from sdk.runtime.trt_builder import Cancelled, Settings, build
from sdk.runtime.trt_layers import set_layer_precisions

SHAPES = {"lr": ((1, 3, 16, 16), (8, 3, 16, 16), (64, 3, 16, 16))}
PLAIN = Settings([SHAPES])
WEAK = dataclasses.replace(PLAIN, flags=("fp16", "int8"), layer_precisions={"conv1": "fp16", "conv2": "int8"})
OLD = ("8.5.3.1", "8.6.0")
each_version = pytest.mark.parametrize("version", VERSIONS)


class Monitor:
    def __init__(self, going_on=True):
        self.heard, self.going_on = [], going_on

    def start(self, phase, parent, steps):
        self.heard.append((phase, parent, steps))

    def step(self, phase, step):
        self.heard.append((phase, step))
        return self.going_on

    def finish(self, phase):
        self.heard.append(phase)


def run(trt, settings=PLAIN, monitor=None):
    """(what build() gave, the network, the config, the log)"""
    log = []
    sink = lambda severity, text: log.append((severity, text))  # noqa: E731
    built = build(trt, b"onnx", settings=settings, nodes=["conv1 (Conv)"], sink=sink, monitor=monitor)
    return built, *trt.module.built[-1], log


@each_version
def test_every_release_builds_a_plan(version, monkeypatch):
    trt, monitor = open_fake(version, monkeypatch), Monitor()
    built, network, config, log = run(trt, dataclasses.replace(PLAIN, workspace_mib=3, timing_cache=b"old"), monitor)
    assert built.plan == b"plan" and built.timing_cache == b"old+" and built.fell_back_to_gpu == ()
    assert trt.module.parsed == [b"onnx"] and log == [("VERBOSE", "Computing costs for conv1")]
    flags = trt.module.NetworkDefinitionCreationFlag
    assert network._flags == 1 << int(flags.EXPLICIT_BATCH if version in OLD else flags.STRONGLY_TYPED)
    assert config.profiling_verbosity is trt.module.ProfilingVerbosity.DETAILED
    assert ("WORKSPACE", 3 << 20) in config._kept and ("clear", "TF32") in config._kept
    profiles = [value for key, value in config._kept if key == "profile"]
    assert [profile._kept for profile in profiles] == [[("shape", ("lr", *SHAPES["lr"]))]]
    told = [("Building engine", None, 2), ("Building engine", 1), "Building engine"]
    assert monitor.heard == ([] if version in OLD else told)


@each_version
def test_weak_typing_sets_flags_and_layer_precisions_only_where_there_is_no_other(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    _, network, config, _ = run(trt, WEAK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    assert [layer.name for layer in layers] == list(LAYERS)
    told = [getattr(layer, "precision", None) for layer in layers]
    flags = [value for key, value in config._kept if key == "set"]
    half = trt.module.DataType.HALF
    assert told == ([half, None, None] if version in OLD else [None] * 3)
    assert flags == (["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"] if version in OLD else [])


@pytest.mark.parametrize("version", OLD)
def test_behind_a_name_floats_are_fp32_and_nothing_else_is_touched(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    kinds = trt.module.DataType

    def layer(name, inputs, outputs):
        tensors = [types.SimpleNamespace(dtype=kind) for kind in (*inputs, *outputs)]
        one = types.SimpleNamespace(name=name, num_inputs=len(inputs), num_outputs=len(outputs), kept=[])
        one.get_input, one.get_output = tensors.__getitem__, tensors[len(inputs) :].__getitem__
        one.set_output_type = lambda index, kind: one.kept.append((index, kind))
        return one

    layers = [
        layer("before.a", [kinds.HALF], [kinds.HALF]),
        layer("tail.0", [kinds.HALF], [kinds.FLOAT]),
        layer("(Unnamed Layer* 7) [Constant]", [], [kinds.FLOAT]),
        layer("(Unnamed Layer* 8) [ElementWise]", [kinds.FLOAT, kinds.FLOAT], [kinds.BOOL]),
        layer("(Unnamed Layer* 9) [Shape]", [kinds.INT32], [kinds.INT32]),
        layer("tail.2", [kinds.HALF], [kinds.UINT8]),
    ]
    network = types.SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    config = trt.module.IBuilderConfig()
    told = {"before.a": "fp16"}
    set_layer_precisions(trt, network, config=config, flags=("fp16",), precisions=told, fp32_from="tail.")
    wide = kinds.FLOAT
    assert [getattr(one, "precision", None) for one in layers] == [kinds.HALF, wide, None, wide, None, None]
    assert [one.kept for one in layers] == [[], [(0, wide)], [], [], [], []]


@each_version
@pytest.mark.parametrize(
    ("setting", "value", "feature"),
    [
        ("optimization_level", 4, "optimization_level"),
        ("hardware_compatibility", "ampere_plus", "hardware_compatible"),
        ("hardware_compatibility", "same_compute_capability", "same_capability"),
        ("version_compatible", True, "version_compatible"),
        ("refit", True, "refit"),
        ("strip", True, "strip"),
        ("tactic_sources", ("edge_mask_convolutions", "jit_convolutions"), "tactic_sources"),
        ("tactic_sources", ("cublas", "jit_convolutions"), "tactic_cublas"),
        ("dla_core", 1, "dla"),
        ("targets", ("sm_86",), "portable"),
    ],
)
def test_a_setting_is_heeded_or_refused_by_name(version, setting, value, feature, monkeypatch):
    trt = open_fake(version, monkeypatch)
    settings = dataclasses.replace(PLAIN, gpu_fallback=setting == "dla_core", **{setting: value})
    if not trt.has(feature):
        with pytest.raises(BuildError, match=f"got TensorRT {version}, which has none; leave it out"):
            run(trt, settings)
        return
    built, _, config, _ = run(trt, settings)
    assert built.plan == b"plan"
    module, kept = trt.module, dict(config._kept)
    if setting == "optimization_level":
        assert config.builder_optimization_level == 4
    elif setting == "hardware_compatibility":
        assert config.hardware_compatibility_level is getattr(module.HardwareCompatibilityLevel, value.upper())
    elif setting == "tactic_sources":
        assert kept["tactics"] == sum(1 << int(getattr(module.TacticSource, one.upper())) for one in value)
    elif setting == "dla_core":
        assert config.default_device_type is module.DeviceType.DLA and config.DLA_core == 1
        assert built.fell_back_to_gpu == ("shuffle",) and kept["set"] == "GPU_FALLBACK"
    else:
        members = {"version_compatible": "VERSION_COMPATIBLE", "refit": "REFIT", "strip": "STRIP_PLAN"}
        assert kept["set"] == members[setting]


def test_tf32_stays_on_only_when_asked_for(monkeypatch):
    _, _, config, _ = run(open_fake("10.3.0", monkeypatch), dataclasses.replace(PLAIN, tf32=True))
    assert not [one for one in config._kept if one[0] == "clear"]


def test_a_timing_cache_of_another_gpu_is_started_anew(monkeypatch):
    built, *_ = run(open_fake("10.3.0", monkeypatch), dataclasses.replace(PLAIN, timing_cache=b"foreign"))
    assert built.timing_cache == b"+"


def test_a_dla_that_is_not_there_or_does_not_take_all(monkeypatch):
    trt = open_fake("10.3.0", monkeypatch)
    with pytest.raises(BuildError, match="core 2 on a device with 2"):
        run(trt, dataclasses.replace(PLAIN, dla_core=2))
    with pytest.raises(BuildError, match="1 that it does not: shuffle; add --gpu-fallback"):
        run(trt, dataclasses.replace(PLAIN, dla_core=0))


@each_version
def test_a_node_that_the_parser_refuses_is_named(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    error = types.SimpleNamespace(node=lambda: 0, desc=lambda: "no importer registered for op: Foo")
    error.node_name, error.node_operator = (lambda: "middle"), (lambda: "Foo")
    trt.module.parse_errors.append(error)
    name = r"node conv1 \(Conv\)" if version in OLD else r"node middle \(Foo\)"
    with pytest.raises(ModelError, match=f"TensorRT {version} can parse; got {name}: no importer registered"):
        run(trt)


def test_a_failed_build_quotes_the_log(monkeypatch):
    trt = open_fake("10.3.0", monkeypatch)
    monkeypatch.setattr(trt.module, "plan", None)
    trt.module.say("an older error")
    with pytest.raises(BuildError, match="TensorRT 10.3.0 to build the engine; got no reason in its log"):
        run(trt)


def test_a_monitor_ends_the_build(monkeypatch):
    with pytest.raises(Cancelled):
        run(open_fake("10.16.1.11", monkeypatch), monitor=Monitor(going_on=False))


def test_without_a_gpu_no_builder_is_made(monkeypatch):
    trt = open_fake("8.6.0", monkeypatch, gpus=0)
    monkeypatch.setattr(trt.module, "Builder", None)
    with pytest.raises(BuildError, match="a GPU for TensorRT 8.6.0 to build on; got no NVIDIA driver"):
        run(trt)


def test_a_library_that_gives_no_builder(monkeypatch):
    trt = open_fake("8.6.0", monkeypatch)

    def nothing(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(trt.module, "Builder", nothing)
    with pytest.raises(BuildError, match="a builder of TensorRT 8.6.0; got pybind11.*--doctor"):
        run(trt)
