"""The build's stages where an engine can run (a fake GPU and TensorRT), for the CPU, and with layers kept back."""

import base64
import io
import json

import fake_host
import numpy as np
import onnx
import pytest
from fake_tensorrt import make_plan
from onnx import TensorProto, helper, numpy_helper
from small_network import LR, MAPS, save_small, small_spec

from export import outputs, pipeline, prepare, proof
from export.arguments import parse
from export.build_engine import Engine
from export.layers import Readback
from export.prepare import stages_for
from export.progress import Progress
from export.refusal import GateRefused
from export.tail import attached
from sdk.errors import BackendError, BuildError, EngineError, MissingPackageError, ModelError
from sdk.runtime.manifest import read_engine
from sdk.runtime.trt_backend import TrtBackend

KINDS = {TensorProto.FLOAT: "FLOAT", TensorProto.UINT8: "UINT8"}
PICTURE = small_spec(heatmap_kind=None, heatmap_count=0, heatmap_size=0, output_names=("sr",))


def run(line):
    """(outcome, what was told to people)"""
    options, err = parse(line.split()), io.StringIO()
    setup = prepare.prepare(options)
    progress = Progress(stages_for(setup.options, runs=setup.runs), kind="text", out=io.StringIO(), err=err)
    return pipeline.run_build(setup, progress), err.getvalue()


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A GPU of sm_86 and TensorRT 10 whose engines compute with onnxruntime what their graph says."""
    with fake_host.running(monkeypatch, tmp_path) as one:
        one.built, one.wrong = [], None

        def build(typed, spec, *, options, trt, gpu, on_progress, on_log):
            graph = (one.wrong or typed).graph
            if one.wrong is None and options.precision != "fp32":
                # onnxruntime computes fp16 slowly; the gate's numbers are not the point here
                graph = attached(one.model.graph, one.model.tail)
            sizes = dict(profiles=((1, 1), (1, 8)), sizes=(LR, LR), shape=[-1, 3, LR, LR])
            text = base64.b64encode(graph.SerializeToString()).decode()
            kinds = {value.name: KINDS[value.type.tensor_type.elem_type] for value in graph.graph.output}
            plan = make_plan(**sizes, outputs=kinds, onnx=text)
            one.built.append(options.precision)
            on_progress(1.0)
            found = Readback({options.precision: len(typed.asked)}, dict(typed.asked))
            return Engine(plan, [], found, ("shuffle",), (), 1.5)

        def read(path):
            one.model = read_model(path)
            return one.model

        read_model = pipeline.read_model
        monkeypatch.setattr(pipeline, "read_model", read)
        monkeypatch.setattr(pipeline, "build_engine", build)
        monkeypatch.setattr(proof, "ROUNDS", 2)
        yield one


def test_where_it_runs_the_engine_itself_is_judged(host, tmp_path):
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    outcome, told = run(f"{model} -o {tmp_path}/x.engine --calib-count 64")
    manifest = read_engine(tmp_path / "x.engine")[1]
    assert outcome.manifest == manifest and manifest.gate["ran"] == "engine" and manifest.gate["passed"]
    assert manifest.gate["numbers"]["psnr_fp32_db"] == 150.0, "this engine is fp32 in truth"
    assert (manifest.sm, manifest.flavour, manifest.targets) == ("sm_86", "tensorrt", []) and manifest.gpu
    assert "(engine run)" in told and "not on the DLA, but on the GPU: shuffle" in told
    assert manifest.fell_back_to_gpu == ["shuffle"] and host.built == ["fp16"]


def test_int8_is_timed_beside_fp16(host, tmp_path):
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    outcome, told = run(f"{model} -o {tmp_path}/x.engine --calib-count 64 --int8")
    speed = outcome.manifest.gate["speed"]
    assert host.built == ["int8", "fp16"] and "int8 against fp16 is " in told
    names = {f"{word}_b{n}_ms" for word in ("int8", "fp16") for n in (1, 8)}
    assert set(speed) == names | {"speedup_b1", "speedup_b8"} and outcome.manifest.gate["worth"] in told


def test_an_engine_that_computes_something_else_is_not_saved(host, tmp_path):
    """The graph passes, the engine does not: a miscompiled network."""
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    host.wrong = pipeline.typed_graph(pipeline.read_model(save_small(tmp_path / "other.onnx", seed=9)), "fp32")
    host.wrong.graph.graph.node[-2].op_type = "Sub"
    with pytest.raises(GateRefused, match="PSNR against fp32") as caught:
        run(f"{model} -o {tmp_path}/x.engine --calib-count 64")
    assert caught.value.numbers["ran"] == "engine" and not (tmp_path / "x.engine").exists()


def test_an_engine_that_does_not_load_is_not_saved(host, tmp_path):
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    host.trt.faults["engine"] = 1
    with pytest.raises(EngineError, match="made by another version"):
        run(f"{model} -o {tmp_path}/x.engine --calib-count 64")
    assert not list(tmp_path.glob("x.engine*"))


def test_without_cuda_python_nothing_is_begun(host, tmp_path, monkeypatch):
    def missing():
        raise MissingPackageError("running engines", "cuda-python", "pip install 'facetrt[cuda]'")

    monkeypatch.setattr("sdk.runtime.gpu.driver", missing)
    with pytest.raises(MissingPackageError, match="cuda-python"):
        run(f"{save_small(tmp_path / 'm.onnx')} -o {tmp_path}/x.engine")
    assert host.built == []


def test_a_gpu_that_is_not_there(host, tmp_path):
    with pytest.raises(BackendError, match="a GPU among cuda:0"):
        run(f"{save_small(tmp_path / 'm.onnx')} --device 3")


def test_stripped_engines_are_not_run(host, tmp_path):
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    host.trt.BuilderFlag = type("BuilderFlag", (), {"STRIP_PLAN": 3})
    outcome, _ = run(f"{model} -o {tmp_path}/x.engine --calib-count 64 --strip-weights")
    assert outcome.manifest.gate["ran"] == "not run" and outcome.manifest.weights_stripped
    with pytest.raises(EngineError, match="x.engine with its weights; got an engine built without them"):
        TrtBackend(outcome.path)


def test_an_engine_that_gives_pictures_and_points_is_judged_by_those(host, tmp_path):
    model = save_small(tmp_path / "m.onnx")
    assert outputs.main([str(model), "-o", str(tmp_path / "t.onnx")]) == 0
    outcome, told = run(f"{tmp_path}/t.onnx -o {tmp_path}/x.engine --calib-count 64 --precision fp32")
    assert outcome.manifest.model_spec.output_names == ("image", "landmarks") and "(engine run)" in told
    assert outcome.manifest.gate["ran"] == "engine" and outcome.manifest.gate["numbers"]["psnr_fp32_db"] == 150.0
    backend = TrtBackend(tmp_path / "x.engine")
    found = backend.run(np.zeros((3, 3, LR, LR), np.float32))
    assert (found["image"].dtype, found["image"].shape) == (np.uint8, (3, 2 * LR, 2 * LR, 3))
    assert (found["landmarks"].dtype, found["landmarks"].shape) == (np.float32, (3, MAPS, 3))
    backend.close()


def test_what_was_tried_is_not_advised(host, tmp_path, monkeypatch):
    model = save_small(tmp_path / "m.onnx", gains={"small": 20.0})
    monkeypatch.setattr(pipeline, "scan", lambda *arguments, **more: [])
    monkeypatch.setattr(pipeline, "auto_mixed", lambda *arguments, **more: [])
    with pytest.raises(GateRefused) as caught:
        run(f"{model} -o {tmp_path}/x.engine --int8 --auto-mixed --calib-count 64")
    assert caught.value.remedy == "use --precision fp16, or accept it with --allow-loss"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("fault", ["NaN", "sizes"])
def test_an_fp32_network_that_says_nothing_is_told_at_once(fault, precision, host, tmp_path):
    """NaN would else come up as an assertion inside the quantiser, a Reshape traced at batch 1 as a crash."""
    proto = onnx.load(save_small(tmp_path / "m.onnx", spec=PICTURE))
    last = next(node for node in proto.graph.node if node.output[0] == "sr")
    last.output[0] = "before"
    if fault == "NaN":
        proto.graph.node.append(helper.make_node("Sqrt", ["negative"], ["sr"], "root"))
        proto.graph.node.insert(len(proto.graph.node) - 1, helper.make_node("Neg", ["before"], ["negative"], "minus"))
    else:
        proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 2 * LR, 2 * LR]), "sizes"))
        proto.graph.node.append(helper.make_node("Reshape", ["before", "sizes"], ["sr"], "traced"))
        proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, str(tmp_path / "m.onnx"))
    words = {
        "NaN": "numbers from m.onnx; got .*NaN or infinity in sr of 32",
        "sizes": "run on 8x3x8x8: m.onnx; .*traced",
    }
    with pytest.raises(ModelError, match=words[fault]):
        run(f"{tmp_path / 'm.onnx'} -o {tmp_path / 'x.engine'} --calib-count 64 --precision {precision}")
    assert not host.built


def test_a_quantiser_that_fails_is_a_build_error(tmp_path, monkeypatch):
    def failing(*arguments, **more):
        raise AssertionError("scale issue")

    monkeypatch.setattr("export.quantise.quantize_static", failing)
    save_small(tmp_path / "m.onnx", spec=PICTURE)
    with pytest.raises(BuildError, match="can quantise: m.onnx; got AssertionError: scale issue; build with"):
        run(f"{tmp_path / 'm.onnx'} -o {tmp_path / 'x.onnx'} --calib-count 64 --target cpu")


def test_int8_for_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "ROUNDS", 2)
    model = save_small(tmp_path / "m.onnx", spec=PICTURE)
    outcome, told = run(f"{model} --target cpu -o {tmp_path}/x.onnx --calib-count 64 --explain")
    data, manifest = read_engine(tmp_path / "x.onnx")
    assert outcome.path == tmp_path / "x.onnx" and len(data) == manifest.engine_bytes
    assert (manifest.flavour, manifest.precision, manifest.gate["ran"]) == ("onnxruntime", "int8", "engine")
    assert manifest.gate["speed"]["speedup_b8"] > 0 and "int8 against fp32 is " in told
    assert manifest.found == {word: list(manifest.asked.values()).count(word) for word in manifest.found}
    assert manifest.found["int8"] >= 5 and "layer     asked  found" in told
    run(f"{model} --target cpu -o {tmp_path}/x.onnx --calib-count 64")  # its own file may be replaced


def test_the_most_sensitive_layers_are_kept_in_fp16(tmp_path):
    """Heatmaps of a random network move much under int8; a fifth of a pixel is all that the gate allows."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    model = save_small(tmp_path / "m.onnx", gains={"small": 20.0})
    line = f"{model} -o {tmp_path}/x.engine --targets sm_86 --int8"
    with pytest.raises(GateRefused, match="NME.*--auto-mixed"):
        run(line)
    outcome, told = run(f"{line} --auto-mixed --explain")
    manifest, kept = outcome.manifest, outcome.manifest.kept_fp16
    assert 1 <= len(kept) <= 3 and f"kept in fp16: {', '.join(kept)}" in told
    assert manifest.gate["passed"] and {manifest.asked[name] for name in kept} == {"fp16"}
    assert manifest.found == {"fp16": 3 + len(kept), "int8": MAPS - len(kept)}
    assert "this layer alone in int8" in told and json.loads(manifest.to_json())["kept_fp16"] == kept


@pytest.mark.parametrize(
    ("line", "runs", "names"),
    [
        ("m", False, "read model,draw faces,write precision,gate the graph,build,save"),
        ("m", True, "read model,draw faces,write precision,gate the graph,build,gate the engine,save"),
        ("m --int8 --explain", False, "read model,draw faces,measure layers,write precision,gate the graph,build,save"),
        ("m --target cpu", True, "read model,draw faces,write precision,gate the engine,time the engine,save"),
    ],
)
def test_stages(line, runs, names):
    assert ",".join(stage.name for stage in stages_for(parse(line.split()), runs=runs)) == names
