"""From a frame to the pasted frame on a GPU, for benchmarks.gpu_check: one CUDA graph, single launches, the CPU.

A frame of noise holds the kit's faces at known places. With a graph and without the results have the same bits; beside
the CPU's crop, decoding and paste round the same engine, points stay within `POINT_PX` and pixels within `LEVELS`.
Times are whole calls by turns: boxes in, results and pasted frame out. Frames on the GPU alternate between two places,
as those of a decoder do, so that what a graph knows of them is edited at every call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_engines import Broken
from benchmarks.gpu_runtime import by_turns, on_gpu, ratio, tiled, warnings_of
from sdk.enhancer import FaceEnhancer
from sdk.image.resample import resize
from sdk.result import FaceResult
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["chain", "scene"]

FRAME_HW = (1080, 1920)
WINDOW = 1.25  # window sides per pixel of the network's input: below what makes the host look at a face
FACES = (1, 3, 8, 64)  # 3: a bucket that is not full
POINT_PX, LEVELS, OVERLAP = 0.05, 1, 1e-3  # OVERLAP: share of a frame's pixels that two faces may round twice
WARM_UP = 3  # runs: plain, recorded, replayed
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


def scene(
    batch: F32,  # [n, 3, h, h] in 0..1
    N: int,
    *,
    frame_hw: tuple[int, int] = FRAME_HW,
) -> tuple[U8, npt.NDArray[np.float64]]:  # [H, W, 3], [N, 4]
    """A frame of noise with N faces in it, and their windows."""
    side = int(WINDOW * batch.shape[2])
    H, W = frame_hw
    rng = np.random.default_rng(N)
    frame = rng.integers(90, 160, (H, W, 3), np.uint8)
    columns = W // (side + 2)
    if columns * (H // (side + 2)) < N:
        raise Broken(f"{N} faces of {side} px do not fit into {W} x {H}")
    faces = resize(np.ascontiguousarray(tiled(batch, N).transpose(0, 2, 3, 1)) * np.float32(255), (side, side))
    windows = np.zeros((N, 4))
    for i, face in enumerate(faces):
        y, x = (side + 2) * (i // columns) + 1, (side + 2) * (i % columns) + 1
        frame[y : y + side, x : x + side] = np.clip(face + 0.5, 0, 255).astype(np.uint8)
        windows[i] = x, y, x + side, y + side
    return frame, windows


def chain(
    path: Path,
    batch: F32,  # [n, 3, h, h]
    *,
    rounds: int = 200,
    sizes: Sequence[int] = FACES,
    frame_hw: tuple[int, int] = FRAME_HW,
) -> dict[str, Any]:
    """Results and times by number of faces. Raises Broken."""
    numbers: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        heard = stack.enter_context(warnings_of())
        graphed = stack.enter_context(contextlib.closing(TrtBackend(path)))
        plain = stack.enter_context(contextlib.closing(TrtBackend(path, graphs=False)))
        options: dict[str, Any] = dict(color="rgb", refine=0, min_confidence=0.0)
        ways = {
            "graph": stack.enter_context(FaceEnhancer(graphed, **options)),
            "launches": stack.enter_context(FaceEnhancer(plain, **options)),
            "cpu": stack.enter_context(FaceEnhancer(plain, kernels=False, **options)),
        }
        for name in ("graph", "launches"):
            if "faces on the GPU" not in ways[name].describe():
                raise Broken(ways[name].describe())
        for N in sizes:
            frame, windows = scene(batch, N, frame_hw=frame_hw)
            numbers[f"faces_{N}"] = {**_equal(ways, frame, windows), **_timed(ways, frame, windows, rounds)}
    if heard:
        raise Broken(f"no graph: {heard[0]}")
    return numbers


def _equal(ways: dict[str, FaceEnhancer], frame: U8, windows: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The same bits by graph and by launches; differences from the CPU's. Raises Broken."""
    results = {
        name: [way.enhance(frame, windows, box_kind="crop") for _ in range(WARM_UP)][-1] for name, way in ways.items()
    }
    if not _same_bits(results["graph"], results["launches"]):
        raise Broken(f"graph and launches give other results for {len(windows)} faces")
    pasted: dict[str, U8] = {}
    for name in ("graph", "launches"):
        for _ in range(WARM_UP):
            there = on_gpu(frame)
            ways[name].enhance_device(there, windows, box_kind="crop")
        pasted[name] = there.copy_to_host()
    if not np.array_equal(pasted["graph"], pasted["launches"]):
        raise Broken(f"graph and launches paste other pixels for {len(windows)} faces")
    wanted = ways["cpu"].render(frame, results["cpu"])
    off = np.abs(pasted["graph"].astype(np.int16) - wanted)
    found = {
        "point_px": _apart(results, "landmarks"),
        "level": _apart(results, "image"),
        "pasted_level": float(off.max()),
        "pasted_share": float(np.mean(off > LEVELS)),
    }
    rendered = ways["graph"].render(frame, results["cpu"]).astype(np.int16)
    found["rendered_level"] = float(np.abs(rendered - wanted).max())
    within = found["point_px"] <= POINT_PX and found["level"] <= LEVELS and found["pasted_share"] <= OVERLAP
    if not (within and max(found["pasted_level"], found["rendered_level"]) <= 2 * LEVELS):
        raise Broken(f"further from the CPU's than {POINT_PX} px and {LEVELS} level: {found}")
    return {"apart": found}


def _same_bits(mine: Sequence[FaceResult], theirs: Sequence[FaceResult]) -> bool:
    return all(
        one.status == other.status
        and all(
            np.array_equal(getattr(one, name), getattr(other, name))
            for name in ("image", "landmarks", "scores", "spread")
        )
        for one, other in zip(mine, theirs, strict=True)
    )


def _apart(results: dict[str, list[FaceResult]], name: str) -> float:
    """Largest difference between the GPU's and the CPU's; 0 where neither has it."""
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(results["graph"], results["cpu"], strict=True)]
    return max((float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs if a is not None), default=0.0)


def _timed(ways: dict[str, FaceEnhancer], frame: U8, windows: npt.NDArray[np.float64], rounds: int) -> dict[str, Any]:
    """ms of whole calls, from the frame on the host and from frames on the GPU."""
    places = [on_gpu(frame), on_gpu(frame)]
    turns = {name: 0 for name in ways}

    def there(name: str) -> None:
        turns[name] += 1
        ways[name].enhance_device(places[turns[name] % 2], windows, box_kind="crop")

    calls = {f"device_{name}": lambda n=name: there(n) for name in ("graph", "launches")}
    calls |= {f"host_{name}": lambda w=way: w.enhance(frame, windows, box_kind="crop") for name, way in ways.items()}
    spans = by_turns(calls, rounds)
    return {
        **spans,
        "device_launches_over_graph": ratio(spans, "device_launches", "device_graph"),
        "host_cpu_over_graph": ratio(spans, "host_cpu", "host_graph"),
    }
