"""benchmarks.bench.plots_* and plotting: what a plot shows is what the result holds; ticks, labels and bad keys."""

import dataclasses
import math

import bench_example
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench import labels, plots_latency, plots_limits, plots_trends
from benchmarks.bench.agreement import Compared
from benchmarks.bench.plots_latency import Palette
from benchmarks.bench.plotting import Plot, axis, label, log_ticks, rounded, stacked_label
from sdk.errors import InputError

MODEL = "picoface_x8"


@pytest.fixture(scope="module")
def result():
    return bench_example.result()


@pytest.fixture(scope="module")
def palette(result):
    return Palette(result)


@pytest.fixture(scope="module")
def rows(result):
    return [one for one in result.measurements if one.subject.startswith(f"{MODEL}/")]


def single(rows):
    return [one for one in rows if one.scenario == "SingleStream"]


def test_a_distribution_adds_up_to_all_queries(rows, palette):
    plot = plots_latency.distribution(single(rows), palette)
    assert len(plot.traces) == 5
    for trace in plot.traces:
        assert sum(trace["y"][:-1]) == pytest.approx(100, rel=1e-3) and len(trace["x"]) == len(trace["y"])


def test_the_tail_rises_to_the_slowest(rows, palette):
    plot = plots_latency.tail(single(rows), palette)
    one = next(row for row in rows if row.subject.endswith("fp32/sdk/end-to-end"))
    (trace,) = [trace for trace in plot.traces if trace["name"] == "sdk, fp32"]
    assert trace["x"] == ["p50", "p90", "p99", "p99.9", "max"] and trace["y"] == sorted(trace["y"])
    assert trace["y"][0] == pytest.approx(one.latency_ms.p50, rel=1e-4)


def test_throughput_joins_one_face_and_batches(rows, palette):
    plot = plots_latency.per_batch(rows, palette)
    assert [trace["x"] for trace in plot.traces] == [[1, 8, 64]] * 5
    trade = plots_latency.trade(rows, palette)
    assert trade.traces[0]["text"] == ["×1", "×8", "×64"] and trade.traces[0]["y"] == plot.traces[0]["y"]


def test_stages_are_per_face_and_add_up(rows, palette):
    plot = plots_latency.stages(rows, palette)
    chosen = [one for one in plots_latency.ordered(rows, palette) if one.stages_ms][::-1]
    for i, one in enumerate(chosen):
        whole = sum(trace["x"][i] for trace in plot.traces)
        assert whole == pytest.approx(sum(one.stages_ms.values()) / one.batch, rel=1e-3)


def test_the_roofline_holds_layers_and_what_was_reached(result, rows, palette):
    model = result.models[0]
    plot = plots_limits.roofline(result, model, rows, palette)
    roof = next(trace for trace in plot.traces if trace["name"] == "roof, fp32")
    peak, bandwidth = result.conditions.probe["fp32_gflop_s"], result.conditions.probe["copy_gb_s"]
    assert roof["y"][1:] == [peak, peak] and roof["x"][1] == pytest.approx(peak / bandwidth, rel=1e-4)
    layers = next(trace for trace in plot.traces if trace["name"].startswith("layers, fp32"))
    for x, y in zip(layers["x"], layers["y"], strict=True):
        assert y == pytest.approx(min(peak, x * bandwidth), rel=1e-3)  # each layer stands on its roof
    probe = {**result.conditions.probe, "cache_gb_s": 2 * bandwidth}
    cached = dataclasses.replace(result, conditions=dataclasses.replace(result.conditions, probe=probe))
    lines = {trace["name"]: trace for trace in plots_limits.roofline(cached, model, rows, palette).traces}
    assert lines["caches, fp32"]["y"][0] == pytest.approx(2 * lines["roof, fp32"]["y"][0], rel=1e-3)
    one = rows[0]
    limit = labels.limit_of(result, one)
    reached = next(trace for trace in plot.traces if trace["name"] == "sdk, fp32, ×1")
    assert reached["y"][0] == pytest.approx(limit.flop / 1e9 / (one.latency_ms.p50 / 1e3), rel=1e-4)


def test_shares_are_the_floor_over_the_median(result, rows, palette):
    plot = plots_limits.shares(result, rows, palette)
    assert plot.traces[0]["text"][-1] == labels.percent(labels.share_of_limit(result, rows[0]))


def test_the_forest_holds_ratio_interval_and_spread(result, palette):
    ratios = [ratio for ratio in result.ratios if ratio.fast.startswith(MODEL)]
    spread, *points = plots_limits.forest(ratios, palette.names).traces
    faster = next(trace for trace in points if trace["name"] == "ours is faster")
    i = faster["x"].index(1.88)
    assert faster["error_x"]["array"][i] == pytest.approx(0.09) and faster["y"][i] == len(ratios) - 1
    assert spread["base"][0] == pytest.approx(0.988) and spread["x"][0] == pytest.approx(0.024)


def test_predictions_carry_their_band_and_real_runs_stand_beside(result):
    chosen = [one for one in result.predictions if one.model == MODEL]
    real = Compared("h200", MODEL, "fp16", 1, measured_ms=0.5, predicted_ms=0.6, low_ms=0.4, high_ms=0.7)
    plot = plots_limits.predicted(chosen, [real, dataclasses.replace(real, device="unknown")])
    band, measured = plot.traces
    assert band["x"][0] - band["error_x"]["arrayminus"][0] == pytest.approx(chosen[0].low_ms, rel=1e-3)
    assert measured["x"] == [0.5] and measured["name"] == "measured"


def test_a_scaling_curve_says_its_knee(result, palette):
    first, _ = plots_trends.scaling(result.scaling, palette, several_models=False)
    assert first.title == "Cost against faces in the frame" and first.note == "The knee (dotted): sdk, fp32: 16.0."
    assert first.layout["shapes"][0]["x0"] == 16.0


def test_history_is_in_the_order_of_time_and_needs_two_runs(result, palette):
    older = bench_example.result(days=-30, scale=1.5)
    plot = plots_trends.history([older, result], MODEL, palette)
    assert plot.traces[0]["x"] == ["2025-12-06<br>09:30", "2026-01-05<br>09:30"]
    assert plot.traces[0]["y"][0] > plot.traces[0]["y"][1]
    assert plots_trends.history([result], MODEL, palette) is None
    twice = plots_trends.history([result, result], MODEL, palette)
    assert twice.traces[0]["x"] == ["2026-01-05<br>09:30", "2026-01-05<br>09:30 (2)"]


def test_sensors_are_thinned_and_named(result):
    plots = plots_trends.sensors(bench_example.on_gpu())
    assert [plot.title for plot in plots] == ["SM clock", "Power", "Temperature"]
    assert plots_trends.sensors(result) == []


def test_a_meter_of_joules_is_shown_as_watts(result):
    samples = tuple({"t_s": 0.5 * i, "cpu_j": 6.0 * i} for i in range(9))
    with_meter = dataclasses.replace(result, conditions=dataclasses.replace(result.conditions, samples=samples))
    (plot,) = plots_trends.sensors(with_meter)
    assert (
        plot.title == "Power of the processor" and plot.traces[0]["y"] == [12.0] * 8 and plot.traces[0]["x"][0] == 0.5
    )


def test_nothing_gives_no_plot(palette, result):
    makers = (plots_latency.distribution, plots_latency.tail, plots_latency.per_batch, plots_latency.stages)
    assert all(maker([], palette) is None for maker in (*makers, plots_trends.server))
    assert plots_limits.forest([], palette.names) is plots_limits.predicted([], []) is plots_limits.parity([]) is None


@given(st.floats(1e-9, 1e9), st.floats(1.0, 1e6))
def test_ticks_are_few_round_and_in_reach(low, factor):
    ticks = log_ticks([low, low * factor])
    assert 1 <= len(ticks) <= 12 and ticks == sorted(set(ticks))
    assert all(low / 1.5 <= tick <= low * factor * 1.5 for tick in ticks)


def test_ticks_by_eye():
    assert log_ticks([1.1, 9.0]) == [1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0]
    assert log_ticks([0.98, 1.3]) == [0.9, 1.0, 1.1, 1.2, 1.3, 1.4]
    assert log_ticks([1, 1e5]) == [1, 10, 100, 1000, 1e4, 1e5]
    assert log_ticks([]) and log_ticks([0.0, math.inf, None])
    assert rounded([1.234567, math.inf, -math.inf]) == [1.2346, None, None]


def test_labels_are_text_for_plotly():
    assert label("<b>{x}&") == "&lt;b&gt;&#123;x}&amp;"
    assert stacked_label("picoface_x8: torch-eager, int8") == "picoface_x8: torch-eager,<br>int8"
    assert axis("ms", log=[1.0, 2.0])["type"] == "log"


def test_a_key_that_plotly_does_not_know_is_an_error():
    with pytest.raises(InputError, match="values that Plotly takes in Title"):
        Plot("Title", "", [{"type": "scatter", "nonsense": 1}], {}).to_json()
