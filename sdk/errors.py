"""Every error this product raises on purpose.

    FaceTRTError
    ├── InputError           (also ValueError)   an array, box, picture or option of the caller
    ├── ModelError                               a model file, its metadata or what it computes
    ├── BackendError                             what runs a model: a library, a device, an option of it
    │   └── EngineError                          an engine file that does not fit, is damaged or was not verified
    ├── BuildError                               an engine that cannot be built
    ├── DetectorError                            what finds faces in a frame
    ├── OutputError                              a result that cannot be written
    ├── StreamError                              a stage of a stream that failed; names it
    └── MissingPackageError  (also ImportError)  an optional package that a feature needs

A message has three parts: what was expected, what came instead, what to do about it.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BuildError",
    "DetectorError",
    "EngineError",
    "FaceTRTError",
    "InputError",
    "MissingPackageError",
    "ModelError",
    "OutputError",
    "StreamError",
]


class FaceTRTError(Exception):
    """Root of the tree: `FaceTRTError("boxes of shape (N, 4)", "shape (3,)", "pass boxes[None]")`."""

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(expected, got, remedy)  # all three in args, so that the error survives pickling
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}; {self.remedy}"


class InputError(FaceTRTError, ValueError):
    """The caller's array, box, picture or option is not what the function takes."""


class ModelError(FaceTRTError):
    """A model file is missing, damaged, not ours, or computes something its spec does not say."""


class BackendError(FaceTRTError):
    """The library or device that should run a model cannot."""


class EngineError(BackendError):
    """An engine file does not fit this machine or model, is damaged, or nobody verified it."""


class BuildError(FaceTRTError):
    """An engine cannot be built, or is not what was asked for."""


class DetectorError(FaceTRTError):
    """The face detector cannot run or returned something that is not boxes."""


class OutputError(FaceTRTError):
    """A result could not be written: no space, no permission, or it would overwrite something."""


class StreamError(FaceTRTError):
    """A stage of a stream raised; the frames before it were given. The exception itself is the __cause__."""

    def __init__(self, expected: str, got: str, remedy: str, stage: str = "") -> None:
        super().__init__(expected, got, remedy)
        self.args = (expected, got, remedy, stage)
        self.stage = stage

    @staticmethod
    def of(stage: str, error: Exception) -> StreamError:
        """For an exception of that stage."""
        if isinstance(error, FaceTRTError):
            made = StreamError(error.expected, f"{error.got} (stage {stage!r})", error.remedy, stage)
        else:
            detail = f"{type(error).__name__}: {error} (stage {stage!r})"
            made = StreamError("every frame to pass", detail, "see the exception that caused this one", stage)
        made.__cause__ = error
        return made


class MissingPackageError(FaceTRTError, ImportError):
    """An optional package is absent or too new: names the feature, the package and the pip command."""

    def __init__(self, feature: str, package: str, pip_command: str, *, got: str | None = None) -> None:
        got = got if got is not None else "no such package installed"
        FaceTRTError.__init__(self, f"the package {package} for {feature}", got, f"install it: {pip_command}")
        self.feature = feature
        self.package = package
        self.pip_command = pip_command

    def __reduce__(self) -> tuple[object, ...]:
        return _missing_package, (self.feature, self.package, self.pip_command, self.got)


def _missing_package(feature: str, package: str, pip_command: str, got: str) -> MissingPackageError:
    return MissingPackageError(feature, package, pip_command, got=got)
