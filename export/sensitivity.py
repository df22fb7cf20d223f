"""Which layers INT8 hurts: each one quantised alone, and the worst left in fp16 until the gate holds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx

from export.faces import Faces
from export.gate import Answer, Verdict, answer, judge, onnx_runner
from export.graph import Model, producers
from export.quantise import quantisable, tensorrt_int8
from sdk.errors import BuildError

__all__ = ["LayerLoss", "auto_mixed", "quantised_only", "scan"]

SCAN_FACES = 64  # enough to rank layers; the gate itself uses all


@dataclass(frozen=True)
class LayerLoss:
    """What quantising one layer alone costs."""

    name: str
    psnr_fp32_db: float  # of the picture against fp32's; low is bad, 150 means the layer does not reach the picture
    dpsnr_db: float  # PSNR against the truth lost
    dnme_pt: float  # percentage points of NME lost; 0 without landmarks
    moved_pt: float  # distance to the fp32 network's points, percent of the eye distance

    @property
    def badness(self) -> float:
        """One number to rank by: 1 is one gate's worth, of picture or of points (moved points count by a quarter)."""
        return max(0.0, self.dpsnr_db) / 0.25 + max(0.0, self.dnme_pt, self.moved_pt / 4) / 0.25


def scan(
    model: Model,
    calibration: Faces,
    judging: Faces,
    *,
    on_layer: Callable[[int, int], None] | None = None,  # called with (layers done, layers in all)
) -> list[LayerLoss]:
    """A LayerLoss for every layer that INT8 would quantise, the worst first. Raises as tensorrt_int8()."""
    whole = tensorrt_int8(model, calibration)
    faces = judging.take(slice(0, SCAN_FACES))
    fp32 = answer(onnx_runner(model.graph), faces, model.spec)
    names = quantisable(model)
    losses: list[LayerLoss] = []
    for number, name in enumerate(names, start=1):
        losses.append(_loss(model, quantised_only(whole, [name]), name, faces, fp32))
        if on_layer is not None:
            on_layer(number, len(names))
    return sorted(losses, key=lambda loss: (-loss.badness, loss.psnr_fp32_db))


def _loss(model: Model, graph: onnx.ModelProto, name: str, faces: Faces, fp32: Answer) -> LayerLoss:
    n = judge(model, onnx_runner(graph), faces, precision="int8", fp32=fp32).numbers
    return LayerLoss(name, n["psnr_fp32_db"], n["dpsnr_db"], n.get("dnme_pt", 0.0), n.get("moved_pt", 0.0))


def quantised_only(
    graph: onnx.ModelProto,  # with Q/DQ
    layers: Collection[str],
) -> onnx.ModelProto:
    """A copy in which only the pairs in front of these layers are left."""
    partial = onnx.ModelProto()
    partial.CopyFrom(graph)
    made = producers(partial)
    kept = {name for node in partial.graph.node if node.name in layers for name in node.input}
    bypass: dict[str, str] = {}  # what a DequantizeLinear writes -> what its QuantizeLinear reads
    for node in partial.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] not in kept:
            bypass[node.output[0]] = made[node.input[0]].input[0]
    for node in partial.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = bypass.get(name, name)
    read = {name for node in partial.graph.node for name in node.input} | {v.name for v in partial.graph.output}
    live = [n for n in partial.graph.node if n.op_type != "DequantizeLinear" or n.output[0] in read - bypass.keys()]
    read = {name for node in live for name in node.input} | {value.name for value in partial.graph.output}
    live = [node for node in live if any(name in read for name in node.output)]
    del partial.graph.node[:]
    partial.graph.node.extend(live)
    return partial


def auto_mixed(
    model: Model,
    calibration: Faces,
    judging: Faces,
    *,
    losses: list[LayerLoss] | None = None,  # of scan(); None: made here
    on_try: Callable[[int, Verdict], None] | None = None,  # called with (layers kept in fp16, verdict)
) -> list[str]:
    """Names of the layers to keep in fp16: as few of the worst as make the gate hold; none when it holds already.

    Raises:
        BuildError: the gate does not hold with half of the layers in fp16 either; INT8 is not worth it then.
    """
    fp32 = answer(onnx_runner(model.graph), judging, model.spec)
    whole = tensorrt_int8(model, calibration)
    names = quantisable(model)

    def verdict(kept: Collection[str]) -> Verdict:
        graph = quantised_only(whole, [name for name in names if name not in kept])
        found = judge(model, onnx_runner(graph), judging, precision="int8", fp32=fp32)
        if on_try is not None:
            on_try(len(kept), found)
        return found

    if verdict(()).passed:
        return []
    worst = [loss.name for loss in losses or scan(model, calibration, judging)]
    low, high = 0, 1  # `low` worst layers in fp16 are too few; double until `high` are enough, then halve the interval
    while not verdict(worst[:high]).passed:
        low, high = high, 2 * high
        if high > len(names) // 2:
            got = f"not with {low} of {len(names)} layers in fp16"
            raise BuildError(
                "INT8 to pass the gate with half of its layers or more", got, "build with --precision fp16"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if verdict(worst[:middle]).passed else (middle, high)
    return worst[:high]
