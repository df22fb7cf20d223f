"""What cameras do to a tiny face: blur, antialiased reduction, noise, JPEG, colour shift.

The evaluation draws from it too, with a fixed seed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdk.image.resample import resize


@dataclass(frozen=True)
class Degradation:
    """Ranges to draw from; each effect is applied with `probability`."""

    probability: float = 0.5  # Super-FAN, PAPERS 2.5: each with p = 0.5
    blur_kernels_px: tuple[int, ...] = (3, 5, 7)  # at HR size; Super-FAN Sec. 5 (kernel 3 to 7 px)
    noise_sigma: tuple[float, float] = (1.0, 8.0)  # grey levels at LR size; our choice: a phone at dusk
    jpeg_quality: tuple[int, int] = (40, 95)  # PAPERS 2.5 [D]
    gain: tuple[float, float] = (0.8, 1.2)  # per channel; PAPERS 2.5 [D]


CAMERA = Degradation(
    gain=(1.0, 1.0)
)  # colour shift moves the truth too: it is applied to HR and LR alike, see `shift_colour`
ALL_AT_ONCE = Degradation(probability=1.0, noise_sigma=(4.0, 4.0), jpeg_quality=(60, 60), gain=(1.0, 1.0))

# What the evaluation knows: the draws of Super-FAN's real-image version, or the worst case of all three effects.
DEGRADATIONS = {"camera": CAMERA, "all": ALL_AT_ONCE}


def degrade(
    hr: npt.NDArray[np.uint8],  # [S, S, 3] RGB
    size: int,
    rng: np.random.Generator,
    *,
    ranges: Degradation = CAMERA,
) -> npt.NDArray[np.uint8]:
    """LR picture [size, size, 3] uint8: blur at HR, reduce, noise, JPEG, each drawn from `ranges`."""
    work = hr
    if rng.random() < ranges.probability:
        kernel = int(rng.choice(ranges.blur_kernels_px))
        sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8  # PAPERS 2.5
        work = cv2.GaussianBlur(work, (kernel, kernel), sigma)
    work = resize(work, (size, size)).astype(np.float32)
    if rng.random() < ranges.probability:
        work = work + rng.normal(0.0, rng.uniform(*ranges.noise_sigma), work.shape)
    low = np.clip(work + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < ranges.probability:
        low = jpeg(low, int(rng.integers(ranges.jpeg_quality[0], ranges.jpeg_quality[1] + 1)))
    return low


def jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """JPEG round trip of an RGB picture at `quality` (libjpeg's scale, chroma halved)."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok, image.shape
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def shift_colour(
    images: npt.NDArray[np.float32],  # [B, 3, S, S] in [0, 255]
    rng: np.random.Generator,
    *,
    ranges: Degradation,
    grey_probability: float = 0.05,
) -> npt.NDArray[np.float32]:
    """Channel gains, gamma and now and then grey, the same for a picture and its LR copy made afterwards."""
    batch = len(images)
    gain = rng.uniform(*ranges.gain, size=(batch, 3, 1, 1)) * rng.uniform(*ranges.gain, size=(batch, 1, 1, 1))
    gamma = np.exp(rng.normal(0.0, 0.2, size=(batch, 1, 1, 1)))
    shifted = 255.0 * (np.clip(images * gain, 0.0, 255.0) / 255.0) ** gamma
    grey = rng.random(batch) < grey_probability
    shifted[grey] = shifted[grey].mean(axis=1, keepdims=True)
    return np.rint(shifted).astype(np.float32)
