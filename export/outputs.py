"""Choose what an ONNX file puts out: `python -m export.outputs picoface_x8 --outputs image,landmarks -o M.onnx`.

    sr         float32 [N, C, H, W], the network's own
    heatmaps   float32 [N, K, h, w], the network's own
    image      uint8 [N, H, W, 3], RGB, ready to show
    landmarks  float32 [N, K, 3]: x, y, score; in pixels of the picture, pixel centres at integers

For trtexec, Triton and C++, which have none of our Python; export/tail_nodes.py says how the two are computed. The file
is written only if onnxruntime gives what sdk.image gives: landmarks within 0.02 cells, pixels within one grey level.
With `--outputs landmarks` the layers of the picture stay in the file, so that trt-build can judge the network; TensorRT
leaves them out of the engine, since nobody reads them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export.graph import Model, read_model
from export.half import to_half
from export.tail import OUTPUTS, attached, make_tail, watched
from export.tail_nodes import IMAGE_TYPES
from export.triton_config import write_config
from sdk.errors import FaceTRTError, InputError, ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network
from sdk.pictures import write_file
from sdk.spec import ModelSpec
from sdk.zoo import model_path

__all__ = ["check_tail", "main", "names_of", "with_outputs"]

CELLS, LEVELS = 0.02, 1  # how far landmarks and pixels may be from sdk.image's
BATCHES = (1, 3)
PRECISIONS = ("fp32", "fp16")


def names_of(text: str) -> list[str]:
    """Outputs out of "image,landmarks"."""
    return [word.strip() for word in text.split(",") if word.strip()]


def with_outputs(
    graph: onnx.ModelProto,  # with the network's own outputs, fp32 at its edges
    spec: ModelSpec,
    *,
    names: Sequence[str],  # of export.tail.OUTPUTS
    image_type: str = "uint8",
) -> onnx.ModelProto:
    """A copy that puts out `names`, its spec saying so. Raises InputError, or ModelError when it is not exact."""
    if set(names) == set(spec.output_names):
        return graph
    whole = attached(graph, make_tail(graph, spec, names=names, image_type=image_type))
    check_tail(whole, spec)
    return whole


def check_tail(
    graph: onnx.ModelProto,  # with a tail
    spec: ModelSpec,
) -> tuple[float, int]:
    """Largest distance from sdk.image, in cells and in grey levels, on noise. Raises ModelError beyond the bounds."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    cells, levels = 0.0, 0
    for lr in _noise(spec):
        found = dict(zip(names, session.run(names, {session.get_inputs()[0].name: lr}), strict=True))
        if "landmarks" in found:
            maps = found["heatmaps"]
            decoded = decode(maps, mode=spec.decoder, radius=spec.decoder_radius)
            size, picture = maps.shape[2:], (lr.shape[2] * spec.hr_size // spec.input_size,) * 2
            distance = np.abs(found["landmarks"][..., :2] - cells_to_image(decoded.points, size, picture))
            cells = max(cells, float(distance.max()) * size[1] / picture[1])
        if "image" in found:
            difference = found["image"].astype(np.int64) - from_network(found["sr"], spec)
            levels = max(levels, int(np.abs(difference).max()))
    if not (cells <= CELLS and levels <= LEVELS):
        expected = f"landmarks within {CELLS} cells and pixels within {LEVELS} level of sdk.image"
        got = f"{cells:.3g} cells, {levels} levels"
        raise ModelError(expected, got, "do not ship this file; try another onnxruntime release")
    return cells, levels


def _noise(spec: ModelSpec) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for size in (spec.input_size, 2 * spec.input_size) if spec.any_size else (spec.input_size,):
        for batch in BATCHES:
            yield rng.random((batch, spec.channels, size, size), np.float32)


def convert(model: Model, *, names: Sequence[str], image_type: str = "uint8", precision: str = "fp32") -> Model:
    """The model with other outputs, in a precision that is written into its graph. Raises InputError, ModelError."""
    tail = make_tail(model.graph, model.spec, names=names, image_type=image_type)
    inner = to_half(model, model.graph) if precision == "fp16" else model.graph
    whole = attached(inner, tail)
    if tail.nodes:
        check_tail(attached(model.graph, tail), model.spec)
    return replace(model, graph=whole, spec=tail.spec, tail=None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.outputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a shipped name or an .onnx file of ours")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .onnx file to write")
    parser.add_argument("--outputs", default="image,landmarks", help=f"of {','.join(OUTPUTS)} (default: %(default)s)")
    parser.add_argument(
        "--image-type", choices=tuple(IMAGE_TYPES), default="uint8", help="of image (default: %(default)s)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the network; its edges and what is added stay fp32 (default: %(default)s). trt-build takes fp32 files",
    )
    parser.add_argument("--triton", type=Path, metavar="FILE", help="write a config.pbtxt for Triton too")
    parser.add_argument("--max-batch", type=int, default=8, help="of the config.pbtxt (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        model = read_model(model_path(args.model))
        if args.out.suffix.lower() != ".onnx":
            raise InputError("an output ending in .onnx", f"-o {args.out}", f"write -o {args.out.with_suffix('.onnx')}")
        names = names_of(args.outputs)
        made = convert(model, names=names, image_type=args.image_type, precision=args.precision)
        data = made.graph.SerializeToString()
        write_file(args.out, data)
        if args.triton is not None:
            write_config(args.triton, made.graph, max_batch=args.max_batch)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{args.out}: {', '.join(made.spec.output_names)}, {len(data) / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
