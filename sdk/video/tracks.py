"""Who is who from frame to frame: boxes of a detector, or of landmarks, joined to tracks with an identity.

A track is a constant-velocity Kalman filter for the centre and for the logarithm of the side of its box; noise is in
shares of the side, so a face of 14 px and one of 400 px follow the same numbers. Boxes and tracks are matched all at
once, by least total cost (Hungarian method, scipy): 1 - IoU where they overlap, and the distance of centres in sides,
because two boxes of a tiny face may not overlap at all after a jerk of the camera.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, MissingPackageError

__all__ = ["Track", "Tracker", "TrackerRule"]

F64 = npt.NDArray[np.float64]

PIP = 'pip install "scipy>=1.9"'
FAR = 1e6  # cost of a pair that must not be joined


@dataclass(frozen=True)
class TrackerRule:
    """Noise is in shares of a box's side; times in seconds of the pictures' own clock."""

    box_noise: float = 0.08  # of a detector's box: centre and size
    landmark_noise: float = 0.03  # of a box around landmarks
    acceleration: float = 3.0  # sides a second squared, for the position
    zoom_acceleration: float = 1.0  # of the side's logarithm, a second squared
    gate: float = 0.9  # sides between predicted and found centre, and 1 for a side twice as large, at most
    confirm: int = 2  # sightings until a track is believed
    max_age_s: float = 1.0  # without a sighting

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} as a finite number above 0", repr(value), "leave it out for the default")


@dataclass(eq=False)
class Track:
    """One face over time. `identity` counts from 0 and is never given twice by one tracker."""

    identity: int
    state: F64  # [3, 2] centre x, centre y, log side: value and change a second
    covariance: F64  # [3, 2, 2] of each pair
    aspect: float  # log of width by height
    seen_s: float  # time of the last sighting
    time_s: float  # time of the state
    sightings: int = 1
    confirmed: bool = False
    since_s: float = field(default=0.0)  # time of the first sighting

    @property
    def side_px(self) -> float:
        """Root of the box's area."""
        return math.exp(float(self.state[2, 0]))

    @property
    def box_xyxy_px(self) -> F64:
        """[4] where the face is thought to be at time_s."""
        half = 0.5 * self.side_px * np.exp(np.array([0.5, -0.5]) * self.aspect)
        centre = self.state[:2, 0]
        return np.concatenate([centre - half, centre + half])


class Tracker:
    """Tracks of one camera or clip. One thread at a time."""

    def __init__(self, rule: TrackerRule | None = None) -> None:
        self.rule = rule or TrackerRule()
        self.tracks: list[Track] = []
        self._next = 0

    def advance(self, time_s: float) -> list[Track]:
        """Move all tracks to a time and drop those unseen for too long; returns those that are left, oldest first.

        A time before that of the last call (a file that jumps back, a restarted camera) ends all tracks.
        """
        if any(time_s < track.time_s for track in self.tracks):
            self.tracks = []
        self.tracks = [track for track in self.tracks if time_s - track.seen_s <= self.rule.max_age_s]
        for track in self.tracks:
            self._predict(track, time_s)
        return list(self.tracks)

    def match(
        self,
        boxes: F64,  # [N, 4] x0, y0, x1, y1 px, of a detector that looked at the whole frame
        time_s: float,
    ) -> list[Track]:
        """The track of each box, in the order of the boxes; new faces get new tracks. Raises InputError for bad boxes.

        An unconfirmed track that was not seen again is dropped: detectors err for single frames.
        """
        measured, aspects = _measured(boxes)
        tracks = self.advance(time_s)
        found: list[Track | None] = [None] * len(measured)
        if tracks and len(measured):
            costs = self._costs(tracks, boxes, measured)
            rows, columns = _assignment()(costs)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                if costs[row, column] < FAR:
                    found[column] = tracks[row]
        seen: list[Track] = []
        for index, track in enumerate(found):
            if track is None:
                track = self._started(measured[index], float(aspects[index]), time_s)
                self.tracks.append(track)
            else:
                self._seen(track, measured[index], float(aspects[index]), noise=self.rule.box_noise)
            seen.append(track)
        kept = {track.identity for track in seen}
        self.tracks = [track for track in self.tracks if track.confirmed or track.identity in kept]
        return seen

    def correct(
        self,
        track: Track,
        box: F64,  # [4] in the detector's manner, but from landmarks found in the frame of the track's time
    ) -> None:
        """A sighting between two detections. Raises InputError for a box without area."""
        measured, aspects = _measured(np.asarray(box, np.float64)[None])
        self._seen(track, measured[0], float(aspects[0]), noise=self.rule.landmark_noise)

    def drop(self, track: Track) -> None:
        """End a track, as of a face that turned out to be none."""
        self.tracks = [other for other in self.tracks if other is not track]

    def _started(self, measured: F64, aspect: float, time_s: float) -> Track:
        state = np.stack([measured, np.zeros(3)], axis=1)
        spread = self._noise(math.exp(float(measured[2])), self.rule.box_noise)
        covariance = np.zeros((3, 2, 2))
        covariance[:, 0, 0] = spread**2
        covariance[:, 1, 1] = (10.0 * spread) ** 2  # speed unknown: up to a side a second
        track = Track(self._next, state, covariance, aspect, seen_s=time_s, time_s=time_s, since_s=time_s)
        track.confirmed = self.rule.confirm <= 1
        self._next += 1
        return track

    def _noise(self, side_px: float, share: float) -> F64:
        """[3] standard deviations of the measured state."""
        return np.array([share * side_px, share * side_px, share])

    def _predict(self, track: Track, time_s: float) -> None:
        step = time_s - track.time_s
        track.time_s = time_s
        if step <= 0.0:
            return
        move = np.array([[1.0, step], [0.0, 1.0]])
        rule = self.rule
        drive = np.array([rule.acceleration * track.side_px] * 2 + [rule.zoom_acceleration]) ** 2
        white = np.array([[step**3 / 3.0, step**2 / 2.0], [step**2 / 2.0, step]])
        track.state = track.state @ move.T
        track.covariance = move @ track.covariance @ move.T + drive[:, None, None] * white

    def _seen(self, track: Track, measured: F64, aspect: float, *, noise: float) -> None:
        """Kalman's update of the three pairs."""
        variance = self._noise(track.side_px, noise) ** 2
        gain = track.covariance[:, :, 0] / (track.covariance[:, 0, 0] + variance)[:, None]  # [3, 2]
        track.state = track.state + gain * (measured - track.state[:, 0])[:, None]
        track.covariance = track.covariance - gain[:, :, None] * track.covariance[:, None, 0, :]
        track.aspect += float(gain[2, 0]) * (aspect - track.aspect)
        track.seen_s = track.time_s
        track.sightings += 1
        track.confirmed = track.confirmed or track.sightings >= self.rule.confirm

    def _costs(self, tracks: list[Track], boxes: F64, measured: F64) -> F64:
        """[tracks, boxes]; FAR where they are too far apart to be one face."""
        expected = np.stack([track.state[:, 0] for track in tracks])  # [T, 3]
        sides = np.exp(0.5 * (expected[:, None, 2] + measured[None, :, 2]))
        apart = np.linalg.norm(expected[:, None, :2] - measured[None, :, :2], axis=2) / sides
        grown = np.abs(expected[:, None, 2] - measured[None, :, 2]) / math.log(2.0)
        distance = np.hypot(apart, grown)
        overlap = _overlap(np.stack([track.box_xyxy_px for track in tracks]), boxes)
        return np.where(distance <= self.rule.gate, distance + 1.0 - overlap, FAR)


def _measured(boxes: F64) -> tuple[F64, F64]:
    """Centre x, y and log side [N, 3], and log aspect [N]. Raises InputError."""
    size = boxes[:, 2:] - boxes[:, :2]
    if not (np.isfinite(boxes).all() and (size > 0).all()):
        raise InputError("boxes of finite corners with an area", f"{boxes.tolist()[:3]}", "leave such boxes out")
    logs = np.log(size)
    centre = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    return np.concatenate([centre, logs.mean(axis=1, keepdims=True)], axis=1), logs[:, 0] - logs[:, 1]


def _overlap(a: F64, b: F64) -> F64:
    """IoU [A, B] of boxes [A, 4] and [B, 4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)


def _assignment() -> Callable[[F64], tuple[Any, Any]]:
    try:
        return importlib.import_module("scipy.optimize").linear_sum_assignment
    except ImportError as error:
        raise MissingPackageError("following faces from frame to frame", "scipy", PIP) from error
