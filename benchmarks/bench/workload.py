"""What queries carry: frames with boxes, and batches for networks. Made from a seed, the same in every run.

Frames are noise: no stage's time depends on what a picture shows, but for faces that the SDK finds to be blown up or as
sharp as its own output, and noise is neither.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.spec import ModelSpec

FRAME_HW = (1080, 1920)
TIGHT = 1.5  # side of a window over the tight landmark box in it, see sdk.image.crop.square_windows
SEED = 7


@dataclass(frozen=True)
class Scene:
    """A frame and the faces in it."""

    frame: npt.NDArray[np.uint8]  # [H, W, 3]
    boxes: npt.NDArray[np.float64]  # [N, 4] tight landmark boxes in px


def scene(faces: int, *, side_px: float, frame_hw: tuple[int, int] = FRAME_HW) -> Scene:
    """`faces` windows of side_px on a grid over the frame, moved by fractions of a pixel; they may overlap."""
    rng = np.random.default_rng(SEED)
    H, W = frame_hw  # rows, columns
    frame = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    columns = max(1, int(np.ceil(np.sqrt(faces * W / H))))
    rows = max(1, -(-faces // columns))
    index = np.arange(faces)
    x = (index % columns + 0.5) * W / columns + rng.uniform(-0.5, 0.5, faces)
    y = (index // columns + 0.5) * H / rows + rng.uniform(-0.5, 0.5, faces)
    half = side_px / TIGHT / 2
    return Scene(frame, np.stack([x - half, y - half, x + half, y + half], axis=1))


def faces_batch(spec: ModelSpec, faces: int) -> npt.NDArray[np.float32]:
    """A batch for a network of ours: float32 [N, C, S, S] inside the spec's value range."""
    low, high = spec.value_range
    shape = (faces, spec.channels, spec.input_size, spec.input_size)
    values = np.random.default_rng(SEED).random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values
