"""Floors worked out by hand, and floors that nothing measured may lie under."""

import dataclasses

import pytest

from benchmarks.bench.devices import Rates
from benchmarks.bench.graph_cost import GraphCost, count
from benchmarks.bench.graph_layers import LayerCost
from benchmarks.bench.roofline import fraction, layer_fractions, limit, ridge_flop_per_byte
from sdk.errors import InputError

CPU = Rates("here", 0.2, None, 0.8, 10.0, 2.0)  # 200 GFLOP/s, 800 GOP/s, 10 GB/s, 2 us an operator


def test_each_bound_by_hand():
    heavy = LayerCost("heavy", "Conv", 10**9, 1000, 1000, 1000, 1000, 1000, 1000)
    wide = LayerCost("wide", "Pad", 0, 0, 10**6, 10**6)
    tiny = LayerCost("tiny", "Pad", 0, 0, 10, 10)
    cost = GraphCost("net", 4, (heavy, wide, tiny), 1000, {}, 2000)
    found = limit(cost, CPU, backend="onnxruntime-cpu", precision="fp32")
    assert [(one.name, one.bound, round(one.floor_ms, 6)) for one in found.layers] == [
        ("heavy", "compute", 10.0),  # 2e9 / 200e9
        ("wide", "memory", 0.8),  # 8e6 / 10e9
        ("tiny", "launch", 0.000008),
    ]
    assert (found.batch, found.bound, found.flop, found.bytes) == (4, "compute", 2e9, 12_000)
    assert found.floor_ms == pytest.approx(10.0)
    assert limit(cost, CPU, backend="b", precision="int8").floor_ms == pytest.approx(2.5)
    assert ridge_flop_per_byte(CPU, "fp32") == pytest.approx(20)
    assert fraction(found, 40.0) == pytest.approx(0.25)
    assert layer_fractions(found, {"wide": 1.6, "other": 1.0}) == {"wide": pytest.approx(0.5)}


def test_what_a_cache_holds_need_not_come_from_memory():
    """16 MB of cache at 100 GB/s: 8 MB take 80 us from it; of 36 MB, 20 must come from memory at 10 GB/s."""
    cached = dataclasses.replace(CPU, l2_mb=16.0, l2_gb_s=100.0)
    sizes = (10**6, 9 * 10**5 + 36 * 10**5)
    layers = tuple(LayerCost(f"{n}", "Pad", 0, 0, n, n) for n in sizes)
    found = limit(GraphCost("net", 1, layers, 0, {}, 2), cached, backend="b", precision="fp32")
    assert [round(one.floor_ms, 6) for one in found.layers] == [0.08, 2.0]
    again = Rates.from_record(cached.record())
    assert (again.l2_mb, again.l2_gb_s, again.int8_top_s, again.fp16_tflop_s) == (16.0, 100.0, 0.8, None)
    assert Rates.from_record({"gpu_copy_gb_s": 5.0}, prefix="gpu_").dram_gb_s == 5.0
    assert Rates.from_record({}) is None


def test_unknown_rates_and_times_say_so():
    cost = count("picoface_x8")
    with pytest.raises(InputError, match=r"here is known \(fp32, int8\)"):
        limit(cost, CPU, backend="b", precision="fp16")
    with pytest.raises(InputError, match="precision among"):
        limit(cost, CPU, backend="b", precision="fp4")
    for wrong in (0.0, float("nan"), -1.0):
        with pytest.raises(InputError, match="above 0"):
            fraction(limit(cost, CPU, backend="b", precision="fp32"), wrong)


def test_the_whole_may_be_faster_than_its_layers_but_not_than_its_arithmetic():
    cost = count("picoface_x8", batch=8)
    found = limit(cost, CPU, backend="b", precision="fp32")
    assert len(found.layers) == len(cost.layers)
    assert found.floor_ms <= sum(layer.floor_ms for layer in found.layers)
    assert found.floor_ms >= 1e3 * 8 * 2 * 508_608_512 / 200e9  # multiply-adds of mac_counter, batch 8
