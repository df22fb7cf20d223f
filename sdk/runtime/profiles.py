"""Which optimisation profile runs which part of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdk.errors import BackendError

__all__ = ["Part", "Profile", "bucketed", "split"]


@dataclass(frozen=True)
class Profile:
    """The input shapes [N, C, h, w] that one optimisation profile of an engine takes."""

    index: int  # in the engine
    smallest: tuple[int, ...]
    largest: tuple[int, ...]

    def takes_face(self, face: tuple[int, ...]) -> bool:
        """Does a face [C, h, w] lie within the profile?"""
        return all(low <= n <= high for low, n, high in zip(self.smallest[1:], face, self.largest[1:], strict=True))


@dataclass(frozen=True)
class Part:
    """Faces start .. start + count of a batch, run as a batch of `rows`; the rows beyond count are thrown away."""

    profile: Profile
    start: int
    count: int
    rows: int  # at least count: more where a profile takes no batch as small as that


def split(
    shape: tuple[int, ...],  # of the batch: N, C, h, w
    profiles: Sequence[Profile],
) -> list[Part]:
    """Parts that cover a batch in order, as few as can be, each in the smallest profile that takes it.

    Raises BackendError, naming what the engine takes, when no profile takes faces of that size.
    """
    N, *face = shape  # faces, then channels, height, width
    fitting = [profile for profile in profiles if profile.takes_face(tuple(face))]
    if not fitting:
        known = " or ".join(_words(profile) for profile in profiles)
        remedy = "build the engine for such faces (trt-build: minimal and maximal shapes), or use the .onnx file"
        raise BackendError(f"faces of {known}", f"{face[0]} x {face[1]} x {face[2]}", remedy)
    most = max(profile.largest[0] for profile in fitting)
    parts: list[Part] = []
    for start in range(0, N, most):
        count = min(most, N - start)
        roomy = [profile for profile in fitting if profile.largest[0] >= count]

        def cost(profile: Profile, count: int = count) -> tuple[int, int, int]:
            return max(count, profile.smallest[0]), math.prod(profile.largest), profile.index

        profile = min(roomy, key=cost)
        parts.append(Part(profile, start, count, max(count, profile.smallest[0])))
    return parts


def bucketed(part: Part) -> Part:
    """The part with its rows raised to a power of two, as far as its profile goes: one CUDA graph serves them."""
    rows = 1 << (part.rows - 1).bit_length()
    return replace(part, rows=min(rows, part.profile.largest[0]))


def _words(profile: Profile) -> str:
    """ "3 x 16 x 16" or "3 x 16..64 x 16..64" (channels, height, width in px)."""
    pairs = zip(profile.smallest[1:], profile.largest[1:], strict=True)
    return " x ".join(str(low) if low == high else f"{low}..{high}" for low, high in pairs)
