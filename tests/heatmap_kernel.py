"""heatmap_decode on the CPU runner, for its tests: layouts, launches, maps to decode, and how exact "dark" can be."""

import ctypes
from functools import cache

import numpy as np
from kernel_host import Kernels, Memory

from sdk.image.heatmap import DECODE_MODES, MIN_CURVATURE

POINTERS = ("maps", "matrices", "count", "out", "status")
INTEGERS = ("capacity", "landmarks", "rows", "columns", "channels", "mode", "blur")
FORMS = {  # instance -> dtype
    "f16_nchw": np.float16,
    "f32_nchw": np.float32,
    "i8_nchw": np.int8,
    "f16_hwc8": np.float16,
    "i8_chw32": np.int8,
}
GROUP = {"f16_hwc8": 16, "i8_chw32": 32}  # channels of a block
EPS = 2.0**-24  # float32: half a unit in the last place of 1


class HeatmapDecodeArgs(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in POINTERS],
        ("scale", ctypes.c_float),
        *[(name, ctypes.c_int32) for name in INTEGERS],
    ]


@cache
def kernels() -> Kernels:
    return Kernels("heatmap_decode.cu")


def laid_out(maps: np.ndarray, form: str) -> tuple[np.ndarray, int]:  # maps: [N, K, H, W]
    """The maps in the instance's layout, and its channels; channels that only pad hold the largest values."""
    if form.endswith("nchw"):
        return maps, maps.shape[1]
    N, K, H, W = maps.shape
    step = 8 if form == "f16_hwc8" else 32
    channels = -(-K // step) * step
    padded = np.full((N, channels, H, W), 120, maps.dtype)
    padded[:, :K] = maps
    if form == "f16_hwc8":
        return np.ascontiguousarray(padded.transpose(0, 2, 3, 1)), channels
    return np.ascontiguousarray(padded.reshape(N, channels // 32, 32, H, W).transpose(0, 1, 3, 4, 2)), channels


def decode_on_host(
    maps: np.ndarray,  # [N, K, H, W]
    form: str,
    *,
    mode: str = "dark",
    blur: int = 5,
    scale: float = 1.0,
    matrices: np.ndarray | None = None,  # [N, 2, 3] float32
    count: int | None = None,
    threads: int = 64,
    offset: int = 0,
    schedule: int = 0,
    library: Kernels | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # [N, K, 4] float32, [N] uint32
    """One launch; `offset` cells put the maps where no 16-byte load may start."""
    N, K, H, W = maps.shape
    data, channels = laid_out(maps, form)
    with Memory() as memory:
        out, status = memory.poisoned((N, K, 4), np.float32), memory.poisoned((N,), np.uint32)
        status.view()[:] = 0
        args = HeatmapDecodeArgs(
            maps=memory.put(np.concatenate([np.zeros(offset, data.dtype), data.ravel()])) + offset * data.itemsize,
            matrices=None if matrices is None else memory.put(matrices.astype(np.float32)),
            count=None if count is None else memory.put(np.array([count], np.int32)),
            out=out.pointer, status=status.pointer, scale=scale, capacity=N, landmarks=K, rows=H, columns=W,
            channels=channels, mode=DECODE_MODES.index(mode), blur=blur,
        )  # fmt: skip
        nchw = form.endswith("nchw")
        grid = (K if nchw else -(-channels // GROUP[form]), N, 1)
        block = (threads if nchw else 256, 1, 1)
        (library or kernels()).launch(f"heatmap_decode_{form}", args, grid=grid, block=block, schedule=schedule)
        return out.get(), status.get()


def some_maps(rng: np.random.Generator, shape: tuple[int, int, int, int], dtype: type, kind: str) -> np.ndarray:
    """Maps [N, K, H, W] of a kind: "gauss" (noisy peaks), "noise", "ties" (few levels), "holes" (NaN, Inf, zeros)."""
    N, K, H, W = shape
    if kind == "ties":
        return rng.integers(-2, 3, shape).astype(dtype)
    if kind == "noise":
        maps = rng.uniform(-1.0, 1.0, shape)
    else:
        x, y = rng.uniform(0, W, (N, K, 1, 1)), rng.uniform(0, H, (N, K, 1, 1))
        sigma = rng.uniform(0.8, 2.5, (N, K, 1, 1))
        rows, columns = np.mgrid[:H, :W]
        maps = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)) + rng.uniform(0, 0.05, shape)
    if dtype == np.int8:
        return np.round(maps * 120).astype(np.int8)
    maps = maps.astype(dtype)
    if kind == "holes":
        maps[rng.random(shape) < 0.02] = np.nan
        maps[rng.random(shape) < 0.003] = rng.choice([np.inf, -np.inf])
        maps[rng.random((N, K)) < 0.2] = np.nan
        maps[rng.random((N, K)) < 0.1] = -0.0
    return maps


def dark_tolerance(
    maps: np.ndarray,  # [N, K, H, W] float32
    peak: np.ndarray,  # [N, K, 2] x, y
    blur: int,
) -> tuple[np.ndarray, np.ndarray]:  # [N, K] float64, [N, K] bool
    """By how much a Newton step may differ, and where it hangs on rounding whether there is one.

    Two float32 blurs of blur^2 terms differ by at most that many half units in the last place of the sum of absolute
    values; the logarithms by as much, relative to the blurred value; the step by the errors of its numerator and
    determinant over the determinant.
    """
    reach = 2 + blur // 2
    N, K, H, W = maps.shape
    padded = np.pad(maps.astype(np.float64), ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    padded[~np.isfinite(padded)] = 0.0
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1), axis=(2, 3))
    window = windows[np.arange(N)[:, None], np.arange(K), peak[..., 1], peak[..., 0]]
    sigma = 0.3 * ((blur - 1) * 0.5 - 1.0) + 0.8
    taps = np.exp(-0.5 * ((np.arange(blur) - blur // 2) / sigma) ** 2)
    line = np.array([np.pad(taps / taps.sum(), (i, 4 - i)) for i in range(5)])
    value = np.maximum(line @ window @ line.T, 1e-10)
    error = ((line @ np.abs(window) @ line.T) / value).max(axis=(2, 3)) * (blur * blur + 8) * EPS + 8 * EPS
    log = np.log(value / value[..., 2:3, 2:3])
    dx, dy = 0.5 * (log[..., 2, 3] - log[..., 2, 1]), 0.5 * (log[..., 3, 2] - log[..., 1, 2])
    dxx, dyy = 0.25 * (log[..., 2, 4] + log[..., 2, 0]), 0.25 * (log[..., 4, 2] + log[..., 0, 2])
    dxy = 0.25 * (log[..., 3, 3] - log[..., 1, 3] - log[..., 3, 1] + log[..., 1, 1])
    determinant = np.abs(dxx * dyy - dxy * dxy)
    size = np.abs(dx) + np.abs(dy) + np.abs(dxx) + np.abs(dyy) + 2 * np.abs(dxy) + error
    bend = MIN_CURVATURE * (np.abs(dxx) + np.abs(dyy))  # of a plateau the determinant is less: no step
    shaky = np.abs(determinant - bend) <= 4 * error * (size + MIN_CURVATURE)
    flat = ~shaky & (determinant < bend)
    divisor = np.where(shaky | flat, 1.0, determinant)
    step = np.maximum(np.abs(dxy * dy - dyy * dx), np.abs(dxy * dx - dxx * dy)) / divisor
    tolerance = 2 * error * size * (1.0 + step) / divisor
    tolerance[flat] = 0.0
    return tolerance, shaky | (~flat & ((np.abs(step - 2.0) <= tolerance) | (tolerance > 0.1)))
