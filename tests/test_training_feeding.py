"""What the papers' networks are fed, against OpenCV, Pillow, the SDK's own functions and hand-made cases."""

import cv2
import numpy as np
import pytest
from PIL import Image

from sdk.errors import InputError
from sdk.image.crop import apply_affine, crop, landmark_box
from sdk.image.metrics import PROTOCOLS, score_pair
from sdk.image.pixels import rgb_to_y
from training.data.feeding import (
    cut_face,
    degrade_pair,
    draw_map,
    face_windows,
    fed_picture,
    moved,
    network_input,
    opencv_weights,
    patches,
)
from training.data.mirror import FLIPS
from training.data.pipelines import PIPELINES, Jitter, pipeline
from training.predictors import enlarge

FACES = [name for name, rule in PIPELINES.items() if rule.hr_px]


def smooth(rng, size):
    """A picture [H, W, 3] without fine detail: it survives reduction."""
    coarse = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def dotted(point, size=128, grey=60, sigma=2.0):
    """A picture with a soft bright spot."""
    y, x = np.mgrid[:size, :size]
    spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
    return np.repeat((grey + 180 * spot + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def centre(picture):
    """Centre of what is brighter than half of the brightest, (x, y)."""
    light = picture.astype(float).mean(axis=2)
    light -= np.median(light)
    light = np.where(light > 0.3 * light.max(), light, 0.0)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_sizes_channels_and_ranges(name):
    rule = pipeline(name)
    rng = np.random.default_rng(1)
    for scale in rule.scales:
        picture = smooth(rng, (rule.hr_px, rule.hr_px) if rule.hr_px else (61, 85))
        pair = degrade_pair(rule, picture, rng, scale=scale)
        h, w = pair.lr.shape[:2]
        assert pair.hr.shape == (h * scale, w * scale, 3) and pair.scale == scale
        batch = network_input(rule, pair.fed[None])
        expected = pair.hr.shape[:2] if rule.enlarged else (h, w)
        assert batch.shape == (1, rule.channels, *expected) and batch.dtype == np.float32
        assert rule.value_range[0] - 0.1 <= batch.min() and batch.max() <= rule.value_range[1] + 0.1
    white = network_input(rule, np.full((1, 4, 4, 3), 255.0))
    assert white.max() == pytest.approx(rule.value_range[1] if rule.colour != "y" else 235 / 255)


def test_colours_of_the_networks():
    red = np.zeros((1, 2, 2, 3))
    red[..., 0] = 255.0
    np.testing.assert_allclose(network_input(pipeline("mtun"), red)[0, :, 0, 0], (-1, -1, 1))  # B, G, R
    np.testing.assert_allclose(network_input(pipeline("fsrnet"), red)[0, :, 0, 0], (1, 0, 0))
    luma = rgb_to_y(red, rounded=False)[0, 0, 0] / 255
    np.testing.assert_allclose(network_input(pipeline("srinc"), red)[0, :, 0, 0], luma, rtol=1e-6)  # float32


def test_jasrnets_enlargement_is_opencvs():
    rng = np.random.default_rng(2)
    lr = rng.integers(0, 256, (16, 16, 3), np.uint8)
    ours = fed_picture(pipeline("jasrnet"), lr, (128, 128))
    theirs = cv2.resize(lr, (128, 128), interpolation=cv2.INTER_CUBIC)
    assert np.abs(ours - theirs).max() <= 1.0  # OpenCV's 8-bit path has weights of 11 bits
    exact = cv2.resize(lr.astype(np.float64), (128, 128), interpolation=cv2.INTER_CUBIC)
    down = opencv_weights(16, 128)
    np.testing.assert_allclose(
        np.einsum("Yy,yxc,Xx->YXc", down, lr.astype(float), down), exact, atol=1e-4
    )  # its floats
    ours = fed_picture(pipeline("fsrnet"), lr, (128, 128))
    np.testing.assert_array_equal(ours, enlarge(lr[None], 8)[0])  # as bicubic stands in every table


@pytest.mark.parametrize("name", FACES)
def test_points_follow_the_augmented_picture(name):
    rule = pipeline(name)
    size = rule.hr_px
    points = np.array([[0.33, 0.4], [0.67, 0.4], [0.5, 0.55], [0.38, 0.68], [0.62, 0.68]]) * (size - 1)
    rng = np.random.default_rng(3)
    kinds = set()
    for draw in range(15):
        point = draw % 5
        pair = degrade_pair(rule, dotted(points[point], size), rng)
        found = moved(points, pair, flip=np.arange(5))
        kinds.add((pair.mirrored, tuple(np.sign(pair.to_hr[:, :2].round(6)).ravel())))
        if found[point].min() > 6 and found[point].max() < size - 7:
            np.testing.assert_allclose(centre(pair.hr), found[point], atol=0.15)  # of a spot cut off at 0.3
        if pair.mirrored:
            np.testing.assert_array_equal(moved(points, pair, flip=FLIPS["5"])[0], found[1])
    assert len(kinds) > 1 or rule.jitter_of == "input"


def test_mtun_moves_the_input_and_leaves_the_truth_upright():
    rule = pipeline("mtun")
    rng = np.random.default_rng(4)
    picture = smooth(rng, (128, 128))
    pairs = [degrade_pair(rule, picture, rng) for _ in range(3)]
    assert all((p.hr == picture).all() and (p.to_hr == np.eye(2, 3)).all() for p in pairs)
    assert np.abs(pairs[0].lr.astype(int) - pairs[1].lr).max() > 20
    still = degrade_pair(rule, picture, rng, augment=False).lr
    theirs = np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(still, theirs)
    move = draw_map(Jitter(0.0, (0.5, 0.5), 0.0), 128, rng)
    np.testing.assert_allclose(move, [[0.5, 0, 31.75], [0, 0.5, 31.75]])  # about the centre, 63.5
    # A pixel of the input lies where the jitter puts the truth's point: a spot moved by the drawn map.
    point = np.array([[70.0, 50.0]])
    for seed in range(3):
        drawn = draw_map(rule.jitter, 128, np.random.default_rng([seed, 7]))
        pair = degrade_pair(rule, dotted(point[0], sigma=10.0), _Replay(seed), scale=8)
        expected = (apply_affine(point[None], drawn[None])[0, 0] + 0.5) / 8.0 - 0.5
        np.testing.assert_allclose(centre(pair.lr), expected, atol=0.15)


class _Replay:
    """A generator that draws what draw_map with seed [seed, 7] does, and no level changes."""

    def __init__(self, seed):
        self.inner = np.random.default_rng([seed, 7])

    def uniform(self, low=0.0, high=1.0, size=None):
        return low if low == high else self.inner.uniform(low, high, size)


def test_windows_of_the_papers():
    box = np.array([[10.0, 20.0, 50.0, 70.0]])  # 40 x 50 about (30, 45)
    np.testing.assert_allclose(face_windows(pipeline("super_fan"), box), [[-2, 13, 62, 77]])  # 64 px: face 50 px high
    np.testing.assert_allclose(face_windows(pipeline("jasrnet"), box), [[0, 15, 60, 75]])
    np.testing.assert_allclose(face_windows(pipeline("fsrnet"), box), [[-10, -5, 70, 95]])
    np.testing.assert_allclose(face_windows(pipeline("mtun"), box), [[35, 55, 142, 188]])
    np.testing.assert_allclose(face_windows(pipeline("srinc"), box), box)
    photo = smooth(np.random.default_rng(5), (100, 90))
    cut = cut_face(pipeline("super_fan"), photo, box[0])
    exact = crop(photo, np.array([[-2.0, 13.0, 62.0, 77.0]]), size=64)[0]
    assert cut.shape == (64, 64, 3) and np.abs(cut - exact).max() <= 0.5
    with pytest.raises(InputError, match="a pipeline that cuts faces"):
        cut_face(pipeline("srinc"), photo, box[0])


def test_real_image_version_blurs_and_compresses_half_of_the_inputs():
    picture = smooth(np.random.default_rng(6), (64, 64))
    rng = np.random.default_rng(7)
    clean = degrade_pair(pipeline("super_fan"), picture, rng, augment=False).lr
    np.testing.assert_array_equal(degrade_pair(pipeline("super_fan_real"), picture, rng, augment=False).lr, clean)
    rule = pipeline("super_fan_real")
    grey = np.full((64, 64, 3), 128, np.uint8)
    gains = {int(np.ptp(degrade_pair(rule, grey, rng).hr[0, 0])) > 2 for _ in range(12)}
    assert gains == {True, False}  # channel gains in about half of them


def test_srinc_leaves_out_patches_that_bicubic_solves():
    rule = pipeline("srinc")
    rng = np.random.default_rng(8)
    picture = np.concatenate(
        [np.full((104, 104, 3), 90, np.uint8), rng.integers(0, 256, (104, 104, 3), np.uint8)], axis=1
    )
    pair = degrade_pair(rule, picture, rng, scale=2, augment=False)
    kept = patches(rule, pair)
    flat = [x for _, x in kept if x.stop <= 100]
    assert kept and not flat and all(y.stop - y.start == x.stop - x.start == 51 for y, x in kept)
    assert {y.start for y, _ in kept} == {0, 26, 52} and all(x.start % 26 == 0 for _, x in kept)
    assert patches(pipeline("jasrnet"), degrade_pair(pipeline("jasrnet"), smooth(rng, (128, 128)), rng)) == [
        (slice(0, 128), slice(0, 128))
    ]
    score = score_pair(
        pair.fed.round().clip(0, 255).astype(np.uint8), pair.hr, PROTOCOLS["srinc"], points=None, scale=2
    )
    assert score[0] < 35.12


def test_wrong_pictures_and_names():
    rng = np.random.default_rng(9)
    for picture in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((32, 32, 3), np.uint8)):
        with pytest.raises(InputError):
            degrade_pair(pipeline("super_fan"), picture, rng)
    with pytest.raises(InputError, match=r"scale of \(4,\)"):
        degrade_pair(pipeline("super_fan"), np.zeros((64, 64, 3), np.uint8), rng, scale=8)
    with pytest.raises(InputError, match="'fsrnet'"):
        pipeline("fsr")
    with pytest.raises(InputError):
        face_windows(pipeline("fsrnet"), np.array([[5.0, 5.0, 1.0, 9.0]]))


def test_a_cut_and_its_points_agree():
    points = np.array([[40.0, 30.0], [80.0, 30.0], [60.0, 70.0]])
    window = face_windows(pipeline("jasrnet"), landmark_box(points[None]))
    step = (window[0, 2:] - window[0, :2]) / 128
    found = (points + 0.5 - window[0, :2]) / step - 0.5
    cut = cut_face(pipeline("jasrnet"), dotted(points[2]), landmark_box(points[None])[0])
    np.testing.assert_allclose(centre(cut), found[2], atol=0.1)
