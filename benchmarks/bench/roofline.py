"""The least time a network can take on a device: arithmetic at its peak rate, or bytes at its memory's.

For the whole, weights, inputs and outputs are moved once and all between may stay in registers: no implementation
of the same graph is faster. What the last cache holds may still be there from the run before, so only what exceeds it
must come from memory; all of it comes at the caches' rate at best. For one layer its own inputs and outputs count too,
which fusing can beat; the sum of the layers' floors is therefore no floor of the whole. "launch" as bound says that
starting the layers alone takes longer than their arithmetic and their bytes: fewer of them, or a larger batch, would
help.
"""

import re
from collections.abc import Mapping

from benchmarks.bench.devices import GB, Rates
from benchmarks.bench.graph_cost import BYTES, GraphCost
from benchmarks.bench.results import Layer, Limit
from sdk.errors import InputError

__all__ = ["fraction", "layer_fractions", "limit", "matched_ms", "owners", "ridge_flop_per_byte"]

ADDED = re.compile(r"(_nchwc|_token_\d+|_quant|_QuantizeLinear|_DequantizeLinear)$")  # what onnxruntime adds to names
TOGETHER = re.compile(r" \+ |\[ONNX Layer: |\]|\x1f|, ")  # between the names of operators that TensorRT fused


def limit(cost: GraphCost, rates: Rates, *, backend: str, precision: str) -> Limit:
    """Floors of a network and of its layers for the batch it was counted for.

    Raises InputError for an unknown precision, or one whose rate on this device nobody measured.
    """
    peak = _peak(rates, precision)
    layers: list[Layer] = []
    for one in cost.layers:
        moved = one.bytes(precision)
        floor_ms, bound = _floor(one.flop / peak, _moved_s(moved, rates), rates.launch_us)
        layers.append(Layer(one.name, one.op, one.flop, moved, floor_ms, bound))
    least = cost.least_bytes(precision)
    floor_ms, bound = _floor(cost.flop / peak, _moved_s(least, rates), rates.launch_us * len(layers))
    return Limit(backend, precision, cost.batch, cost.flop, least, floor_ms, bound, tuple(layers))


def ridge_flop_per_byte(rates: Rates, precision: str) -> float:
    """Operations a byte from which on arithmetic bounds, not memory."""
    return _peak(rates, precision) / (rates.dram_gb_s * GB)


def fraction(one: Limit | Layer, measured_ms: float) -> float:
    """How much of the possible was reached: 1 is the floor itself. Raises InputError for a time that is none."""
    if not measured_ms > 0:
        raise InputError("a measured time above 0", f"{measured_ms} ms", "measure again")
    return one.floor_ms / measured_ms


def layer_fractions(one: Limit, measured_ms: Mapping[str, float]) -> dict[str, float]:
    """Layer -> fraction(), for those layers that matched_ms() found in a profile."""
    return {layer.name: fraction(layer, measured_ms[layer.name]) for layer in one.layers if layer.name in measured_ms}


def matched_ms(cost: GraphCost, profile_ms: Mapping[str, float]) -> dict[str, float]:
    """Layer -> its time, from a runtime's profile (its name of a layer -> ms); what is no layer here is left out.

    Several reported ones may be one layer of ours: their times add up.
    """
    owner = owners(cost, tuple(profile_ms))
    found: dict[str, float] = {}
    for reported, layer in owner.items():
        found[layer] = found.get(layer, 0.0) + profile_ms[reported]
    return found


def owners(cost: GraphCost, reported: tuple[str, ...]) -> dict[str, str]:
    """Reported name -> layer of the graph, for those that are recognised. The first known part of a name decides."""
    known = {name: layer.name for layer in cost.layers for name in (layer.name, *layer.names)}
    found: dict[str, str] = {}
    for name in reported:
        for part in (name, *TOGETHER.split(name)):
            plain = ADDED.sub("", part.strip())
            if plain in known:
                found[name] = known[plain]
                break
    return found


def _moved_s(moved: float, rates: Rates) -> float:
    """Seconds for so many bytes; all from memory where nothing is known of the caches."""
    if not rates.l2_gb_s:
        return moved / (rates.dram_gb_s * GB)
    beyond = max(0.0, moved - rates.l2_mb * 1e6)
    return max(moved / (rates.l2_gb_s * GB), beyond / (rates.dram_gb_s * GB))


def _floor(compute_s: float, memory_s: float, launch_us: float) -> tuple[float, str]:
    """(ms, what bounds it)"""
    floor_s, bound = max((compute_s, "compute"), (memory_s, "memory"))
    return 1e3 * floor_s, "launch" if launch_us * 1e-6 > floor_s else bound


def _peak(rates: Rates, precision: str) -> float:
    peak = rates.peak(precision)
    if not peak:
        known = ", ".join(name for name in BYTES if rates.peak(name))
        raise InputError(f"a precision whose rate on {rates.name} is known ({known})", precision, "choose one of those")
    return peak
