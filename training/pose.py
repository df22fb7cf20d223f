"""Yaw of a face from its 68 points, for Super-FAN's pose bins where an archive has no label.

Six points (tip of the nose, chin, outer eye corners, mouth corners) of a generic head are laid over the true ones by
the best scaled orthographic view. Heads differ and points are off by pixels: an estimate for bins of 30 degrees, not
compared with measured poses, as no archive of ours has them.
"""

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.points68 import COUNT

POINTS = (30, 8, 36, 45, 48, 54)  # of 300-W's
HEAD = np.array(  # x to the picture's right, y down, z away from the camera; any unit
    [[0, 0, 0], [0, 330, 65], [-225, -170, 135], [225, -170, 135], [-150, 150, 125], [150, 150, 125]], dtype=np.float64
)
BINS_DEG = ((0, 30), (30, 60), (60, 90))  # Super-FAN's


def yaw_deg(
    points: npt.NDArray[np.floating],  # [N, 68, 2] pixels
) -> npt.NDArray[np.float64]:  # [N]
    """Angle about the vertical axis in degrees, positive where the face looks to the picture's right.

    Raises InputError for another shape or points that are not finite.
    """
    if points.ndim != 3 or points.shape[1:] != (COUNT, 2) or not np.isfinite(points).all():
        raise InputError(f"finite points [N, {COUNT}, 2]", f"shape {points.shape}", "leave out faces without points")
    seen = points[:, POINTS].astype(np.float64)
    seen = seen - seen.mean(axis=1, keepdims=True)  # [N, 6, 2]
    head = HEAD - HEAD.mean(axis=0)
    view = np.swapaxes(np.linalg.pinv(head) @ seen, 1, 2)  # [N, 2, 3]: head -> picture, least squares
    left, _, right = np.linalg.svd(view, full_matrices=False)
    across = left @ right  # [N, 2, 3]: the nearest view without shear, its rows at right angles
    forward = -np.cross(across[:, 0], across[:, 1])[:, 2]  # z of the face's direction: below 0 it looks at the camera
    sideways = -across[:, 0, 2]
    return np.degrees(np.arctan2(sideways, -forward))


def bin_of(yaw: float) -> str:
    """Name of Super-FAN's bin, "60-90" beyond 90 degrees too."""
    number = min(int(abs(yaw) // 30), len(BINS_DEG) - 1)
    return "{}-{}".format(*BINS_DEG[number])
