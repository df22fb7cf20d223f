"""Pictures in and out of networks: literals, round trips, scikit-image and torch as outside references."""

import numpy as np
import pytest
import skimage.color
import skimage.data

from sdk.errors import InputError
from sdk.image.pixels import (
    as_rgb8,
    from_network,
    pixel_shuffle,
    pixel_unshuffle,
    rgb_to_y,
    rgb_to_ycbcr,
    to_network,
    ycbcr_to_rgb,
)
from sdk.image.resample import resize
from sdk.spec import ModelSpec


def spec(**fields):
    return ModelSpec(**({"name": "test", "lr_size": 4, "scale": 2} | fields))


RGB = spec()
BGR = spec(colour="bgr", value_range=(-1.0, 1.0))
RAW = spec(value_range=(0.0, 255.0), mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
LUMA = spec(channels=1, colour="y", input_upscaled=True)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)


def test_pictures_of_every_kind(noise):
    grey = noise[:, :, 0]
    assert as_rgb8(noise) is noise or np.shares_memory(as_rgb8(noise), noise)
    np.testing.assert_array_equal(as_rgb8(noise, color="bgr"), noise[:, :, ::-1])
    np.testing.assert_array_equal(as_rgb8(grey), np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(as_rgb8(grey[:, :, None]), np.stack([grey] * 3, axis=2))
    alpha = np.concatenate([noise, np.zeros((5, 6, 1), np.uint8)], axis=2)
    np.testing.assert_array_equal(as_rgb8(alpha), noise)
    np.testing.assert_array_equal(as_rgb8(alpha, color="bgr"), noise[:, :, ::-1])
    np.testing.assert_array_equal(as_rgb8(noise.astype(np.uint16) * 257), noise)
    np.testing.assert_array_equal(as_rgb8(noise / np.float64(255.0)), noise)
    np.testing.assert_array_equal(as_rgb8((noise / 255.0).astype(np.float32)), noise)
    np.testing.assert_array_equal(as_rgb8(grey > 99)[:, :, 1], np.where(grey > 99, 255, 0))


def test_sixteen_bits_are_rounded_to_the_nearest_level():
    levels = np.array([[0, 128, 129, 257, 65535, 65535 - 129]], dtype=np.uint16)
    assert as_rgb8(levels)[0, :, 0].tolist() == [0, 0, 1, 1, 255, 254]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int32),
        np.zeros((4, 4, 3), np.complex64),
        np.full((4, 4, 3), np.nan, np.float32),
        np.full((4, 4, 3), np.inf, np.float32),
        np.full((4, 4, 3), 255.0, np.float32),
        np.full((4, 4, 3), -0.1),
    ],
)
def test_other_pictures_are_refused(bad):
    with pytest.raises(InputError, match="expected .*; got .*; "):
        as_rgb8(bad)


def test_unknown_colour_order_is_refused(noise):
    with pytest.raises(InputError, match="hsv"):
        as_rgb8(noise, color="hsv")


def test_luminance_of_black_white_and_red():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], dtype=np.uint8)
    np.testing.assert_allclose(rgb_to_y(colours, rounded=False), [16.0, 235.0, 81.481], atol=1e-9)
    assert rgb_to_y(colours, rounded=True).tolist() == [16.0, 235.0, 81.0]


def test_colour_conversion_equals_scikit_image():
    picture = skimage.data.astronaut()[::7, ::5]
    expected = skimage.color.rgb2ycbcr(picture)
    np.testing.assert_allclose(rgb_to_ycbcr(picture), expected, atol=1e-3)  # float32 of values up to 240
    np.testing.assert_allclose(rgb_to_y(picture, rounded=False), expected[..., 0], atol=1e-9)
    np.testing.assert_allclose(ycbcr_to_rgb(rgb_to_ycbcr(picture)), picture, atol=1e-3)


def test_network_input_by_hand():
    crops = np.zeros((1, 1, 2, 3), dtype=np.float32)
    crops[0, 0, 0] = (255.0, 51.0, 0.0)
    np.testing.assert_allclose(to_network(crops, RGB)[0, :, 0, 0], [1.0, 0.2, 0.0], atol=1e-6)
    np.testing.assert_allclose(to_network(crops, BGR)[0, :, 0, 0], [-1.0, -0.6, 1.0], atol=1e-6)
    np.testing.assert_allclose(to_network(crops, RAW)[0, :, 0, 0], [122.5, 7.75, -3.75], atol=1e-5)


def test_network_input_is_contiguous_and_new():
    crops = np.random.default_rng(1).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    kept = crops.copy()
    for one in (RGB, BGR, RAW, LUMA):
        planes = to_network(crops, one)
        assert planes.dtype == np.float32 and planes.flags.c_contiguous and not np.shares_memory(planes, crops)
        planes[:] = 7
    np.testing.assert_array_equal(crops, kept)


def test_enlarged_input_is_the_resize_of_this_package():
    crops = np.random.default_rng(2).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    planes = to_network(crops, spec(input_upscaled=True))
    np.testing.assert_allclose(planes, np.moveaxis(resize(crops, (8, 8)), 3, 1) / 255.0, atol=1e-6)
    luma = to_network(crops, LUMA)
    assert luma.shape == (2, 1, 8, 8)
    np.testing.assert_allclose(luma[:, 0], rgb_to_y(resize(crops, (8, 8)), rounded=False) / 255.0, atol=1e-6)


def test_network_output_by_hand():
    sr = np.array([-0.5, 0.0, 0.5 / 255 - 1e-6, 0.5 / 255 + 1e-6, 1.0, 7.0], dtype=np.float32)
    levels = from_network(np.broadcast_to(sr, (1, 3, 1, 6)), RGB)
    assert levels.dtype == np.uint8 and levels.shape == (1, 1, 6, 3)
    assert levels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_nan_and_infinite_outputs_have_a_defined_level():
    sr = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)
    assert from_network(np.broadcast_to(sr, (1, 3, 1, 3)), RGB)[0, 0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("one", [RGB, BGR, spec(value_range=(0.0, 255.0))])
def test_in_and_out_again_is_the_identity(one):
    levels = np.random.default_rng(3).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    planes = to_network(levels.astype(np.float32), one)
    kept = planes.copy()
    np.testing.assert_array_equal(from_network(planes, one), levels)
    np.testing.assert_array_equal(planes, kept)


def test_luminance_network_gets_its_colours_from_the_small_picture():
    small = skimage.data.astronaut()[100:140:5, 200:240:5].astype(np.float32)[None]  # [1, 8, 8, 3]
    enlarged = to_network(small, LUMA)
    picture = from_network(enlarged, LUMA, lr=small)
    expected = np.clip(resize(small, (16, 16)), 0, 255)
    assert np.abs(picture - expected).max() <= 0.51  # nothing but rounding
    with pytest.raises(InputError, match="lr=crops"):
        from_network(enlarged, LUMA)


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError):
        to_network(np.zeros((1, 4, 4, 3), np.uint8), RGB)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        from_network(np.zeros((1, 1, 4, 4), np.float32), RGB)
    with pytest.raises(InputError):
        pixel_shuffle(np.zeros((1, 5, 4, 4)), 2)
    with pytest.raises(InputError):
        pixel_unshuffle(np.zeros((1, 1, 5, 4)), 2)


def test_pixel_shuffle_by_hand():
    planes = np.arange(4).reshape(1, 4, 1, 1)
    assert pixel_shuffle(planes, 2)[0, 0].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("r", [1, 2, 3, 8])
def test_pixel_shuffle_equals_torch_and_is_undone(r):
    torch = pytest.importorskip("torch")
    planes = np.random.default_rng(4).random((2, 3 * r * r, 4, 5), dtype=np.float32)
    shuffled = pixel_shuffle(planes, r)
    np.testing.assert_array_equal(shuffled, torch.nn.functional.pixel_shuffle(torch.from_numpy(planes), r).numpy())
    np.testing.assert_array_equal(pixel_unshuffle(shuffled, r), planes)
