"""From windows to results: cut, run the fitting network in batches, decode, refine, say what happened.

Nothing here keeps state; sdk.enhancer.FaceEnhancer is the public door.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.cutting import Cut, Gpu
from sdk.faces import MIN_CONFIDENCE, Face, least_of, run_batch, run_there
from sdk.image.crop import inside_fraction, landmark_box, square_windows, window_affine
from sdk.image.pixels import reversed_colours
from sdk.result import FaceResult, FaceStatus
from sdk.routing import MAX_SHRINK, Route, choose_routes
from sdk.sharpness import BLOWN_UP, SHARP, detail_ratio, octave_ratio

__all__ = ["MIN_CONFIDENCE", "Face", "inside_of", "refined_windows", "results_of", "run_faces"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

TOO_SMALL_PX = 10.0  # window side; a face then has 6 to 7 px: who it is and how it looks are the network's guesses
INSIDE_ENOUGH = 0.95  # a window reaches half the face beyond the landmarks: this much overhang meets no face
MAX_SHIFT = 0.35  # window sides; a first pass that moves a detector's box further has looked at something else
SIDE_RATIO = (0.55, 1.6)  # new side over old; detectors' boxes vary by a third around the landmarks'


def run_faces(
    routes: Sequence[Route],
    windows: F64,  # [N, 4] edges in frame px, NaN: no face
    cut: Cut,
    *,
    pictures: bool = True,
    gpu: Gpu | None = None,  # where the frame is too; None: all but the network runs here
    min_confidence: float | None = None,  # from which a face may go into a frame on the GPU at once; None: its own
) -> list[Face | None]:
    """A Face for every window that is not NaN; with pictures=False the landmarks alone are worked out."""
    faces: list[Face | None] = [None] * len(windows)
    valid = np.flatnonzero(np.isfinite(windows).all(axis=1))  # [M]
    choice = choose_routes(routes, windows[valid, 2] - windows[valid, 0])  # [M]
    _lower_blown_up(routes, choice, valid, windows, cut)
    for number, route in enumerate(routes):
        members = valid[choice == number]
        sides = windows[members, 2] - windows[members, 0]
        # All faces in one batch, none of which the host has to look at before it is pasted: see results_of().
        alone = pictures and len(valid) == len(members) <= route.batch and not _large(sides, route).any()
        for start in range(0, len(members), route.batch):
            index = members[start : start + route.batch]
            if gpu is not None and gpu.covers(route.backend):
                least = least_of(route.backend.spec, min_confidence) if alone else None
                found = run_there(route, index, windows[index], gpu, pictures=pictures, least=least)
            else:
                found = run_batch(route, index, windows[index], cut, pictures=pictures)
            for i, face in zip(index.tolist(), found, strict=True):
                faces[i] = face
    return faces


def _lower_blown_up(
    routes: Sequence[Route],
    choice: Index,  # [M] into routes; changed in place
    valid: Index,  # [M] into windows
    windows: F64,  # [N, 4]
    cut: Cut,
) -> None:
    """Sends faces without detail for their route's input to the route of half that input, if there is one."""
    for number in reversed(range(len(routes))):
        route = routes[number]
        half = next((k for k, other in enumerate(routes) if 2 * other.lr_size == route.lr_size), None)
        if half is None:
            continue
        members = np.flatnonzero(choice == number)
        for start in range(0, len(members), route.batch):
            some = members[start : start + route.batch]
            index = valid[some]
            ratio = octave_ratio(cut(index, windows[index], route.lr_size))
            choice[some[ratio < BLOWN_UP]] = half


def refined_windows(
    windows: F64,  # [N, 4]
    faces: Sequence[Face | None],
    *,
    min_confidence: float | None,  # None: each network's own
) -> F64:
    """Windows moved onto the landmarks found in them, float64 [N, 4], by the rule the networks were trained with.

    A window stays where it is when its first pass was unsure or wants to go too far: that is no face, or another one.
    """
    refined = windows.copy()
    sure = [i for i, face in enumerate(faces) if face is not None and face.confidence >= face.least(min_confidence)]
    if not sure:
        return refined
    boxes = np.concatenate([landmark_box(_points(faces[i])[None].astype(np.float64)) for i in sure])  # [M, 4]
    sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # [M]; not points on one spot
    index = np.array(sure)[sound]  # [L]
    new = square_windows(boxes[sound], kind="landmarks")  # [L, 4]
    old = windows[index]
    old_side = old[:, 2] - old[:, 0]  # [L]
    ratio = (new[:, 2] - new[:, 0]) / old_side
    shift = np.abs((new[:, :2] + new[:, 2:]) - (old[:, :2] + old[:, 2:])).max(axis=1) / 2 / old_side
    near = (shift <= MAX_SHIFT) & (ratio >= SIDE_RATIO[0]) & (ratio <= SIDE_RATIO[1])
    refined[index[near]] = new[near]
    return refined


def _points(face: Face | None) -> F32:
    assert face is not None and face.landmarks is not None, face  # a finite confidence comes from heatmaps
    return face.landmarks


def results_of(
    faces: Sequence[Face | None],
    boxes: F64,  # [N, 4]
    windows: F64,  # [N, 4]
    reasons: Sequence[str],  # why a box is invalid
    *,
    inside: F64,  # [N] fraction of each window inside the frame
    cut: Cut,
    color: str,
    min_confidence: float | None,  # None: each network's own
) -> list[FaceResult]:
    """One FaceResult a box; pictures in the order of `color`, None for those that are on a GPU."""
    results: list[FaceResult] = []
    sharper = _sharper(faces, windows, cut)
    for i, face in enumerate(faces):
        if face is None:
            results.append(_invalid(boxes[i], reasons[i]))
            continue
        side = float(windows[i, 2] - windows[i, 0])
        status, reason = _status(face, side, float(inside[i]), face.least(min_confidence))
        image = face.image
        assert image is not None or face.there is not None, i  # results come from passes with pictures
        if i in sharper:
            image = sharper[i]
            if status is not FaceStatus.LOW_CONFIDENCE:
                status, reason = FaceStatus.NOT_DEGRADED, "the frame is at least as sharp as our output"
        results.append(
            FaceResult(
                image=image if image is None or color == "rgb" else reversed_colours(image),
                landmarks=face.landmarks,
                scores=face.scores,
                spread=face.spread,
                box_xyxy_px=boxes[i].copy(),
                window=windows[i].copy(),
                crop_to_frame=window_affine(windows[i : i + 1], size=face.route.hr_size)[0].copy(),
                status=status,
                reason=reason,
                model=face.route.backend.spec.name,
                confidence=face.confidence,
                components=face.components,
                no_landmarks=face.route.backend.spec.no_landmarks,
            )
        )
    return results


def _sharper(
    faces: Sequence[Face | None],
    windows: F64,  # [N, 4]
    cut: Cut,
) -> dict[int, U8]:
    """By number of the face the frame's own picture [S, S, 3] RGB, where that is at least as sharp as ours.

    Cut in batches: where the frame is on a GPU every cut waits for it.
    """
    groups: dict[Route, list[int]] = {}
    for i, face in enumerate(faces):
        if face is not None and _large(windows[i, 2] - windows[i, 0], face.route):
            groups.setdefault(face.route, []).append(i)
    found: dict[int, U8] = {}
    for route, members in groups.items():
        for start in range(0, len(members), route.batch):
            some = members[start : start + route.batch]
            index = np.array(some)
            frame = cut(index, windows[index], route.hr_size)  # [n, S, S, 3]
            lr = cut(index, windows[index], route.lr_size)  # [n, s, s, 3]
            for k, i in enumerate(some):
                if detail_ratio(frame[k], _picture(faces[i]), lr[k]) >= SHARP:
                    found[i] = (frame[k] + 0.5).astype(np.uint8)
    return found


def _picture(face: Face | None) -> U8:  # [S, S, 3] RGB
    assert face is not None, face
    return _fetched(face) if face.image is None else face.image


def _fetched(face: Face) -> U8:
    assert face.there is not None, face
    return face.there.host()


def _large(
    side: Any,  # px, a number or an array
    route: Route,
) -> Any:
    """Has the input lost detail of a window of that side, which the frame may hold?"""
    return side > MAX_SHRINK * route.lr_size


def _status(face: Face, side: float, inside: float, min_confidence: float) -> tuple[FaceStatus, str]:
    if face.scores is not None and not face.confidence >= min_confidence:  # NaN scores are no confidence either
        return FaceStatus.LOW_CONFIDENCE, f"mean heatmap peak {face.confidence:.2f} is below {min_confidence:.2f}"
    if side < TOO_SMALL_PX:
        return (
            FaceStatus.TOO_SMALL,
            f"the window has {side:.1f} px a side, below {TOO_SMALL_PX:g} px details are guesses",
        )
    if inside < INSIDE_ENOUGH:
        return FaceStatus.PARTLY_OUTSIDE, f"{100 * (1 - inside):.0f} % of the window lies outside the frame"
    return FaceStatus.OK, ""


def _invalid(
    box: F64,  # [4]
    reason: str,
) -> FaceResult:
    return FaceResult(
        image=None,
        landmarks=None,
        scores=None,
        spread=None,
        box_xyxy_px=box.copy(),
        window=np.full(4, np.nan),
        crop_to_frame=np.full((2, 3), np.nan),
        status=FaceStatus.INVALID_BOX,
        reason=reason,
        model=None,
        confidence=float("nan"),
        no_landmarks="the box is invalid",
    )


def inside_of(
    windows: F64,  # [N, 4], NaN rows allowed
    frame_hw: tuple[int, int],
) -> F64:
    """Fraction of each window inside the frame, float64 [N]; NaN where the window is NaN."""
    inside = np.full(len(windows), np.nan)
    valid = np.isfinite(windows).all(axis=1)
    inside[valid] = inside_fraction(windows[valid], frame_hw)
    return inside
