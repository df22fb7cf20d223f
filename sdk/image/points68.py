"""The 68-point scheme of 300-W: indices, mirror permutation.

Counted from 0; coordinates (x, y), pixel centres at integers. 0-16 jaw, 17-21 and 22-26 brows, 27-30 nose bridge,
31-35 nostrils, 36-41 and 42-47 eyes, 48-59 outer lip, 60-67 inner lip. Subject's right is the picture's left.
"""

import numpy as np
import numpy.typing as npt

COUNT = 68
OUTER_EYES = (36, 45)  # the normaliser of NME

CHIN = 8  # lowest point of the jaw
JAW = tuple(range(0, 17))
BROWS = tuple(range(17, 27))
NOSE = tuple(range(27, 36))
EYES = tuple(range(36, 48))
MOUTH = tuple(range(48, 68))

# fmt: off
FLIP_68 = np.array([
    *range(16, -1, -1),                              # jaw, reversed
    *range(26, 16, -1),                              # brows, reversed
    27, 28, 29, 30, 35, 34, 33, 32, 31,              # nose
    45, 44, 43, 42, 47, 46,                          # right eye <- left eye
    39, 38, 37, 36, 41, 40,                          # left eye <- right eye
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,  # outer lip
    64, 63, 62, 61, 60, 67, 66, 65,                  # inner lip
])
# fmt: on
FLIP_68.flags.writeable = False


def mirror_points(
    points: npt.NDArray[np.floating],  # [..., 68, 2] pixels
    width: int,
) -> npt.NDArray[np.floating]:
    """Points of the left-right mirrored picture of `width` pixels; an involution. Same dtype, new array."""
    mirrored = points[..., FLIP_68, :].copy()
    mirrored[..., 0] = (width - 1) - mirrored[..., 0]
    return mirrored
