"""The scan ranks a layer that was made sensitive first; --auto-mixed keeps that one and no more."""

import numpy as np
import onnxruntime
import pytest
from small_network import LR, small_model

import export.sensitivity as sensitivity
from export.faces import load_faces, lr_batch
from export.gate import Limits
from export.quantise import quantisable, tensorrt_int8
from export.sensitivity import auto_mixed, quantised_only, scan
from sdk.errors import BuildError

BAD = "b1.conv2"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """One input channel of BAD holds nearly all of its input's range, unread: the others lose their bits."""
    gains = {
        "b1.conv1.w": np.r_[2000.0, np.ones(7)].reshape(8, 1, 1, 1),
        f"{BAD}.w": np.r_[0.0, np.ones(7)].reshape(1, 8, 1, 1),
    }
    return small_model(tmp_path_factory.mktemp("model"), gains=gains)


@pytest.fixture(scope="module")
def halves(model):
    return load_faces("builtin", spec=model.spec, count=64).split()


def outputs(graph, batch):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["sr", "heatmaps"], {"lr": batch})


def test_one_layer_alone_leaves_one_pair_for_input_and_one_for_weights(model, halves):
    whole = tensorrt_int8(model, halves[0])
    for name in quantisable(model):
        alone = quantised_only(whole, [name])
        kinds = [node.op_type for node in alone.graph.node]
        assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 2, name


def test_no_layer_is_fp32_and_all_layers_are_the_whole(model, halves):
    whole, batch = tensorrt_int8(model, halves[0]), lr_batch(halves[1], model.spec)[:3]
    for partial, expected in (
        (quantised_only(whole, []), model.graph),
        (quantised_only(whole, quantisable(model)), whole),
    ):
        for a, b in zip(outputs(partial, batch), outputs(expected, batch), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_sensitive_layer_comes_first(model, halves):
    seen = []
    losses = scan(model, *halves, on_layer=lambda done, total: seen.append((done, total)))
    assert [loss.name for loss in losses][0] == BAD
    assert losses[0].badness > 3 * losses[1].badness
    assert seen == [(i, 4) for i in range(1, 5)]
    assert sorted(loss.name for loss in losses) == sorted(quantisable(model))


def test_auto_mixed_keeps_as_few_as_the_gate_needs(model, halves, monkeypatch):
    losses = scan(model, *halves)
    limits = Limits(0.0, 99.0, 0.5 * losses[0].moved_pt)  # a bar between the worst layer and the rest together
    monkeypatch.setitem(sensitivity_thresholds(), "int8", limits)
    tried = []
    kept = auto_mixed(
        model, *halves, losses=losses, on_try=lambda count, verdict: tried.append((count, verdict.passed))
    )
    assert kept == [BAD]
    assert tried == [(0, False), (1, True)]


def test_auto_mixed_keeps_nothing_when_the_gate_holds(model, halves, monkeypatch):
    monkeypatch.setitem(sensitivity_thresholds(), "int8", Limits(0.0, 99.0, 99.0))
    assert auto_mixed(model, *halves, losses=[]) == []


def test_auto_mixed_gives_up_at_half_of_the_layers(model, halves, monkeypatch):
    monkeypatch.setitem(sensitivity_thresholds(), "int8", Limits(1000.0, 0.0, 0.0))
    with pytest.raises(BuildError, match="not with 2 of 4 layers in fp16.*--precision fp16"):
        auto_mixed(model, *halves)


def sensitivity_thresholds():
    import export.gate

    assert sensitivity.judge is export.gate.judge
    return export.gate.THRESHOLDS


def test_inputs_are_of_the_networks_size(model, halves):
    assert lr_batch(halves[0], model.spec).shape == (32, 3, LR, LR)
