"""Steady points without lag: the one-euro filter (Casiez, Roussel, Vogel: 1€ Filter, CHI 2012, Algorithm 1) for faces.

A low pass whose cutoff rises with speed: a still face is smoothed hard, a moving one hardly. Three things are ours:

- Points move together. Their mean and their shape about it are filtered apart: the mean of 68 points has an eighth of
  a point's noise, so its speed is known well, and a head that turns does not wait for the slowest point.
- Speeds are in face sizes a second, so one set of numbers serves faces of 12 and of 400 px.
- A point counts by its score, and no point stays farther behind its measurement than `max_lag`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError

__all__ = ["OneEuro", "PointFilter", "Smoothing", "smoothing_share"]

F64 = npt.NDArray[np.float64]

MAX_GAP_S = 0.5  # after a longer gap nothing is known of the motion: the filter starts anew


@dataclass(frozen=True)
class Smoothing:
    """How steady against how prompt. At constant speed v (face sizes a second) a point is v / (2π cutoff) behind."""

    min_cutoff_hz: float = 1.0  # of what does not move
    beta_hz: float = 12.0  # more of it for every face size a second of the whole face
    shape_beta_hz: float = 5.0  # the same for a point within the face, whose speed is noisier
    speed_cutoff_hz: float = 1.5  # of the speeds themselves
    max_lag: float = 0.03  # face sizes between a sure point and its measurement, at most

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0.0) or (value == 0.0 and name.endswith("cutoff_hz")):
                raise InputError(f"{name} as a finite number of 0 or more, cutoffs above 0", repr(value), "correct it")


def smoothing_share(
    cutoff_hz: float | F64,
    step_s: float,
) -> F64:
    """Weight of the new value in a first-order low pass of that cutoff at that time step, in (0, 1)."""
    time_constant_s = 1.0 / (2.0 * np.pi * np.asarray(cutoff_hz, np.float64))
    return np.asarray(1.0 / (1.0 + time_constant_s / step_s))


class OneEuro:
    """The filter itself for N vectors of D numbers; each vector has one speed, the length of its derivative."""

    def __init__(self, *, min_cutoff_hz: float, beta_hz: float, speed_cutoff_hz: float) -> None:
        self._min_cutoff_hz, self._beta_hz, self._speed_cutoff_hz = min_cutoff_hz, beta_hz, speed_cutoff_hz
        self._value: F64 | None = None  # [N, D]
        self._speed: F64 | None = None  # [N, D] units a second

    def reset(self) -> None:
        """Forget the past: the next value comes back as it is."""
        self._value = self._speed = None

    def __call__(
        self,
        measured: F64,  # [N, D]
        step_s: float,
        *,
        unit: float = 1.0,  # what beta counts: speeds are divided by it
        weight: F64 | None = None,  # [N] in [0, 1]: trust in each measurement
    ) -> F64:
        """The filtered values [N, D]. `step_s` above 0 since the last call; of the first call it does not matter."""
        if self._value is None or self._speed is None:
            self._value, self._speed = measured.copy(), np.zeros_like(measured)
            return measured.copy()
        trust = np.ones(len(measured)) if weight is None else weight
        slope = (measured - self._value) / step_s
        self._speed = self._speed + smoothing_share(self._speed_cutoff_hz, step_s) * trust[:, None] * (
            slope - self._speed
        )
        speed = np.linalg.norm(self._speed, axis=1) / unit
        share = smoothing_share(self._min_cutoff_hz + self._beta_hz * speed, step_s) * trust
        self._value = self._value + share[:, None] * (measured - self._value)
        return self._value.copy()


class PointFilter:
    """Points of one face over time."""

    def __init__(self, smoothing: Smoothing | None = None) -> None:
        self._rule = smoothing or Smoothing()
        rule = {"min_cutoff_hz": self._rule.min_cutoff_hz, "speed_cutoff_hz": self._rule.speed_cutoff_hz}
        self._mean = OneEuro(beta_hz=self._rule.beta_hz, **rule)
        self._shape = OneEuro(beta_hz=self._rule.shape_beta_hz, **rule)
        self._time_s: float | None = None

    def __call__(
        self,
        points: npt.NDArray[np.floating],  # [K, 2] px
        time_s: float,
        *,
        size_px: float,  # of the face
        scores: npt.NDArray[np.floating] | None = None,  # [K] heights of the peaks; None: all sure
    ) -> npt.NDArray[np.float32]:
        """The points steadied, float32 [K, 2]. After a gap of MAX_GAP_S or a step back in time it starts anew.

        Raises InputError for points that are not finite or a size that is not above 0.
        """
        measured = np.asarray(points, np.float64)
        if not (np.isfinite(measured).all() and math.isfinite(time_s) and size_px > 0.0):
            raise InputError("finite points, a time and a size above 0", f"size {size_px}, time {time_s}", "skip it")
        step_s = time_s - self._time_s if self._time_s is not None else math.inf
        if not 0.0 <= step_s <= MAX_GAP_S:
            self._mean.reset()
            self._shape.reset()
        self._time_s = time_s
        step_s = max(step_s, 1e-4)  # two frames of one time, as broken files have them
        trust = np.ones(len(measured)) if scores is None else np.clip(np.nan_to_num(scores), 0.0, 1.0).astype(float)
        total = float(trust.sum())
        part = trust / total if total > 0.0 else np.full(len(measured), 1.0 / len(measured))
        mean = part @ measured  # [2]
        overall = np.array([total / len(measured)])
        steady_mean = self._mean(mean[None], step_s, unit=size_px, weight=overall)[0]
        steady = steady_mean + self._shape(measured - mean, step_s, unit=size_px, weight=trust)
        return self._bounded(steady, measured, size_px=size_px, trust=trust).astype(np.float32)

    def _bounded(self, steady: F64, measured: F64, *, size_px: float, trust: F64) -> F64:
        """No sure point farther than max_lag from where it was measured; the less sure, the farther it may be."""
        behind = steady - measured
        distance = np.linalg.norm(behind, axis=1)
        limit = self._rule.max_lag * size_px / np.maximum(trust, 1e-3)
        return measured + behind * np.minimum(1.0, limit / np.maximum(distance, 1e-12))[:, None]
