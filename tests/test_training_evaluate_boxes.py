"""End to end from boxes: geometry of the reduced photos and the matching of faces."""

import numpy as np
import pytest

from sdk.image.crop import landmark_box, square_windows
from sdk.result import FaceResult, FaceStatus
from training.data.packs import open_pack
from training.evaluate_boxes import best_match, compare, photo_of, reduced, window_iou


def result_at(box: list[float]) -> FaceResult:
    points = np.zeros((68, 2), np.float32)
    return FaceResult(
        image=np.zeros((8, 8, 3), np.uint8), landmarks=points, scores=np.ones(68, np.float32), spread=points[:, 0],
        box_xyxy_px=np.array(box, np.float64), window=np.array(box, np.float64), crop_to_frame=np.eye(2, 3),
        status=FaceStatus.OK, reason="", model="made", confidence=1.0,
    )  # fmt: skip


def test_a_reduced_photo_has_a_window_of_the_asked_size(face_pack):
    pack = open_pack(face_pack)
    photo, points = photo_of(pack, pack.rows[0])
    small, moved = reduced(photo, points, 48)
    window = square_windows(landmark_box(moved[None]), kind="landmarks")[0]
    assert window[2] - window[0] == pytest.approx(48, abs=0.5)
    x, y = np.rint(moved[36]).astype(int)
    assert small[y, x].sum() < small[y, x + 8].sum(), "the point is still on its dark dot"
    assert reduced(photo, points, 500) is None


def test_points_of_a_scene_are_where_the_crop_was(face_pack):
    pack = open_pack(face_pack)
    row = {**pack.rows[0], "scene": pack.rows[0]["file"], "scene_x0": "10", "scene_y0": "20", "scene_side": "320"}
    _, points = photo_of(pack, row)  # the crop of 160 px was 320 px of the scene
    np.testing.assert_allclose(points, (pack.points["face_00"] + 0.5) * 2 + [10, 20] - 0.5, atol=1e-4)


def test_iou_of_windows():
    a = np.array([0.0, 0.0, 10.0, 10.0])
    assert window_iou(a, a) == 1.0
    assert window_iou(a, np.array([5.0, 0.0, 15.0, 10.0])) == pytest.approx(1 / 3)
    assert window_iou(a, np.array([20.0, 0.0, 30.0, 10.0])) == 0.0


def test_the_nearest_box_is_the_face_and_a_far_one_is_none():
    here, there = result_at([20, 20, 40, 40]), result_at([80, 80, 99, 99])
    window = square_windows(np.array([[21.0, 20.0, 41.0, 40.0]]), kind="face")[0]
    assert best_match([there, here], window) is here
    assert best_match([there], window) is None and best_match([], window) is None


class TrueBoxes:
    """An enhancer whose detector sees the truth, whose points are the truth, and one pixel off from found boxes."""

    def __init__(self, pack) -> None:
        self.pack, self.at = pack, -1

    def enhance(self, photo, boxes=None, *, box_kind="face"):
        self.at += boxes is None
        row = self.pack.select("val")[self.at]
        points = reduced(*photo_of(self.pack, row), 48)[1]
        side = landmark_box(points[None])[0]
        made = result_at(list(side))
        found = points + (0.0 if boxes is not None else 1.0)
        return [FaceResult(**{**vars(made), "landmarks": found.astype(np.float32)})]


def test_the_cost_is_the_difference_of_the_two_errors(face_pack):
    pack = open_pack(face_pack)
    row = compare(TrueBoxes(pack), pack, "val", 48)
    assert (row["photos"], row["found"], row["missed"]) == (4, 4, 0)
    assert row["nme_landmark_box"] == 0.0 and row["cost"] == pytest.approx(row["nme_detector"])
    eyes = 56 * 48 / (1.5 * 90)  # the drawn eyes are 56 px apart, the larger side of the landmark box has 90 px
    assert row["cost"] == pytest.approx(100 * np.sqrt(2) / eyes, rel=0.1)
