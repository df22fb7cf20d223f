"""Launches that are written down in place of being made: new arguments for the kernels of a recorded CUDA graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdk.runtime.device import Graph
from sdk.runtime.kernel_module import KernelSet

__all__ = ["edit"]


@dataclass(frozen=True)
class _Launch:
    function: int  # CUDA handle
    args: ctypes.Structure
    grid: tuple[int, int, int]
    block: tuple[int, int, int]


class _Notes(KernelSet):
    """Stands in for a KernelSet: the launchers check their arguments as ever."""

    def __init__(self, kernels: KernelSet) -> None:  # no super(): nothing is loaded here
        self.device, self._kernels = kernels.device, kernels
        self.launches: list[_Launch] = []

    def launch(
        self,
        name: str,
        kernel: str,
        args: Any,
        *,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        stream: int,
    ) -> None:
        self.launches.append(_Launch(self._kernels.function(name, kernel), args, grid, block))


def edit(graph: Graph, kernels: KernelSet, launch: Callable[[KernelSet], None]) -> bool:
    """Gives the graph's kernels the arguments that `launch(kernels)` would launch them with; nothing runs.

    False, with nothing changed, when the driver did not show one of them in the graph. Raises BackendError, after
    which the graph must not be launched any more, and what the launchers raise. The device must be current.
    """
    notes = _Notes(kernels)
    launch(notes)
    if not all(graph.shows(one.function) for one in notes.launches):
        return False
    for one in notes.launches:
        graph.edit(one.function, one.args, grid=one.grid, block=one.block)
    return True
