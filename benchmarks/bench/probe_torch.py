"""Arithmetic rates of a GPU by torch's matrix products: cuBLAS, which comes nearest to what a GPU can do."""

import logging
import time
from collections.abc import Callable
from typing import Any

from sdk.errors import BackendError, MissingPackageError

__all__ = ["rates"]

SIDE = 8192  # rows, columns and depth: large enough for the largest GPU
IN_A_ROW = 8  # products before the host waits
REMEDY = "use the data sheet's rates"
LOG = logging.getLogger("facetrt")


def rates(device: str, *, seconds: float, side: int = SIDE) -> tuple[float, float, float | None]:
    """(fp32 without TF32, fp16, int8) in operations a second, two a multiply-add; int8 None where torch has none.

    Random data: zeros would leave a GPU cool and fast. Raises MissingPackageError without torch, BackendError when
    this torch cannot use the device.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError("probing the GPU's arithmetic", "torch", "pip install torch") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError("a torch that can use this GPU", f"torch {torch.__version__} without CUDA", REMEDY)
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        left, right = (torch.randn(side, side, device=device) for _ in range(2))
        fp32 = _rate(torch, device, lambda: left @ right, seconds / 3, side)
        a, b = left.half(), right.half()
        fp16 = _rate(torch, device, lambda: a @ b, seconds / 3, side)
        return fp32, fp16, _int8(torch, device, seconds / 3, side)
    except RuntimeError as error:  # torch's own for memory and for every CUDA error
        raise BackendError("torch to multiply on this GPU", str(error).splitlines()[0][:200], REMEDY) from error
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32


def _int8(torch: Any, device: str, seconds: float, side: int) -> float | None:  # the module
    multiply = getattr(torch, "_int_mm", None)  # private, and the only int8 product torch has
    if multiply is None:
        return None
    left, right = (torch.randint(-127, 128, (side, side), device=device, dtype=torch.int8) for _ in range(2))
    try:
        return _rate(torch, device, lambda: multiply(left, right), seconds, side)
    except (
        RuntimeError
    ) as error:  # private: not every GPU, build or shape has it; the floor then goes by the data sheet
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        LOG.warning("int8 rate not measured: torch._int_mm refused (%s)", reason)
        return None


def _rate(torch: Any, device: str, run: Callable[[], Any], seconds: float, side: int) -> float:  # the module
    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    run()
    wait()
    best, end, turns = float("inf"), time.perf_counter() + seconds, 0
    while turns < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(IN_A_ROW):
            run()
        wait()
        best, turns = min(best, time.perf_counter() - started), turns + 1
    return 2.0 * side**3 * IN_A_ROW / best
