"""Launcher of kernels/paste_gate.cu: which faces are pasted, decided on the GPU from their landmarks' scores."""

from __future__ import annotations

import math

import numpy as np

from sdk.errors import InputError
from sdk.runtime.device import Stream
from sdk.runtime.kernel_args import PasteGateArgs
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_module import KernelSet

__all__ = ["paste_gate"]

THREADS = 32  # a warp a face


def paste_gate(
    kernels: KernelSet,
    marks: object | None,  # [N, K, 4] float32 on the GPU: x, y, score, spread of heatmap_decode(); None: no landmarks
    *,
    strength: object,  # [N] float32 on the GPU, written: what paste() takes
    confidence: object,  # [N] float32 on the GPU, written: mean score, NaN without landmarks
    stream: Stream,
    points: object | None = None,  # [N, K, 2] float32 on the GPU, written: what paste() takes; with marks
    status: object | None = None,  # [N] uint32 on the GPU: not 0 keeps all faces out
    count: object | None = None,  # [1] int32 on the GPU: faces to look at; None: N
    amount: float = 1.0,  # strength of faces that are pasted
    least: float = 0.0,  # confidence from which they are
) -> None:
    """As sdk.pipeline and sdk.enhancer decide; returns before it is done. The device must be current.

    Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    amounts = look.take("strength", strength, np.float32, "N", writable=True)
    source = target = 0
    if marks is not None:
        source = look.take("marks", marks, np.float32, "N", "K", 4, aligned=True).pointer
        if points is None:
            raise InputError("points for the landmarks", "None", "pass an array [N, K, 2]")
        target = look.take("points", points, np.float32, "N", "K", 2, writable=True, aligned=True).pointer
    if not 0.0 <= amount <= 1.0 or math.isnan(least):
        raise InputError("an amount in [0, 1] and a number for least", f"{amount=}, {least=}", "clip them")
    args = PasteGateArgs(
        marks=source,
        status=look.optional("status", status, np.uint32, "N"),
        count=look.optional("count", count, np.int32, 1),
        points=target,
        strength=amounts.pointer,
        confidence=look.take("confidence", confidence, np.float32, "N", writable=True).pointer,
        amount=amount,
        least=least,
        landmarks=look.sizes.get("K", 0),
        capacity=look.faces("strength"),
    )
    if args.capacity:
        grid, block = (args.capacity, 1, 1), (THREADS, 1, 1)
        kernels.launch("paste_gate", "paste_gate", args, grid=grid, block=block, stream=stream.handle)
