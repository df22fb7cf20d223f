"""What comes close to the border of the permitted: boxes of odd shapes, points on one spot, files cut short."""

import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from sdk.image.crop import landmark_box, square_windows
from sdk.inputs import check_boxes
from sdk.pictures import read_picture
from sdk.pipeline import Face, refined_windows


@pytest.mark.parametrize("none", [[], [[]], np.zeros((0, 4))])
def test_no_boxes(none):
    assert check_boxes(none).shape == (0, 4)


@pytest.mark.parametrize("wrong", [[[], []], np.zeros((3, 0)), np.zeros((0, 5)), np.zeros(4)])
def test_odd_shapes_are_no_boxes(wrong):
    with pytest.raises(InputError, match=r"shape \(N, 4\); got shape"):
        check_boxes(wrong)


def test_points_on_one_spot_keep_their_window_and_cost_no_other_face():
    points = np.random.default_rng(0).uniform(22, 38, (68, 2)).astype(np.float32)
    ones = np.ones(68, np.float32)
    spot, broken = np.full_like(points, 30.0), np.full_like(points, np.nan)
    faces = [
        Face(None, None, landmarks, ones, ones, 1.0) for landmarks in (spot, points, broken)
    ]  # routes are not read
    windows = np.tile([18.0, 18.0, 42.0, 42.0], (3, 1))
    refined = refined_windows(windows, faces, min_confidence=0.5)
    np.testing.assert_array_equal(refined[[0, 2]], windows[[0, 2]])
    expected = square_windows(landmark_box(points[None].astype(np.float64)), kind="landmarks")[0]
    np.testing.assert_allclose(refined[1], expected)


def test_a_cut_tiff_of_several_pages(tmp_path):
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    page.save(tmp_path / "whole.tif", save_all=True, append_images=[page] * 3)
    data = (tmp_path / "whole.tif").read_bytes()
    for length in range(9, len(data) - 1, 97):
        (tmp_path / "cut.tif").write_bytes(data[:length])
        try:
            read_picture(tmp_path / "cut.tif")
        except InputError as error:
            assert "cut.tif" in str(error)
