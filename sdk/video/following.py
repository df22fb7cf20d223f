"""The faces of one camera or clip, frame by frame: tracks, windows between detections, steady points and pictures.

Per frame: predict every track's window; where a detector looked, match its boxes; enhance all windows at once; move
each track onto the landmarks found in it. So a detector is only needed for faces that are new. With smoothing off and
a detection in every frame, results are FaceEnhancer.enhance()'s own, bit for bit, and tracks only name the faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sdk.image.crop import apply_affine, crop, invert_affine, landmark_box, square_windows
from sdk.inputs import check_boxes, windows_of
from sdk.result import FaceResult, FaceStatus
from sdk.video.one_euro import PointFilter, Smoothing
from sdk.video.steady import Steadiness, SteadyPicture
from sdk.video.tracks import Track, Tracker, TrackerRule

__all__ = ["Follower", "FollowRule", "TrackedFace"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FOUND = (FaceStatus.OK, FaceStatus.PARTLY_OUTSIDE, FaceStatus.TOO_SMALL, FaceStatus.NOT_DEGRADED)
FACE_PER_WINDOW = 1 / 1.5  # the landmarks' box in the window cut by it
SAME_OVERLAP = 0.6  # two tracks whose windows overlap more follow one face
MAX_SHIFT = 0.35  # window sides from the track to the landmarks: beyond it they are another face's
MAX_LOOKS = 3  # of the detector that found nothing where the network found nothing either: the face is gone
LOOK_PX = 24  # side of the crop by which a face is judged to have changed


class Enhances(Protocol):
    """What of FaceEnhancer is used."""

    def enhance(self, frame: npt.NDArray[Any], boxes: Any = None, *, box_kind: str = "face") -> list[FaceResult]: ...


@dataclass(frozen=True)
class FollowRule:
    """How a stream's faces are followed.

    smoothing, steadiness: None leaves points, or pictures, as each frame gives them.
    remake_levels: mean difference in grey levels from the crop that a face's picture was made of, up to which that
        picture is shown again, without running the network; 0 always runs it.
    max_faces: only the largest; None: all.
    """

    smoothing: Smoothing | None = field(default_factory=Smoothing)
    steadiness: Steadiness | None = field(default_factory=Steadiness)
    remake_levels: float = 0.0
    max_faces: int | None = None
    tracker: TrackerRule = field(default_factory=TrackerRule)

    @property
    def as_pictures(self) -> bool:
        """Whether every frame is to be treated as a picture of its own."""
        return self.smoothing is None and self.steadiness is None and self.remake_levels == 0.0


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face of a frame. identity: the same number as long as the face is followed, never used again."""

    identity: int
    result: FaceResult
    remade: bool = True  # False: the picture of an earlier frame, because nothing changed


@dataclass(eq=False)
class _Memory:
    """What is remembered of one track."""

    points: PointFilter | None
    picture: SteadyPicture | None
    look: F32 | None = None  # [LOOK_PX, LOOK_PX, 3] of the frame that `result` was made of
    result: FaceResult | None = None
    missed_looks: int = 0


class Follower:
    """One thread at a time; one Follower a camera."""

    def __init__(self, enhancer: Enhances, rule: FollowRule | None = None) -> None:
        self.rule = rule or FollowRule()
        self._enhancer = enhancer
        self._tracker = Tracker(self.rule.tracker)
        self._memory: dict[int, _Memory] = {}

    def __call__(
        self,
        frame: U8,  # [H, W, 3]
        boxes: Any,  # [N, 4] of a detector that saw this frame; None: it did not look
        time_s: float,
    ) -> list[TrackedFace]:
        """The faces of the frame: those of `boxes` in their order, then those that are followed without a box.

        Raises what FaceEnhancer.enhance raises.
        """
        if boxes is not None and self.rule.as_pictures:
            return self._as_picture(frame, check_boxes(boxes), time_s)
        frame_hw = (frame.shape[0], frame.shape[1])
        if boxes is None:
            tracks, new, unseen = self._tracker.advance(time_s), set[int](), list[Track]()
        else:
            tracks, new, unseen = self._matched(check_boxes(boxes), frame_hw, time_s)
        tracks = self._chosen(tracks)
        faces = self._enhanced(frame, tracks, new, time_s=time_s)
        self._end_lost(unseen)
        return faces

    def _as_picture(self, frame: U8, boxes: F64, time_s: float) -> list[TrackedFace]:
        results = self._enhancer.enhance(frame, boxes)
        valid = [i for i, result in enumerate(results) if result.status is not FaceStatus.INVALID_BOX]
        tracks = self._tracker.match(np.array([results[i].window for i in valid]).reshape(-1, 4), time_s)
        identity = {i: track.identity for i, track in zip(valid, tracks, strict=True)}
        return [TrackedFace(identity.get(i, -1), result) for i, result in enumerate(results)]

    def _matched(
        self, boxes: F64, frame_hw: tuple[int, int], time_s: float
    ) -> tuple[list[Track], set[int], list[Track]]:
        """Tracks of the boxes and, behind them, those without a box; identities that are new; those without a box."""
        windows, reasons = windows_of(boxes, frame_hw, kind="face")
        windows = windows[[not reason for reason in reasons]]
        known = {track.identity for track in self._tracker.tracks}
        seen = self._tracker.match(windows, time_s)
        rest = [track for track in self._tracker.tracks if track not in seen]
        for track in seen:
            if track.identity in self._memory:
                self._memory[track.identity].missed_looks = 0
        return [*seen, *rest], {track.identity for track in seen} - known, rest

    def _chosen(self, tracks: list[Track]) -> list[Track]:
        """Without the younger of two that follow one face, and the largest if there are too many."""
        kept: list[Track] = []
        for track in sorted(tracks, key=lambda t: t.identity):
            if any(_overlap(track.box_xyxy_px, other.box_xyxy_px) > SAME_OVERLAP for other in kept):
                self._tracker.drop(track)
            else:
                kept.append(track)
        if self.rule.max_faces is not None:
            kept = sorted(kept, key=lambda t: -t.side_px)[: self.rule.max_faces]
        return [track for track in tracks if track in kept]

    def _enhanced(self, frame: U8, tracks: list[Track], new: set[int], *, time_s: float) -> list[TrackedFace]:
        windows = [_square(track.box_xyxy_px) for track in tracks]
        again = [self._unchanged(frame, track, window) for track, window in zip(tracks, windows, strict=True)]
        results: list[FaceResult | None] = list(again)
        for kind in ("face", "crop"):  # a new face's box is loose: it gets the refining passes
            index = [
                i for i, track in enumerate(tracks) if again[i] is None and (track.identity in new) == (kind == "face")
            ]
            if index:
                given = np.array([windows[i] if kind == "crop" else _face_box(windows[i]) for i in index])
                for i, result in zip(index, self._enhancer.enhance(frame, given, box_kind=kind), strict=True):
                    results[i] = result
        faces: list[TrackedFace] = []
        for i, (track, result) in enumerate(zip(tracks, results, strict=True)):
            assert result is not None, i
            if again[i] is None:
                result = self._told(track, result, frame, time_s=time_s)
            faces.append(TrackedFace(track.identity, result, remade=again[i] is None))
        return faces

    def _unchanged(self, frame: U8, track: Track, window: F64) -> FaceResult | None:
        """The last result, when the frame still shows what it was made of."""
        memory = self._memory.get(track.identity)
        if not self.rule.remake_levels or memory is None or memory.result is None or memory.look is None:
            return None
        last = memory.result.window
        look = crop(frame, last[None], size=LOOK_PX)[0]
        if float(np.abs(look - memory.look).mean()) > self.rule.remake_levels:
            return None
        self._tracker.correct(track, last)
        return replace(memory.result, box_xyxy_px=window)

    def _told(self, track: Track, result: FaceResult, frame: U8, *, time_s: float) -> FaceResult:
        """The result made steady; the track moved onto its landmarks."""
        memory = self._memory.setdefault(
            track.identity,
            _Memory(
                PointFilter(self.rule.smoothing) if self.rule.smoothing else None,
                SteadyPicture(self.rule.steadiness) if self.rule.steadiness else None,
            ),
        )
        if result.status not in FOUND or result.landmarks is None or result.scores is None:
            if memory.picture is not None:
                memory.picture.reset()
            if result.status is FaceStatus.INVALID_BOX or (result.status not in FOUND and not track.confirmed):
                self._tracker.drop(track)
            return result
        self._correct(track, result.landmarks)
        if memory.points is not None:
            size_px = FACE_PER_WINDOW * float(result.window[2] - result.window[0])
            points = memory.points(result.landmarks, time_s, size_px=size_px, scores=result.scores)
            result = replace(result, landmarks=points)
        if memory.picture is not None and result.image is not None:
            back = invert_affine(result.crop_to_frame[None])
            inside = apply_affine(np.asarray(result.landmarks, np.float64)[None], back)[0]
            result = replace(result, image=memory.picture(result.image, inside))
        if self.rule.remake_levels:
            memory.look, memory.result = crop(frame, result.window[None], size=LOOK_PX)[0], result
        return result

    def _correct(self, track: Track, landmarks: F32) -> None:
        box = landmark_box(landmarks[None])
        if not (np.isfinite(box).all() and (box[0, 2:] > box[0, :2]).all()):
            return  # all points in one spot
        window = square_windows(box, kind="landmarks")[0]
        now = track.box_xyxy_px
        shift = np.abs((window[:2] + window[2:]) - (now[:2] + now[2:])).max() / 2.0
        if shift <= MAX_SHIFT * track.side_px:
            self._tracker.correct(track, window)

    def _end_lost(self, unseen: list[Track]) -> None:
        """Ends tracks that neither detector nor network found several times, and forgets what has ended.

        On its own the network sees a face in a random texture now and then, and would keep such a track for ever.
        """
        for track in unseen:
            memory = self._memory.get(track.identity)
            if memory is not None and track.seen_s < track.time_s:
                memory.missed_looks += 1
                if memory.missed_looks >= MAX_LOOKS:
                    self._tracker.drop(track)
        alive = {track.identity for track in self._tracker.tracks}
        self._memory = {identity: memory for identity, memory in self._memory.items() if identity in alive}


def _square(
    box: F64,  # [4]
) -> F64:
    """The square of the same area about the same centre."""
    centre, half = 0.5 * (box[:2] + box[2:]), 0.5 * float(np.sqrt((box[2:] - box[:2]).prod()))
    return np.concatenate([centre - half, centre + half])


def _face_box(
    window: F64,  # [4]
) -> F64:
    """A detector's box [4] whose window this is."""
    unit = square_windows(np.array([[0.0, 0.0, 1.0, 1.0]]), kind="face")[0]
    scale = float(window[2] - window[0]) / float(unit[2] - unit[0])
    corner = window[:2] - scale * unit[:2]
    return np.concatenate([corner, corner + scale])


def _overlap(
    a: F64,  # [4]
    b: F64,  # [4]
) -> float:
    inner = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def results_of(faces: Sequence[TrackedFace]) -> list[FaceResult]:
    """What render() takes."""
    return [face.result for face in faces]
