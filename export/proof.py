"""The engine itself on the machine that built it: judged like its graph before, and timed against the precision above.

Nothing here is saved: the engine lies in a temporary folder until it has passed.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np

from export.gate import Runner
from export.record import save
from sdk.runtime.manifest import Manifest
from sdk.spec import ModelSpec

__all__ = ["PROVISIONAL", "opened", "times_ms", "worth"]

PROVISIONAL = {"ran": "engine", "passed": False, "allowed_loss": True}  # the gate of an engine that is being judged
ROUNDS = 20  # timed runs, after WARM_UP that are not
WARM_UP = 5
WORTH = 1.05  # times faster, or the narrower precision is not worth its loss


@contextlib.contextmanager
def opened(name: str, data: bytes, *, manifest: Manifest, device: int) -> Generator[Runner, None, None]:
    """The engine (or the CPU's ONNX file) running as an application would run it. Raises as its backend does."""
    with tempfile.TemporaryDirectory(prefix="facetrt-build-") as folder:
        path = Path(folder) / name
        if manifest.flavour == "onnxruntime":
            from sdk.runtime.ort_backend import OrtBackend

            path.write_bytes(data)
            backend = OrtBackend(path)
        else:
            from sdk.runtime.trt_backend import TrtBackend  # late: needs cuda-python

            save(path, data, manifest=manifest)
            backend = TrtBackend(path, device=f"cuda:{device}")
        try:
            yield backend.run
        finally:
            backend.close()


def times_ms(run: Runner, spec: ModelSpec, *, batches: Sequence[int]) -> dict[int, float]:
    """Median milliseconds a call for each batch of faces, arrays in and out, at the network's nominal size."""
    rng = np.random.default_rng(0)
    found: dict[int, float] = {}
    for batch in batches:
        faces = rng.random((batch, spec.channels, spec.input_size, spec.input_size), np.float32)
        spans_ms: list[float] = []
        for number in range(WARM_UP + ROUNDS):
            started_s = time.perf_counter()
            run(faces)
            if number >= WARM_UP:
                spans_ms.append(1000 * (time.perf_counter() - started_s))
        found[batch] = statistics.median(spans_ms)
    return found


def worth(
    mine: Mapping[int, float],  # batch -> ms
    wider: Mapping[int, float],  # of the precision above
    *,
    precision: str,
    above: str,
) -> tuple[dict[str, float], str]:
    """Numbers for the manifest, and a sentence: was the narrower precision worth it?"""
    numbers: dict[str, float] = {}
    for batch, ms in mine.items():
        numbers[f"{precision}_b{batch}_ms"] = round(ms, 4)
        numbers[f"{above}_b{batch}_ms"] = round(wider[batch], 4)
        numbers[f"speedup_b{batch}"] = round(wider[batch] / ms, 3)
    gains = ", ".join(f"{wider[batch] / ms:.2f} times as fast at batch {batch}" for batch, ms in mine.items())
    best = max(wider[batch] / ms for batch, ms in mine.items())
    word = f"worth it: {gains}" if best >= WORTH else f"not worth it ({gains}): use --precision {above}"
    return numbers, f"{precision} against {above} is {word}"
