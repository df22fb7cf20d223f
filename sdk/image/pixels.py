"""Pictures of callers, arrays of networks, colour spaces, pixel shuffle. The only conversion there is: training,
calibration and runtime call the same functions. Reference of kernels/image_tail.cu.

Grey levels are 0..255 in float32 as in uint8; rounding is half up everywhere.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, ModelError
from sdk.image.resample import resize
from sdk.spec import ModelSpec

COLOURS = ("rgb", "bgr")
Scalar = TypeVar("Scalar", bound=np.generic)
Float32 = npt.NDArray[np.float32]

# BT.601, limited range, on R, G, B in 0..255: Y in 16..235, Cb and Cr in 16..240.
YCBCR_FROM_RGB = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255.0
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])
RGB_FROM_YCBCR = np.linalg.inv(YCBCR_FROM_RGB)


def as_rgb8(
    image: npt.NDArray[np.generic],  # [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]
    *,
    color: str = "rgb",
) -> npt.NDArray[np.uint8]:  # [H, W, 3]
    """Any picture as RGB uint8 [H, W, 3]; grey is repeated, alpha dropped.

    uint8 as it is, uint16 scaled by 1/257, bool as 0 and 255, floats from [0, 1]. `color` names the order of 3 or 4
    channels, "rgb" or "bgr". May share memory with `image` when nothing had to change.

    Raises:
        InputError: another shape or dtype, no pixels, a float that is NaN, Inf or outside [0, 1], unknown color.
    """
    if color not in COLOURS:
        raise InputError(f"a color of {COLOURS}", repr(color), "name the order of the picture's channels")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        got = f"shape {image.shape}"
        raise InputError("a picture [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]", got, "pass one picture at a time")
    levels = _as_uint8(image[:, :, :3])
    if levels.shape[2] == 1:
        return np.repeat(levels, 3, axis=2)
    return levels[:, :, ::-1] if color == "bgr" else levels


def _as_uint8(image: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype.kind != "f":
        remedy = "convert it to uint8 in 0..255 or float in 0..1"
        raise InputError("a picture of uint8, uint16, bool or float", f"{image.dtype}", remedy)
    values = image.astype(np.float32)
    low, high = float(values.min()), float(values.max())  # NaN if any is NaN
    if not (low >= 0.0 and high <= 1.0):
        got = f"values from {low:g} to {high:g}"
        raise InputError("a float picture in [0, 1] without NaN or Inf", got, "divide by its white level")
    return (values * 255.0 + 0.5).astype(np.uint8)


def rgb_to_ycbcr(
    rgb: npt.NDArray[np.generic],  # [..., 3] uint8 or float, 0..255
) -> Float32:
    """BT.601 limited range: Y in 16..235, Cb and Cr in 16..240, float32 [..., 3], not rounded."""
    return rgb.astype(np.float32) @ YCBCR_FROM_RGB.T.astype(np.float32) + YCBCR_OFFSET.astype(np.float32)


def ycbcr_to_rgb(
    ycbcr: npt.NDArray[np.generic],  # [..., 3] as rgb_to_ycbcr gives
) -> Float32:
    """Inverse of rgb_to_ycbcr: float32 [..., 3], about 0..255, not rounded or clipped."""
    return np.matmul(ycbcr.astype(np.float32) - YCBCR_OFFSET.astype(np.float32), RGB_FROM_YCBCR.T.astype(np.float32))


def rgb_to_y(
    rgb: npt.NDArray[np.generic],  # [..., 3] uint8 or float, 0..255
    *,
    rounded: bool,
) -> npt.NDArray[np.float64]:
    """Luminance of BT.601 limited range, 16..235, float64 [...]; rounded: to whole levels, half up (as MATLAB)."""
    luma = rgb.astype(np.float64) @ YCBCR_FROM_RGB[0] + YCBCR_OFFSET[0]
    return np.floor(luma + 0.5) if rounded else luma


def to_network(
    crops: Float32,  # [N, h, w, 3] RGB, 0..255
    spec: ModelSpec,
) -> Float32:  # [N, C, h', w']
    """The network's input: enlarged when the spec says so, its channels, range, mean and std. A new array.

    Raises:
        InputError: crops of another shape or dtype.
    """
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.float32:
        got = f"{crops.dtype} of shape {crops.shape}"
        raise InputError("crops float32 [N, h, w, 3]", got, "cut them with sdk.image.crop.crop")
    rows, columns = crops.shape[1:3]
    work = crops
    if spec.input_upscaled:
        work = resize(work, (rows * spec.scale, columns * spec.scale))
    work = _network_colours(work, spec)
    low, high = spec.value_range
    gain = (high - low) / 255.0 / np.asarray(spec.std)  # [C] or [1]
    shift = (low - np.asarray(spec.mean)) / np.asarray(spec.std)
    return _affine_channels(np.moveaxis(work, 3, 1), gain, shift)


def _network_colours(rgb: Float32, spec: ModelSpec) -> Float32:
    """RGB [N, h, w, 3] in the spec's channels [N, h, w, C], still 0..255."""
    if spec.colour == "y":
        return rgb_to_y(rgb, rounded=False)[..., None].astype(np.float32)
    return rgb[..., ::-1] if spec.colour == "bgr" else rgb


def _affine_channels(
    planes: Float32,  # [N, C, H, W]
    gain: npt.NDArray[np.float64],  # [C] or [1]
    shift: npt.NDArray[np.float64],  # [C] or [1]
) -> Float32:
    out = np.multiply(planes, gain.astype(np.float32)[:, None, None], order="C")
    if shift.any():
        out += shift.astype(np.float32)[:, None, None]
    return out


def from_network(
    sr: Float32,  # [N, C, H, W]
    spec: ModelSpec,
    *,
    lr: Float32 | None = None,  # [N, h, w, 3] RGB 0..255, needed by luminance networks alone
) -> npt.NDArray[np.uint8]:  # [N, H, W, 3]
    """The network's picture as RGB uint8: clipped, rounded half up; NaN becomes 0. A new array.

    Luminance networks get Cb and Cr from `lr`, enlarged by bicubic.

    Raises:
        InputError: another number of channels than the spec's, or no `lr` for a luminance network.
    """
    if sr.ndim != 4 or sr.shape[1] != spec.channels:
        expected = f"a network output [N, {spec.channels}, H, W]"
        raise InputError(expected, f"shape {sr.shape}", "check that the spec belongs to the model")
    low, high = spec.value_range
    gain, shift = np.full(1, 255.0 / (high - low)), np.full(1, -low * 255.0 / (high - low))
    levels = _affine_channels(sr.astype(np.float32, copy=False), gain, shift)
    if spec.colour != "y":
        planes = _to_levels(levels)
        return _interleaved(planes[:, ::-1] if spec.colour == "bgr" else planes)
    if lr is None:
        raise InputError("the low-resolution crops for a luminance network", "lr=None", "pass lr=crops")
    ycbcr = rgb_to_ycbcr(resize(lr, (sr.shape[2], sr.shape[3])))
    ycbcr[..., 0] = levels[:, 0]
    return _to_levels(ycbcr_to_rgb(ycbcr))


def _to_levels(values: Float32) -> npt.NDArray[np.uint8]:
    """Clip to 0..255 and round half up, NaN to 0; works in place. np.clip is ten times as fast as fmax and fmin."""
    np.clip(values, 0.0, 255.0, out=values)
    if values.size and np.isnan(values.min()):
        values[np.isnan(values)] = 0.0
    values += 0.5
    return values.astype(np.uint8)


def _interleaved(
    planes: npt.NDArray[np.uint8],  # [N, C, H, W]
) -> npt.NDArray[np.uint8]:  # [N, H, W, C]
    """A new array, channels last; channel by channel, which NumPy copies ten times as fast as pixel by pixel."""
    N, C, H, W = planes.shape  # faces, channels, rows, columns
    pictures = np.empty((N, H, W, C), np.uint8)
    for channel in range(C):
        pictures[..., channel] = planes[:, channel]
    return pictures


def reversed_colours(
    picture: npt.NDArray[np.uint8],  # [H, W, C]
) -> npt.NDArray[np.uint8]:  # [H, W, C]
    """RGB as BGR and back, a new array in C order; see _interleaved for why it goes channel by channel."""
    turned = np.empty(picture.shape, np.uint8)
    for channel in range(picture.shape[2]):
        turned[..., channel] = picture[..., -1 - channel]
    return turned


def not_finite(
    name: str,  # of the network
) -> ModelError:
    """What to raise for a picture that holds NaN or infinity: from_network() and image_tail would hide it."""
    remedy = "use the fp32 model, or export and check it again"
    return ModelError(f"finite pixels from {name}", "NaN or infinity", remedy)


def pixel_shuffle(
    planes: npt.NDArray[Scalar],  # [N, C * r * r, H, W]
    r: int,
) -> npt.NDArray[Scalar]:  # [N, C, H * r, W * r]
    """Depth to space in torch's channel order (c, i, j), ONNX mode CRD. Raises InputError."""
    if planes.ndim != 4 or r < 1 or planes.shape[1] % (r * r):
        raise InputError(f"[N, C * {r} * {r}, H, W]", f"shape {planes.shape}", "check the factor")
    N, depth, H, W = planes.shape  # batch, channels * r * r, rows, columns
    split = planes.reshape(N, depth // (r * r), r, r, H, W)
    return split.transpose(0, 1, 4, 2, 5, 3).reshape(N, depth // (r * r), H * r, W * r)


def pixel_unshuffle(
    planes: npt.NDArray[Scalar],  # [N, C, H * r, W * r]
    r: int,
) -> npt.NDArray[Scalar]:  # [N, C * r * r, H, W]
    """Inverse of pixel_shuffle. Raises InputError when the sides are no multiples of r."""
    if planes.ndim != 4 or r < 1 or planes.shape[2] % r or planes.shape[3] % r:
        raise InputError(f"[N, C, H * {r}, W * {r}]", f"shape {planes.shape}", "check the factor")
    N, C, rows, columns = planes.shape  # batch, channels, rows, columns
    split = planes.reshape(N, C, rows // r, r, columns // r, r)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(N, C * r * r, rows // r, columns // r)
