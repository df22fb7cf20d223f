"""How long a network would take on a device that is not at hand. A model, never a measurement.

Each layer is a matrix product cut into tiles; tiles run in waves over the multiprocessors, each at the efficiency that
tiles of its size reach; or the layer waits for its bytes (from L2 where they fit, else from memory); every layer pays
one launch. The sum is multiplied by FACTOR, which brings the model to published TensorRT figures of ResNet-50 in int8
(MLPerf Inference: Jetson AGX Orin and Orin NX single stream, H100 offline; ratios 1.49, 1.40 and 1.41).

The band is FACTOR's 10 percent and, added to it, launches of half and of one and a half times the estimate, which no
data sheet gives. fp32 has not been compared with any figure: its band is three times as wide.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

from benchmarks.bench.devices import GB, Rates, rates_of
from benchmarks.bench.graph_cost import BYTES, GraphCost, LayerCost
from benchmarks.bench.results import Prediction
from sdk.errors import InputError

__all__ = ["BASIS", "FACTOR", "model_ms", "predict", "predicted"]

FACTOR = 1.45
SPREAD = {"fp32": 0.30, "fp16": 0.10, "int8": 0.10}  # of FACTOR, either way
LAUNCH_SPREAD = 0.5
BASIS = "model x 1.45, from published ResNet-50 int8 of TensorRT (AGX Orin, Orin NX, H100)"
BASIS_FP32 = f"{BASIS}; fp32 not compared with any figure"

TILES = (  # rows, columns, share of the peak rate that a kernel of such tiles reaches
    (256, 128, 0.90),
    (128, 128, 0.85),
    (128, 64, 0.75),
    (64, 64, 0.60),
    (64, 32, 0.40),
    (32, 32, 0.25),
)
SLICES = (1, 2, 4, 8)  # of the depth, added up afterwards
LEAST_SLICE, DEPTH_STEP = 128, 32
ADD_UP_S = 0.5e-6  # what adding up slices costs
FITS = 0.6  # share of L2 that activations, or all weights, may take to stay in it


def model_ms(cost: GraphCost, rates: Rates, precision: str, *, launch: float = 1.0) -> float:
    """The model's time of a batch in ms, without FACTOR; `launch` scales the cost of launches. Raises InputError."""
    peak = rates.peak(precision)
    if not peak or not rates.multiprocessors:
        expected = f"a GPU of the table and a precision it has ({', '.join(BYTES)})"
        raise InputError(expected, f"{rates.name} in {precision}", "choose another")
    weights_stay = cost.weights * BYTES[precision] <= FITS * rates.l2_mb * 1e6
    seconds = sum(_layer_s(layer, rates, precision, weights_stay=weights_stay) for layer in cost.layers)
    return 1e3 * (seconds + launch * len(cost.layers) * rates.launch_us * 1e-6)


def predicted(cost: GraphCost, device: str | Rates, precision: str) -> Prediction:
    """A prediction with its band for the batch that was counted. Raises InputError: unknown device or precision."""
    rates = rates_of(device) if isinstance(device, str) else device
    if not cost.layers:
        raise InputError("a network that does something", f"{cost.name} without layers", "predict another")
    spread = SPREAD.get(precision, 0.0)
    middle, low, high = (model_ms(cost, rates, precision, launch=launch) for launch in (1, *_launches()))
    basis = BASIS_FP32 if precision == "fp32" else BASIS
    return Prediction(
        rates.name,
        cost.name,
        precision,
        cost.batch,
        FACTOR * middle,
        FACTOR * (1 - spread) * low,
        FACTOR * (1 + spread) * high,
        basis,
    )


def predict(
    model: str,  # its name in the results
    count_at: Callable[[int], GraphCost],  # batch -> its cost
    *,
    devices: Sequence[str],
    precisions: Sequence[str],
    batches: Sequence[int],
) -> tuple[Prediction, ...]:
    """Every combination, devices first. Raises what rates_of, predicted and count_at raise."""
    count_once = cache(count_at)
    found: list[Prediction] = []
    for device in devices:
        for precision in precisions:
            for batch in batches:
                one = predicted(count_once(batch), device, precision)
                found.append(
                    Prediction(one.device, model, precision, batch, one.ms, one.low_ms, one.high_ms, one.basis)
                )
    return tuple(found)


def _launches() -> tuple[float, float]:
    return 1 - LAUNCH_SPREAD, 1 + LAUNCH_SPREAD


def _layer_s(layer: LayerCost, rates: Rates, precision: str, *, weights_stay: bool) -> float:
    """Seconds of a layer without its launch."""
    moved = (layer.read + layer.written) * BYTES[precision]
    near, far = rates.l2_gb_s * GB, rates.dram_gb_s * GB
    waits = moved / (near if moved < FITS * rates.l2_mb * 1e6 else far)
    waits += layer.weights * BYTES[precision] / (near if weights_stay else far)
    return max(_product_s(layer, rates, precision), waits)


def _product_s(layer: LayerCost, rates: Rates, precision: str) -> float:
    """Seconds of the fastest tiling; 0 for a layer that is no product."""
    peak = rates.peak(precision)
    if not layer.rows or not peak:
        return 0.0
    each = peak / rates.multiprocessors
    best = math.inf
    for rows, columns, efficiency in TILES:
        tiles = math.ceil(layer.rows / rows) * math.ceil(layer.columns / columns) * layer.groups
        for slices in SLICES:
            if slices > 1 and layer.depth / slices < LEAST_SLICE:
                continue
            depth = math.ceil(layer.depth / slices / DEPTH_STEP) * DEPTH_STEP
            waves = math.ceil(tiles * slices / rates.multiprocessors)
            seconds = waves * 2 * rows * columns * depth / (each * efficiency)
            best = min(best, seconds + (ADD_UP_S if slices > 1 else 0))
    return best
