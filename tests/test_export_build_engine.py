"""Real engines by TensorRT-RTX, which needs no GPU: types of all layers, inputs, outputs, profiles, refusals."""

import functools
import os
import re
import signal
import threading
import time
from collections import Counter

import pytest
from small_network import small_model
from trt_by_version import open_fake

from export import build_engine as module
from export.arguments import parse
from export.build_engine import build_engine, settings_for
from export.faces import load_faces
from export.graph import read_model
from export.precision import Typed, typed_graph
from sdk.errors import BuildError, ModelError
from sdk.runtime import trt_api
from sdk.runtime.trt_builder import Built
from sdk.zoo import model_path

NEEDS_RTX = "TensorRT-RTX is not installed: pip install 'facetrt[rtx]'"
IO = re.compile(r"Name: (\w+), IOMode: (\w+), DataType: (\w+), Dimensions: \[([-\d,]+)\]")
SHAPES = re.compile(r"MinShape: \[([\d,]+)\], OptShape: \[([\d,]+)\], MaxShape: \[([\d,]+)\]")
SIZES = {"picoface_x8": (16, 16), "picoface_x4": (32, 64)}  # smallest, largest side of a profile


@pytest.fixture(scope="module")
def rtx():
    pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    return trt_api.load("tensorrt_rtx")


@functools.cache
def model_of(name):
    return read_model(model_path(name))


@functools.cache
def typed_of(name, precision):
    model = model_of(name)
    calibration = load_faces("builtin", spec=model.spec, count=64) if precision == "int8" else None
    return typed_graph(model, precision, calibration=calibration)


def built_by(rtx, typed, spec, line):
    """(the engine, its log)"""
    log, fractions = [], []
    engine = build_engine(
        typed,
        spec,
        options=parse(line.split()),
        trt=rtx,
        gpu=None,
        on_progress=fractions.append,
        on_log=lambda severity, text: log.append(text),
    )
    assert fractions[-1] == 1.0 and fractions == sorted(fractions)
    return engine, "\n".join(log)


BUILDS = [(p, sm) for p in ("fp32", "fp16", "int8") for sm in ("sm_75", "sm_86", "sm_89", "sm_120")]


@pytest.mark.parametrize(("precision", "sm"), [one for one in BUILDS if one != ("int8", "sm_75")])
@pytest.mark.parametrize("name", ["picoface_x8", "picoface_x4"])
def test_picoface_on_every_desktop_gpu(rtx, name, precision, sm):
    typed = typed_of(name, precision)
    engine, log = built_by(
        rtx, typed, model_of(name).spec, f"{name} --targets {sm} --batches 8 --precision {precision}"
    )
    assert engine.readback.layers == typed.asked and engine.targets == (sm,)
    assert engine.readback.found == dict(Counter(typed.asked.values()))
    assert set(engine.readback.found) == {"int8": {"int8", "fp16"}}.get(precision, {precision})
    if precision == "int8":
        assert engine.readback.found["int8"] > 4 * engine.readback.found["fp16"]
    tensors = {tensor: (mode, dtype) for tensor, mode, dtype, _ in IO.findall(log)}
    floats = {"lr": ("Input", "Float"), "sr": ("Output", "Float"), "heatmaps": ("Output", "Float")}
    assert tensors == floats, "fp32 edges in every precision"
    assert len(engine.plan) > 500_000 and engine.build_s > 0


@pytest.mark.parametrize("name", ["picoface_x8", "picoface_x4"])
def test_one_plan_for_all_gpus_with_all_profiles(rtx, name):
    low, high = SIZES[name]
    line = f"{name} --targets sm_75,sm_86,sm_89,sm_120"
    engine, log = built_by(rtx, typed_of(name, "fp16"), model_of(name).spec, line)
    triples = [((1, 3, low, low), (n, 3, high, high), (n, 3, high, high)) for n in (1, 8, 64)]
    assert engine.profiles == [{"lr": triple} for triple in triples]
    told = [tuple(tuple(map(int, shape.split(","))) for shape in match) for match in SHAPES.findall(log)]
    assert told[: len(triples)] == triples, "as TensorRT understood them"


@pytest.mark.parametrize("targets", ["sm_75", "sm_75,sm_89"])
def test_rtx_does_no_int8_on_turing_and_the_read_back_sees_it(rtx, targets):
    """For sm_75 it takes the Q/DQ graph and computes every convolution in fp16: silent, had nobody looked."""
    typed, line = typed_of("picoface_x8", "int8"), f"m --targets {targets} --batches 1 --int8"
    with pytest.raises(BuildError, match="in another type: node_conv2d_1 in fp16 instead of int8"):
        built_by(rtx, typed, model_of("picoface_x8").spec, line)


def test_a_keep_list_is_heeded(rtx):
    model = model_of("picoface_x8")
    faces = load_faces("builtin", spec=model.spec, count=64)
    quantised = [name for name, word in typed_of("picoface_x8", "int8").asked.items() if word == "int8"]
    typed = typed_graph(model, "int8", calibration=faces, keep_fp16=quantised[:3])
    engine, _ = built_by(rtx, typed, model.spec, "m --targets 86 --batches 1 --int8")
    assert {engine.readback.layers[name] for name in quantised[:3]} == {"fp16"}
    assert {engine.readback.layers[name] for name in quantised[3:]} == {"int8"}


def test_an_fp32_graph_built_as_fp16_does_not_pass(rtx):
    """A graph that forgot its precision: TensorRT builds it happily, the read-back does not take it."""
    typed = typed_of("picoface_x8", "fp32")
    lie = Typed(typed.graph, dict.fromkeys(typed.asked, "fp16"))
    with pytest.raises(BuildError, match=f"{len(lie.asked)} of {len(lie.asked)} in another type: .* in fp32 instead"):
        built_by(rtx, lie, model_of("picoface_x8").spec, "m --targets 86 --batches 1")


@pytest.mark.parametrize("sm", ["sm_87", "sm_90", "sm_110", "sm_100"])
def test_gpus_that_rtx_does_not_serve_are_refused_by_name(rtx, sm, tmp_path):
    model = small_model(tmp_path)
    with pytest.raises(BuildError, match=f"targets that TensorRT-RTX .* builds for: sm_75.*; got {sm}; "):
        built_by(rtx, typed_graph(model, "fp16"), model.spec, f"m --targets sm_86,{sm}")


def test_a_node_that_tensorrt_cannot_parse_is_named(rtx, tmp_path):
    model = small_model(tmp_path)
    typed = typed_graph(model, "fp32")
    node = next(node for node in typed.graph.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "Frobnicate", "acme"
    typed.graph.opset_import.add(domain="acme", version=1)
    with pytest.raises(ModelError, match=rf"TensorRT-RTX .* can parse; got node {node.name} \(Frobnicate\)"):
        built_by(rtx, typed, model.spec, "m --targets 86")


def test_a_workspace_that_is_too_small_quotes_tensorrt(rtx):
    typed = typed_of("picoface_x8", "fp32")
    with pytest.raises(BuildError, match="to build the engine; got .*(workspace|OutOfMemory)"):
        built_by(rtx, typed, model_of("picoface_x8").spec, "m --targets 86 --batches 64 --workspace 1 --precision fp32")


def test_ctrl_c_stops_a_build_that_can_be_cancelled(rtx):
    typed = typed_of("picoface_x8", "fp16")
    calls = []

    def interrupt(fraction):
        calls.append(fraction)
        raise KeyboardInterrupt

    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        options = parse(["m", "--targets", "86"])
        build_engine(typed, model_of("picoface_x8").spec, options=options, trt=rtx, gpu=None, on_progress=interrupt)
    for thread in threading.enumerate():
        if thread.name == "trt-build":
            thread.join(30)
    assert time.monotonic() - started_s < 30 and len(calls) <= 2


def test_a_tensorrt_without_monitor_is_left_behind_on_ctrl_c(monkeypatch, tmp_path):
    model, release = small_model(tmp_path), threading.Event()

    def stuck(*arguments, **more):
        release.wait(30)
        return Built(b"", None, ())

    def interrupt(fraction):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "build", stuck)
    trt = open_fake("8.6.0", monkeypatch)
    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        typed = typed_graph(model, "fp32")
        options = parse(["m", "--no-timing-cache"])
        build_engine(typed, model.spec, options=options, trt=trt, gpu=None, on_progress=interrupt)
    assert time.monotonic() - started_s < 5
    release.set()


def test_a_builder_that_ctrl_c_leaves_behind_still_counts_as_running(monkeypatch, tmp_path):
    """Else nobody ends the process at once, and TensorRT aborts it when Python goes away under its threads."""
    model, release = small_model(tmp_path), threading.Event()
    monkeypatch.setattr(module, "build", lambda *arguments, **more: release.wait(30) and Built(b"", None, ()))
    trt, options = open_fake("8.6.0", monkeypatch), parse(["m", "--no-timing-cache"])
    typed = typed_graph(model, "fp32")
    timer = threading.Timer(0.35, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        build_engine(typed, model.spec, options=options, trt=trt, gpu=None, on_progress=lambda fraction: None)
    left = [thread for thread in threading.enumerate() if thread.name == module.THREAD and thread.is_alive()]
    release.set()
    timer.join()
    assert len(left) == 1


def test_flags_and_layer_precisions_go_to_the_old_tensorrt_alone(monkeypatch, tmp_path):
    model = small_model(tmp_path)
    typed = typed_graph(model, "fp16", dialect="flags")

    def told(version, line):
        options, trt = parse(["m", *line.split()]), open_fake(version, monkeypatch)
        settings = settings_for(typed, options, trt=trt, gpu=None, profiles=[], timing_cache=None)
        return tuple(settings.flags), dict(settings.layer_precisions)

    assert told("8.6.0", "--fp16") == (("fp16",), typed.asked)
    assert told("8.5.3.1", "--int8") == (("fp16", "int8"), typed.asked)
    assert told("8.6.0", "--precision fp32") == ((), {})
    assert told("10.3.0", "--fp16") == told("11.4.0.106", "--int8") == ((), {})
