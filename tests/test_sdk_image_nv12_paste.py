"""Pasting into NV12: a case by hand, identities, the RGB paste as the reference."""

import numpy as np
import pytest
from test_sdk_image_nv12 import each_kind, encoded, flat, smooth
from test_sdk_image_paste import oval

from sdk.image.crop import crop, window_affine
from sdk.image.nv12 import Nv12Frame, convert, crop_nv12, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from sdk.image.nv12_paste import paste_nv12
from sdk.image.paste import paste


def bytes_of(frame):
    return frame.y.copy(), frame.uv.copy()


@each_kind
def test_a_flat_face_by_hand(matrix, full, siting):
    frame = flat((100, 90, 140), matrix=matrix, full_range=full, siting=siting)
    face = np.broadcast_to(np.array([200, 120, 60], np.uint8), (1, 20, 20, 3))
    paste_nv12(
        frame, face, window_affine(np.array([[10.0, 10.0, 30.0, 30.0]]), size=20), color_match=False, feather=0.1
    )
    wanted = np.floor(convert(np.array([200.0, 120, 60]), rgb_to_yuv_matrix(matrix, full_range=full)) + 0.5)
    assert np.all(frame.y[12:28, 12:28] == wanted[0])
    # Pixel 10 is half a pixel inside an edge of 2 px: smoothstep(0.25) = 0.15625, as in the RGB paste.
    assert abs(frame.y[20, 10] - (100 + (wanted[0] - 100) * 0.15625)) <= 1
    assert frame.y[20, 9] == 100 and frame.y[20, 30] == 100
    assert np.all(frame.uv[7:13, 7:13] == wanted[1:])
    # Chroma column 5 stands for pixels 10 and 11 (masks 0.15625, 0.84375) and, sited left, a quarter of pixel 9 (0).
    cover = 0.25 * 0.84375 + 0.5 * 0.15625 if siting == "left" else 0.5 * (0.15625 + 0.84375)
    assert np.abs(frame.uv[10, 5] - (np.array([90, 140]) * (1 - cover) + wanted[1:] * cover)).max() <= 1
    assert frame.uv[10, 4].tolist() == [90, 140]
    assert (frame.uv[10, 15].tolist() == [90, 140]) == (siting == "center")  # pixel 29's edge reaches column 15


def test_nothing_to_paste_changes_no_byte():
    frame = encoded(smooth(), matrix="bt709", full_range=False)
    before = bytes_of(frame)
    face, affine = np.zeros((1, 16, 16, 3), np.uint8), window_affine(np.array([[20.0, 20, 60, 60]]), size=16)
    paste_nv12(frame, face, affine, strength=0.0)
    paste_nv12(frame, face[:0], affine[:0])
    paste_nv12(frame, face, affine + 1e4)
    paste_nv12(frame, face, affine * np.nan)
    paste_nv12(frame, face, affine, landmarks=np.full((1, 68, 2), np.nan))
    for plane, kept in zip((frame.y, frame.uv), before, strict=True):
        np.testing.assert_array_equal(plane, kept)


@pytest.mark.parametrize("siting", ["left", "center"])
def test_pasting_a_crop_back_changes_little_and_nothing_outside(siting):
    frame = encoded(smooth(), matrix="bt709", full_range=False, siting=siting)
    before = bytes_of(frame)
    window = np.array([[60.0, 50.0, 124.0, 114.0]])
    face = np.floor(crop_nv12(frame, window, size=64) + 0.5).astype(np.uint8)
    paste_nv12(frame, face, window_affine(window, size=64), landmarks=oval(np.array([92.0, 84.0]), 20.0)[None])
    assert np.abs(frame.y.astype(int) - before[0]).max() <= 2 and np.abs(frame.uv.astype(int) - before[1]).max() <= 2
    for plane, kept, scale in ((frame.y, before[0], 1), (frame.uv, before[1], 2)):
        plane[50 // scale : 115 // scale, 60 // scale : 125 // scale] = 0
        kept[50 // scale : 115 // scale, 60 // scale : 125 // scale] = 0
        np.testing.assert_array_equal(plane, kept)


@each_kind
def test_equals_the_rgb_paste_on_smooth_pictures(matrix, full, siting):
    picture = smooth(seed=4)
    frame = encoded(picture, matrix=matrix, full_range=full, siting=siting)
    rgb = np.floor(picture + 0.5).astype(np.uint8)
    windows = np.array([[60.0, 50.0, 130.0, 120.0], [100.4, 80.6, 170.4, 150.6], [-20.0, 180.0, 60.0, 260.0]])
    faces = np.floor(crop(rgb, windows + 15.0, size=48) * 0.9 + 10).astype(np.uint8)
    maps = window_affine(windows, size=48)
    paste_nv12(frame, faces, maps, feather=0.3)
    wanted = paste(rgb, faces, maps, feather=0.3)
    ours = crop_nv12(frame, np.array([[0.0, 0.0, 320.0, 320.0]]), size=320)[0, :240]
    difference = np.abs(ours - wanted)
    # Two roundings of Y and chroma (see the crops' test) and the mask at half rate on chroma.
    assert difference.max() < 8.0 and difference.mean() < 0.8, (difference.max(), difference.mean())


def test_odd_frames_keep_their_last_row_and_column_in_step():
    y, uv = np.full((41, 51), 100, np.uint8), np.full((21, 26, 2), 128, np.uint8)
    frame = Nv12Frame(y, uv, matrix="bt601", full_range=True)
    face = np.full((1, 16, 16, 3), (255, 0, 0), np.uint8)
    paste_nv12(frame, face, window_affine(np.array([[30.0, 20, 80, 70]]), size=16), color_match=False)
    red = convert(np.array([255.0, 0, 0]), rgb_to_yuv_matrix("bt601", full_range=True))
    assert frame.y[40, 50] == round(float(red[0])) and frame.uv[20, 25].tolist() == [round(float(red[1])), 255]


def test_colour_match_takes_the_frames_colours():
    frame = flat((120, 110, 150), matrix="bt601")
    face = np.random.default_rng(0).integers(60, 90, (1, 24, 24, 3), dtype=np.uint8)
    before = convert(np.array([120.0, 110, 150]), yuv_to_rgb_matrix("bt601", full_range=False))
    paste_nv12(frame, face, window_affine(np.array([[5.0, 5, 35, 35]]), size=24))
    assert crop_nv12(frame, np.array([[12.0, 12, 28, 28]]), size=1)[0, 0, 0] == pytest.approx(before, abs=4.0)
