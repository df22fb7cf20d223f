"""Arithmetic rates of a processor, by small graphs on onnxruntime: what runs the networks gives their ceiling too.

A product and two convolutions of the sizes that networks have; the best run of the best of them counts, as a ceiling
must. The cost of one more operator is that of a long chain of operators on eight numbers.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sdk.errors import MissingPackageError

__all__ = ["fp32_flop_s", "int8_op_s", "operator_us"]

OPSET, IR = 18, 9
SIDE = 768  # of the product's matrices
CONVOLUTIONS = ((128, 64), (256, 16))  # channels in and out, rows and columns; 3 x 3
CHAIN = 200  # operators
LEAST_RUNS = 5
ERRORS_ONLY = 3  # onnxruntime's severity scale


def fp32_flop_s(*, threads: int, seconds: float) -> float:
    """Operations a second of float32, two a multiply-add. Raises MissingPackageError."""
    return max(_rate(graph, threads, seconds / 3) for graph in (_product(), *map(_convolution, CONVOLUTIONS)))


def int8_op_s(*, threads: int, seconds: float) -> float:
    """The same of uint8 activations times int8 weights, as quantised networks on the CPU have them."""
    graphs = (_product_int8(), *map(_convolution_int8, CONVOLUTIONS))
    return max(_rate(graph, threads, seconds / 3) for graph in graphs)


def operator_us(*, seconds: float) -> float:
    """Microseconds of one operator that has next to nothing to do; on one thread, nothing merged."""
    onnx, helper = _onnx()
    names = [f"t{n}" for n in range(CHAIN + 1)]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in zip(names, names[1:], strict=False)]
    model = _model(onnx, nodes, names[0], names[-1], [8], [8], {})
    run = _runner(model, {names[0]: np.ones(8, np.float32)}, threads=1, plain=True)
    empty = _model(onnx, nodes[:1], names[0], names[1], [8], [8], {})
    once = _runner(empty, {names[0]: np.ones(8, np.float32)}, threads=1, plain=True)
    return max(0.0, 1e6 * (_best_s(run, seconds / 2) - _best_s(once, seconds / 2)) / (CHAIN - 1))


def _rate(
    graph: tuple[Any, dict[str, Any], float],  # onnx.ModelProto, its feeds, operations of a run
    threads: int,
    seconds: float,
) -> float:
    model, feeds, operations = graph
    return operations / _best_s(_runner(model, feeds, threads=threads), seconds)


def _best_s(run: Callable[[], Any], seconds: float) -> float:
    """Shortest of the runs that fit into `seconds`, and of LEAST_RUNS at least, after one to warm up."""
    run()
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < LEAST_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best, runs = min(best, time.perf_counter() - started), runs + 1
    return best


def _product() -> tuple[Any, dict[str, Any], float]:
    onnx, helper = _onnx()
    right = _noise((SIDE, SIDE))
    model = _model(
        onnx, [helper.make_node("MatMul", ["x", "w"], ["y"])], "x", "y", [SIDE, SIDE], [SIDE, SIDE], {"w": right}
    )
    return model, {"x": _noise((SIDE, SIDE))}, 2.0 * SIDE**3


def _product_int8() -> tuple[Any, dict[str, Any], float]:
    onnx, helper = _onnx()
    right = np.random.default_rng(0).integers(-127, 128, (SIDE, SIDE), np.int8)
    stored = _scales() | {"w": right, "wz": np.zeros((), np.int8)}
    inputs = ["q", "one", "zero", "w", "one", "wz", "many", "zero"]
    model = _model(onnx, _quantised(helper, "QLinearMatMul", inputs, {}), "x", "y", [SIDE, SIDE], [SIDE, SIDE], stored)
    return model, {"x": _noise((SIDE, SIDE))}, 2.0 * SIDE**3


def _convolution(sizes: tuple[int, int]) -> tuple[Any, dict[str, Any], float]:
    onnx, helper = _onnx()
    channels, side = sizes
    shape = [1, channels, side, side]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    model = _model(onnx, nodes, "x", "y", shape, shape, {"w": _noise((channels, channels, 3, 3))})
    return model, {"x": _noise(shape)}, 18.0 * channels**2 * side**2


def _convolution_int8(sizes: tuple[int, int]) -> tuple[Any, dict[str, Any], float]:
    onnx, helper = _onnx()
    channels, side = sizes
    shape = [1, channels, side, side]
    weights = np.random.default_rng(0).integers(-127, 128, (channels, channels, 3, 3), np.int8)
    stored = _scales() | {"w": weights, "wz": np.zeros((), np.int8)}
    inputs = ["q", "one", "zero", "w", "one", "wz", "many", "zero"]
    nodes = _quantised(helper, "QLinearConv", inputs, {"pads": [1] * 4})
    return _model(onnx, nodes, "x", "y", shape, shape, stored), {"x": _noise(shape)}, 18.0 * channels**2 * side**2


def _scales() -> dict[str, Any]:
    return {"one": np.float32(1 / 128), "many": np.float32(1.0), "zero": np.uint8(128)}


def _quantised(helper: Any, kind: str, inputs: list[str], options: dict[str, Any]) -> list[Any]:
    return [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node(kind, inputs, ["r"], **options),
        helper.make_node("DequantizeLinear", ["r", "many", "zero"], ["y"]),
    ]


def _model(
    onnx: Any,  # the module
    nodes: list[Any],  # of onnx.NodeProto
    source: str,
    result: str,
    shape_in: list[int],
    shape_out: list[int],
    stored: dict[str, Any],  # name -> array
) -> bytes:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info(source, kind, shape_in)],
        [helper.make_tensor_value_info(result, kind, shape_out)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return bytes(model.SerializeToString())


def _runner(model: bytes, feeds: dict[str, Any], *, threads: int, plain: bool = False) -> Callable[[], Any]:
    """A call that runs the graph once; `plain`: as it stands, without onnxruntime's rewriting."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingPackageError("probing the processor", "onnxruntime", "pip install onnxruntime") from error
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = ERRORS_ONLY, threads
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def _noise(shape: Any) -> Any:  # float32 in [-0.5, 0.5): never zeros, which some processors multiply faster
    return np.random.default_rng(0).random(tuple(shape), np.float32) - np.float32(0.5)


def _onnx() -> tuple[Any, Any]:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingPackageError("probing the processor", "onnx", "pip install 'facetrt[bench]'") from error
    return onnx, onnx.helper
