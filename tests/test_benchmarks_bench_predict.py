"""The model against published figures of TensorRT, and against the table of predictions that was made before it."""

import math

import pytest
import torch
from torch import nn

from benchmarks.bench.devices import DEVICES, device_names, matching, rates_of
from benchmarks.bench.graph_cost import GraphCost
from benchmarks.bench.graph_layers import LayerCost
from benchmarks.bench.predict import FACTOR, model_ms, predict, predicted
from sdk.errors import InputError
from training.models.fan import FAN, FANConfig
from training.models.jasrnet import JASRNet, JASRNetConfig
from training.models.super_fan import Generator, GeneratorConfig

TABLED = ("h200", "rtx-4090", "agx-orin", "orin-nx", "orin-nano", "orin-nano-super", "thor")
# Kernel design notes, section 6: ms at batch 1 in fp16 and int8, and fp16 faces/s at batch 256, as printed there.
JASRNET = ".60/.53 1.1/.63 2.9/1.9 6.9/3.9 9.6/5.3 6.3/3.6 1.1/.81"
JASRNET_FACES_PER_S = "8.8k 1.9k 486 172 117 191 1.9k"
FAN_4 = ".85/.75 1.5/.88 3.6/2.3 7.8/4.6 10.8/6.0 7.3/4.3 1.4/1.1"
SUPER_FAN = ".15/.14 .21/.16 .39/.31 .67/.49 .85/.57 .64/.47 .21/.19"
# MLPerf Inference, ResNet-50 in int8 by TensorRT, published: single-stream ms, and H100 offline pictures/s.
SINGLE_STREAM_MS = {"agx-orin": 0.636, "orin-nx": 1.078}
H100_PER_S = 88_714


def layer(rows, columns, depth, *, read, written, weights):
    return LayerCost("", "Conv", rows * columns * depth, weights, read, written, rows, columns, depth)


def cost_of(layers, *, batch, edge=0):
    return GraphCost("net", batch, tuple(layers), sum(one.weights for one in layers), {}, edge * batch)


def counted(model, shape, *, batch=1):
    """Layers by torch's own modules on the meta device: nothing of graph_cost takes part."""
    layers: list[LayerCost] = []

    def add(module, arguments, output):
        (source,) = arguments
        weights = sum(p.numel() for p in module.parameters())
        if isinstance(module, nn.Linear):
            product = output.numel() // output.shape[-1], output.shape[-1], source.shape[-1]
        elif isinstance(module, nn.ConvTranspose2d):
            product = source.numel() // source.shape[1], module.weight[0].numel(), source.shape[1]
        else:
            product = output.numel() // output.shape[1], output.shape[1], module.weight[0].numel()
        layers.append(layer(*product, read=source.numel(), written=output.numel(), weights=weights))

    with torch.device("meta"):
        model = model().eval()
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                module.register_forward_hook(add)
        with torch.inference_mode():
            model(torch.zeros(batch, *shape))
    return cost_of(layers, batch=batch)


def resnet50(batch):
    """ResNet-50 v1.5, 224 px: 53 convolutions and a linear layer (He et al. 2016, stride in the 3 x 3)."""
    layers: list[LayerCost] = []

    def conv(inside, outside, kernel, stride, side):
        side_out, depth = side // stride, inside * kernel**2
        sizes = {"read": batch * inside * side**2, "written": batch * outside * side_out**2}
        layers.append(layer(batch * side_out**2, outside, depth, **sizes, weights=depth * outside + outside))
        return side_out

    conv(3, 64, 7, 2, 224)
    side, inside = 56, 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            if block == 0:
                conv(inside, 4 * width, 1, stride, side)
            conv(inside, width, 1, 1, side)
            side = conv(width, width, 3, stride, side)
            conv(width, 4 * width, 1, 1, side)
            inside = 4 * width
    layers.append(layer(batch, 1000, 2048, read=batch * 2048, written=batch * 1000, weights=2_049_000))
    return cost_of(layers, batch=batch)


def printed(text):
    return float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)


def last_digit(text):
    """One of the last digit that a printed number shows: some were rounded by hand."""
    digits = len(text.removesuffix("k").partition(".")[2])
    return 1.001 * 10**-digits * (1000 if text.endswith("k") else 1)


def test_published_figures_lie_in_the_band():
    cost = resnet50(1)
    assert (len(cost.layers), round(cost.macs / 1e9, 2)) == (54, 4.09)
    assert round(model_ms(cost, rates_of("agx-orin"), "int8"), 3) == 0.427
    assert round(model_ms(cost, rates_of("orin-nx"), "int8"), 3) in (0.772, 0.773)
    for device, published_ms in SINGLE_STREAM_MS.items():
        one = predicted(cost, device, "int8")
        assert one.low_ms < published_ms < one.high_ms
        assert abs(one.ms / published_ms - 1) < 0.05
    offline = predicted(resnet50(1024), "h100", "int8")
    assert abs(1024e3 / model_ms(resnet50(1024), rates_of("h100"), "int8") / 124_873 - 1) < 0.01
    assert offline.low_ms < 1024e3 / H100_PER_S < offline.high_ms
    assert abs(1024e3 / offline.ms / H100_PER_S - 1) < 0.05


@pytest.mark.parametrize(
    ("model", "shape", "table"),
    [
        (lambda: JASRNet(JASRNetConfig()), (3, 128, 128), JASRNET),
        (lambda: FAN(FANConfig(stacks=4)), (3, 256, 256), FAN_4),
        (lambda: Generator(GeneratorConfig(n3_blocks=2)), (3, 16, 16), SUPER_FAN),
    ],
    ids=["jasrnet", "fan", "super_fan"],
)
def test_table_of_predictions(model, shape, table):
    cost = counted(model, shape)
    for device, cell in zip(TABLED, table.split(), strict=True):
        for precision, text in zip(("fp16", "int8"), cell.split("/"), strict=True):
            ms = predicted(cost, device, precision).ms
            assert abs(ms - float(text)) <= last_digit(text), (device, precision, ms, text)


def test_table_of_throughput():
    cost = counted(lambda: JASRNet(JASRNetConfig()), (3, 128, 128), batch=256)
    for device, text in zip(TABLED, JASRNET_FACES_PER_S.split(), strict=True):
        per_s = 256e3 / predicted(cost, device, "fp16").ms
        assert abs(per_s - printed(text)) <= last_digit(text), (device, per_s, text)


def test_a_layer_by_hand():
    """One tile of 256 x 128 and depth 32 on one of 8 multiprocessors; bytes too few to matter."""
    cost = cost_of([layer(256, 128, 32, read=8, written=8, weights=8)], batch=1)
    rates = rates_of("orin-nx")
    smaller = min(
        math.ceil(256 * 128 / (rows * columns) / 8) * 2 * rows * columns * 32 / (15.0e12 / 8 * share)
        for rows, columns, share in ((256, 128, 0.9), (128, 128, 0.85), (128, 64, 0.75), (64, 64, 0.6), (64, 32, 0.4))
    )
    smallest = 4 * 2 * 32 * 32 * 32 / (15.0e12 / 8 * 0.25)
    assert math.isclose(model_ms(cost, rates, "fp16"), 1e3 * min(smaller, smallest) + 0.005, rel_tol=1e-9)


def test_more_work_never_takes_less_time():
    times = [predicted(resnet50(batch), "thor", "fp16").ms for batch in (1, 2, 8, 64)]
    assert times == sorted(times)
    for name in DEVICES:
        one = predicted(resnet50(1), name, "fp32")
        assert predicted(resnet50(1), name, "int8").ms < predicted(resnet50(1), name, "fp16").ms < one.ms
        assert one.low_ms < 0.75 * one.ms < 1.25 * one.ms < one.high_ms  # nothing published to calibrate fp32 by


def test_predict_counts_each_batch_once():
    asked = []
    found = predict("m", lambda batch: asked.append(batch) or resnet50(batch), devices=device_names("thor,h200,thor"),
                    precisions=("fp16", "int8"), batches=(1, 8))  # fmt: skip
    assert asked == [1, 8]
    assert [(p.device, p.model, p.precision, p.batch) for p in found][:3] == [
        ("thor", "m", "fp16", 1),
        ("thor", "m", "fp16", 8),
        ("thor", "m", "int8", 1),
    ]
    assert len(found) == 8
    assert "x 1.45" in found[0].basis and FACTOR == 1.45


def test_names_of_devices():
    assert device_names("all") == tuple(DEVICES)
    assert device_names("RTX 4090, Orin_Nano") == ("rtx-4090", "orin-nano")
    for text in ("", ",", "rtx-9999"):
        with pytest.raises(InputError, match="orin-nano"):
            device_names(text)
    with pytest.raises(InputError, match="precision"):
        predicted(resnet50(1), "thor", "fp4")
    with pytest.raises(InputError, match="without layers"):
        predicted(cost_of([], batch=1), "thor", "fp16")
    seen = {("NVIDIA H200", None): "h200", ("Orin", "NVIDIA Jetson Orin Nano Engineering Reference"): "orin-nano",
            ("Orin", "NVIDIA Jetson Orin Nano Developer Kit Super"): "orin-nano-super",
            ("NVIDIA GeForce RTX 4090", None): "rtx-4090"}  # fmt: skip
    assert {key: matching(key[0], jetson=key[1]).name for key in seen} == seen
    assert matching("NVIDIA GeForce RTX 4090 Laptop GPU") is None and matching("Tesla T4") is None
