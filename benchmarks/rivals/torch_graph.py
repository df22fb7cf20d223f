"""An ONNX file as a torch network: the same weights and operators, called one after the other as eager torch does.

It knows the operators of the networks here, no more; a file with another is refused, and so is one whose outputs
onnxruntime computes differently (benchmarks.rivals.torch_ways checks that once).
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdk.errors import BackendError, MissingPackageError

TENSOR = Any  # torch.Tensor: torch is imported late
Operator = Callable[..., TENSOR]


def torch_modules() -> tuple[Any, Any]:
    """(torch, torch.nn.functional). Raises MissingPackageError."""
    try:
        return importlib.import_module("torch"), importlib.import_module("torch.nn.functional")
    except ImportError as error:
        raise MissingPackageError("the rival torch", "torch", "pip install torch") from error


def onnx_module() -> Any:
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise MissingPackageError("reading a network into torch", "onnx", "pip install onnx") from error


def read_network(path: Path) -> Any:
    """An nn.Module that takes the file's one input [N, C, h, w] and gives its outputs as a tuple, in their order.

    Raises BackendError for an operator that is not known here, MissingPackageError.
    """
    torch, functional = torch_modules()
    onnx = onnx_module()
    graph = onnx.load(str(path)).graph
    constants = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    steps: list[tuple[Operator, list[str], str]] = []
    for node in graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        make = OPERATORS.get(node.op_type)
        if make is None or len([name for name in node.output if name]) != 1:
            remedy = "compare it with onnxruntime's providers alone"
            raise BackendError(f"operators among {', '.join(OPERATORS)}", f"{node.op_type} in {path.name}", remedy)
        fixed = [constants.get(name) for name in node.input]
        operator = make(torch, functional, given, fixed)
        if all(name in constants for name in node.input):
            constants[node.output[0]] = operator(*fixed)
        else:
            steps.append((operator, list(node.input), node.output[0]))
    inputs = [one.name for one in graph.input if one.name not in constants]
    if len(inputs) != 1:
        raise BackendError(
            "a network of one input", f"{len(inputs)} in {path.name}", "compare it with onnxruntime alone"
        )
    return _module(torch, steps, constants, inputs[0], [one.name for one in graph.output])


def _module(torch: Any, steps: Sequence[Any], constants: dict[str, TENSOR], source: str, outputs: Sequence[str]) -> Any:
    used = {name for _, names, _ in steps for name in names}
    last = {name: i for i, (_, names, _) in enumerate(steps) for name in names}

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of = {name: f"c{i}" for i, name in enumerate(sorted(used & set(constants)))}
            for name, attribute in self.of.items():
                self.register_buffer(attribute, constants[name])

        def forward(self, batch: TENSOR) -> tuple[TENSOR, ...]:
            values = {source: batch}
            for i, (operator, names, result) in enumerate(steps):
                given = [getattr(self, self.of[n]) if n in self.of else values[n] if n else None for n in names]
                values[result] = operator(*given)
                for name in names:
                    if last[name] == i and name in values and name not in outputs:
                        del values[name]
            return tuple(values[name] for name in outputs)

    return Network().eval()


def _even(given: dict[str, Any], default: int, key: str) -> tuple[int, int]:
    pair = given.get(key) or [default, default]
    return int(pair[0]), int(pair[1])


def _pads(given: dict[str, Any]) -> tuple[int, int]:
    """Padding that is the same on both sides. Raises BackendError."""
    pads = list(given.get("pads") or [0, 0, 0, 0])
    if pads[:2] != pads[2:] or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise BackendError("padding that is the same on both sides", str(pads), "compare it with onnxruntime alone")
    return int(pads[0]), int(pads[1])


def _conv(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    stride, pads, apart = _even(given, 1, "strides"), _pads(given), _even(given, 1, "dilations")
    groups = int(given.get("group", 1))
    return lambda x, w, b=None: functional.conv2d(x, w, b, stride, pads, apart, groups)


def _conv_transpose(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    stride, pads, apart = _even(given, 1, "strides"), _pads(given), _even(given, 1, "dilations")
    more, groups = _even(given, 0, "output_padding"), int(given.get("group", 1))
    return lambda x, w, b=None: functional.conv_transpose2d(x, w, b, stride, pads, more, groups, apart)


def _cast(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    types = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16}
    if given["to"] not in types:
        raise BackendError("a cast to a type of number", f"type {given['to']}", "compare it with onnxruntime alone")
    return lambda x: x.to(types[given["to"]])


def _pool(kind: str) -> Any:
    def make(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
        size, stride, pads = _even(given, 1, "kernel_shape"), _even(given, 1, "strides"), _pads(given)
        pool = functional.max_pool2d if kind == "max" else functional.avg_pool2d
        return lambda x: pool(x, size, stride, pads)

    return make


def _pad(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    begin, end = [list(map(int, half)) for half in fixed[1].reshape(2, -1).tolist()]
    mode = {b"edge": "replicate", b"reflect": "reflect", b"constant": "constant"}[given.get("mode", b"constant")]
    if any(begin[:2] + end[:2]):
        raise BackendError("padding of rows and columns", f"{begin}, {end}", "compare it with onnxruntime alone")
    return lambda x, *_: functional.pad(x, (begin[3], end[3], begin[2], end[2]), mode=mode)


def _slice(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    starts, ends, axes = (one.tolist() for one in fixed[1:4])
    steps = fixed[4].tolist() if len(fixed) > 4 else [1] * len(axes)
    where = {axis: slice(a, min(b, 1 << 31), s) for axis, a, b, s in zip(axes, starts, ends, steps, strict=True)}
    return lambda x, *_: x[tuple(where.get(axis, slice(None)) for axis in range(x.ndim))]


def _resize(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    mode = {b"nearest": "nearest", b"linear": "bilinear", b"cubic": "bicubic"}[given["mode"]]
    scales = fixed[2] if len(fixed) > 2 else None
    if scales is None or not scales.numel():
        raise BackendError("a resize by constant factors", "one by sizes", "compare it with onnxruntime alone")
    factors = tuple(float(scale) for scale in scales.tolist()[2:])
    more = {} if mode == "nearest" else {"align_corners": False}
    return lambda x, *_: functional.interpolate(x, scale_factor=factors, mode=mode, **more)


def _batch_norm(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    return lambda x, w, b, mean, var: functional.batch_norm(x, mean, var, w, b, eps=given.get("epsilon", 1e-5))


def _depth_to_space(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    if given.get("mode", b"DCR") != b"CRD":
        raise BackendError("a shuffle in torch's order", "DCR", "compare it with onnxruntime alone")
    return lambda x: functional.pixel_shuffle(x, given["blocksize"])


def _plain(name: str) -> Any:
    def make(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
        return getattr(torch, name)

    return make


def _concat(torch: Any, functional: Any, given: dict[str, Any], fixed: Sequence[Any]) -> Operator:
    return lambda *parts: torch.cat(parts, dim=given["axis"])


OPERATORS: dict[str, Callable[[Any, Any, dict[str, Any], Sequence[Any]], Operator]] = {
    "Add": _plain("add"),
    "AveragePool": _pool("mean"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "MaxPool": _pool("max"),
    "Mul": _plain("mul"),
    "Pad": _pad,
    "Relu": _plain("relu"),
    "Resize": _resize,
    "Sigmoid": _plain("sigmoid"),
    "Slice": _slice,
    "Sub": _plain("sub"),
    "Tanh": _plain("tanh"),
}
