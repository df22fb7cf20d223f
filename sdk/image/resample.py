"""Separable resampling: the one definition of "resize" that training, calibration, runtime and kernels share.

Bicubic with a = -0.5, widened when shrinking (antialiased): the family of Pillow's BICUBIC and MATLAB's imresize.
OpenCV and PyTorch default to a = -0.75, OpenCV without antialiasing; that moves a bicubic x8 baseline by over 1 dB.

Coordinates: an axis of n pixels spans [0, n] in edge coordinates; the centre of pixel i is i + 0.5.
"""

from functools import lru_cache
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

BICUBIC_A = -0.5
KERNEL_RADIUS = {"bicubic": 2.0, "bilinear": 1.0}  # source pixels, before widening
EDGE_RULES = ("renormalise", "replicate")
FIXED_POINT_BITS = 22  # of Pillow's 8-bit weights

Float = TypeVar("Float", np.float32, np.float64)


def bicubic_kernel(
    offset: npt.NDArray[np.float64],  # [...] distance to the tap in (widened) source pixels
    a: float = BICUBIC_A,
) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel, float64 of the same shape (Keys 1981, eq. 4 with its a = -1/2)."""
    d = np.abs(offset)
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((d - 5.0) * d + 8.0) * d * a - 4.0 * a
    return np.where(d < 1.0, near, np.where(d < 2.0, far, 0.0))


def kernel_values(name: str, offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if name == "bicubic":
        return bicubic_kernel(offset)
    return np.maximum(0.0, 1.0 - np.abs(offset))


@lru_cache(maxsize=256)
def resample_weights(
    n_in: int,
    n_out: int,
    *,
    start: float = 0.0,
    stop: float | None = None,
    edge: str = "renormalise",
    antialias: bool = True,
    kernel: str = "bicubic",
) -> npt.NDArray[np.float64]:
    """Matrix that maps n_in samples to n_out samples of the interval [start, stop].

    Args:
        n_in, n_out: sample counts, >= 1.
        start, stop: interval in edge coordinates of the input (default: all of it); may leave [0, n_in].
        edge: "renormalise" drops taps outside the input and rescales the rest (Pillow's rule);
            "replicate" gives them to the nearest edge sample (the rule of `crop`).
        antialias: widen the kernel by the shrink factor.
        kernel: "bicubic" (a = -0.5) or "bilinear".

    Returns:
        float64 [n_out, n_in], every row sums to 1. Read-only (cached).

    Raises:
        ValueError: a size below 1, an empty interval, an unknown kernel or edge rule.
    """
    stop = float(n_in) if stop is None else stop
    if n_in < 1 or n_out < 1 or not stop > start:
        got = f"{n_in=} {n_out=} {start=} {stop=}"
        raise ValueError(f"expected sizes >= 1 and start < stop; got {got}; pass a non-empty interval")
    if kernel not in KERNEL_RADIUS or edge not in EDGE_RULES:
        expected = f"a kernel of {sorted(KERNEL_RADIUS)} and an edge of {EDGE_RULES}"
        raise ValueError(f"expected {expected}; got {kernel!r}, {edge!r}; pick one of those")
    scale = (stop - start) / n_out
    widen = max(1.0, scale) if antialias else 1.0
    radius = KERNEL_RADIUS[kernel] * widen
    centre = start + (np.arange(n_out) + 0.5) * scale  # [n_out]
    first = np.floor(centre - radius + 0.5).astype(np.int64)  # [n_out]
    taps = int(np.ceil(2.0 * radius)) + 1
    index = first[:, None] + np.arange(taps)  # [n_out, taps]
    weight = kernel_values(kernel, (index + 0.5 - centre[:, None]) / widen)  # [n_out, taps]
    if edge == "renormalise":
        weight = np.where((index >= 0) & (index < n_in), weight, 0.0)
    cell = np.clip(index, 0, n_in - 1) + np.arange(n_out)[:, None] * n_in  # [n_out, taps] into the flat matrix
    matrix = np.bincount(cell.ravel(), weights=weight.ravel(), minlength=n_out * n_in).reshape(n_out, n_in)
    matrix /= matrix.sum(axis=1, keepdims=True)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=256)
def _weights_8bit(n_in: int, n_out: int, kernel: str, antialias: bool) -> npt.NDArray[np.float64]:
    """resample_weights in Pillow's fixed point: 22 fractional bits. float64 sums of 8-bit samples stay exact."""
    weights = resample_weights(n_in, n_out, kernel=kernel, antialias=antialias)
    return np.round(weights * 2.0**FIXED_POINT_BITS) / 2.0**FIXED_POINT_BITS


def rows_before_columns(in_hw: tuple[int, int], out_hw: tuple[int, int]) -> bool:
    """Pillow's order of the two passes; it matters only because 8-bit images are rounded between them.

    Measured on Pillow 13 with thousands of random sizes: rows go first if they shrink by more than twice as many
    pixels as the columns do.
    """
    rows_lost = in_hw[0] - out_hw[0]
    return rows_lost > 0 and rows_lost > 2 * (in_hw[1] - out_hw[1])


@overload
def resize(
    image: npt.NDArray[np.uint8], size_hw: tuple[int, int], *, kernel: str = ..., antialias: bool = ...
) -> npt.NDArray[np.uint8]: ...


@overload
def resize(
    image: npt.NDArray[np.floating], size_hw: tuple[int, int], *, kernel: str = ..., antialias: bool = ...
) -> npt.NDArray[np.float32]: ...


@overload
def resize(
    image: npt.NDArray[np.generic], size_hw: tuple[int, int], *, kernel: str = ..., antialias: bool = ...
) -> npt.NDArray[np.generic]: ...


def resize(
    image: npt.NDArray[np.generic],  # [..., H, W, C] uint8 or float
    size_hw: tuple[int, int],
    *,
    kernel: str = "bicubic",
    antialias: bool = True,
) -> npt.NDArray[np.generic]:
    """Resize to (rows, columns).

    uint8 input gives uint8, rounded and clipped after each of the two passes: the bytes that Pillow (>= 13) gives.
    Float input gives float32, never rounded or clipped.

    Raises:
        ValueError: fewer than 3 axes or a size below 1.
    """
    if image.ndim < 3:
        raise ValueError(f"expected [..., H, W, C]; got shape {image.shape}; add a channel axis")
    rows_in, columns_in = image.shape[-3:-1]
    if image.dtype == np.uint8:
        return _resize_8bit(image, size_hw, kernel, antialias)
    across = resample_weights(columns_in, size_hw[1], kernel=kernel, antialias=antialias).astype(np.float32)
    down = resample_weights(rows_in, size_hw[0], kernel=kernel, antialias=antialias).astype(np.float32)
    return _resize_rows(np.matmul(across, image.astype(np.float32)), down)


def _resize_8bit(
    image: npt.NDArray[np.generic],  # [..., H, W, C] uint8
    size_hw: tuple[int, int],
    kernel: str,
    antialias: bool,
) -> npt.NDArray[np.uint8]:
    rows_in, columns_in = image.shape[-3:-1]
    across = _weights_8bit(columns_in, size_hw[1], kernel, antialias)
    down = _weights_8bit(rows_in, size_hw[0], kernel, antialias)
    work = image.astype(np.float64)
    rows_first = rows_before_columns((rows_in, columns_in), size_hw)
    for axis in ("rows", "columns") if rows_first else ("columns", "rows"):
        work = _resize_rows(work, down) if axis == "rows" else np.matmul(across, work)
        np.clip(work, 0.0, 255.0, out=work)
        np.floor(work + 0.5, out=work)
    return work.astype(np.uint8)


def _resize_rows(
    image: npt.NDArray[Float],  # [..., H, W, C]
    weights: npt.NDArray[Float],  # [H', H]
) -> npt.NDArray[Float]:
    *lead, rows, columns, channels = image.shape
    flat = image.reshape(*lead, rows, columns * channels)  # [..., H, W * C]
    return np.matmul(weights, flat).reshape(*lead, len(weights), columns, channels)


def round_8bit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Clip to [0, 255] and round half up (the kernels' rule), still float32."""
    return np.floor(np.clip(values, 0.0, 255.0) + 0.5).clip(0.0, 255.0)
