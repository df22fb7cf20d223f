"""Which network, at which input size, enhances a face of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import ModelError
from sdk.runtime.backend import Backend
from sdk.spec import SUBSTITUTES, ModelSpec

__all__ = ["MAX_SHRINK", "Route", "check_outputs", "choose_routes", "routes_of"]

# A window may be this much larger than the network's input: a third of its pixels' detail is given up before the next
# larger input is taken. With inputs of 16, 32 and 64 px: up to 24 px -> 16, up to 48 px -> 32, above -> 64.
MAX_SHRINK = 1.5

BATCH_PX = 64 * 32 * 32  # input pixels a batch: 64 faces of 32 px or 16 of 64 px take about 300 MB inside the network
MAX_BATCH = 64


@dataclass(frozen=True, eq=False)
class Route:
    """A network at one input size."""

    backend: Backend
    lr_size: int  # px
    hr_size: int  # px

    @property
    def batch(self) -> int:
        """Most faces in one call: bounds the memory however many faces a frame has."""
        return max(1, min(MAX_BATCH, BATCH_PX // self.lr_size**2))


def check_outputs(spec: ModelSpec) -> None:
    """Raises ModelError for a network that puts out finished pictures and points, as files for other programs do."""
    instead = [f"{new} instead of {old}" for old, new in SUBSTITUTES.items() if new in spec.output_names]
    if instead:
        remedy = "open the file it was made from: this one is for trtexec, Triton or C++, or for open_backend()"
        raise ModelError(f"{spec.name} with the outputs of the network itself", ", ".join(instead), remedy)


def routes_of(backends: Sequence[Backend]) -> list[Route]:
    """Every network at every size it is used at, smallest input first. Networks of any size serve twice theirs too."""
    routes: list[Route] = []
    for backend in backends:
        spec = backend.spec
        for size in (spec.lr_size, 2 * spec.lr_size) if spec.any_size else (spec.lr_size,):
            routes.append(Route(backend, size, size * spec.scale))
    return sorted(routes, key=lambda route: route.lr_size)


def choose_routes(
    routes: Sequence[Route],
    sides: npt.NDArray[np.float64],  # [N] px: sides of the windows
) -> npt.NDArray[np.intp]:
    """Index [N] into routes: the smallest input that shrinks the window at most MAX_SHRINK times, else the largest."""
    limits = np.array([MAX_SHRINK * route.lr_size for route in routes])
    return np.minimum(np.searchsorted(limits, sides, side="left"), len(routes) - 1)
