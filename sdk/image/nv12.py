"""NV12, the frame of cameras and video decoders: RGB crops out of it. Reference of kernels/crop_norm.cu.

A full-rate plane Y and a half-rate plane of interleaved Cb, Cr. A frame is never converted as a whole: windows are
interpolated in each plane at its own rate (Y bicubic, chroma with a triangle, both antialiased) and only the result
is converted to RGB.

Chroma sample (i, j) lies, in edge coordinates of the frame (x, y):
    "left"    at (2 i + 0.5, 2 j + 1): over the even column, between two rows; MPEG-2, H.264 and H.265 unless told
    "center"  at (2 i + 1, 2 j + 1): between two columns and two rows; JPEG, MPEG-1
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import affine_samples, checked_windows, crop_one, sample_at

LUMA_SHARES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red and blue in Y
SITINGS = {"left": (0.25, 0.0), "center": (0.0, 0.0)}  # added to (x, y) / 2 to give chroma edge coordinates
LIMITED = (16.0, 219.0, 224.0)  # black, levels from black to white, levels of a chroma's full swing
FULL = (0.0, 255.0, 255.0)
CHROMA_ZERO = 128.0

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Nv12Frame:
    """One frame; the arrays stay the caller's. Raises InputError when they do not fit each other."""

    y: npt.NDArray[np.uint8]  # [H, W]
    uv: npt.NDArray[np.uint8]  # [ceil(H / 2), ceil(W / 2), 2] Cb, Cr
    matrix: str = "bt709"  # or "bt601", of most standard-definition cameras
    full_range: bool = False  # False: Y in 16..235, chroma in 16..240
    siting: str = "left"  # or "center"

    def __post_init__(self) -> None:
        y, uv = self.y, self.uv
        fits = y.ndim == 2 and 0 not in y.shape and uv.shape == (-(-y.shape[0] // 2), -(-y.shape[1] // 2), 2)
        if not fits or y.dtype != np.uint8 or uv.dtype != np.uint8:
            got = f"{y.dtype} {y.shape} and {uv.dtype} {uv.shape}"
            raise InputError("uint8 planes Y [H, W] and UV [ceil(H/2), ceil(W/2), 2]", got, "split the buffer by rows")
        if self.matrix not in LUMA_SHARES or self.siting not in SITINGS:
            expected = f"a matrix of {sorted(LUMA_SHARES)} and a siting of {sorted(SITINGS)}"
            raise InputError(expected, f"{self.matrix!r}, {self.siting!r}", "see the decoder's VUI fields")


def yuv_to_rgb_matrix(matrix: str, *, full_range: bool) -> Float64:
    """[3, 4]: RGB in 0..255 from (Y, Cb, Cr, 1) as stored."""
    red, blue = LUMA_SHARES[matrix]
    green = 1.0 - red - blue
    black, luma, chroma = FULL if full_range else LIMITED
    from_blue, from_red = 2.0 * (1.0 - blue), 2.0 * (1.0 - red)  # of Cb and Cr in -0.5..0.5
    rows = [[1.0, 0.0, from_red], [1.0, -from_blue * blue / green, -from_red * red / green], [1.0, from_blue, 0.0]]
    scaled = np.array(rows) * 255.0 / np.array([luma, chroma, chroma])
    shift = -scaled @ np.array([black, CHROMA_ZERO, CHROMA_ZERO])
    return np.concatenate([scaled, shift[:, None]], axis=1)


def rgb_to_yuv_matrix(matrix: str, *, full_range: bool) -> Float64:
    """[3, 4]: (Y, Cb, Cr) as stored from RGB in 0..255 and 1."""
    forward = yuv_to_rgb_matrix(matrix, full_range=full_range)
    inverse = np.linalg.inv(forward[:, :3]).astype(np.float64)
    return np.concatenate([inverse, -inverse @ forward[:, 3:]], axis=1)


def convert(
    colours: npt.NDArray[np.floating],  # [..., 3]
    matrix: Float64,  # [3, 4]
) -> Float32:  # [..., 3]
    """Colours through one of the matrices above: not rounded, not clipped."""
    return np.matmul(colours.astype(np.float32), matrix[:, :3].T.astype(np.float32)) + matrix[:, 3].astype(np.float32)


def to_chroma(
    edges: Float64,  # [..., 2] (x, y) edge coordinates of the frame
    siting: str,
) -> Float64:
    """The same places in edge coordinates of the chroma plane."""
    return edges / 2.0 + np.array(SITINGS[siting])


def crop_nv12(
    frame: Nv12Frame,
    windows: npt.NDArray[np.floating],  # [N, 4] edge coordinates of the frame
    *,
    size: int,
) -> Float32:  # [N, size, size, 3]
    """RGB crops in 0..255 as sdk.image.crop.crop() gives them: float32, not rounded, clipped. Raises InputError."""
    luma = frame.y[:, :, None]
    boxes = checked_windows(luma, windows, size)
    chroma_boxes = to_chroma(boxes.reshape(-1, 2, 2), frame.siting).reshape(-1, 4)
    planes = np.empty((len(boxes), size, size, 3), dtype=np.float32)
    for face, (box, chroma_box) in enumerate(zip(boxes, chroma_boxes, strict=True)):
        planes[face, :, :, :1] = crop_one(luma, box, size)
        planes[face, :, :, 1:] = crop_one(frame.uv, chroma_box, size, kernel="bilinear")
    return _rgb(planes, frame)


def crop_affine_nv12(
    frame: Nv12Frame,
    crop_to_frame: npt.NDArray[np.floating],  # [N, 2, 3] similarity maps, centre coordinates
    *,
    size: int,
) -> Float32:  # [N, size, size, 3]
    """As crop_nv12(), through similarity maps: sdk.image.crop.crop_affine() in each plane. Raises InputError."""
    luma = frame.y[:, :, None]
    points, scales = affine_samples(luma, crop_to_frame, size=size)  # [N, 2, P], [N]
    planes = np.empty((len(points), size * size, 3), dtype=np.float32)
    for face, (edges, scale) in enumerate(zip(points, scales, strict=True)):
        planes[face, :, :1] = sample_at(luma, edges, float(scale))
        planes[face, :, 1:] = sample_at(
            frame.uv, to_chroma(edges.T, frame.siting).T, float(scale) / 2.0, kernel="bilinear"
        )
    return _rgb(planes.reshape(-1, size, size, 3), frame)


def _rgb(planes: Float32, frame: Nv12Frame) -> Float32:
    rgb = convert(planes, yuv_to_rgb_matrix(frame.matrix, full_range=frame.full_range))
    return np.clip(rgb, 0.0, 255.0, out=rgb)
