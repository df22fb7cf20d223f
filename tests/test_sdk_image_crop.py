"""Boxes, windows, crops and affine maps: literals, properties, the resampling matrices as the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdk.errors import InputError
from sdk.image import crop as crops
from sdk.image.resample import resample_weights


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def reference(frame, window, size):
    """The crop by whole-frame matrices: independent of regions, taps and scattering."""
    across = resample_weights(frame.shape[1], size, start=window[0], stop=window[2], edge="replicate")
    down = resample_weights(frame.shape[0], size, start=window[1], stop=window[3], edge="replicate")
    return np.clip(np.einsum("yr,xc,rck->yxk", down, across, frame.astype(np.float64)), 0, 255)


def test_landmark_box_is_in_edge_coordinates():
    points = np.array([[[2.0, 3.0], [6.0, 4.0], [5.0, 9.5]]])  # pixel centres
    assert crops.landmark_box(points).tolist() == [[2.5, 3.5, 6.5, 10.0]]


def test_window_of_a_landmark_box():
    # Larger side 20 -> window side 30; centre (50, 40) raised by 5 % of 30.
    window = crops.square_windows(np.array([[42.0, 30.0, 58.0, 50.0]]), kind="landmarks")
    np.testing.assert_allclose(window, [[35.0, 23.5, 65.0, 53.5]])


def test_window_of_a_detector_box():
    window = crops.square_windows(np.array([[10.0, 20.0, 110.0, 120.0]]))[0]  # "face" is the default
    side = window[2] - window[0]
    assert side == pytest.approx(100 * crops.FACE_SIDE)
    assert window[3] - window[1] == pytest.approx(side)
    assert (window[0] + window[2]) / 2 == pytest.approx(60.0)
    assert (window[1] + window[3]) / 2 == pytest.approx(70.0 - crops.FACE_RAISE * side)


def test_crop_boxes_pass_unchanged_when_square():
    boxes = np.array([[0.1, 0.2, 16.1, 16.2], [0.0, 0.0, 10.0, 20.0]])
    windows = crops.square_windows(boxes, kind="crop")
    assert windows[1].tolist() == [-5.0, 0.0, 15.0, 20.0]
    np.testing.assert_allclose(windows[0], boxes[0], atol=1e-12)


def test_no_faces():
    assert crops.square_windows(np.zeros((0, 4))).shape == (0, 4)
    assert crops.crop(np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4)), size=8).shape == (0, 8, 8, 3)


def test_inside_fraction():
    boxes = np.array(
        [[0, 0, 10, 10], [-5, 0, 5, 10], [-5, -5, 5, 5], [15, 25, 25, 35], [30, 40, 50, 60], [3, 3, 3, 9.0]]
    )
    assert crops.inside_fraction(boxes, (30, 20)).tolist() == [1.0, 0.5, 0.25, 0.25, 0.0, 0.0]


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [5, 5, 1, 9], [0, 0, np.nan, 5], [0, -np.inf, 5, 5], [0, 1, 2], [[0, 1, 2, 3]]]
)
def test_bad_boxes_are_refused_with_a_remedy(box):
    with pytest.raises(InputError, match="expected .*; got .*; "):
        crops.square_windows(np.array([box], dtype=np.float64))


def test_bad_arguments_are_refused(frame):
    window = np.array([[0.0, 0.0, 9.0, 9.0]])
    for call in (
        lambda: crops.square_windows(window, kind="head"),
        lambda: crops.crop(frame.astype(np.float32), window, size=8),
        lambda: crops.crop(frame[:, :, 0], window, size=8),
        lambda: crops.crop(frame, window, size=0),
        lambda: crops.crop(frame, window * 1e9, size=8),
        lambda: crops.crop_affine(frame, np.zeros((1, 3, 3)), size=8),
        lambda: crops.invert_affine(np.zeros((1, 2, 3))),
        lambda: crops.landmark_box(np.zeros((68, 2))),
    ):
        with pytest.raises(InputError):
            call()


def test_crop_of_whole_pixels_is_a_slice(frame):
    cut = crops.crop(frame, np.array([[10.0, 20.0, 26.0, 36.0]]), size=16)
    np.testing.assert_allclose(cut[0], frame[20:36, 10:26], atol=1e-4)


def test_pixels_beyond_the_border_repeat_the_edge():
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20
    cut = crops.crop(frame, np.array([[-8.0, -8.0, -4.0, -4.0], [0.0, 0.0, 4.0, 4.0]]), size=4)
    assert np.all(cut[0] == frame[0, 0, 0])
    np.testing.assert_allclose(cut[1, 3], frame[2], atol=1e-4)  # row 3 is below the frame


WINDOWS = [
    [20.3, 30.7, 28.3, 38.7],  # enlarged
    [20.3, 10.7, 90.1, 80.5],  # reduced
    [-13.2, -9.9, 17.8, 21.1],  # over two borders
    [100.5, 70.5, 140.5, 110.5],  # over the other two
    [-60.0, -70.0, 180.0, 170.0],  # the frame inside of it
    [400.0, 10.0, 430.0, 40.0],  # outside
    [5.0, 5.0, 45.0, 25.0],  # not square
]


@pytest.mark.parametrize("size", [1, 16, 33])
def test_crop_equals_the_whole_frame_matrices(frame, size):
    cut = crops.crop(frame, np.array(WINDOWS), size=size)
    assert cut.dtype == np.float32
    for window, one in zip(WINDOWS, cut, strict=True):
        np.testing.assert_allclose(one, reference(frame, window, size), atol=2e-3, err_msg=str(window))


def test_crop_equals_pillow_up_to_its_rounding(frame):
    window = (7.25, 5.5, 87.25, 85.5)
    ours = crops.crop(frame, np.array([window]), size=16)[0]
    channels = [
        np.asarray(
            Image.fromarray(frame[:, :, k].astype(np.float32)).resize((16, 16), Image.Resampling.BICUBIC, box=window)
        )
        for k in range(3)
    ]
    inner = slice(2, -2)  # Pillow drops taps outside the box's picture; ours replicates
    np.testing.assert_allclose(ours[inner, inner], np.stack(channels, -1)[inner, inner], atol=2e-3)


def test_faces_do_not_depend_on_each_other(frame):
    together = crops.crop(frame, np.array(WINDOWS), size=16)
    for window, one in zip(WINDOWS, together, strict=True):
        np.testing.assert_array_equal(crops.crop(frame, np.array([window]), size=16)[0], one)


def test_crop_affine_without_rotation_is_crop(frame):
    windows = np.array(WINDOWS[:-1])
    for size in (16, 32):
        affine = crops.window_affine(windows, size=size)
        np.testing.assert_allclose(
            crops.crop_affine(frame, affine, size=size), crops.crop(frame, windows, size=size), atol=2e-3
        )


def test_crop_affine_of_quarter_turns_is_a_turned_crop(frame):
    window = np.array([[31.0, 22.0, 47.0, 38.0]])
    upright = crops.crop(frame, window, size=16)[0]
    centre = np.array([38.5, 29.5])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])  # crop x runs down, crop y runs left
    shift = centre - turn @ np.array([7.5, 7.5])
    turned = crops.crop_affine(frame, np.concatenate([turn, shift[:, None]], axis=1)[None], size=16)[0]
    np.testing.assert_allclose(turned, np.rot90(upright), atol=2e-3)


def test_affine_maps_corners_to_corners():
    affine = crops.window_affine(np.array([[10.0, 20.0, 42.0, 52.0]]), size=16)
    corners = np.array([[[-0.5, -0.5], [15.5, 15.5], [7.5, 7.5]]])
    # Edge coordinate 10 is centre coordinate 9.5.
    np.testing.assert_allclose(crops.apply_affine(corners, affine)[0], [[9.5, 19.5], [41.5, 51.5], [25.5, 35.5]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 40.0), st.integers(1, 256))
def test_to_the_crop_and_back_is_the_identity(seed, scale, size):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-500, 2000, (3, 2))
    affine = crops.window_affine(np.concatenate([low, low + scale * size], axis=1), size=size)
    angle = rng.uniform(0, 2 * np.pi)
    affine[:, :, :2] = affine[:, :, :2] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = rng.uniform(-10, size + 10, (3, 68, 2))
    there = crops.apply_affine(points, affine)
    np.testing.assert_allclose(crops.apply_affine(there, crops.invert_affine(affine)), points, atol=1e-6)


def test_only_the_window_is_read():
    """A crop from a 1080p frame must not touch the rest of it: a frame that pretends to be huge stays cheap."""
    row = np.arange(256, dtype=np.uint8)
    endless = np.lib.stride_tricks.as_strided(row, shape=(10**6, 10**6, 3), strides=(0, 0, 1))
    cut = crops.crop(endless, np.array([[5000.0, 6000.0, 5032.0, 6032.0]]), size=16)
    np.testing.assert_allclose(cut, np.broadcast_to([0.0, 1.0, 2.0], cut.shape), atol=1e-5)
