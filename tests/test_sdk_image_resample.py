"""Resizing: literals, Pillow as the outside reference, properties."""

import numpy as np
import pytest
from PIL import Image

from sdk.image.resample import bicubic_kernel, resample_weights, resize, round_8bit, rows_before_columns

PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def pillow_resize(image, size_hw, kernel="bicubic"):
    return np.asarray(Image.fromarray(image).resize(size_hw[::-1], PILLOW[kernel]))


def levels_apart(image, size_hw, kernel="bicubic"):
    ours = resize(image, size_hw, kernel=kernel).astype(int)
    return int(np.abs(ours - pillow_resize(image, size_hw, kernel)).max())


def test_kernel_values_by_hand():
    # Keys 1981 with a = -1/2: 1.5 d^3 - 2.5 d^2 + 1 inside, -0.5 d^3 + 2.5 d^2 - 4 d + 2 outside.
    values = bicubic_kernel(np.array([0.0, 0.5, 1.0, 1.5, 2.0, -0.5, 3.0]))
    np.testing.assert_allclose(values, [1.0, 0.5625, 0.0, -0.0625, 0.0, 0.5625, 0.0], atol=1e-15)


def test_enlarging_two_pixels_by_hand():
    # Output 0 of 4 has its centre at 0.25 input px, 0.25 and 1.25 px from the pixel centres 0.5 and 1.5.
    near, far = 0.8671875, -0.0703125
    np.testing.assert_allclose(resample_weights(2, 4)[0], np.array([near, far]) / (near + far), atol=1e-15)


def test_replicate_gives_outside_taps_to_the_edge():
    # A window of two pixels wholly left of the input sees nothing but pixel 0.
    weights = resample_weights(4, 2, start=-6.0, stop=-4.0, edge="replicate")
    np.testing.assert_allclose(weights, [[1, 0, 0, 0], [1, 0, 0, 0]], atol=1e-15)


def test_equal_to_pillow_on_noise_of_random_sizes():
    rng = np.random.default_rng(7)
    worst = 0
    for _ in range(400):
        rows, columns, *size = (int(n) for n in rng.integers(1, 90, 4))
        image = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        worst = max(worst, levels_apart(image, tuple(size)))
    assert worst <= 1, worst


@pytest.mark.parametrize(
    ("size_in", "size_out"),
    [
        ((29, 43), (14, 25)),  # columns first although the rows shrink by the larger factor
        ((58, 64), (50, 58)),
        ((67, 18), (31, 8)),  # rows first: 36 rows lost, 10 columns
        ((40, 20), (20, 20)),  # one pass only
        ((33, 70), (66, 10)),
        ((256, 256), (16, 16)),
        ((16, 16), (128, 128)),
        ((480, 641), (97, 33)),
    ],
)
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_equal_to_pillow(size_in, size_out, kernel):
    image = np.random.default_rng(1).integers(0, 256, (*size_in, 3), dtype=np.uint8)
    assert levels_apart(image, size_out, kernel) <= 1


def test_order_of_the_passes():
    assert rows_before_columns((67, 18), (31, 8))  # 36 > 2 * 10
    assert not rows_before_columns((29, 43), (14, 25))  # 15 < 2 * 18
    assert not rows_before_columns((20, 50), (40, 10))  # rows do not shrink
    assert rows_before_columns((20, 50), (19, 50))


def test_floats_are_neither_rounded_nor_clipped():
    step = np.zeros((1, 8, 1), dtype=np.float32)
    step[:, 4:] = 1.0
    wide = resize(step, (1, 32))
    assert wide.dtype == np.float32
    assert wide.min() < -0.01 and wide.max() > 1.01  # the cubic overshoots


def test_batch_axes_and_channels_are_independent():
    rng = np.random.default_rng(2)
    batch = rng.integers(0, 256, (2, 3, 20, 30, 4), dtype=np.uint8)
    out = resize(batch, (7, 41))
    assert out.shape == (2, 3, 7, 41, 4) and out.dtype == np.uint8
    one = resize(np.ascontiguousarray(batch[1, 2, :, :, 3:]), (7, 41))
    np.testing.assert_array_equal(out[1, 2, :, :, 3:], one)


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (16, 128), (128, 16), (13, 7), (7, 13)])
@pytest.mark.parametrize("edge", ["renormalise", "replicate"])
def test_weights_keep_flat_pictures_flat(n_in, n_out, edge):
    weights = resample_weights(n_in, n_out, edge=edge)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)  # mirror symmetry


def test_same_size_is_the_identity():
    image = np.random.default_rng(3).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(image, (9, 11)), image)


def dihedral(image, k):
    """One of the eight flips and turns of the last three axes H, W, C."""
    return np.rot90(image[:, ::-1] if k >= 4 else image, k % 4)


def undo(image, k):
    turned = np.rot90(image, -(k % 4))
    return turned[:, ::-1] if k >= 4 else turned


def test_eight_fold_average_of_bicubic_enlarging_is_bicubic_enlarging():
    """PAPERS.md 11.8: test-time augmentation of an equivariant operator gives the operator."""
    image = np.random.default_rng(4).random((16, 16, 3), dtype=np.float32)
    once = resize(image, (128, 128))
    mean = np.mean([undo(resize(dihedral(image, k), (128, 128)), k) for k in range(8)], axis=0)
    np.testing.assert_allclose(mean, once, atol=4e-6)  # a few float32 roundings of values up to about 1.5


def test_rounding_is_half_up_and_clipped():
    values = np.array([-3.0, 0.49, 0.5, 1.5, 2.5, 254.5, 255.4, 300.0], dtype=np.float32)
    assert round_8bit(values).tolist() == [0, 0, 1, 2, 3, 255, 255, 255]


@pytest.mark.parametrize(
    "options",
    [
        {"n_in": 0, "n_out": 4},
        {"n_in": 4, "n_out": 0},
        {"n_in": 4, "n_out": 4, "start": 2.0, "stop": 2.0},
        {"n_in": 4, "n_out": 4, "kernel": "lanczos"},
        {"n_in": 4, "n_out": 4, "edge": "wrap"},
    ],
)
def test_bad_sizes_and_names_are_refused(options):
    with pytest.raises(ValueError, match="expected .* got .*; pass|expected .* got .*; pick"):
        resample_weights(**options)


def test_a_picture_without_channels_is_refused():
    with pytest.raises(ValueError, match="add a channel axis"):
        resize(np.zeros((4, 4), dtype=np.uint8), (2, 2))
