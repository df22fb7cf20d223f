"""heatmap_decode in Triton, a rival of kernels/heatmap_decode.cu: argmax, "dark" with 5 taps, matrix, spread.

A program a map, as there a block a map; by the same rules (of equal cells the first, NaN never wins, plateaus), so that
both do the same work. Import it late: it needs the package triton, and to run a GPU, or TRITON_INTERPRET=1 (the tests).
"""

# ruff: noqa: ANN001 - Triton looks the annotations of a kernel's arguments up, and refuses what is not its own
import math
from typing import Any

import triton
import triton.language as tl

__all__ = ["decode"]

TAPS = 5  # of the blur; below: 4 cells round the peak, in a window of 16 x 16, since sizes are powers of two
SIGMA = 0.3 * ((TAPS - 1) * 0.5 - 1.0) + 0.8
TOTAL = sum(math.exp(-0.5 * ((k - TAPS // 2) / SIGMA) ** 2) for k in range(TAPS))
WARPS = 4  # a program


@triton.jit
def _step(window, dx, dy, sigma: tl.constexpr, total: tl.constexpr):
    """Newton step (x, y) on the logarithm of the blurred window, and whether it is of use."""
    across, down, dxx, dyy, dxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in tl.static_range(-2, 3):
        for i in tl.static_range(-2, 3):
            away = (dx - i) * (dx - i) + (dy - j) * (dy - j)
            near = (dx >= i - 2) & (dx <= i + 2) & (dy >= j - 2) & (dy <= j + 2)
            tap = tl.where(near, tl.exp(-0.5 * away / (sigma * sigma)) / (total * total), 0.0)
            log = tl.log(tl.maximum(tl.sum(window * tap), 1e-10))
            across += log * (0.5 * i if j == 0 and i * i == 1 else 0.0)
            down += log * (0.5 * j if i == 0 and j * j == 1 else 0.0)
            dxx += log * ((-0.5 if i == 0 else 0.25) if j == 0 and i * i != 1 else 0.0)
            dyy += log * ((-0.5 if j == 0 else 0.25) if i == 0 and j * j != 1 else 0.0)
            dxy += log * (0.25 * i * j if i * i == 1 and j * j == 1 else 0.0)
    determinant = dxx * dyy - dxy * dxy
    curved = tl.abs(determinant) > 1e-3 * (tl.abs(dxx) + tl.abs(dyy))
    divisor = tl.where(curved, determinant, 1.0)
    x, y = (dxy * down - dyy * across) / divisor, (dxy * across - dxx * down) / divisor
    return x, y, curved & (tl.abs(x) <= 2.0) & (tl.abs(y) <= 2.0)


@triton.jit
def _spread(window, dx, dy, finite):
    """Standard deviation by axis, in cells, of the mass within 4 cells."""
    weight = tl.where((window > 1e-6) & finite, window, 2.2e-16)
    weight = tl.where((dx <= 4) & (dy <= 4), weight, 0.0)
    mass = tl.sum(weight)
    x, y = tl.sum(weight * dx) / mass, tl.sum(weight * dy) / mass
    variance = 0.5 * (tl.sum(weight * (dx * dx + dy * dy)) / mass - x * x - y * y)
    return tl.sqrt(tl.maximum(variance, 0.0))


@triton.jit
def _decode(
    maps,
    matrices,
    out,
    landmarks,
    rows,
    columns,
    cells: tl.constexpr,
    sigma: tl.constexpr,
    total: tl.constexpr,
):
    program = tl.program_id(0)
    area = rows * columns
    start = maps + program.to(tl.int64) * area
    cell = tl.arange(0, cells)
    values = tl.load(start + cell, mask=cell < area, other=float("-inf")).to(tl.float32)
    best = tl.max(tl.where(values == values, values, float("-inf")), axis=0)
    peak = tl.min(tl.where((values == best) & (cell < area), cell, area), axis=0)  # NaN equals nothing
    peak = tl.where(peak == area, 0, peak)  # nothing but NaN
    px, py = peak % columns, peak // columns
    line = tl.arange(0, 16) - 4
    dy, dx = line[:, None], line[None, :]
    x, y = px + dx, py + dy
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (dx <= 4) & (dy <= 4)
    window = tl.load(start + y * columns + x, mask=inside, other=0.0).to(tl.float32)
    finite = tl.min((tl.abs(window) < float("inf")).to(tl.int32)) == 1
    step_x, step_y, useful = _step(tl.where(finite, window, 0.0), dx, dy, sigma, total)
    useful = useful & finite & (px >= 2) & (px < columns - 2) & (py >= 2) & (py < rows - 2)
    found_x, found_y = px + tl.where(useful, step_x, 0.0), py + tl.where(useful, step_y, 0.0)
    m = matrices + program // landmarks * 6
    row = out + program.to(tl.int64) * 4
    tl.store(row, tl.load(m) * found_x + tl.load(m + 1) * found_y + tl.load(m + 2))
    tl.store(row + 1, tl.load(m + 3) * found_x + tl.load(m + 4) * found_y + tl.load(m + 5))
    tl.store(row + 2, tl.load(start + peak).to(tl.float32))
    tl.store(row + 3, _spread(window, dx, dy, finite))


def decode(
    maps: Any,  # torch [N, K, H, W] float16 or float32, contiguous
    matrices: Any,  # torch [N, 2, 3] float32
) -> Any:  # torch [N, K, 4] float32: x, y, score, spread in cells
    """One launch; returns before it is done."""
    N, K, H, W = maps.shape  # faces, landmarks, rows, columns
    out = matrices.new_empty((N, K, 4))
    cells = triton.next_power_of_2(H * W)
    _decode[(N * K,)](maps, matrices, out, K, H, W, cells=cells, sigma=SIGMA, total=TOTAL, num_warps=WARPS)
    return out
