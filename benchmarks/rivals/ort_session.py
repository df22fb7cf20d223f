"""onnxruntime by itself: session.run on a batch that is ready, for any ONNX file and any of its providers.

Wherever this project's benchmarks import onnxruntime, they do it here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, InputError, MissingPackageError, ModelError

PROVIDERS = {  # word in a subject's backend -> provider
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
ERRORS_ONLY = 3  # severity of messages
SEED = 7
LARGEST_SIDE = 1 << 16  # of a shape that a caller names


def onnxruntime() -> Any:
    """The module. Raises MissingPackageError."""
    try:
        import onnxruntime as module
    except ImportError as error:
        raise MissingPackageError("running .onnx models", "onnxruntime", "pip install onnxruntime") from error
    return module


def available(provider: str) -> bool:
    """Was the installed onnxruntime built with "cpu", "cuda" or "tensorrt"?"""
    return PROVIDERS[provider] in onnxruntime().get_available_providers()


def open_session(path: Path, *, provider: str = "cpu", threads: int = 0, profile: str | None = None) -> Any:
    """An InferenceSession. Raises ModelError for a file it refuses, BackendError for a provider that is not there."""
    ort = onnxruntime()
    if not available(provider):
        got = f"onnxruntime {ort.__version__} with {', '.join(ort.get_available_providers())}"
        raise BackendError(f"onnxruntime with {PROVIDERS[provider]}", got, "pip install onnxruntime-gpu")
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    wanted = [PROVIDERS[provider], *(["CPUExecutionProvider"] if provider != "cpu" else [])]
    try:
        session = ort.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # onnxruntime's exceptions share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        remedy = "check the file with: python -m onnx.checker"
        raise ModelError(
            "a sound ONNX model", f"{path.name}, which onnxruntime refuses: {lines[0][:200]}", remedy
        ) from error
    if session.get_providers()[0] != PROVIDERS[provider]:  # it falls back in silence
        got = f"{session.get_providers()[0]} in its place"
        raise BackendError(f"onnxruntime to run {path.name} with {PROVIDERS[provider]}", got, "check driver and CUDA")
    return session


def inputs_of(
    session: Any,  # onnxruntime.InferenceSession
    faces: int,
    *,
    shapes: Mapping[str, Sequence[int]],  # by input, where a dimension other than the first is free
) -> dict[str, npt.NDArray[Any]]:
    """Random inputs with `faces` in the first dimension. Raises InputError when a size or type cannot be known."""
    found: dict[str, npt.NDArray[Any]] = {}
    rng = np.random.default_rng(SEED)
    unknown = sorted(set(shapes) - {one.name for one in session.get_inputs()})
    if unknown:
        known = ", ".join(one.name for one in session.get_inputs())
        raise InputError(f"shapes of the inputs {known}", ", ".join(unknown), "correct --shape NAME=1x3x64x64")
    for one in session.get_inputs():
        shape = _shape(one, faces, shapes.get(one.name))
        if one.type not in TYPES:
            raise InputError(f"inputs among {', '.join(TYPES)}", f"{one.name}, {one.type}", "measure another file")
        dtype = np.dtype(TYPES[one.type])
        if dtype.kind == "f":
            found[one.name] = rng.random(shape, np.float32).astype(dtype, copy=False)
        else:
            found[one.name] = rng.integers(0, 2, shape).astype(dtype)
    return found


def described(
    session: Any,  # onnxruntime.InferenceSession
) -> dict[str, str]:
    """{"lr": "tensor(float) [batch,3,16,16]"}"""
    return {one.name: f"{one.type} [{','.join(str(size) for size in one.shape)}]" for one in session.get_inputs()}


def _shape(one: Any, faces: int, asked: Sequence[int] | None) -> tuple[int, ...]:
    """`one` is an input of a session: name, shape, type."""
    free = [i for i, size in enumerate(one.shape) if not isinstance(size, int) or size < 1]
    if asked is not None:
        fits = len(asked) == len(one.shape) and all(i in free or asked[i] == one.shape[i] for i in range(len(asked)))
        if not fits or any(not 1 <= size <= LARGEST_SIDE for size in asked):
            expected = f"a shape that fits {one.name} {list(one.shape)}"
            raise InputError(expected, "x".join(map(str, asked)), "correct --shape NAME=1x3x64x64")
        return (faces if 0 in free else asked[0], *asked[1:])
    if any(i > 0 for i in free):
        remedy = f"pass --shape {one.name}=1x3x64x64 with sizes that fit"
        raise InputError(f"sizes of the input {one.name}", f"{list(one.shape)}", remedy)
    if one.shape and 0 not in free and one.shape[0] != faces:
        remedy = f"measure it with --batches {one.shape[0]}"
        raise InputError(f"a model whose first dimension is {faces} or free", f"{one.name} {list(one.shape)}", remedy)
    return (faces, *one.shape[1:]) if one.shape else ()
