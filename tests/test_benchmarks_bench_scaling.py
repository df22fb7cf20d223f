"""Knees of curves whose knee is known, and points that fail."""

import numpy as np
import pytest

from benchmarks.bench.results import ScalingPoint
from benchmarks.bench.scaling import curve, knee, knee_text
from sdk.errors import InputError


def test_knee_of_a_fixed_cost_and_one_in_proportion():
    """y = 8 + x: from 16 to 256 it grows by log(264 / 24) / log 16 = 0.86, from 8 by 0.81, whose first step is 0.58."""
    xs = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert knee(xs, [8 + x for x in xs], rate=False) == 16
    assert knee(xs, [0.001 + x for x in xs], rate=False) == 1
    assert knee(xs, [8.0] * 9, rate=False) is None
    noise = np.random.default_rng(0).uniform(0.98, 1.02, 9)
    assert knee(xs, [n * (8 + x) for n, x in zip(noise, xs, strict=True)], rate=False) in (8, 16, 32)


def test_knee_of_a_rate():
    assert knee([1, 2, 4, 8], [10, 19, 19.5, 18], rate=True) == 2
    assert knee([1, 2, 4, 8], [10, 20, 40, 80], rate=True) is None  # still rising
    assert knee([1, 2], [10, 10], rate=True) is None
    assert knee([0, 1, 2, 4], [0.0, 5.0, float("nan"), 5.0], rate=True) is None  # two values are left


def test_knee_of_a_cost_that_falls():
    xs, ms = [1, 2, 4, 8], [80.0, 41.0, 22.0, 21.5]
    assert knee(xs, ms, rate=False) == 4
    points = curve("threads", "s", xs, dict(zip(xs, ms, strict=True)).get, x_unit="threads", y_unit="ms").points
    assert knee_text(points) == "threads: more than 4 threads brings little"


def test_a_curve_keeps_what_it_has():
    def measure(x):
        if x > 4:
            raise MemoryError("bad alloc of 9 GB")
        return 2.0 * x

    found = curve("faces", "s", [1, 2, 4, 8, 16], measure, x_unit="faces", y_unit="ms")
    assert [(p.x, p.y, p.knee) for p in found.points] == [(1, 2, 1), (2, 4, 1), (4, 8, 1)]
    assert found.ended == "at 8 faces: out of memory: bad alloc of 9 GB"
    slow = curve("faces", "s", [1, 2], lambda x: None, x_unit="faces", y_unit="ms")
    assert slow.points == () and "too long" in slow.ended
    odd = curve("faces", "s", [1, 2], lambda x: float("nan") if x > 1 else 1.0, x_unit="faces", y_unit="ms")
    assert len(odd.points) == 1 and "nan" in odd.ended
    for kind, xs in (("nonsense", [1, 2]), ("faces", [2, 1]), ("faces", [1, 1])):
        with pytest.raises(InputError, match="rising x"):
            curve(kind, "s", xs, measure, x_unit="x", y_unit="ms")
    with pytest.raises(KeyboardInterrupt):
        curve("faces", "s", [1], lambda x: (_ for _ in ()).throw(KeyboardInterrupt), x_unit="x", y_unit="ms")


def test_what_is_said_of_a_knee():
    point = ScalingPoint("streams", "s", 4.0, 9.0, "streams", "faces/s", 2.0)
    assert knee_text([point]) == "streams: more than 2 streams brings little"
    cost = ScalingPoint("faces", "s", 128.0, 9.0, "faces", "ms", 16.0)
    assert knee_text([cost]) == "faces: in proportion from 16 faces on"
    none = ScalingPoint("faces", "s", 128.0, 9.0, "faces", "ms")
    assert knee_text([none]) == "faces: no knee up to 128 faces"
    rising = ScalingPoint("threads", "s", 8.0, 9.0, "threads", "faces/s")
    assert knee_text([rising]) == "threads: more still helps at 8 threads"
    with pytest.raises(InputError):
        knee_text([])
