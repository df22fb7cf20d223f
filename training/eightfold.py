"""FSRNet_aug: the mean picture of eight versions of the input. The paper says neither which nor how: our choice.

The four quarter turns and their mirror images go through the network, their pictures are turned back, averaged in
float, and rounded once. Points and other outputs are those of the upright picture. Costs eight passes.
"""

import numpy as np
import numpy.typing as npt

from training.predictors import Network

VERSIONS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))


def turned(
    picture: npt.NDArray[np.generic],  # [N, H, W, C]
    turns: int,
    mirrored: bool,
) -> npt.NDArray[np.generic]:
    """Mirrored, then turned by quarters against the clock; a new array."""
    picture = picture[:, :, ::-1] if mirrored else picture
    return np.ascontiguousarray(np.rot90(picture, turns, axes=(1, 2)))


def turned_back(
    planes: npt.NDArray[np.generic],  # [N, C, H, W]
    turns: int,
    mirrored: bool,
) -> npt.NDArray[np.generic]:
    """The inverse of turned(), on a network's channels."""
    planes = np.rot90(planes, -turns, axes=(2, 3))
    return planes[..., ::-1] if mirrored else planes


class EightFold:
    """A network with test-time augmentation, called as a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.name, self.spec, self.path = network.name, network.spec, network.path

    def scale(self, lr_size: int) -> int:
        return self.network.scale(lr_size)

    def at_scale(self, scale: int) -> "EightFold":
        return EightFold(self.network.at_scale(scale))

    def outputs(
        self,
        lr: npt.NDArray[np.uint8],  # [N, h, w, 3] RGB
        *,
        enlarged: npt.NDArray[np.float32] | None = None,  # [N, H, W, 3] 0..255
    ) -> dict[str, npt.NDArray[np.float32]]:
        """As Network.outputs, "sr" averaged."""
        upright: dict[str, npt.NDArray[np.float32]] = {}
        total = np.zeros(())
        for version in VERSIONS:
            moved = None if enlarged is None else turned(enlarged, *version).astype(np.float32)
            found = self.network.outputs(turned(lr, *version).astype(np.uint8), enlarged=moved)
            upright = upright or found
            total = total + turned_back(found["sr"].astype(np.float64), *version)
        return {**upright, "sr": (total / len(VERSIONS)).astype(np.float32)}

    def decoded(
        self, outputs: dict[str, npt.NDArray[np.float32]], lr: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        return self.network.decoded(outputs, lr)

    def __call__(
        self, lr: npt.NDArray[np.uint8], *, enlarged: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        return self.decoded(self.outputs(lr, enlarged=enlarged), lr)
