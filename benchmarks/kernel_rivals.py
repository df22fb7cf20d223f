"""What people do today in place of our kernels, timed in the same process on the same inputs.

    argmax + gather   heatmaps: argmax, quarter offset from gathered neighbours, matrix
    shuffle chain     F.pixel_shuffle, bicubic of the LR picture, clamp, to uint8, permute
    grid_sample       crops: F.grid_sample over the whole frame as float, no antialiasing
    pixel_shuffle     F.pixel_shuffle
each in torch as it is ("eager") and through torch.compile ("compiled");

    kornia            heatmaps: spatial_soft_argmax2d and the matrix; crops: crop_and_resize, no antialiasing
    Triton            heatmaps: the same decode as ours, benchmarks/triton_decode.py
where they are installed. (cv2, which has no such functions on the GPU in its wheels, is no rival here.)
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gpu_arrays import NotPossible
from benchmarks.kernel_cases import FRAME_HW, Case

__all__ = ["RIVALS", "of_library", "prepared", "rivals_of", "time_rival"]

RIVALS = {  # kernel -> what stands for it
    "heatmap_decode": "argmax + gather",
    "image_tail": "shuffle chain",
    "crop_norm": "grid_sample",
    "pixel_shuffle": "pixel_shuffle",
}
WAYS = ("eager", "compiled")
LIBRARIES = {"heatmap_decode": ("kornia", "Triton"), "crop_norm": ("kornia",)}  # kernel -> others that do it
TEMPERATURE = 0.02  # of the soft argmax: peaks of 1 over a ground of 0.02
ROTATED_BYTES = 256 << 20  # of inputs, beyond any L2
MOST_COPIES = 64
WARM_UP, MEASURE_S = 20, 0.3


def rivals_of(case: Case) -> list[str]:
    """Names for time_rival()."""
    torch_ways = [f"{RIVALS[case.kernel]}, {way}" for way in WAYS] if case.kernel in RIVALS else []
    return [*torch_ways, *LIBRARIES.get(case.kernel, ())]


def prepared(kernel: str, torch: Any) -> Any:
    """The rival in torch as a function of tensors by name. Works on any device of torch."""
    functional = importlib.import_module("torch.nn.functional")

    def decode(maps: Any, matrices: Any) -> Any:
        N, K, H, W = maps.shape  # faces, landmarks, rows, columns
        flat = maps.flatten(2)
        score, index = flat.max(dim=2)
        x, y = index % W, index // W
        inside = (x > 0) & (x < W - 1) & (y > 0) & (y < H - 1)

        def at(offset: int) -> Any:
            return flat.gather(2, (index + offset).clamp(0, H * W - 1)[..., None])[..., 0].float()

        step = torch.stack([torch.sign(at(1) - at(-1)), torch.sign(at(W) - at(-W))], dim=2)
        points = torch.stack([x, y], dim=2).float() + 0.25 * step * inside[..., None]
        moved = points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
        return torch.cat([moved, score.float()[..., None]], dim=2)

    def tail(features: Any, lr: Any = None) -> Any:
        r = int((features.shape[1] // 3) ** 0.5)
        picture = functional.pixel_shuffle(features, r) if r > 1 else features
        if lr is not None:
            picture = picture + functional.interpolate(lr, scale_factor=r, mode="bicubic", align_corners=False)
        return (picture * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def crop(frame: Any, windows: Any) -> Any:
        H, W = FRAME_HW
        line = (torch.arange(16, device=frame.device) + 0.5) / 16
        x = windows[:, 0, None] + (windows[:, 2] - windows[:, 0])[:, None] * line
        y = windows[:, 1, None] + (windows[:, 3] - windows[:, 1])[:, None] * line
        grid = torch.stack(
            [(2 * x / W - 1)[:, None, :].expand(-1, 16, -1), (2 * y / H - 1)[:, :, None].expand(-1, -1, 16)], dim=3
        )
        picture = frame.permute(2, 0, 1)[None].float().flip(1) / 255.0
        picture = picture.expand(len(windows), -1, -1, -1)
        return functional.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False).half()

    def shuffle(planes: Any) -> Any:
        return functional.pixel_shuffle(planes, 2)

    return {"heatmap_decode": decode, "image_tail": tail, "crop_norm": crop, "pixel_shuffle": shuffle}[kernel]


def of_library(kernel: str, library: str, torch: Any) -> Any:
    """The rival of another library, as prepared(). Raises NotPossible where it is not installed."""
    if library == "Triton":
        _import("triton")
        return importlib.import_module("benchmarks.triton_decode").decode
    _import("kornia")
    subpix: Any = importlib.import_module("kornia.geometry.subpix")
    transform: Any = importlib.import_module("kornia.geometry.transform")

    def decode(maps: Any, matrices: Any) -> Any:
        found = subpix.spatial_soft_argmax2d(maps, TEMPERATURE, normalized_coordinates=False).float()
        moved = found @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
        return torch.cat([moved, maps.flatten(2).amax(2)[..., None].float()], dim=2)

    def crop(frame: Any, windows: Any) -> Any:
        low, high = windows[:, :2], windows[:, 2:] - 1  # centres of the first and the last pixel
        sides = [low, torch.stack([high[:, 0], low[:, 1]], 1), high, torch.stack([low[:, 0], high[:, 1]], 1)]
        picture = frame.permute(2, 0, 1)[None].flip(1).float() / 255.0
        picture = picture.expand(len(windows), -1, -1, -1)
        return transform.crop_and_resize(picture, torch.stack(sides, 1), (16, 16), padding_mode="border").half()

    return {"heatmap_decode": decode, "crop_norm": crop}[kernel]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotPossible(f"no {name} in this Python: {error}") from error


def time_rival(case: Case, rival: str) -> dict[str, Any]:
    """Microseconds a call. Raises NotPossible without torch or the rival's library, or without a GPU in torch."""
    torch = _import("torch")
    if not torch.cuda.is_available():
        raise NotPossible("this torch sees no GPU")
    library = rival in LIBRARIES.get(case.kernel, ())
    function = of_library(case.kernel, rival, torch) if library else prepared(case.kernel, torch)
    if rival.endswith("compiled"):
        function = torch.compile(function)
    given = case.make(np.random.default_rng(0))
    size_bytes = sum(one.nbytes for one in given.values())
    copies = min(MOST_COPIES, max(2, -(-ROTATED_BYTES // size_bytes)))
    sets = [{name: torch.from_numpy(one).cuda() for name, one in given.items()} for _ in range(copies)]
    return {"us": 1e6 * _seconds(torch, function, sets)}


def _seconds(torch: Any, function: Any, sets: list[Mapping[str, Any]]) -> float:
    for _ in range(WARM_UP):
        function(**sets[0])
    torch.cuda.synchronize()
    calls, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < MEASURE_S:
        for tensors in sets:
            function(**tensors)
        calls += len(sets)
        torch.cuda.synchronize()
    return (time.perf_counter() - started_s) / calls
