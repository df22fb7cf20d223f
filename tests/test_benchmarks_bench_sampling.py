"""Warm-up, samples and blocks by turns, under a clock of the test's own."""

import numpy as np
import pytest
from bench_clock import FakeTime

from benchmarks.bench import quantiles, rounds, sampling
from benchmarks.bench.results import Target
from sdk.errors import InputError


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_without_time_is_refused(duration_s):
    fake = FakeTime()
    with pytest.raises(InputError, match="duration above 0"):
        sampling.collect(fake.query(0.01), fake.clock, duration_s=duration_s)
    assert fake.calls == 0


def test_samples_cover_the_duration():
    fake = FakeTime()
    samples = sampling.collect(fake.query(0.01), fake.clock, duration_s=2.0)
    assert 200 <= len(samples.wall_ms) <= 202 and samples.duration_s >= 2.0
    np.testing.assert_allclose(samples.wall_ms, 10.0, atol=0.01)
    np.testing.assert_allclose(samples.processor_ms, 10.0, atol=0.01)
    assert samples.settled and samples.flags() == (f"p99.9 of {len(samples.wall_ms)} samples",)


def test_warm_up_ends_when_two_windows_agree():
    fake = FakeTime()
    settled, median_ms = sampling.warm_up(fake.query(lambda i: 0.01 * (1 + 3 * 0.9**i)), fake.clock, duration_s=4.0)
    assert settled and median_ms == pytest.approx(10.0, rel=0.02)
    samples = sampling.collect(fake.query(lambda i: 0.01 * (1 + 0.5 * (i % 200 > 100))), fake.clock, duration_s=0.4)
    assert len(samples.wall_ms) >= 3


def test_warm_up_of_what_never_settles_ends_and_says_so():
    fake = FakeTime()
    samples = sampling.collect(fake.query(lambda i: 0.005 * 1.001**i), fake.clock, duration_s=1.0)
    assert not samples.settled and "not settled" in samples.flags()


def test_a_query_longer_than_the_duration_still_gives_samples():
    fake = FakeTime()
    samples = sampling.collect(fake.query(30.0), fake.clock, duration_s=1.0)
    assert len(samples.wall_ms) == sampling.LEAST and fake.calls == sampling.LEAST + 1
    assert f"few samples: {sampling.LEAST}" in samples.flags()


def test_a_clock_that_goes_back_costs_the_sample_and_is_told():
    fake = FakeTime()
    samples = sampling.collect(fake.query(lambda i: -5.0 if i % 50 == 30 else 0.01), fake.clock, duration_s=2.0)
    assert samples.backwards >= 3 and min(samples.wall_ms) > 9.9
    assert f"clock went backwards {samples.backwards} times" in samples.flags()


@pytest.mark.parametrize("step_s", [-1.0, -1e-6])
def test_a_clock_that_never_goes_on_is_an_error(step_s):
    fake = FakeTime(tick_s=0.0)
    with pytest.raises(InputError, match="clock that goes on"):
        sampling.collect(fake.query(step_s), fake.clock, duration_s=1.0)
    with pytest.raises(InputError, match="clock that goes on"):
        rounds.by_turns(fake.query(step_s), fake.query(step_s), clock=fake.clock, duration_s=1.0)


def test_interrupted_samples_are_kept():
    fake = FakeTime()

    def stop(number):
        if number == 60:
            raise KeyboardInterrupt
        return 0.01

    samples = sampling.collect(fake.query(stop), fake.clock, duration_s=100.0)
    assert samples.interrupted and samples.wall_ms and "interrupted" in samples.flags()


def test_an_interruption_before_the_first_sample_passes_on():
    fake = FakeTime()

    def query():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampling.collect(query, fake.clock, duration_s=1.0)


PAIR = rounds.Pair("b over a", "a", "b", "Offline", 8, Target("ratio", "least", 1.5))


def timed(fast_s, slow_s, control_s=None, *, duration_s=3.0, seed=0, noise=0.0):
    fake, rng = FakeTime(), np.random.default_rng(seed)

    def noisy(seconds):
        return fake.query(lambda _: seconds * (1 + noise * rng.standard_normal()))

    control = noisy(control_s) if control_s else None
    return rounds.by_turns(noisy(fast_s), noisy(slow_s), clock=fake.clock, duration_s=duration_s, control=control)


def test_a_ratio_by_turns_is_the_ratio_of_the_times():
    ratio = rounds.result_of(PAIR, timed(0.002, 0.004))
    assert ratio.ratio == pytest.approx(2.0, rel=1e-3) and ratio.difference_ms == pytest.approx(2.0, rel=1e-3)
    assert ratio.low <= ratio.ratio <= ratio.high and ratio.processor_ratio == pytest.approx(2.0, rel=1e-3)
    assert ratio.verdict == "faster" and ratio.met and ratio.control_spread < 1e-3
    assert rounds.result_of(PAIR, timed(0.004, 0.002)).verdict == "slower"
    assert rounds.result_of(PAIR, timed(0.004, 0.004)).met is False


def test_below_the_spread_of_the_control_there_is_no_difference():
    found = timed(0.004, 0.0042, 0.0048)  # the control is 20 % off: 5 % tell nothing
    ratio = rounds.result_of(PAIR, found)
    assert ratio.control_spread == pytest.approx(0.2, abs=0.01) and ratio.verdict == "no difference"
    control = rounds.control_of(rounds.Pair("A/A", "a", "a2", "Offline", 8, Target("ratio", "most", 1.03)), found)
    assert control.ratio == pytest.approx(1.2, rel=0.01) and control.met is False and control.slow == "a2"


def test_every_place_in_a_round_is_taken_alike():
    for place in range(3):
        assert sorted(order[place] for order in rounds.ORDERS) == [0, 0, 1, 1, 2, 2]


def test_slow_pairs_end_with_fewer_rounds():
    found = timed(5.0, 9.0, duration_s=1.0)
    assert len(found.wall_ms) == rounds.FEWEST_ROUNDS and found.wall_ms.shape[1] == 3
    assert len(timed(0.001, 0.001).wall_ms) >= rounds.LEAST_ROUNDS


def test_the_interval_of_a_noisy_ratio_holds_the_truth():
    """95 % intervals of 40 runs with noise of 10 %: about 38 hold the true ratio; below 33 would be an accident."""
    held = 0
    for seed in range(40):
        ratio = rounds.result_of(PAIR, timed(0.01, 0.015, duration_s=1.0, seed=seed, noise=0.1))
        held += ratio.low <= 1.5 <= ratio.high
    assert held >= 33


def test_percentiles_and_histogram_are_numpys():
    values = np.random.default_rng(1).lognormal(0, 1, 5000)
    found = quantiles.latency(values)
    assert found.p99 == np.percentile(values, 99) and found.max == values.max()
    assert found.p50 == pytest.approx(1.0, rel=0.05)  # the median of that distribution
    bins = quantiles.histogram(values)
    assert sum(bins.counts) == 5000 and bins.edges_ms[0] <= values.min() and bins.edges_ms[-1] >= values.max()
    assert quantiles.histogram([2.0]).counts.count(1) == 1 and sum(quantiles.histogram([2.0] * 7).counts) == 7
    assert quantiles.windows_p50_ms([1.0] * 50 + [3.0] * 50)[0::9] == (1.0, 3.0)
    assert quantiles.windows_p50_ms([4.0, 6.0]) == (4.0, 6.0)
    with pytest.raises(InputError, match="samples"):
        quantiles.latency([])


def test_the_bootstrap_interval_of_known_rounds():
    """Ten rounds of which one is off: the median, and nine tenths of the draws, do not see it."""
    fast, slow = np.full(10, 2.0), np.array([4.0] * 9 + [40.0])
    found = quantiles.ratio_of(slow, fast)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    with pytest.raises(InputError, match="2 rounds"):
        quantiles.ratio_of(fast[:1], slow[:1])
