"""What the SDK asks of whatever runs a network: onnxruntime, TensorRT, or a caller's own class."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sdk.spec import ModelSpec

__all__ = ["Backend"]


@runtime_checkable
class Backend(Protocol):
    """A loaded network. run() may be called from several threads at once; close() frees it, twice is harmless."""

    @property
    def spec(self) -> ModelSpec:
        """What the network takes and gives."""
        ...

    def run(
        self,
        batch: npt.NDArray[np.float32],  # [N, C, h, w] in the spec's colour order, range and size
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Outputs by name: "sr" [N, C, H, W], "heatmaps" [N, K, hm, wm]. New arrays that later calls leave alone.

        Raises BackendError when the library fails or after close().
        """
        ...

    def close(self) -> None: ...
