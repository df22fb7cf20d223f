"""What the SDK adds to the network: `python -m benchmarks.sdk_latency --json OUT`.

Faces with their box given in a frame of 1080p (box_kind "landmarks": one pass, no detector). The bare network and
FaceEnhancer.enhance run by turns in one process, so that whatever else the machine does meets both alike; the overhead
is the median of the differences of neighbours. Processor times stand beside wall times: on a machine with other work
the first tell what the code costs, the second what the queue costs (--threads 1 keeps waiting threads out of them).
"Bare" is the backend's run() on a batch that is ready: session.run and a dict. Also paste of 16 faces, and decoding of
64 faces against a loop over faces and maps of the same rule.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.enhancer import FaceEnhancer
from sdk.image.heatmap import decode, encode
from sdk.image.paste import paste
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path, shipped_paths

F32 = npt.NDArray[np.float32]

FRAME_HW = (1080, 1920)
FACES_PX = (16, 32, 64)  # sides of the windows
WARM_UP = 10
PASTED, PASTED_PX = 16, 100  # faces of 128 px into windows of 100 px


def stopwatch(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor milliseconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor)


def median(calls: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Median wall and processor milliseconds."""
    wall, processor = np.median(np.array(calls), axis=0)
    return {"wall": round(float(wall), 2), "cpu": round(float(processor), 2)}


def by_turns(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> npt.NDArray[np.float64]:
    """Milliseconds [repeats, 2 (first, second), 2 (wall, processor)], after warming both up."""
    for _ in range(WARM_UP):
        first()
        second()
    return np.array([(stopwatch(first), stopwatch(second)) for _ in range(repeats)])


def one_face(path: Path, side: int, *, threads: int | None, repeats: int) -> dict[str, Any]:
    """One window of `side` px through one network. The frame is noise: no stage's time depends on its contents."""
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8)
    box = [[900.0, 500.0, 900.0 + side / 1.5, 500.0 + side / 1.5]]  # tight landmark box of such a window
    backend = open_backend(path, "onnxruntime", threads=threads)
    size = side if backend.spec.any_size else backend.spec.lr_size
    batch = np.random.default_rng(1).random((1, backend.spec.channels, size, size), np.float32)
    with FaceEnhancer(backend, min_confidence=0.0) as enhancer:
        times = by_turns(
            lambda: backend.run(batch), lambda: enhancer.enhance(frame, box, box_kind="landmarks"), repeats
        )
    backend.close()
    row: dict[str, Any] = {"model": backend.spec.name, "window_px": side, "input_px": size}
    for number, clock in enumerate(("", "_cpu")):
        bare, whole = np.median(times[..., number], axis=0)
        added = float(np.median(times[:, 1, number] - times[:, 0, number]))
        row[f"network{clock}_ms"] = round(float(bare), 3)
        row[f"sdk{clock}_ms"] = round(float(whole), 3)
        row[f"overhead{clock}_ms"] = round(added, 3)
        row[f"overhead{clock}_percent"] = round(100 * added / float(bare), 1)
    row["sdk_p95_ms"] = round(float(np.percentile(times[:, 1, 0], 95)), 3)
    return row


def paste_ms(repeats: int) -> dict[str, float]:
    """Medians of pasting PASTED faces with landmark masks into a frame of 1080p, in place."""
    rng = np.random.default_rng(2)
    frame = rng.integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8)
    faces = rng.integers(0, 256, (PASTED, 128, 128, 3), dtype=np.uint8)
    corners = np.array([[110 + 220 * (i % 8), 200 + 300 * (i // 8)] for i in range(PASTED)], np.float64)
    affines = np.zeros((PASTED, 2, 3))
    affines[:, 0, 0] = affines[:, 1, 1] = PASTED_PX / 128
    affines[:, :, 2] = corners
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    oval = np.stack([50 + 33 * np.cos(angle), 52 + 33 * np.sin(angle)], axis=1)  # [68, 2]
    points = corners[:, None] + oval
    times = [stopwatch(lambda: paste(frame, faces, affines, landmarks=points, out=frame)) for _ in range(repeats)]
    return median(times)


def centroid_loop(
    heatmaps: F32,  # [N, K, H, W]
) -> F32:
    """The "centroid" rule face by face and map by map, as published decoders do it; [N, K, 2]."""
    N, K, H, W = heatmaps.shape  # faces, landmarks, rows, columns
    points = np.zeros((N, K, 2), np.float32)
    for n in range(N):
        for k in range(K):
            y, x = np.unravel_index(int(np.argmax(heatmaps[n, k])), (H, W))
            padded = np.pad(heatmaps[n, k], 4)[y : y + 9, x : x + 9].astype(np.float64)
            weights = np.where(padded > 1e-6, padded, 2.2e-16)
            rows, columns = np.mgrid[-4:5, -4:5]
            points[n, k] = x + (weights * columns).sum() / weights.sum(), y + (weights * rows).sum() / weights.sum()
    return points


def decoding(repeats: int) -> dict[str, Any]:
    """64 faces x 68 maps of 64 x 64: vectorised, the loop, their ratio, and how far the results are apart."""
    centres = np.random.default_rng(3).uniform(6, 57, (64, 68, 2))
    heatmaps = encode(centres, (64, 64), sigma_cells=1.5)
    fast = median([stopwatch(lambda: decode(heatmaps, mode="centroid")) for _ in range(repeats)])
    slow = median([stopwatch(lambda: centroid_loop(heatmaps))])
    points = decode(heatmaps, mode="centroid").points
    return {
        "decode_ms": fast,
        "loop_ms": slow,
        "ratio": round(slow["cpu"] / fast["cpu"], 1),
        "largest_difference_cells": float(np.abs(points - centroid_loop(heatmaps)).max()),
        "largest_error_cells": {
            mode: round(float(np.abs(decode(heatmaps, mode=mode).points - centres).max()), 4)
            for mode in ("centroid", "dark")
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sdk_latency", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="NAME|FILE.onnx", help="default: the shipped networks")
    parser.add_argument("--threads", type=int, help="of onnxruntime; default: one per physical core")
    parser.add_argument("--repeats", type=int, default=200, help="calls a median is taken of (default 200)")
    parser.add_argument("--json", default="benchmarks/results/sdk_latency.json", metavar="OUT", help="results file")
    options = parser.parse_args(argv)
    paths = [model_path(name) for name in options.models] or shipped_paths()
    results: list[dict[str, Any]] = []
    for path in paths:
        backend = open_backend(path, "onnxruntime")
        spec = backend.spec
        backend.close()
        sides = [s for s in FACES_PX if s in (spec.lr_size, 2 * spec.lr_size)] if spec.any_size else [spec.lr_size]
        results += [one_face(path, side, threads=options.threads, repeats=options.repeats) for side in sides]
    blas = os.environ.get("OMP_NUM_THREADS")  # NumPy's own threads: on a busy machine they wait for each other
    content = {
        "command": (f"OMP_NUM_THREADS={blas} " if blas else "")
        + shlex.join(["python", "-m", "benchmarks.sdk_latency", *(argv or sys.argv[1:])]),
        "results": results,
        "paste_16_faces_1080p_ms": paste_ms(max(10, options.repeats // 10)),
        "decode_64_faces": decoding(max(5, options.repeats // 20)),
        "threads": options.threads or "default",
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "load": round(os.getloadavg()[0], 2)},
    }
    text = json.dumps(content, indent=1) + "\n"
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
