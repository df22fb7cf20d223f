"""The tail of a graph: what turns its pictures and heatmaps into `image` and `landmarks`, put on and taken off.

A build takes the tail off, writes its precision into the network alone, and puts the tail back on: fp32 in all of them.
What belongs to it is told by name (export.tail_nodes.PREFIX), so a file of ours needs no other mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import helper

from export.tail_nodes import IMAGE_TYPES, PREFIX, Nodes, add_image, add_landmarks
from sdk.errors import InputError, ModelError
from sdk.spec import METADATA_KEY, SUBSTITUTES, ModelSpec

__all__ = ["OUTPUTS", "Tail", "attached", "detached", "inner_spec", "make_tail", "watched"]

OUTPUTS = ("sr", "heatmaps", "parsing", "image", "landmarks")  # in the order a file has them
ORIGINALS = {new: old for old, new in SUBSTITUTES.items()}


@dataclass(frozen=True, eq=False)
class Tail:
    """Nodes that read `sr` and `heatmaps`, with their constants, and the outputs of the graph that ends in them."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: tuple[onnx.TensorProto, ...]
    outputs: tuple[onnx.ValueInfoProto, ...]
    spec: ModelSpec  # of the file: output_names are those of `outputs`


def make_tail(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    *,
    names: Sequence[str],  # of OUTPUTS
    image_type: str = "uint8",
) -> Tail:
    """A tail for a network without one. Raises InputError for outputs that it cannot give."""
    _check_names(spec, names, image_type)
    values = {value.name: value for value in graph.graph.output}
    dims = {name: list(value.type.tensor_type.shape.dim) for name, value in values.items()}
    nodes = Nodes()
    if "image" in names:
        add_image(nodes, spec, kind=image_type)
        batch, _, rows, columns = dims["sr"]
        values["image"] = _value("image", IMAGE_TYPES[image_type], [batch, rows, columns, spec.channels])
    if "landmarks" in names:
        add_landmarks(nodes, spec)
        values["landmarks"] = _value("landmarks", onnx.TensorProto.FLOAT, [dims["heatmaps"][0], spec.heatmap_count, 3])
    ordered = tuple(name for name in OUTPUTS if name in names)
    outputs = tuple(values[name] for name in ordered)
    return Tail(tuple(nodes.nodes), tuple(nodes.constants), outputs, replace(spec, output_names=ordered))


def _check_names(spec: ModelSpec, names: Sequence[str], image_type: str) -> None:
    got, remedy = ",".join(names) or "none", "see python -m export.outputs --help"
    if image_type not in IMAGE_TYPES:
        raise InputError(f"an image type of {tuple(IMAGE_TYPES)}", repr(image_type), remedy)
    if set(names) - set(OUTPUTS) or len(set(names)) != len(names):
        raise InputError(f"outputs among {','.join(OUTPUTS)}, each once", got, remedy)
    if "image" in names and spec.channels != 3:
        cause = f"{got}, while {spec.name} gives luminance alone"
        raise InputError("a network of three channels for the output image", cause, "ask for sr")
    if "landmarks" in names and spec.heatmap_kind != "landmarks":
        cause = f"{got}, while {spec.name} has {spec.heatmap_kind or 'no heatmaps'}"
        raise InputError("heatmaps of landmarks for the output landmarks", cause, "leave landmarks out")
    have = spec.output_names
    missing = [old for old in have if not {old, SUBSTITUTES.get(old, old)} & set(names)]
    missing = [] if list(names) == ["landmarks"] else missing  # who wants no picture
    beyond = [name for name in names if ORIGINALS.get(name, name) not in have]
    if missing or beyond:
        pairs = ", ".join(f"{old} or {SUBSTITUTES[old]}" if old in SUBSTITUTES else old for old in have)
        pairs += "; or landmarks alone" if spec.heatmap_kind == "landmarks" else ""
        raise InputError(f"outputs of {spec.name}: {pairs}", got, remedy)


def _value(name: str, kind: int, dims: Sequence[int | onnx.TensorShapeProto.Dimension]) -> onnx.ValueInfoProto:
    shape = [dim if isinstance(dim, int) else dim.dim_param or dim.dim_value for dim in dims]
    return helper.make_tensor_value_info(name, kind, shape)


def attached(graph: onnx.ModelProto, tail: Tail | None) -> onnx.ModelProto:
    """A copy of the network that ends in the tail; None: the network as it is."""
    if tail is None:
        return graph
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    kept = {value.name for value in tail.outputs}
    whole.graph.value_info.extend(value for value in whole.graph.output if value.name not in kept)
    del whole.graph.output[:]
    whole.graph.output.extend(tail.outputs)
    whole.graph.node.extend(tail.nodes)
    whole.graph.initializer.extend(tail.constants)
    _tell(whole, tail.spec)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def detached(graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, Tail | None]:
    """The network alone, and its tail. Raises ModelError when the spec tells of a tail that cannot be found by name."""
    nodes = tuple(node for node in graph.graph.node if node.name.startswith(PREFIX))
    wanted = inner_spec(spec)
    if not nodes:
        if wanted.output_names != spec.output_names:
            got = f"no node whose name begins with {PREFIX}"
            remedy = "another tool renamed them: start from the file that python -m export.outputs wrote"
            raise ModelError(f"the nodes that compute {', '.join(spec.output_names)}", got, remedy)
        return graph, None
    inner = onnx.ModelProto()
    inner.CopyFrom(graph)
    constants = tuple(tensor for tensor in graph.graph.initializer if tensor.name.startswith(PREFIX))
    outputs = tuple(value for value in graph.graph.output if value.name in spec.output_names)
    values = _inner_values(graph)
    lost = [name for name in wanted.output_names if name not in values]
    if lost:
        raise ModelError(
            f"tensors {', '.join(wanted.output_names)} before the tail", f"none named {lost}", "export again"
        )
    for kept, all_of_them in ((inner.graph.node, graph.graph.node), (inner.graph.initializer, graph.graph.initializer)):
        del kept[:]
        kept.extend(one for one in all_of_them if not one.name.startswith(PREFIX))
    del inner.graph.output[:]
    inner.graph.output.extend(values[name] for name in wanted.output_names)
    del inner.graph.value_info[:]
    _tell(inner, wanted)
    return inner, Tail(nodes, constants, outputs, spec)


def inner_spec(spec: ModelSpec) -> ModelSpec:
    """The spec of the network without its tail. (In a file of landmarks alone the rest of the network is there too.)"""
    names = {ORIGINALS.get(name, name) for name in spec.output_names}
    if spec.output_names == ("landmarks",):
        names |= {"sr", "parsing"} if spec.parsing_count else {"sr"}
    known = tuple(name for name in OUTPUTS if name in names)
    others = tuple(name for name in spec.output_names if name not in OUTPUTS)
    return spec if not set(spec.output_names) & set(ORIGINALS) else replace(spec, output_names=known + others)


def watched(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that also puts out what its tail reads, for the gate to look at; a graph without a tail as it is."""
    if not any(node.name.startswith(PREFIX) for node in graph.graph.node):
        return graph
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    present = {value.name for value in copy.graph.output}
    extra = [value for name, value in _inner_values(graph).items() if name not in present]
    copy.graph.output.extend(extra)
    inner = [value for value in copy.graph.value_info if value.name not in {one.name for one in extra}]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(inner)
    return copy


def _inner_values(graph: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Types and shapes of the network's own outputs, by name."""
    for source in (graph, onnx.shape_inference.infer_shapes(graph)):
        values = {v.name: v for v in [*source.graph.value_info, *source.graph.output] if v.name in OUTPUTS}
        read = {name for node in graph.graph.node for name in node.input if node.name.startswith(PREFIX)}
        if read & set(OUTPUTS) <= set(values):
            break
    return {name: value for name, value in values.items() if name not in ORIGINALS}


def _tell(graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the spec over the one in the metadata."""
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    helper.set_model_props(graph, {**kept, METADATA_KEY: spec.to_json()})
