"""Tracks: identities through crossing, gaps and jerks; Kalman's numbers against the textbook's matrices."""

import itertools

import numpy as np
import pytest

from sdk.errors import InputError
from sdk.video.tracks import Tracker, TrackerRule

STEP_S = 1.0 / 30.0


def box(x: float, y: float, side: float = 20.0) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def boxes(*places) -> np.ndarray:
    return np.array([box(*place) for place in places], np.float64).reshape(-1, 4)


def test_a_track_is_the_textbook_s_kalman_filter():
    rule = TrackerRule(confirm=1)
    tracker = Tracker(rule)
    rng = np.random.default_rng(0)
    x, covariance = np.zeros(2), np.zeros((2, 2))
    for step, place in enumerate(50.0 + 2.0 * np.arange(40) + rng.normal(size=40)):
        (track,) = tracker.match(boxes((place, 80.0)), step * STEP_S)
        noise = (rule.box_noise * 20.0) ** 2
        if step == 0:
            x, covariance = np.array([place, 0.0]), np.diag([noise, 100.0 * noise])
            continue
        move = np.array([[1.0, STEP_S], [0.0, 1.0]])
        drive = (rule.acceleration * 20.0) ** 2 * np.array([[STEP_S**3 / 3, STEP_S**2 / 2], [STEP_S**2 / 2, STEP_S]])
        look = np.array([[1.0, 0.0]])
        x, covariance = move @ x, move @ covariance @ move.T + drive
        gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + noise)
        x = x + gain @ (np.array([place]) - look @ x)
        covariance = (np.eye(2) - gain @ look) @ covariance
        assert track.state[0] == pytest.approx(x)
        assert track.covariance[0] == pytest.approx(covariance)
        assert track.side_px == pytest.approx(20.0)


def test_faces_that_cross_keep_their_identities():
    tracker = Tracker()
    for step in range(60):
        left, right = (40.0 + 3.0 * step, 100.0), (220.0 - 3.0 * step, 112.0)
        order = [left, right] if step % 2 else [right, left]
        found = tracker.match(boxes(*order), step * STEP_S)
        by_place = dict(zip(order, (t.identity for t in found), strict=True))
        if step == 0:
            start = by_place[left], by_place[right]
        assert (by_place[left], by_place[right]) == start


@pytest.mark.parametrize("faces", [1, 7, 40])
def test_matching_is_the_best_of_all_pairings(faces):
    rng = np.random.default_rng(faces)
    places = rng.uniform(0, 900, (faces, 2))
    tracker = Tracker(TrackerRule(confirm=1))
    first = tracker.match(boxes(*places), 0.0)
    shuffled = rng.permutation(faces)
    moved = places[shuffled] + rng.uniform(-3, 3, (faces, 2))
    second = tracker.match(boxes(*moved), STEP_S)
    if faces <= 7:  # against every permutation
        total = {p: sum(np.hypot(*(places[i] - moved[j])) for j, i in enumerate(p)) for p in
                 itertools.permutations(range(faces))}  # fmt: skip
        best = min(total, key=total.get)
        assert [t.identity for t in second] == [first[i].identity for i in best]
    else:
        assert len({t.identity for t in second}) == faces


def test_a_face_unseen_for_a_while_comes_back_as_itself_where_it_was_heading():
    tracker = Tracker()
    for step in range(20):
        tracker.match(boxes((50.0 + 4.0 * step, 90.0)), step * STEP_S)
    identity = tracker.tracks[0].identity
    for step in range(20, 32):
        tracker.match(boxes(), step * STEP_S)
    (track,) = tracker.match(boxes((50.0 + 4.0 * 32, 90.0)), 32 * STEP_S)
    assert track.identity == identity


def test_a_track_ends_after_its_age_and_its_number_is_not_used_again():
    tracker = Tracker(TrackerRule(max_age_s=0.5))
    for step in range(3):
        tracker.match(boxes((50, 50)), step * STEP_S)
    assert tracker.advance(0.5) and not tracker.advance(0.7)
    (again,) = tracker.match(boxes((50, 50)), 0.7)
    assert again.identity == 1


def test_a_single_false_box_never_becomes_a_believed_track():
    tracker = Tracker()
    for step in range(10):
        tracker.match(boxes((50, 50)), step * STEP_S)
    found = tracker.match(boxes((50, 50), (300, 300)), 10 * STEP_S)
    assert [t.confirmed for t in found] == [True, False]
    tracker.match(boxes((50, 50)), 11 * STEP_S)
    assert [t.identity for t in tracker.tracks] == [0]


def test_tiny_faces_survive_a_jerk_that_leaves_no_overlap():
    tracker = Tracker()
    for step in range(5):
        tracker.match(boxes((100.0, 100.0, 12.0)), step * STEP_S)
    (track,) = tracker.match(boxes((110.0, 100.0, 12.0)), 5 * STEP_S)
    assert track.identity == 0
    (other,) = tracker.match(boxes((140.0, 100.0, 12.0)), 6 * STEP_S)
    assert other.identity == 1


def test_landmarks_move_a_track_between_detections():
    tracker = Tracker()
    tracker.match(boxes((100.0, 100.0)), 0.0)
    for step in range(1, 10):
        (track,) = tracker.advance(step * STEP_S)
        tracker.correct(track, boxes((100.0 + 5.0 * step, 100.0))[0])
    assert track.confirmed
    assert track.box_xyxy_px[[0, 2]].mean() == pytest.approx(145.0, abs=1.5)


def test_zoom_is_followed():
    tracker = Tracker()
    for step in range(30):
        (track,) = tracker.match(boxes((100.0, 100.0, 20.0 * 1.03**step)), step * STEP_S)
    assert track.identity == 0
    assert track.side_px == pytest.approx(20.0 * 1.03**29, rel=0.05)


def test_a_clock_that_jumps_back_ends_all_tracks():
    tracker = Tracker()
    tracker.match(boxes((50, 50)), 10.0)
    tracker.match(boxes((50, 50)), 10.1)
    (track,) = tracker.match(boxes((50, 50)), 0.0)
    assert track.identity == 1


def test_no_faces_at_all():
    tracker = Tracker()
    assert tracker.match(boxes(), 0.0) == [] and tracker.advance(1.0) == []


@pytest.mark.parametrize("bad", [[5.0, 5.0, 5.0, 9.0], [0.0, 0.0, np.nan, 1.0], [9.0, 9.0, 1.0, 1.0]])
def test_boxes_without_area_are_refused(bad):
    with pytest.raises(InputError, match="area"):
        Tracker().match(np.array([bad]), 0.0)


def test_bad_rules_are_refused():
    with pytest.raises(InputError, match="gate"):
        TrackerRule(gate=0.0)
