"""What people write around a face network today, with OpenCV and NumPy: face by face, map by map.

Cutting with cv2.resize, arithmetic in NumPy; points by argmax and a quarter of a cell towards the higher neighbour, in
a loop over maps, as published face aligners decode; pasting by warping each face, and its mask, over the whole frame
and blending the whole frame in float, as published restorers do. Written here from these descriptions.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import MissingPackageError
from sdk.spec import ModelSpec

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
FEATHER = 0.05  # of the face's side


def opencv() -> Any:
    """The module cv2. Raises MissingPackageError."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackageError(
            "the usual way around a network", "opencv-python-headless", "pip install opencv-python-headless"
        ) from error


def cut(
    frame: U8,  # [H, W, 3] BGR
    windows: npt.NDArray[np.float64],  # [N, 4] px
    spec: ModelSpec,
) -> F32:  # [N, C, S, S]
    """Each face out of the frame, resized, in the network's colours, range and order of axes."""
    cv2 = opencv()
    faces: list[F32] = []
    for x0, y0, x1, y1 in np.rint(windows).astype(int).tolist():
        patch = frame[max(y0, 0) : y1, max(x0, 0) : x1]
        face = cv2.resize(patch, (spec.lr_size, spec.lr_size), interpolation=cv2.INTER_CUBIC)
        if spec.input_upscaled:
            face = cv2.resize(face, (spec.input_size, spec.input_size), interpolation=cv2.INTER_CUBIC)
        if spec.channels == 1:
            face = cv2.cvtColor(face, cv2.COLOR_BGR2YCrCb)[..., :1]
        elif spec.colour == "rgb":
            face = cv2.cvtColor(face, cv2.COLOR_BGR2RGB)
        low, high = spec.value_range
        values = face.astype(np.float32) / 255.0 * (high - low) + low
        values = (values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        faces.append(np.ascontiguousarray(values.transpose(2, 0, 1), np.float32))
    return np.stack(faces)


def pictures(
    sr: F32,  # [N, C, S, S]
    spec: ModelSpec,
) -> list[U8]:  # N of [S, S, C] BGR
    low, high = spec.value_range
    found: list[U8] = []
    for face in sr:
        values = (face.transpose(1, 2, 0) - low) / (high - low) * 255.0
        picture = np.clip(np.round(values), 0, 255).astype(np.uint8)
        found.append(picture[..., ::-1] if spec.colour == "rgb" else picture)
    return found


def points(
    heatmaps: F32,  # [N, K, H, W]
    windows: npt.NDArray[np.float64],  # [N, 4] px
) -> npt.NDArray[np.float64]:  # [N, K, 2] frame px
    """Argmax of all maps at once; the quarter offset and the way back into the frame map by map."""
    N, K, H, W = heatmaps.shape  # faces, landmarks, rows, columns
    index = heatmaps.reshape(N, K, H * W).argmax(axis=2)
    found = np.zeros((N, K, 2))
    for n in range(N):
        x0, y0, x1, y1 = windows[n]
        for k in range(K):
            y, x = divmod(int(index[n, k]), W)
            dx = dy = 0.0
            if 0 < x < W - 1 and 0 < y < H - 1:
                heat = heatmaps[n, k]
                dx = 0.25 * float(np.sign(heat[y, x + 1] - heat[y, x - 1]))
                dy = 0.25 * float(np.sign(heat[y + 1, x] - heat[y - 1, x]))
            found[n, k] = x0 + (x + dx + 0.5) * (x1 - x0) / W, y0 + (y + dy + 0.5) * (y1 - y0) / H
    return found


def paste(
    frame: U8,  # [H, W, 3]
    faces: Sequence[U8],  # N of [S, S, 3]
    affines: npt.NDArray[np.float64],  # [N, 2, 3] face px -> frame px
) -> U8:  # [H, W, 3]
    """A new frame with the faces in it, blended over a soft edge: everything the size of the frame, for every face."""
    cv2 = opencv()
    H, W = frame.shape[:2]
    result = frame.astype(np.float32)
    for face, affine in zip(faces, affines, strict=True):
        side = face.shape[0]
        warped = cv2.warpAffine(face, affine, (W, H)).astype(np.float32)
        inner = max(1, round(FEATHER * side))
        mask = np.zeros((side, side), np.float32)
        mask[inner:-inner, inner:-inner] = 1
        mask = cv2.warpAffine(mask, affine, (W, H))
        blur = 2 * max(1, round(FEATHER * side * affine[0, 0])) + 1
        mask = cv2.GaussianBlur(mask, (blur, blur), 0)[..., None]
        result = mask * warped + (1 - mask) * result
    return np.clip(result, 0, 255).astype(np.uint8)
