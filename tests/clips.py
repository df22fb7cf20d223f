"""Frames with a known face in a known place: NASA's portrait (public domain), reduced onto a textured background."""

from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from sdk.pictures import read_picture

PORTRAIT = read_picture(Path(__file__).parents[1] / "benchmarks/assets/astronaut.png").pixels[..., ::-1]  # BGR
FACE_BOX = np.array([178.0, 74.0, 270.0, 190.0])  # forehead to chin in it
WIDTH, HEIGHT = 320, 240


def background(seed: int = 7) -> np.ndarray:
    rough = gaussian_filter(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3)), (6, 6, 0))
    return np.clip(110 + 25 * rough / rough.std(), 0, 255)


def frame_with(places, *, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] BGR with a face at each (centre x, centre y, face width px), and their boxes [N, 4]."""
    frame, boxes = background(), []
    centre = 0.5 * (FACE_BOX[:2] + FACE_BOX[2:])
    for x, y, width in places:
        factor = width / (FACE_BOX[2] - FACE_BOX[0])
        part = PORTRAIT[40:230, 130:320]
        sigma = 0.45 / factor  # against aliasing
        smooth = cv2.GaussianBlur(part, (0, 0), sigma) if factor < 1 else part
        place = np.array([[factor, 0, x - factor * (centre[0] - 130)], [0, factor, y - factor * (centre[1] - 40)]])
        warp = {"dsize": (WIDTH, HEIGHT), "flags": cv2.INTER_CUBIC}
        inside = cv2.warpAffine(np.ones(part.shape[:2], np.float32), place, **warp)[..., None]
        frame = frame * (1 - inside) + cv2.warpAffine(smooth.astype(np.float32), place, **warp) * inside
        half = 0.5 * factor * (FACE_BOX[2:] - FACE_BOX[:2])
        boxes.append([x - half[0], y - half[1], x + half[0], y + half[1]])
    frame = frame + np.random.default_rng(seed).normal(scale=noise, size=frame.shape) if noise else frame
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8), np.array(boxes, np.float64).reshape(-1, 4)
