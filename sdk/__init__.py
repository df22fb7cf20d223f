"""FaceTRT: a tiny face goes in, a sharp face and 68 landmarks come out.

    from sdk import FaceEnhancer

    with FaceEnhancer() as enhancer:              # frames are uint8 [H, W, 3], BGR as OpenCV reads them
        faces = enhancer.enhance(frame)           # -> list[FaceResult]
        frame = enhancer.render(frame, faces)

Importing this package needs NumPy alone and opens nothing; onnxruntime, OpenCV and Pillow are imported where used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.errors import (
    BackendError,
    BuildError,
    DetectorError,
    EngineError,
    FaceTRTError,
    InputError,
    MissingPackageError,
    ModelError,
    OutputError,
)
from sdk.result import FaceResult, FaceStatus
from sdk.spec import ModelSpec

if TYPE_CHECKING:  # for editors and type checkers only: at run time __getattr__ imports it on first use
    from sdk.enhancer import FaceEnhancer

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BuildError",
    "DetectorError",
    "EngineError",
    "FaceEnhancer",
    "FaceResult",
    "FaceStatus",
    "FaceTRTError",
    "InputError",
    "MissingPackageError",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "FaceEnhancer":
        from sdk.enhancer import FaceEnhancer

        return FaceEnhancer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
