"""NV12 crops and pasting: colours by hand, exact identities, OpenCV's whole-frame conversion as the reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sdk.errors import InputError
from sdk.image.crop import crop, crop_affine, window_affine
from sdk.image.nv12 import Nv12Frame, convert, crop_affine_nv12, crop_nv12, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from sdk.image.nv12_paste import paste_nv12

KINDS = [
    (matrix, full, siting) for matrix in ("bt601", "bt709") for full in (False, True) for siting in ("left", "center")
]
each_kind = pytest.mark.parametrize(("matrix", "full", "siting"), KINDS)


def flat(yuv, height=40, width=50, **kind):
    y = np.full((height, width), yuv[0], np.uint8)
    uv = np.broadcast_to(np.array(yuv[1:], np.uint8), (-(-height // 2), -(-width // 2), 2)).copy()
    return Nv12Frame(y, uv, **kind)


def smooth(height=240, width=320, seed=0):
    """A smooth RGB picture, float64 0..255: no detail that chroma at half rate would lose."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    waves = ndimage.gaussian_filter(noise, (24, 24, 0))
    return 128.0 + 90.0 * waves / np.abs(waves).max()


def encoded(rgb, *, siting="left", **kind):
    """An NV12 frame of a picture: chroma filtered to its sites, everything rounded."""
    yuv = rgb @ rgb_to_yuv_matrix(**kind)[:, :3].T + rgb_to_yuv_matrix(**kind)[:, 3]
    rows = 0.5 * (yuv[::2] + yuv[1::2])
    before = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
    left = 0.25 * before + 0.5 * rows[:, ::2] + 0.25 * rows[:, 1::2]
    chroma = left if siting == "left" else 0.5 * (rows[:, ::2] + rows[:, 1::2])
    planes = [np.clip(np.floor(p + 0.5), 0, 255).astype(np.uint8) for p in (yuv[..., 0], chroma[..., 1:])]
    return Nv12Frame(*planes, siting=siting, **kind)


def test_colours_by_hand():
    limited = yuv_to_rgb_matrix("bt601", full_range=False)
    assert convert(np.array([16.0, 128, 128]), limited) == pytest.approx([0, 0, 0], abs=1e-4)
    assert convert(np.array([235.0, 128, 128]), limited) == pytest.approx([255, 255, 255], abs=1e-4)
    # Red in BT.601: Y = 16 + 0.299 * 219, Cb = 128 - 0.299 / 1.772 * 224, Cr = 128 + 112.
    red = convert(np.array([255.0, 0, 0]), rgb_to_yuv_matrix("bt601", full_range=False))
    assert red == pytest.approx([81.481, 90.203, 240.0], abs=2e-3)
    full = convert(np.array([0.0, 0, 255]), rgb_to_yuv_matrix("bt709", full_range=True))
    assert full == pytest.approx([0.0722 * 255, 255.5, 128 - 0.0722 / 1.5748 * 255], abs=2e-3)


@each_kind
def test_a_flat_frame_gives_its_colour_everywhere(matrix, full, siting):
    frame = flat((120, 100, 150), matrix=matrix, full_range=full, siting=siting)
    colour = convert(np.array([120.0, 100, 150]), yuv_to_rgb_matrix(matrix, full_range=full))
    windows = np.array([[3.2, 4.1, 20.9, 21.8], [-30, -30, 90, 90], [200, 200, 230, 230.0], [7, 7, 9, 9]])
    assert np.abs(crop_nv12(frame, windows, size=8) - colour).max() < 1e-3  # float32 sums of 255
    assert np.abs(crop_affine_nv12(frame, window_affine(windows[:1], size=8), size=8) - colour).max() < 1e-3


@pytest.mark.parametrize("siting", ["left", "center"])
def test_chroma_lies_where_its_siting_says(siting):
    uv = np.zeros((10, 10, 2), np.uint8)
    uv[...] = 128
    uv[5, 4, 1] = 228  # its centre: x = 8.5 or 9 at the left edge of pixel 9, y = 11
    frame = Nv12Frame(np.full((20, 20), 100, np.uint8), uv, matrix="bt601", full_range=True, siting=siting)
    red = crop_nv12(frame, np.array([[0.0, 0.0, 20.0, 20.0]]), size=20)[0, :, :, 0] - 100.0  # pixel by pixel
    centre = (red * (np.arange(20) + 0.5)).sum() / red.sum(), (red * (np.arange(20) + 0.5)[:, None]).sum() / red.sum()
    assert centre == pytest.approx((8.5 if siting == "left" else 9.0, 11.0), abs=1e-4)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("siting", ["left", "center"])
def test_crops_equal_those_of_the_picture_that_was_encoded(matrix, full, siting):
    picture = smooth()
    frame = encoded(picture, matrix=matrix, full_range=full, siting=siting)
    windows = np.array([[40.3, 50.2, 104.9, 114.8], [100.5, 90.5, 116.5, 106.5], [20.0, 10.0, 84.0, 74.0]])
    ours = crop_nv12(frame, windows, size=16)
    direct = crop(np.floor(picture + 0.5).astype(np.uint8), windows, size=16)
    # Y rounds by half a level (x 255/219), chroma by half (x up to 2.12), the picture itself by half; and a triangle of
    # 4 px loses (4 * 4 / 6) / 2 of a second derivative of up to 0.37 levels/px2, half a level.
    assert np.abs(ours - direct).max() < 0.5 * 1.17 + 0.5 * 2.12 + 0.5 + 0.5
    assert np.abs(ours - direct).mean() < 0.5


def test_crops_equal_opencv_on_a_smooth_frame():
    frame = encoded(smooth(seed=3), matrix="bt601", full_range=False, siting="center")
    whole = cv2.cvtColorTwoPlane(frame.y, frame.uv, cv2.COLOR_YUV2RGB_NV12)
    window = np.array([[60.0, 40.0, 124.0, 104.0]])
    difference = crop_nv12(frame, window, size=16) - crop(whole, window, size=16)
    assert (
        np.abs(difference).max() < 0.5 + 0.6
    )  # OpenCV's rounding; the triangle's loss, its nearest chroma averaged over 4 x 4 pixels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_affine_without_rotation_is_the_window(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 60, 2)
    y = rng.integers(0, 256, (height, width), dtype=np.uint8)
    uv = rng.integers(0, 256, (-(-height // 2), -(-width // 2), 2), dtype=np.uint8)
    frame = Nv12Frame(y, uv, siting=str(rng.choice(["left", "center"])))
    low, side = rng.uniform(-20, 60, 2), rng.uniform(2, 80)
    window = np.concatenate([low, low + side])[None]
    assert (
        np.abs(crop_affine_nv12(frame, window_affine(window, size=9), size=9) - crop_nv12(frame, window, size=9)).max()
        < 5e-3
    )  # float32 sums of up to 40 x 40 taps of 255


def test_grey_crops_are_those_of_the_luma():
    y = np.random.default_rng(1).integers(0, 256, (61, 81), dtype=np.uint8)
    frame = Nv12Frame(y, np.full((31, 41, 2), 128, np.uint8), full_range=True)
    windows = np.array([[5.5, 6.5, 40.1, 41.1]])
    turned = window_affine(windows, size=12) + np.array([[0.0, 0.3, 0.0], [-0.3, 0.0, 9.0]])
    grey = np.repeat(y[:, :, None], 3, axis=2)
    np.testing.assert_allclose(crop_nv12(frame, windows, size=12), crop(grey, windows, size=12), atol=2e-3)
    np.testing.assert_allclose(crop_affine_nv12(frame, turned, size=12), crop_affine(grey, turned, size=12), atol=2e-3)


def test_bad_frames_and_windows_are_refused():
    good = flat((16, 128, 128))
    for make in (
        lambda: Nv12Frame(good.y, good.uv[:-1]),
        lambda: Nv12Frame(good.y.astype(np.float32), good.uv),
        lambda: Nv12Frame(good.y[:0], good.uv[:0]),
        lambda: Nv12Frame(good.y, good.uv, matrix="bt2020"),
        lambda: Nv12Frame(good.y, good.uv, siting="top"),
        lambda: crop_nv12(good, np.array([[0.0, 0, np.nan, 1]]), size=4),
        lambda: crop_nv12(good, np.array([[0.0, 0, 1e9, 1e9]]), size=4),
        lambda: crop_affine_nv12(good, np.zeros((1, 2, 3)), size=4),
        lambda: paste_nv12(good, np.zeros((1, 4, 4, 3), np.uint8), np.zeros((2, 2, 3))),
        lambda: paste_nv12(good, np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 2, 3)), strength=2.0),
    ):
        with pytest.raises(InputError, match="expected .*; got .*; "):
            make()
