"""The GPU check of landmarks inside the graph, on the fakes: a sound engine passes, wrong ones are found."""

import base64
import json
from dataclasses import replace

import fake_host
import numpy as np
import onnx
import pytest
from fake_tensorrt import make_plan, write_toy
from small_network import LR, replaced_weight, small_model

from benchmarks import gpu_engines, gpu_runtime, gpu_tails
from benchmarks.gpu_engines import Broken
from export.gate import onnx_runner
from export.tail import attached, make_tail
from export.tail_nodes import PREFIX


class Kit:
    """What gpu_tails reads of a kit, for the small network."""

    def __init__(self, folder):
        self.model = small_model(folder)
        self.whole = attached(
            self.model.graph, make_tail(self.model.graph, self.model.spec, names=["image", "landmarks"])
        )
        batch = np.random.default_rng(2).random((6, 3, LR, LR), np.float32)
        self.stored = {"batch": batch, **{f"out_{k}": v for k, v in onnx_runner(self.model.graph)(batch).items()}}

    def arrays(self, model):
        return self.stored

    def spec(self, model):
        return self.model.spec


@pytest.fixture
def host(monkeypatch, tmp_path):
    """.check(graph, written) -> numbers: `graph` is what the engine computes, `written` the type its tail writes."""
    with fake_host.running(monkeypatch, tmp_path) as one:
        kit = Kit(tmp_path)
        entry = dict(model="small", precision="fp32", file="small.in_graph.fp32.onnx", spec={}, fp32_from=PREFIX)

        def engine(path, graph, outputs, spec):
            text = base64.b64encode(graph.SerializeToString()).decode()
            sizes = dict(profiles=((1, 1), (1, 8), (1, 64)), sizes=(LR, LR), shape=[-1, 3, LR, LR])
            write_toy(path, make_plan(**sizes, outputs=outputs, onnx=text), spec=spec)

        def check(graph=kit.whole, written="FP32"):
            def build(kit, entry, *, trt, out, tactic_sources):
                path = gpu_engines.engine_path(out, entry)
                spec = replace(kit.model.spec, output_names=("image", "landmarks"))
                engine(path, graph, {"image": "UINT8", "landmarks": "FLOAT"}, spec)
                rows = [{"Name": "a", "LayerType": "PointWise", "Metadata": f"[ONNX Layer: {PREFIX}Mul.0]"}]
                rows[0] |= {key: [{"Format/Datatype": f"Row major {written}"}] for key in ("Inputs", "Outputs")}
                path.with_suffix(".layers.json").write_text(json.dumps({"Layers": rows}))
                return {"build_s": 1.0}

            monkeypatch.setattr(gpu_tails, "build_graph", build)
            return gpu_tails.check(kit, entry, trt=None, out=tmp_path, plain=tmp_path / "small.fp32.engine")

        def plain():
            engine(
                tmp_path / "small.fp32.engine", kit.model.graph, {"sr": "FLOAT", "heatmaps": "FLOAT"}, kit.model.spec
            )

        monkeypatch.setattr(gpu_runtime, "WARM_UP", 1)
        monkeypatch.setitem(gpu_tails.against_kernels.__kwdefaults__, "count", 1)
        monkeypatch.setitem(gpu_runtime.times.__kwdefaults__, "rounds", 2)
        one.check, one.kit, one.plain = check, kit, plain
        yield one


def test_a_sound_engine(host):
    numbers = host.check()
    assert numbers["moved_cells_mean"] < 1e-4 and numbers["levels_max"] == 0 and numbers["score_error_max"] < 1e-5
    assert "times" not in numbers, "there is nothing to compare with"
    host.plain()
    numbers = host.check()
    assert set(numbers["times"]["batch_1"]) == {"plain", "in_graph"}
    assert set(numbers["against_kernels"]) == {"batch_1", "batch_8", "batch_64"}
    row = numbers["against_kernels"]["batch_8"]
    assert row["apart_cells"] < 1e-3, "the kernels say the same as the graph"
    assert min(row["engine_ms"], row["kernels_ms"], row["in_graph_ms"], row["in_graph_over_kernels"]) > 0


def test_points_and_pixels_that_are_off(host):
    for name, words in (("maps.b", "'levels_max': 0}"), ("out.b", "'moved_cells_mean': 0.0,")):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(host.kit.whole)
        size = next(t.dims[0] for t in wrong.graph.initializer if t.name == name)
        replaced_weight(wrong, name, np.full(size, 3.0))
        with pytest.raises(Broken, match=words):
            host.check(wrong)


def test_a_tail_that_is_not_fp32(host):
    with pytest.raises(Broken, match="a tail in fp32; 1 of its layers write narrower floats, for example a"):
        host.check(written="Half")
    old = {"Name": f"PWN({PREFIX}Mul.3 + {PREFIX}Add.4)", "Outputs": [{"Format/Datatype": "Row major linear FP16"}]}
    mixed = {**old, "Metadata": f"[ONNX Layer: cast.heatmaps][ONNX Layer: {PREFIX}Mul.3]"}
    text = json.dumps({"Layers": [old, mixed, "named only"]})
    assert gpu_tails.narrow_layers(text, PREFIX) == [old["Name"]]
