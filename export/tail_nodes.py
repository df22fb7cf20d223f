"""Landmarks and a uint8 picture inside the graph: the last steps of the SDK as standard ONNX operators.

    heatmaps -> landmarks  float32 [N, K, 3]: x, y, score          as sdk.image.heatmap.decode and cells_to_image
    sr       -> image      uint8 [N, H, W, 3], RGB                 as sdk.image.pixels.from_network

x and y are pixels of `image`, pixel centres at integers: the network's own crop, not the frame it was cut from.

Written for what TensorRT 8.6 to 11 and TensorRT-RTX all take, and take alike:

* No ArgMax or TopK: which of two equal values wins there is not documented. The peak is the first row, and in it the
  first column, whose value is the maximum: comparisons and reductions, which fuse with their neighbours.
* Nothing is gathered by position: a window around the peak is a weight by column times a weight by row, and values are
  sums over the map. (The Gathers left read a shape, or turn BGR into RGB.)
* No MatMul or Conv, which TensorRT multiplies in TF32 and for which it may choose fp16.
* GlobalMaxPool for maxima: the axes of ReduceMax became an input with opset 18, which the parser of 8.6 does not know
  (NVIDIA/TensorRT#3467).
* uint8 appears in the last Cast alone; TensorRT converts to it from floats, and only at the edge of a network.

It stays fp32 in every precision: fp16 makes ties of unequal values, and has steps of 1/8 from 128 px or levels on.

Where it differs from the reference: dark's logarithms are fp32 instead of float64, and a map of NaN and -Inf alone has
the first cell and the score NaN instead of the first -Inf. (The maximum is taken of finite numbers, and the score of a
map that has none is its sum: NaN for nothing but NaN.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdk.image.heatmap import (
    DARK_MARGIN,
    DERIVATIVE_REACH,
    FLOOR_VALUE,
    LOG_FLOOR,
    MAX_STEP,
    MIN_CURVATURE,
    QUARTER_MARGIN,
)
from sdk.spec import ModelSpec

__all__ = ["IMAGE_TYPES", "PREFIX", "Nodes", "add_image", "add_landmarks"]

PREFIX = "facetrt.tail."  # of the names of all nodes, tensors and constants here, but for the outputs
IMAGE_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
LOWEST = float(np.finfo(np.float32).min)
FINITE = 3.4e38  # magnitudes from here on count as infinite
BLUR = 5  # taps of dark's Gaussian: the default of sdk.image.heatmap.decode
FAR = -(2.0**20)  # below every negated cell index


@dataclass
class Nodes:
    """Nodes in the order they are added, and their constants."""

    nodes: list[onnx.NodeProto] = field(default_factory=lambda: list[onnx.NodeProto]())
    constants: list[onnx.TensorProto] = field(default_factory=lambda: list[onnx.TensorProto]())

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: int) -> str:
        """Appends a node; returns the name of what it computes."""
        name = f"{PREFIX}{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out or f"{name}.out"], name=name, **attributes))
        return self.nodes[-1].output[0]

    def constant(self, values: npt.ArrayLike, *, dtype: npt.DTypeLike = np.float32) -> str:
        """The name of a constant; equal ones are stored once."""
        array = np.asarray(values, dtype)
        for tensor in self.constants:
            stored = numpy_helper.to_array(tensor)
            if stored.dtype == array.dtype and np.array_equal(stored, array) and stored.shape == array.shape:
                return tensor.name
        self.constants.append(numpy_helper.from_array(array, f"{PREFIX}constant.{len(self.constants)}"))
        return self.constants[-1].name

    def sum(self, values: str, *axes: int, keep: bool = True) -> str:
        return self.add("ReduceSum", values, self.constant(axes, dtype=np.int64), keepdims=int(keep))

    def either(self, condition: str, yes: str | float, no: str | float) -> str:
        """Where, with numbers allowed."""
        branches = [one if isinstance(one, str) else self.constant(one) for one in (yes, no)]
        return self.add("Where", condition, *branches)

    def within(self, values: str, bound: float) -> str:
        """|values| <= bound; NaN is not."""
        return self.add("LessOrEqual", self.add("Abs", values), self.constant(bound))

    def product(self, *factors: str) -> str:
        result = factors[0]
        for factor in factors[1:]:
            result = self.add("Mul", result, factor)
        return result


def add_image(graph: Nodes, spec: ModelSpec, *, out: str = "image", kind: str = "uint8") -> None:
    """sr float32 [N, 3, H, W] -> out [N, H, W, 3] in RGB, grey levels rounded half up, NaN to 0."""
    low, high = spec.value_range
    levels = graph.add("Mul", "sr", graph.constant(255.0 / (high - low)))
    if low:
        levels = graph.add("Add", levels, graph.constant(-low * 255.0 / (high - low)))
    levels = graph.either(graph.add("IsNaN", levels), 0.0, levels)
    levels = graph.add("Clip", levels, graph.constant(0.0), graph.constant(255.0))
    levels = graph.add("Floor", graph.add("Add", levels, graph.constant(0.5)))
    if spec.colour == "bgr":
        levels = graph.add("Gather", levels, graph.constant([2, 1, 0], dtype=np.int64), axis=1)
    last = "" if kind != "float32" else out
    graph.nodes.append(helper.make_node("Transpose", [levels], [last or f"{PREFIX}nhwc"], perm=[0, 2, 3, 1]))
    graph.nodes[-1].name = f"{PREFIX}Transpose"
    if not last:
        graph.add("Cast", f"{PREFIX}nhwc", out=out, to=IMAGE_TYPES[kind])


@dataclass(frozen=True)
class _Peak:
    """Names of tensors around the peak of each map."""

    values: str  # [N, K, H, W] the maps, 0 where not finite
    dx: str  # [N, K, 1, W] column minus the peak's
    dy: str  # [N, K, H, 1] row minus the peak's
    near: str  # [N, K, H, W] 1 in the window, else 0
    allowed: str  # bool [N, K, 1, 1] the window is finite, the peak far enough from the border


def add_landmarks(graph: Nodes, spec: ModelSpec, *, out: str = "landmarks") -> None:
    """heatmaps float32 [N, K, H, W] -> out float32 [N, K, 3]: x and y in pixels of the picture, score."""
    x_cells, y_cells = (_cells(graph, spec, axis=axis) for axis in (3, 2))
    maps = graph.either(graph.add("IsNaN", "heatmaps"), LOWEST, "heatmaps")
    maps = graph.add("Max", maps, graph.constant(LOWEST))  # -Inf too
    top = graph.add("GlobalMaxPool", maps)  # [N, K, 1, 1]
    is_peak = graph.add("GreaterOrEqual", maps, top)
    some = graph.add("Greater", top, graph.constant(LOWEST))
    score = graph.either(some, top, graph.sum("heatmaps", 2, 3))
    y = _first(graph, is_peak, y_cells)
    in_row = graph.add("And", is_peak, graph.add("Equal", graph.add("Sub", y_cells, y), graph.constant(0.0)))
    x = _first(graph, in_row, x_cells)
    if spec.decoder != "argmax":
        margin = {"quarter": QUARTER_MARGIN, "dark": DARK_MARGIN}.get(spec.decoder, 0)
        reach = {"quarter": 1, "dark": DERIVATIVE_REACH + BLUR // 2}.get(spec.decoder, spec.decoder_radius)
        dx, dy = graph.add("Sub", x_cells, x), graph.add("Sub", y_cells, y)
        finite = graph.within("heatmaps", FINITE)
        near = graph.product(*(graph.either(graph.within(d, reach), 1.0, 0.0) for d in (dx, dy)))
        strange = graph.sum(graph.product(graph.either(finite, 0.0, 1.0), near), 2, 3)
        allowed = graph.add("Less", strange, graph.constant(0.5))
        for place, axis in ((x, 3), (y, 2)) if margin else ():
            allowed = graph.add("And", allowed, graph.add("Greater", place, graph.constant(margin - 0.5)))
            last = graph.add("Sub", _size(graph, spec, axis=axis), graph.constant(margin + 0.5))
            allowed = graph.add("And", allowed, graph.add("Less", place, last))
        peak = _Peak(graph.either(finite, "heatmaps", 0.0), dx, dy, near, allowed)
        step_x, step_y = {"centroid": _centroid, "quarter": _quarter, "dark": _newton}[spec.decoder](graph, peak)
        x, y = graph.add("Add", x, step_x), graph.add("Add", y, step_y)
    ratio = spec.hr_size / spec.heatmap_size  # (p + 0.5) * ratio - 0.5
    x, y = (
        graph.add("Add", graph.add("Mul", one, graph.constant(ratio)), graph.constant(0.5 * ratio - 0.5))
        for one in (x, y)
    )
    rows = graph.add("Concat", x, y, score, axis=2)  # [N, K, 3, 1]
    graph.add("Squeeze", rows, graph.constant([3], dtype=np.int64), out=out)


def _cells(graph: Nodes, spec: ModelSpec, *, axis: int) -> str:
    """Columns [1, 1, 1, W] (axis 3) or rows [1, 1, H, 1] (axis 2) counted from 0."""
    others = [one for one in range(4) if one != axis]
    if not spec.any_size:
        return graph.constant(np.expand_dims(np.arange(spec.heatmap_size), tuple(others)))
    start, step = (graph.constant(number, dtype=np.int64) for number in (0, 1))
    index = graph.add("Cast", graph.add("Range", start, _length(graph, axis), step), to=TensorProto.FLOAT)
    return graph.add("Unsqueeze", index, graph.constant(others, dtype=np.int64))


def _size(graph: Nodes, spec: ModelSpec, *, axis: int) -> str:
    """Cells along an axis as a float."""
    if not spec.any_size:
        return graph.constant(spec.heatmap_size)
    return graph.add("Cast", _length(graph, axis), to=TensorProto.FLOAT)


def _length(graph: Nodes, axis: int) -> str:
    """Cells along an axis, int64 scalar."""
    return graph.add("Gather", graph.add("Shape", "heatmaps"), graph.constant(axis, dtype=np.int64))


def _first(graph: Nodes, condition: str, cells: str) -> str:
    """Smallest of the cells where the condition [N, K, H, W] holds: [N, K, 1, 1]."""
    least = graph.add("GlobalMaxPool", graph.either(condition, graph.add("Neg", cells), FAR))
    return graph.add("Neg", least)


def _centroid(graph: Nodes, peak: _Peak) -> tuple[str, str]:
    """Intensity-weighted mean of the window. The reference's TINY weights add at most 1e-7 cells: left out."""
    bright = graph.add("Greater", peak.values, graph.constant(FLOOR_VALUE))
    weights = graph.product(graph.either(bright, peak.values, 0.0), peak.near)  # [N, K, H, W]
    total = graph.sum(weights, 2, 3)
    some = graph.add("And", peak.allowed, graph.add("Greater", total, graph.constant(0.0)))
    divisor = graph.either(some, total, 1.0)
    steps = (graph.add("Div", graph.sum(graph.product(weights, d), 2, 3), divisor) for d in (peak.dx, peak.dy))
    step_x, step_y = (graph.either(some, step, 0.0) for step in steps)
    return step_x, step_y


def _quarter(graph: Nodes, peak: _Peak) -> tuple[str, str]:
    """A quarter of a cell towards the larger neighbour. Sums of one value, one negated and zeros are exact."""
    steps: list[str] = []
    for along, across in ((peak.dx, peak.dy), (peak.dy, peak.dx)):
        beside = graph.product(along, graph.either(graph.within(along, 1.0), 1.0, 0.0))  # -1 and 1 beside the peak
        here = graph.either(graph.within(across, 0.5), 1.0, 0.0)
        difference = graph.sum(graph.product(peak.values, beside, here), 2, 3)
        step = graph.product(graph.add("Sign", difference), graph.constant(0.25))
        steps.append(graph.either(peak.allowed, step, 0.0))
    return steps[0], steps[1]


def _newton(graph: Nodes, peak: _Peak) -> tuple[str, str]:
    """Newton step to the maximum of the logarithm of the blurred map, from its 5 x 5 cells around the peak."""
    two, three, both = (graph.constant(axes, dtype=np.int64) for axes in ([2], [3], [2, 3]))
    columns = _gaussians(graph, graph.add("Unsqueeze", peak.dx, two))  # [N, K, 5, 1, W]
    rows = _gaussians(graph, graph.add("Unsqueeze", graph.add("Squeeze", peak.dy, three), both))  # [N, K, 5, 1, H]
    lines = graph.sum(graph.product(graph.add("Unsqueeze", peak.values, two), columns), 4, keep=False)  # [N, K, 5, H]
    blurred = graph.sum(graph.product(graph.add("Unsqueeze", lines, two), rows), 4, keep=False)  # [N, K, 5, 5] y, x
    logarithm = graph.add("Log", graph.add("Max", blurred, graph.constant(LOG_FLOOR)))
    found = {name: graph.sum(graph.product(logarithm, graph.constant(w)), 2, 3) for name, w in _stencils().items()}
    dx, dy, dxx, dyy, dxy = (found[name] for name in ("dx", "dy", "dxx", "dyy", "dxy"))
    determinant = graph.add("Sub", graph.product(dxx, dyy), graph.product(dxy, dxy))
    size = graph.add("Add", graph.add("Abs", dxx), graph.add("Abs", dyy))
    least = graph.product(size, graph.constant(MIN_CURVATURE))
    curved = graph.add("Greater", graph.add("Abs", determinant), least)
    useful = graph.add("And", peak.allowed, curved)
    divisor = graph.either(curved, determinant, 1.0)
    steps: list[str] = []
    for a, b, c in ((dy, dyy, dx), (dx, dxx, dy)):
        numerator = graph.add("Sub", graph.product(dxy, a), graph.product(b, c))
        steps.append(graph.add("Div", numerator, divisor))
        useful = graph.add("And", useful, graph.within(steps[-1], MAX_STEP))
    step_x, step_y = (graph.either(useful, step, 0.0) for step in steps)
    return step_x, step_y


def _gaussians(graph: Nodes, offset: str) -> str:
    """Weights of the blur around the offsets -2..2 of the peak: [N, K, 1, 1, n] -> [N, K, 5, 1, n]."""
    shifts = np.arange(-DERIVATIVE_REACH, DERIVATIVE_REACH + 1)
    sigma = 0.3 * ((BLUR - 1) * 0.5 - 1.0) + 0.8  # OpenCV's rule, as in sdk.image.heatmap
    total = np.exp(-0.5 * ((np.arange(BLUR) - BLUR // 2) / sigma) ** 2).sum()
    away = graph.add("Sub", offset, graph.constant(shifts[:, None, None]))
    bell = graph.add("Exp", graph.product(away, away, graph.constant(-0.5 / sigma**2)))
    taps = graph.product(bell, graph.constant(1.0 / total))
    return graph.either(graph.within(away, BLUR // 2), taps, 0.0)


def _stencils() -> dict[str, npt.NDArray[np.float64]]:
    """Derivatives at the middle of 5 x 5 cells [y, x], as weights to sum with; mmpose's."""
    first, second = np.array([0.0, -0.5, 0.0, 0.5, 0.0]), np.array([0.25, 0.0, -0.5, 0.0, 0.25])
    here = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    return {
        "dx": np.outer(here, first),
        "dy": np.outer(first, here),
        "dxx": np.outer(here, second),
        "dyy": np.outer(second, here),
        "dxy": np.outer(first, first),
    }
