"""What cuts windows out of frames: NumPy on the host, or kernels where the frame goes to a GPU.

sdk.runtime.gpu_faces, which does the latter, is only imported where a network runs on TensorRT.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError
from sdk.image.crop import crop
from sdk.runtime.backend import Backend

__all__ = [
    "Cut",
    "Gpu",
    "Picture",
    "borrowing",
    "cutting",
    "cutting_pictures",
    "frame_cut",
    "gpu_of",
    "pasted_there",
    "pictures_cut",
]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

# Cuts windows [n, 4] (of the faces with these indices [n]) out as float32 [n, size, size, 3] RGB, 0..255.
Cut = Callable[[Index, F64, int], F32]

TENSORRT = "sdk.runtime.trt_backend"  # a network of it can only be there when this was imported


class Picture(Protocol):
    """An enhanced face that stays on a GPU."""

    def host(self) -> U8:
        """A copy on the host, [S, S, 3] RGB."""
        ...


class Gpu(Protocol):
    """Frames on a GPU, where kernels cut, decode and make pictures: sdk.runtime.gpu_faces.FrameOnGpu."""

    def covers(self, network: Any) -> bool: ...

    def run(
        self, network: Any, index: Index, windows: F64, size: int, *, pictures: bool, least: float | None
    ) -> Any: ...


def frame_cut(
    frame: U8,  # [H, W, 3]
    color: str,
) -> Cut:
    """Cuts out of one frame; only the cut pixels are brought into RGB order."""

    def cut(index: Index, windows: F64, size: int) -> F32:
        crops = crop(frame, windows, size=size)  # [n, size, size, 3]
        return crops if color == "rgb" else crops[..., ::-1]

    return cut


def pictures_cut(
    pictures: Sequence[U8],  # each [H, W, 3]
    color: str,
) -> Cut:
    """Cuts face i out of picture i."""
    cuts = [frame_cut(picture, color) for picture in pictures]

    def cut(index: Index, windows: F64, size: int) -> F32:
        crops: list[F32] = [cuts[i](index, windows[k : k + 1], size) for k, i in enumerate(index.tolist())]
        return np.concatenate(crops)

    return cut


def gpu_of(networks: Sequence[Backend]) -> tuple[Any, dict[int, str]]:
    """sdk.runtime.gpu_faces.GpuFaces.of() where one of the networks runs on TensorRT."""
    if TENSORRT not in sys.modules:
        return None, {}
    from sdk.runtime.gpu_faces import GpuFaces

    return GpuFaces.of(networks)


@contextlib.contextmanager
def cutting(
    gpu: Any,  # GpuFaces; None: all on the host
    frame: npt.NDArray[np.uint8],  # [H, W, 3]
    color: str,
) -> Generator[tuple[Cut, Gpu | None], None, None]:
    """What cuts windows out of the frame, and the frame on the GPU, if it goes there."""
    if gpu is None or not gpu.takes(frame):
        yield frame_cut(frame, color), None
        return
    with gpu.frames([frame], color) as there:
        yield there.cut, there


@contextlib.contextmanager
def cutting_pictures(
    gpu: Any,  # GpuFaces; None: all on the host
    pictures: Sequence[U8],  # each [H, W, 3]
    color: str,
) -> Generator[tuple[Cut, Gpu | None], None, None]:
    """What cuts face i out of picture i, and the pictures on the GPU, if they go there."""
    if gpu is None or not gpu.takes(*pictures):
        yield pictures_cut(pictures, color), None
        return
    with gpu.frames(pictures, color) as there:
        yield there.cut, there


def borrowing(
    gpu: Any,  # GpuFaces; None: no network runs on a GPU with our kernels
    frame: object,  # on the GPU
    color: str,
    *,
    strength: float,
    stream: object | None,
    why_not: str,
) -> contextlib.AbstractContextManager[Any]:
    """The caller's frame on the GPU as a sdk.runtime.camera_frame.CameraFrame. Raises BackendError, InputError."""
    if gpu is None:
        raise BackendError("networks whose faces stay on a GPU", why_not, "use enhance() and render()")
    from sdk.runtime.camera_frame import borrowed

    return borrowed(gpu, frame, color, strength=strength, stream=stream)


def pasted_there(
    gpu: Any,  # GpuFaces; None: all on the host
    canvas: U8,  # [H, W, 3], changed in place
    groups: Sequence[tuple[U8, F64, F32 | None]],  # pictures [n, S, S, 3], maps [n, 2, 3], landmarks [n, K, 2]
    *,
    strength: float,
) -> bool:
    """sdk.image.paste.paste() of each group on the GPU; False, with nothing done, where the host has to."""
    if gpu is None:
        return False
    from sdk.runtime.gpu_render import paste_there

    return paste_there(gpu, canvas, groups, strength=strength)
