"""benchmarks.bench.compare: planted changes found, equal runs quiet, wrong input refused, Student's t against SciPy."""

import dataclasses
import math

import bench_example
import numpy as np
import pytest
from scipy import stats

from benchmarks.bench import results
from benchmarks.bench.compare import command, compare, t_quantile, to_text, welch
from sdk.errors import InputError


@pytest.fixture(scope="module")
def old():
    return bench_example.result()


@pytest.fixture
def files(tmp_path, old):
    """save(result) -> its path."""

    def save(result, name):
        results.save(result, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("freedom", [1, 2, 3.7, 7, 60, 1000])
def test_quantiles_are_students(freedom):
    for probability in (0.95, 0.975, 0.9995, 0.99995):
        assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=2e-4)


def test_the_interval_is_welchs():
    random = np.random.default_rng(3)
    old, new = random.lognormal(0.0, 0.1, 8), random.lognormal(0.2, 0.02, 12)
    ratio, low, high = welch(old, new, confidence=0.95)
    expected = stats.ttest_ind(np.log(new), np.log(old), equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)), rel=1e-4)
    assert ratio == pytest.approx(math.sqrt(low * high))


def test_the_interval_covers_the_truth():
    """1000 pairs of equal runs of 8 windows: an interval of 95 % misses 1 in 3 to 7 % of them."""
    random = np.random.default_rng(7)
    draws = random.lognormal(0.0, 0.05, (1000, 2, 8))
    missed = sum(not low <= 1 <= high for _, low, high in (welch(a, b, confidence=0.95) for a, b in draws))
    assert 25 <= missed <= 75  # 50 expected; the standard deviation is 7


def test_equal_windows_are_no_change():
    assert welch([2.0] * 8, [2.0] * 8, confidence=0.999) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("scale", "verdict", "code"), [(1.12, "slower", 1), (0.85, "faster", 0), (1.02, "same", 0)])
def test_planted_changes_are_found(old, scale, verdict, code):
    found = compare(old, bench_example.result(scale=scale, seed=5))
    by_windows = [c for c in found.changes if c.verdict != "not judged" and c.note != "ratio within a run"]
    assert len(by_windows) == 45 and {change.verdict for change in by_windows} == {verdict}
    assert all(change.ratio == pytest.approx(scale, rel=0.02) for change in by_windows)
    assert found.exit_code == code


def test_equal_runs_of_other_seeds_are_quiet(old):
    for seed in range(2, 7):
        assert compare(old, bench_example.result(seed=seed), threshold=0.0).exit_code == 0


def test_a_slower_rival_is_no_regression(old):
    def slowed(one):
        if "torch" not in one.subject or one.latency_ms is None:
            return one
        return dataclasses.replace(one, windows_p50_ms=tuple(2 * value for value in one.windows_p50_ms))

    new = dataclasses.replace(old, measurements=tuple(map(slowed, old.measurements)))
    found = compare(old, new)
    assert found.exit_code == 0 and {c.verdict for c in found.changes if not c.ours} == {"slower"}
    assert any("rivals' time is 2.00× that of the old run" in note for note in found.notes)


def test_a_lost_ratio_is_a_regression_even_on_a_machine_that_changed(old):
    """The SDK was 1.88 times as fast as a rival of the same run and is 1.4 times as fast now."""
    first = dataclasses.replace(old.ratios[0], ratio=1.4, low=1.38, high=1.42)
    found = compare(old, dataclasses.replace(old, ratios=(first, *old.ratios[1:])))
    assert [(c.old, c.new, c.ratio) for c in found.worse] == [(1.88, 1.4, pytest.approx(1.88 / 1.4))]


def test_a_point_that_now_fails_is_a_regression(old):
    broken = dataclasses.replace(
        old.measurements[0], latency_ms=None, histogram=None, faces_per_s=None, windows_p50_ms=(), error="out of memory"
    )
    found = compare(old, dataclasses.replace(old, measurements=(broken, *old.measurements[1:])))
    assert [change.note for change in found.worse] == ["failed: out of memory"] and found.exit_code == 1


def test_what_else_differs_is_told(old):
    conditions = dataclasses.replace(
        old.conditions, libraries={"onnxruntime": "1.40"}, probe={**old.conditions.probe, "copy_gb_s": 5.0}
    )
    new = dataclasses.replace(old, conditions=conditions, measurements=old.measurements[:9], complete=False)
    text = to_text(compare(old, new), width=100)
    assert "onnxruntime: 1.31.1 before, 1.40 now." in text and "copy_gb_s was 11.2 before, 5.00 now" in text
    assert (
        "The new run was interrupted." in text and f"{len(old.measurements) - 9} points of the old file alone" in text
    )
    assert text.endswith("6 not judged.\n") or "No regression" in text


def test_another_machine_is_refused_unless_asked_for(old):
    machine = dataclasses.replace(old.conditions.machine, cpu="ARM Neoverse")
    new = dataclasses.replace(old, conditions=dataclasses.replace(old.conditions, machine=machine))
    with pytest.raises(InputError, match="the same cpu in both files; got AMD EPYC and ARM Neoverse; .*--across"):
        compare(old, new)
    assert compare(old, new, across=True).exit_code == 0


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf])
def test_thresholds_that_are_none_are_refused(old, threshold):
    with pytest.raises(InputError, match="threshold"):
        compare(old, old, threshold=threshold)


def test_too_few_windows_are_not_judged(old):
    short = [dataclasses.replace(m, windows_p50_ms=m.windows_p50_ms[:3]) for m in old.measurements]
    new = dataclasses.replace(old, measurements=tuple(short))
    assert {c.verdict for c in compare(old, new).changes} == {"not judged", "same"}  # ratios are still judged
    with pytest.raises(InputError, match="none to judge"):
        compare(dataclasses.replace(old, ratios=()), dataclasses.replace(new, ratios=()))


def test_the_command_prints_and_returns_what_ci_needs(files, old, capsys):
    first = files(old, "old.json")
    assert command(first, files(bench_example.result(seed=3), "same.json")) == 0
    assert capsys.readouterr().out.endswith("No regression: 54 same, 6 not judged.\n")
    assert command(first, files(bench_example.result(scale=1.3), "slow.json")) == 1
    assert "slower" in capsys.readouterr().out
    for wrong in ("absent.json", "broken.json", "other.json"):
        path = first.with_name(wrong)
        if wrong == "broken.json":
            path.write_text("{")
        if wrong == "other.json":
            files(bench_example.nothing(), wrong)
        assert command(first, path) == 2
        assert capsys.readouterr().err.startswith("trt-bench compare: expected ")
