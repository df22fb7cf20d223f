"""Picture files in and out, whole or not at all: the only file that imports Pillow.

What is read: everything Pillow reads; the first frame of animations. What is worked on: 8 bit RGB, upright (EXIF
orientation applied), alpha kept aside. What is written: 8 bit, grey where the input was grey, with the input's alpha,
colour profile and EXIF where the format holds them. Whatever is given up on the way is said in `notes`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, MissingPackageError, OutputError
from sdk.image.pixels import as_rgb8
from sdk.image.resample import resize

__all__ = [
    "FORMATS",
    "READABLE",
    "Picture",
    "encode_picture",
    "read_picture",
    "resized_like",
    "text_line",
    "write_file",
]

U8 = npt.NDArray[np.uint8]

FORMATS = {  # what can be written, by suffix
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
READABLE = (*FORMATS, ".gif", ".ppm", ".pgm", ".jp2", ".tga")  # what is taken from a folder
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")
JPEG = {"quality": 95, "subsampling": 0}  # 4:4:4: chroma at half rate blurs small faces

MAX_MEGAPIXELS = 120.0  # above the largest phone cameras' 108; about 1 GB while it is worked on

_limit_lock = threading.Lock()  # Pillow keeps its own limit in a global


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture file's contents, upright."""

    pixels: U8  # [H, W, 3] RGB
    alpha: U8 | None  # [H, W]
    grey: bool  # the file held one channel: pixels repeat it three times
    format: str  # Pillow's name: "JPEG", "PNG", ...
    icc_profile: bytes | None = None
    exif: bytes | None = None  # without the orientation, which is applied
    notes: tuple[str, ...] = ()  # what was given up on reading


def read_picture(
    path: str | Path,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Picture:
    """Read and check a picture file. Raises InputError: absent, empty, damaged, truncated, no picture, too large."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("a readable picture file", f"{path}: {error.strerror}", "check the path") from error
    if not data:
        raise InputError("a picture file", f"{path}, which is empty", "copy it again")
    image_module, ops = _pillow("Image"), _pillow("ImageOps")
    with _limit_lock, _without_limit(image_module):
        try:
            image: Any = image_module.open(io.BytesIO(data))
        except Exception as error:  # Pillow's plugins raise whatever their parsers do; the cause is kept
            remedy = "check that it is what its name says"
            raise InputError("a picture file", f"{path}, which is none that Pillow reads", remedy) from error
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            got = f"{image.width} x {image.height} px in {path}"
            remedy = "make it smaller, or raise max_megapixels if memory allows (4 bytes a pixel and more)"
            raise InputError(f"a picture of at most {max_megapixels:g} megapixels", got, remedy)
        deep = any(";16" in str(tile) for tile in image.tile)  # Pillow keeps the high bytes of 16-bit colour
        try:
            frames = int(getattr(image, "n_frames", 1))  # walks through the file
            image.load()
            upright: Any = ops.exif_transpose(image)
        except Exception as error:  # as above
            got = f"{path}, damaged or cut short ({str(error).strip() or type(error).__name__})"
            raise InputError("a whole picture file", got, "copy or download it again") from error
        picture = _from_pillow(upright, path)
    notes = list(picture.notes)
    if deep or image.mode.startswith(("I", "F")):
        notes.append(f"{'float' if image.mode == 'F' else '16-bit'} input is worked on and written with 8 bit")
    if frames > 1:
        notes.append(f"only the first of {frames} frames is used")
    return replace(picture, format=str(image.format), notes=tuple(notes))


@contextlib.contextmanager
def _without_limit(
    image_module: Any,  # PIL.Image
) -> Any:
    """Our own check, which knows max_megapixels, in place of Pillow's. Held under _limit_lock."""
    before = image_module.MAX_IMAGE_PIXELS
    image_module.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        image_module.MAX_IMAGE_PIXELS = before


def _from_pillow(
    image: Any,  # PIL.Image.Image, loaded and upright
    path: Path,
) -> Picture:
    """Pixels, alpha and extras of a loaded picture."""
    notes: list[str] = []
    mode = str(image.mode)
    if "transparency" in image.info and mode in ("1", "L", "RGB", "P"):
        image = image.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode in ("P", "PA"):
        image = image.convert("RGBA" if mode == "PA" else "RGB")
    elif mode.startswith(("I", "F")):
        image = _deep_grey(np.asarray(image), path)
    elif mode not in ("1", "L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
        image.info.pop("icc_profile", None)  # it described the other colours
        notes.append(f"{mode} colours are converted to RGB")
    array: npt.NDArray[Any] = np.asarray(image)
    alpha = None
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array, alpha = array[..., :-1], np.ascontiguousarray(array[..., -1])
    grey = array.ndim == 2 or array.shape[2] == 1
    profile: Any = getattr(image, "info", {}).get("icc_profile")
    exif: bytes | None = None
    if not isinstance(image, np.ndarray):
        try:
            exif = image.getexif().tobytes() or None
        except Exception:  # a broken EXIF block is no reason to refuse the picture
            notes.append("the EXIF data is damaged and left out")
    pixels = np.ascontiguousarray(as_rgb8(array))
    return Picture(pixels, alpha, grey, "", profile, exif, tuple(notes))


def _deep_grey(
    values: npt.NDArray[Any],  # [H, W] integers or floats
    path: Path,
) -> U8:
    """16-bit and float grey as 8 bit [H, W]."""
    if values.dtype.kind in "iu":
        if values.min() < 0 or values.max() > 65535:
            got = f"{values.min()} to {values.max()} in {path}"
            raise InputError("grey levels from 0 to 65535", got, "convert the file to 8 or 16 bit")
        values = values.astype(np.uint16)
    return np.ascontiguousarray(as_rgb8(values)[..., 0])


def encode_picture(
    pixels: U8,  # [H, W, 3] RGB
    suffix: str,  # of the file it is meant for: decides the format
    *,
    like: Picture | None = None,  # alpha (same H, W), greyness, profile and EXIF to carry over
) -> tuple[bytes, list[str]]:
    """A picture file's bytes, and notes of what the format could not hold. Raises OutputError."""
    if suffix.lower() not in FORMATS:
        remedy = "choose one of those suffixes"
        raise OutputError(f"an output ending in one of {', '.join(FORMATS)}", repr(suffix), remedy)
    file_format = FORMATS[suffix.lower()]
    image: Any = _pillow("Image").fromarray(np.ascontiguousarray(pixels))
    notes: list[str] = []
    extras: dict[str, Any] = dict(JPEG) if file_format == "JPEG" else {}
    if file_format == "WEBP":
        extras["quality"] = JPEG["quality"]
    if like is not None:
        if like.grey:
            image = image.convert("L")
        if like.alpha is not None and file_format in WITH_ALPHA:
            image = image.convert("LA" if like.grey and file_format != "WEBP" else "RGBA")
            image.putalpha(_pillow("Image").fromarray(like.alpha))
        elif like.alpha is not None:
            notes.append(f"{file_format} holds no alpha: it is left out")
        if file_format in WITH_EXIF:
            extras.update({k: v for k, v in (("exif", like.exif), ("icc_profile", like.icc_profile)) if v})
    buffer = io.BytesIO()
    try:
        image.save(buffer, file_format, **extras)
    except Exception as error:  # see read_picture
        raise OutputError(f"a picture that fits {file_format}", str(error).strip(), "choose png") from error
    return buffer.getvalue(), notes


def write_file(path: str | Path, data: bytes) -> None:
    """Write beside, then rename: the file is there whole or not at all, whatever interrupts. Makes its folder.

    Raises OutputError: no space, no permission, a folder in the way.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full disk must fail here, not after the rename
            os.replace(part, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        remedy = "free space, check the permissions, or choose another folder"
        raise OutputError(f"to write {path}", error.strerror or str(error), remedy) from error


def resized_like(
    picture: Picture,
    size: int,
) -> Picture:
    """The picture with its alpha enlarged to size x size px (its pixels are not touched)."""
    if picture.alpha is None:
        return picture
    alpha: Any = resize(picture.alpha[..., None], (size, size))
    return replace(picture, alpha=np.ascontiguousarray(alpha[..., 0], np.uint8))


def text_line(
    text: str,
    *,
    width: int,
    height: int = 22,
) -> U8:
    """Dark text on white, uint8 [height, width, 3], for labels of sheets."""
    image: Any = _pillow("Image").new("RGB", (width, height), "white")
    font: Any = _pillow("ImageFont").load_default(size=0.62 * height)
    _pillow("ImageDraw").Draw(image).text((4, 0.15 * height), text, fill=(30, 30, 30), font=font)
    return np.array(image, np.uint8)


def _pillow(module: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise MissingPackageError("reading and writing picture files", "pillow", "pip install pillow") from error
