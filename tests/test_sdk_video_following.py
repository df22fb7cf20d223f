"""Following faces with the shipped networks: identities, windows without detections, steadiness, the picture path."""

import numpy as np
import pytest
from clips import frame_with

from sdk.enhancer import FaceEnhancer
from sdk.result import FaceStatus
from sdk.video.following import Follower, FollowRule
from sdk.video.one_euro import Smoothing
from sdk.video.steady import Steadiness

RATE_HZ = 30.0
PLAIN = FollowRule(smoothing=None, steadiness=None)


@pytest.fixture(scope="module")
def enhancer():
    with FaceEnhancer(threads=1) as opened:
        yield opened


def follow(enhancer, places, *, rule=None, detect=lambda step: step == 0, noise=0.0):
    """Faces of every frame; `places` is a list of lists, one a frame."""
    follower = Follower(enhancer, rule)
    found = []
    for step, here in enumerate(places):
        frame, boxes = frame_with(here, noise=noise, seed=step)
        found.append(follower(frame, boxes if detect(step) else None, step / RATE_HZ))
    return found


def test_without_smoothing_results_are_those_of_the_picture_path(enhancer):
    follower = Follower(enhancer, PLAIN)
    for step in range(3):
        frame, boxes = frame_with([(100 + 4 * step, 120, 24), (220, 100, 40)])
        expected = enhancer.enhance(frame, boxes)
        faces = follower(frame, boxes, step / RATE_HZ)
        assert [face.identity for face in faces] == [0, 1]
        for face, other in zip(faces, expected, strict=True):
            assert (face.result.image == other.image).all()
            assert (face.result.landmarks == other.landmarks).all()


def test_one_detection_is_enough_to_follow_faces_that_move_and_grow(enhancer):
    places = [[(60 + 3 * s, 60, 20 * 1.01**s), (250 - 2 * s, 150 + s, 34)] for s in range(30)]
    found = follow(enhancer, places)
    for here, faces in zip(places, found, strict=True):
        assert [face.identity for face in faces] == [0, 1]
        for (x, y, width), face in zip(here, faces, strict=True):
            assert face.result.status is FaceStatus.OK, face.result.reason
            middle = face.result.landmarks.mean(axis=0)
            assert np.abs(middle - [x, y]).max() < 0.25 * width


def jitter(found) -> float:
    points = np.stack([faces[0].result.landmarks for faces in found])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=2).mean())


def test_points_of_a_still_noisy_clip_jitter_at_most_a_third(enhancer):
    places, every = [[(160, 120, 30)]] * 40, lambda step: True
    raw = follow(enhancer, places, rule=PLAIN, detect=every, noise=6.0)
    steady = follow(enhancer, places, noise=6.0)
    assert jitter(raw[5:]) / jitter(steady[5:]) >= 3.0


def test_points_of_a_moving_face_are_at_most_a_frame_behind(enhancer):
    step_px = 1.0  # a face of 30 px crosses itself in a second
    places = [[(80 + step_px * s, 120, 30)] for s in range(60)]
    truth = follow(enhancer, places, rule=FollowRule(smoothing=None, steadiness=None), detect=lambda s: True)
    steady = follow(enhancer, places, noise=3.0)
    gaps = [t[0].result.landmarks[:, 0].mean() - s[0].result.landmarks[:, 0].mean()
            for t, s in zip(truth, steady, strict=True)]  # fmt: skip
    assert abs(np.mean(gaps[20:])) <= step_px


def test_pictures_of_a_still_noisy_clip_flicker_less(enhancer):
    places = [[(160, 120, 30)]] * 25

    def flicker(found):
        pictures = np.stack([faces[0].result.image for faces in found[5:]]).astype(np.float64)
        return np.abs(np.diff(pictures, axis=0)).mean()

    loose = follow(enhancer, places, rule=FollowRule(steadiness=None), noise=6.0)
    steady = follow(enhancer, places, rule=FollowRule(steadiness=Steadiness()), noise=6.0)
    assert flicker(steady) < 0.7 * flicker(loose)


class Counting:
    def __init__(self, enhancer):
        self.enhancer, self.faces = enhancer, 0

    def enhance(self, frame, boxes=None, *, box_kind="face"):
        self.faces += len(boxes)
        return self.enhancer.enhance(frame, boxes, box_kind=box_kind)


def test_a_face_that_does_not_change_is_made_once_and_again_when_it_does(enhancer):
    counting = Counting(enhancer)
    still, moved = [(160, 120, 30)], [(163, 121, 30)]
    found = follow(counting, [still] * 10 + [moved] * 5, rule=FollowRule(remake_levels=0.5))
    assert [faces[0].remade for faces in found[1:10]] == [False] * 9
    assert found[10][0].remade and counting.faces < 6
    assert {faces[0].identity for faces in found} == {0}


def test_a_face_that_leaves_ends_and_another_one_gets_another_number(enhancer):
    places = [[(160, 120, 30)]] * 5 + [[]] * 20 + [[(160, 120, 30)]] * 3
    found = follow(enhancer, places, detect=lambda step: step % 5 == 0)
    assert [faces[0].identity for faces in found[:5]] == [0] * 5
    assert all(face.result.status is FaceStatus.LOW_CONFIDENCE for faces in found[5:16] for face in faces)
    assert found[16:25] == [[]] * 9  # after three looks in vain
    assert [faces[0].identity for faces in found[25:]] == [1] * 3


def test_a_face_hidden_for_a_moment_comes_back_as_itself(enhancer):
    places = [[(160, 120, 30)]] * 5 + [[]] * 6 + [[(162, 120, 30)]] * 3
    found = follow(enhancer, places, detect=lambda step: step % 5 == 0)
    assert [faces[0].identity for faces in found[11:]] == [0] * 3


def test_a_false_box_is_gone_in_the_next_frame(enhancer):
    frame, boxes = frame_with([(160, 120, 30)])
    follower = Follower(enhancer)
    first = follower(frame, np.concatenate([boxes, [[20.0, 20.0, 44.0, 50.0]]]), 0.0)
    second = follower(frame, None, 1 / RATE_HZ)
    assert len(first) == 2 and len(second) == 1


def test_two_boxes_of_one_face_become_one_track(enhancer):
    frame, boxes = frame_with([(160, 120, 30)])
    follower = Follower(enhancer)
    follower(frame, np.concatenate([boxes, boxes + 2.0]), 0.0)
    assert len(follower(frame, None, 1 / RATE_HZ)) == 1


def test_the_largest_faces_are_kept(enhancer):
    frame, boxes = frame_with([(60, 120, 20), (240, 120, 44), (150, 60, 30)])
    faces = Follower(enhancer, FollowRule(max_faces=2))(frame, boxes, 0.0)
    assert [face.identity for face in faces] == [1, 2]


def test_boxes_that_are_none_and_frames_without_faces(enhancer):
    frame, _ = frame_with([])
    for rule in (FollowRule(), PLAIN):
        follower = Follower(enhancer, rule)
        assert follower(frame, np.zeros((0, 4)), 0.0) == []
        invalid = follower(frame, [[np.nan, 0, 1, 1], [5, 5, 5, 5]], 0.1)
        assert all(face.result.status is FaceStatus.INVALID_BOX for face in invalid)
        assert follower(frame, None, 0.2) == []


def test_smoothing_can_be_told_its_bound(enhancer):
    rule = FollowRule(smoothing=Smoothing(max_lag=1e-9), steadiness=None)
    raw = follow(enhancer, [[(160, 120, 30)]] * 3, rule=FollowRule(smoothing=None), noise=3.0)
    tight = follow(enhancer, [[(160, 120, 30)]] * 3, rule=rule, noise=3.0)
    for a, b in zip(raw, tight, strict=True):
        assert a[0].result.landmarks == pytest.approx(b[0].result.landmarks, abs=1e-2)
