"""Boxes to windows: all at once what one by one gives, and a reason for each that has no window."""

import numpy as np
import pytest

from sdk.image.crop import BOX_KINDS, square_windows
from sdk.inputs import windows_of

HW = (100, 200)
GOOD = [10.0, 20.0, 50.0, 70.0]
BAD = {
    "not made of finite": [[np.nan, 0, 1, 1], [0, 0, np.inf, 5], [-np.inf, 0, 5, 5], [0, 0, 1e8, 5], [-2e7, 0, 5, 5]],
    "has no area": [[5, 5, 5, 9], [9, 9, 5, 5], [1, 9, 5, 2]],
    "wholly outside": [[-50, 0, -10, 40], [300, 10, 340, 50], [10, 100, 50, 140], [0, -40, 9, 0]],
    "times as large": [[-3000, -3000, 3000, 3000]],
    "smaller than a pixel": [[5, 5, 5.1, 5.1]],
}


@pytest.mark.parametrize("kind", BOX_KINDS)
def test_windows_come_alike_alone_and_together(kind):
    rng = np.random.default_rng(0)
    low = rng.uniform(-20, 150, (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 90, (60, 2))], axis=1)
    boxes[::7] = np.nan
    windows, reasons = windows_of(boxes, HW, kind=kind)
    for i, box in enumerate(boxes):
        alone, reason = windows_of(box[None], HW, kind=kind)
        np.testing.assert_array_equal(windows[i], alone[0])
        assert reasons[i] == reason[0] and bool(reasons[i]) == bool(np.isnan(windows[i]).all())
        if not reason[0]:
            np.testing.assert_array_equal(alone, square_windows(box[None], kind=kind))


@pytest.mark.parametrize(("words", "boxes"), BAD.items())
def test_each_box_without_a_window_says_why_and_costs_no_other(words, boxes):
    for bad in boxes:
        windows, reasons = windows_of(np.array([GOOD, bad, GOOD], np.float64), HW, kind="landmarks")
        assert reasons[0] == reasons[2] == "" and words in reasons[1], bad
        assert np.isfinite(windows[[0, 2]]).all() and np.isnan(windows[1]).all()


def test_no_boxes():
    windows, reasons = windows_of(np.zeros((0, 4)), HW, kind="face")
    assert windows.shape == (0, 4) and reasons == []
