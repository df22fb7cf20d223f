"""Checkpoint to ONNX: `python -m export.to_onnx picoface_x8.pt -o picoface_x8.onnx [--store fp16]`.

With `--outputs image,landmarks` the file ends in a uint8 picture and decoded points; see export.outputs.

Opset 18 on purpose: from 20 on, GridSample is written in a mode that TensorRT's parser silently runs as nearest.
The file carries its ModelSpec as metadata, so a runtime needs nothing else, and is accepted only if onnxruntime
computes what torch computes, to 1e-4, at batch 1, 2 and 5 (and at a second size where the network takes any).
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.outputs import names_of, with_outputs
from export.tail import OUTPUTS
from export.tail_nodes import IMAGE_TYPES
from sdk.errors import FaceTRTError, ModelError, OutputError
from sdk.spec import METADATA_KEY, ModelSpec
from training import checkpoint

OPSET = 18
TOLERANCE = 1e-4  # absolute, on outputs of about [0, 1]
BATCHES = (1, 2, 5)
SMALL = 256  # elements; below that, storing an initialiser as fp16 saves nothing


class DeployGraph(nn.Module):
    """The folded network in eval mode, returning exactly the outputs its spec names, in that order."""

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.model, self.names = model, spec.output_names
        self.eval()

    def forward(self, lr: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(lr)
        return tuple(outputs[name] for name in self.names)


def export_graph(model: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The network as an ONNX graph with a dynamic batch, and dynamic height and width where the spec says any size."""
    size = spec.input_size
    sample = torch.rand(2, spec.channels, size, size, generator=torch.Generator().manual_seed(0))
    dynamic = {0: torch.export.Dim("batch", min=1, max=4096)}
    if spec.any_size:  # even sizes: the landmark branch starts at half size and halves once more
        dynamic |= {2: 4 * torch.export.Dim("quarter_height", min=2, max=256)}
        dynamic |= {3: 4 * torch.export.Dim("quarter_width", min=2, max=256)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else a line for each torchvision operator we do not use
    program = torch.onnx.export(
        DeployGraph(model, spec),
        (sample,),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(dynamic,),
        input_names=["lr"],
        output_names=list(spec.output_names),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    simplified, ok = onnxsim.simplify(program.model_proto)
    if not ok:
        raise ModelError("a graph that simplifies to an equal one", "another", "export with another onnxsim release")
    del simplified.metadata_props[:]
    entry = simplified.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    simplified.producer_name, simplified.doc_string = "facetrt", ""
    for value in [*simplified.graph.input, *simplified.graph.output]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if dimension.dim_param:  # the exporter's own are expressions such as 4*quarter_height
                dimension.dim_param = name if name == "batch" else f"{value.name}_{name}"
    for node in simplified.graph.node:  # exporter's stack traces: half of the text of the file
        del node.metadata_props[:]
        node.doc_string = ""
    del simplified.graph.value_info[:]
    onnx.checker.check_model(simplified, full_check=True)
    return simplified


def round_weights(model: nn.Module) -> None:
    """Round the weights to fp16 in place, so that storing them as fp16 changes nothing any more."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.numel() >= SMALL:
                tensor.copy_(tensor.half().float())


def store_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Half the file: large fp32 initialisers become fp16 behind a Cast, which runtimes fold while loading."""
    small = onnx.ModelProto()
    small.CopyFrom(graph)
    kept, casts = [], []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALL:
            kept.append(tensor)
            continue
        stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.fp16")
        kept.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
    del small.graph.initializer[:]
    small.graph.initializer.extend(kept)
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small, full_check=True)
    return small


@torch.inference_mode()
def answers(
    model: nn.Module,
    spec: ModelSpec,
    lr: np.ndarray,  # float32 [N, C, h, w], the network's input
) -> dict[str, np.ndarray]:
    """What the network gives in torch, by name."""
    found = DeployGraph(model, spec)(torch.from_numpy(lr))
    return {name: value.numpy() for name, value in zip(spec.output_names, found, strict=True)}


@torch.inference_mode()
def check(
    graph: onnx.ModelProto,
    model: nn.Module,
    spec: ModelSpec,
    *,
    sizes: Sequence[int] | None = None,  # px of the input; None: the spec's, and twice that where it takes any
    batches: Sequence[int] = BATCHES,
) -> float:
    """Largest difference between onnxruntime and torch. Raises ModelError above TOLERANCE."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    if sizes is None:
        sizes = (spec.input_size, 2 * spec.input_size) if spec.any_size else (spec.input_size,)
    worst = 0.0
    for size in sizes:
        for batch in batches:
            lr = torch.rand(batch, spec.channels, size, size, generator=generator)
            expected = DeployGraph(model, spec)(lr)
            computed = session.run(list(spec.output_names), {"lr": lr.numpy()})
            for name, want, got in zip(spec.output_names, expected, computed, strict=True):
                difference = float(np.abs(want.numpy() - got).max())
                worst = max(worst, difference)
                if not difference <= TOLERANCE:
                    raise ModelError(
                        f"{name} of onnxruntime within {TOLERANCE} of torch at batch {batch}, {size} px",
                        f"{difference:.2e}",
                        "do not ship this file; try another onnx or torch release",
                    )
    return worst


def write(graph: onnx.ModelProto, path: Path) -> None:
    """Write then rename: no half file. Raises OutputError."""
    temporary = path.with_suffix(".onnx.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(graph.SerializeToString())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        got = f"{path} ({error.strerror})"
        raise OutputError("a file to write the model to", got, "choose another -o, or free some room") from error


def convert(
    source: Path,
    target: Path,
    *,
    store: str = "fp32",
    outputs: Sequence[str] = (),  # of export.tail.OUTPUTS; none: the network's own
    image_type: str = "uint8",
) -> str:
    """Convert one checkpoint file; returns a line for people. Raises ModelError, and InputError for the outputs."""
    saved = checkpoint.load(source)
    if "spec" not in saved:
        raise ModelError(
            "a finished checkpoint with a spec",
            f"{source}, a run in progress",
            "join its parts: python -m training.join",
        )
    spec = ModelSpec.from_json(str(saved["spec"]))
    model = checkpoint.build(saved)
    model = model.folded() if hasattr(model, "folded") else model
    if store == "fp16":
        round_weights(model)
    graph = export_graph(model, spec)
    graph = store_fp16(graph) if store == "fp16" else graph
    worst = check(graph, model, spec)
    graph = with_outputs(graph, spec, names=outputs or spec.output_names, image_type=image_type)
    write(graph, target)
    size_mb = target.stat().st_size / 1e6
    return f"{target}: {len(graph.graph.node)} nodes, {size_mb:.2f} MB, within {worst:.1e} of torch at batch {BATCHES}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.to_onnx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--store", choices=("fp32", "fp16"), default="fp32", help="type of the stored weights (default: %(default)s)"
    )
    parser.add_argument(
        "--outputs", default="", help=f"of {','.join(OUTPUTS)} (default: those of the network: sr,heatmaps)"
    )
    parser.add_argument(
        "--image-type", choices=tuple(IMAGE_TYPES), default="uint8", help="of the output image (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    outputs = names_of(args.outputs)
    try:
        line = convert(args.checkpoint, args.out, store=args.store, outputs=outputs, image_type=args.image_type)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
