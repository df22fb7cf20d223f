"""Execution contexts that share one piece of scratch memory, and what TensorRTs of different age call that.

A context per batch size keeps its CUDA graph valid; with scratch memory of its own each would multiply the memory of
the largest batch. Contexts of one stream run one after the other, so one piece serves them all.
"""

from __future__ import annotations

from typing import Any

from sdk.errors import BackendError
from sdk.runtime.trt_api import TensorRT

__all__ = ["new_context", "output_shape", "scratch_bytes", "shares_profiles"]


def shares_profiles(api: TensorRT) -> bool:
    """May two contexts of one engine use the same profile? TensorRT 8.5 and 8.6: no; later and RTX: yes."""
    return api.typed


def scratch_bytes(engine: Any) -> int:
    """Bytes of scratch memory that any context of this engine needs, whatever its profile."""
    newer = getattr(engine, "device_memory_size_v2", None)  # TensorRT 10 and newer
    return int(engine.device_memory_size if newer is None else newer)


def new_context(
    api: TensorRT,
    engine: Any,
    *,
    scratch: int,  # device address, of at least
    size_bytes: int,  # scratch_bytes(engine)
) -> Any:
    """An execution context on that scratch memory, for one thread at a time. Raises BackendError."""
    strategies = getattr(api.module, "ExecutionContextAllocationStrategy", None)  # TensorRT 10 and newer
    if strategies is None:
        context = engine.create_execution_context_without_device_memory()
    else:
        context = engine.create_execution_context(strategies.USER_MANAGED)
    if context is None:
        got = f"{api.title}: {api.last_errors() or 'no reason in its log'}"
        raise BackendError("an execution context", got, "free GPU memory or build for smaller batches")
    if hasattr(context, "set_device_memory"):  # TensorRT 10 and newer
        context.set_device_memory(scratch, size_bytes)
    else:
        context.device_memory = scratch
    return context


def output_shape(context: Any, name: str) -> tuple[int, ...]:
    """Shape of an output for the input shapes that the context now has. Raises BackendError where it is not known."""
    shape = tuple(int(size) for size in context.get_tensor_shape(name))
    if any(size < 0 for size in shape):
        raise BackendError(f"the shape of {name} to follow from the input's", f"{shape}", "build the engine again")
    return shape
