"""`make demo`: one real photo, its face reduced to 16 and 32 px, bicubic, ours, the truth and the landmarks.

    python -m sdk.demo -o demo_out

Writes faces.png (the sheet) and photo.png (a whole small photo, enhanced through detector, enhance() and render()).
The photo is NASA's public-domain portrait of Eileen Collins as scikit-image ships it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdk.enhancer import PAINTED, FaceEnhancer
from sdk.errors import FaceTRTError
from sdk.image.crop import crop, window_affine
from sdk.image.metrics import psnr
from sdk.image.paste import paste
from sdk.image.resample import resize
from sdk.pictures import encode_picture, read_picture, text_line, write_file
from sdk.result import FaceResult, FaceStatus

__all__ = ["main"]

U8 = npt.NDArray[np.uint8]

PHOTO = Path(__file__).resolve().parents[1] / "benchmarks" / "assets" / "astronaut.png"
FACE = np.array([[157.621, 58.592, 293.376, 194.347]])  # window of the face in it, edges in px, by its 68 points
SIZES_PX = (16, 32)
TILE_PX = 256  # side of a picture on the sheet
NETWORK_PX = 32  # side of the face window for the blown-up photo
SMALL_PHOTO_PX = 128  # side of the whole photo before it is blown up again: the face has 34 px


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the sheet; pictures uint8 [S, S, 3] RGB."""

    lr: U8
    bicubic: U8
    truth: U8
    result: FaceResult
    milliseconds: float

    @property
    def ours(self) -> U8:
        assert self.result.image is not None, self.result
        return self.result.image


def reduced_face(enhancer: FaceEnhancer, photo: U8, size: int) -> Row:
    """The photo's face reduced to size x size px and enhanced again."""
    lr = _round(crop(photo, FACE, size=size)[0])
    enhancer.enhance_aligned([lr])  # the first call is slower
    started_s = time.perf_counter()
    result = enhancer.enhance_aligned([lr])[0]
    milliseconds = 1000 * (time.perf_counter() - started_s)
    assert result.image is not None, result
    side = result.image.shape[0]
    bicubic = np.asarray(resize(lr, (side, side)), np.uint8)
    return Row(lr, bicubic, _round(crop(photo, FACE, size=side)[0]), result, milliseconds)


def sheet(rows: Sequence[Row]) -> U8:
    """The rows under each other: input, bicubic, ours, the truth, ours with the landmarks, each with its label."""
    lines: list[U8] = []
    for row in rows:
        size, side = row.lr.shape[0], row.truth.shape[0]
        labels = (
            f"{size} x {size} px, as pixels",
            f"bicubic, {psnr(row.bicubic, row.truth, mode='y'):.2f} dB",
            f"ours, {psnr(row.ours, row.truth, mode='y'):.2f} dB, {row.milliseconds:.0f} ms",
            f"the truth, {side} x {side} px",
            "68 landmarks from the input",
        )
        pictures = (row.lr, row.bicubic, row.ours, row.truth, None)
        tiles = [_with_points(row) if picture is None else _tile(picture) for picture in pictures]
        labelled = [np.concatenate([text_line(t, width=TILE_PX), p]) for t, p in zip(labels, tiles, strict=True)]
        lines.append(_beside(labelled))
    return np.concatenate(lines)


def whole_photo(enhancer: FaceEnhancer, photo: U8) -> tuple[U8, list[FaceResult]]:
    """A small photo blown up, the same with its faces enhanced from the small one, the original; and the results.

    In the small photo itself a face may count as not degraded: it has all the pixels that there is room for.
    """
    small = np.asarray(resize(photo, (SMALL_PHOTO_PX, SMALL_PHOTO_PX)), np.uint8)
    before = np.asarray(resize(small, (photo.shape[0], photo.shape[1])), np.uint8)
    results = enhancer.enhance(small)
    after = before.copy()
    factor = photo.shape[0] / SMALL_PHOTO_PX
    painted = [result for result in results if result.status in (*PAINTED, FaceStatus.NOT_DEGRADED)]
    for result in painted:
        face = enhancer.enhance_aligned([_round(crop(small, result.window[None], size=NETWORK_PX)[0])])[0]
        assert face.image is not None, face  # enhance_aligned gives every picture back
        place = window_affine(factor * result.window[None], size=face.image.shape[0])
        points = None if result.landmarks is None else (result.landmarks[None] + 0.5) * factor - 0.5
        paste(after, face.image[None], place, landmarks=points, out=after)
    count = len(painted)
    labels = (
        f"a photo of {SMALL_PHOTO_PX} px, blown up by bicubic",
        f"{count} face{'s' * (count != 1)} found and enhanced",
        "the original",
    )
    pictures = [
        np.concatenate([text_line(text, width=photo.shape[1]), picture])
        for text, picture in zip(labels, (before, after, photo), strict=True)
    ]
    return _beside(pictures), results


def _round(
    image: npt.NDArray[np.float32],  # [H, W, 3] in 0..255
) -> U8:
    return np.asarray(image + 0.5, np.uint8)


def _tile(
    picture: U8,  # [S, S, 3]
) -> U8:
    """Enlarged by whole pixels to TILE_PX."""
    factor = max(1, TILE_PX // picture.shape[0])
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)[:TILE_PX, :TILE_PX]


def _with_points(row: Row) -> U8:
    """The enlarged input with the landmarks drawn as dots."""
    tile = np.asarray(resize(row.bicubic, (TILE_PX, TILE_PX)), np.uint8) // 2 + 64  # paler, so that dots stand out
    if row.result.landmarks is None:
        return tile
    scale = TILE_PX / row.lr.shape[0]
    centres = np.rint((row.result.landmarks + 0.5) * scale - 0.5).astype(int)  # [68, 2] px of the tile
    for x, y in np.clip(centres, 1, TILE_PX - 2):
        tile[y - 1 : y + 2, x - 1 : x + 2] = (0, 255, 80)
    return tile


def _beside(pictures: Sequence[U8]) -> U8:
    """In one line, with white between."""
    gap = np.full((pictures[0].shape[0], 6, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def run(out: Path, model: str | None) -> None:
    """Does everything and says what it wrote. Raises FaceTRTError."""
    photo = read_picture(PHOTO).pixels  # [512, 512, 3]
    with FaceEnhancer(model, color="rgb") as enhancer:
        rows = [reduced_face(enhancer, photo, size) for size in SIZES_PX]
        for row in rows:
            bicubic, ours = (psnr(image, row.truth, mode="y") for image in (row.bicubic, row.ours))
            size, side = row.lr.shape[0], row.truth.shape[0]
            sys.stdout.write(
                f"{size} px -> {side} px with {row.result.model}: bicubic {bicubic:.2f} dB, ours {ours:.2f} dB "
                f"(PSNR on Y, one face), {row.milliseconds:.1f} ms\n"
            )
        write_file(out / "faces.png", encode_picture(sheet(rows), ".png")[0])
        picture, results = whole_photo(enhancer, photo)
        write_file(out / "photo.png", encode_picture(picture, ".png")[0])
    kinds = ", ".join(str(result.status) for result in results) or "no face"
    sys.stdout.write(f"whole photo: {kinds}\nlook at {out / 'faces.png'} and {out / 'photo.png'}\n")
    sys.stdout.write(f"next: face-enhance YOUR_PHOTO.jpg -o {out / 'mine.png'}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 when a model or a package is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m sdk.demo",
        description="A photo's face reduced to 16 and 32 px: bicubic, ours, the truth, the landmarks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-o", "--out", default="demo_out", type=Path, metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--model", metavar="NAME|FILE.onnx", help="one network for all; default: the fitting one")
    options = parser.parse_args(argv)
    try:
        run(options.out, options.model)
    except FaceTRTError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
