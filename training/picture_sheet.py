"""A sheet of pictures: bicubic, each network, truth, on faces that anybody may show.

Rows are held-out faces (split `val` of faces_clean_ccby_pd, and NASA's portrait), columns are methods. Other archives
than those of FREE are refused.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from sdk.errors import InputError
from sdk.image.resample import resize
from training.data.packs import open_pack, pack_name
from training.predictors import Network, enlarge

__all__ = ["FACES", "FREE", "Row", "marked", "read_faces", "rows_of", "sheet"]

U8 = npt.NDArray[np.uint8]

FREE = ("faces_clean_ccby_pd", "demo_free")  # archives whose pictures may be shown
FACES = (  # archive:id, none of them trained on
    *(f"faces_clean_ccby_pd:ff_train_{number}" for number in (3663, 10870, 9503, 39512, 21539)),
    "demo_free:pd_nasa_astronaut",
)
HELD_OUT = {"faces_clean_ccby_pd": ("val",), "demo_free": ("demo",)}  # splits that no recipe trains on
TILE_PX = 128
GAP_PX = 4
HEAD_PX = 22  # of the column titles
FONT_PX = 12
DOT, DOT_PX = (60, 255, 80), 1.0  # colour and radius of a point


@dataclass(frozen=True, eq=False)
class Row:
    """One face: pictures uint8 [S, S, 3] RGB by method, in the order of the columns, and who owns the photo."""

    pictures: dict[str, U8]
    credit: str


def read_faces(faces: Sequence[str] = FACES) -> list[tuple[U8, str]]:
    """Pictures uint8 [TILE_PX, TILE_PX, 3] and credits of "archive:id".

    Raises InputError: an archive that is not free, a face that is absent, trained on or too small.
    """
    found: list[tuple[U8, str]] = []
    for face in faces:
        source, _, identity = face.partition(":")
        if pack_name(source) not in FREE:
            raise InputError(f"faces of {' or '.join(FREE)}, which may be shown", face, "take one of those")
        pack = open_pack(source)
        rows: list[dict[str, Any]] = [row for row in pack.select() if row["id"] == identity]
        if not rows or rows[0]["split"] not in HELD_OUT[pack_name(source)]:
            got = "no such face" if not rows else f"split {rows[0]['split']}"
            raise InputError(f"a held-out face {identity} in {pack.name}", got, "take one of another id")
        picture = pack.square_picture(rows[0])
        if len(picture) < TILE_PX:
            raise InputError(f"a face of {TILE_PX} px or more", f"{face} with {len(picture)}", "take another")
        small = resize(picture, (TILE_PX, TILE_PX)).astype(np.uint8)
        found.append((small, str(rows[0].get("licence") or rows[0].get("source", ""))))
    return found


def rows_of(
    faces: Sequence[tuple[U8, str]],  # of read_faces()
    networks: Sequence[Network],  # each with an input of lr_px
    *,
    lr_px: int,
    points: bool = False,
) -> list[Row]:
    """What every network makes of the faces reduced to lr_px, beside bicubic and the truth.

    points: networks with landmarks alone, each with its points drawn into its own picture, in place of bicubic.
    """
    truth = np.stack([picture for picture, _ in faces])  # [N, S, S, 3]
    lr = np.stack([resize(picture, (lr_px, lr_px)).astype(np.uint8) for picture in truth])  # [N, lr, lr, 3]
    made: dict[str, U8] = {f"input, {lr_px} px": lr}
    if not points:
        made["bicubic"] = enlarge(lr, TILE_PX // lr_px)
    for network in networks:
        pictures, found = network(lr)
        if not points:
            made[network.name] = pictures
        elif found is not None:
            made[network.name] = np.stack([marked(one, spots) for one, spots in zip(pictures, found, strict=True)])
    made["truth"] = truth
    return [Row({name: of[i] for name, of in made.items()}, faces[i][1]) for i in range(len(faces))]


def marked(
    picture: U8,  # [S, S, 3]
    points: npt.NDArray[np.floating],  # [K, 2] px of the picture
) -> U8:  # [TILE_PX, TILE_PX, 3]
    """The picture at the size of a tile, with a dot a point."""
    tile = Image.fromarray(picture).resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST)
    draw, scale = ImageDraw.Draw(tile), TILE_PX / len(picture)
    for x, y in (points + 0.5) * scale - 0.5:
        draw.ellipse((x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX), fill=DOT)
    return np.asarray(tile)


def sheet(rows: Sequence[Row]) -> bytes:
    """A PNG file. Pictures of fewer pixels are shown with each as a square: nothing is smoothed over."""
    names = list(rows[0].pictures)
    step = TILE_PX + GAP_PX
    canvas = Image.new("RGB", (len(names) * step + GAP_PX, HEAD_PX + len(rows) * step + GAP_PX), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=FONT_PX)
    for column, name in enumerate(names):
        left = GAP_PX + column * step
        width = draw.textlength(name, font=font)
        draw.text((left + (TILE_PX - width) / 2, 4), name, fill="black", font=font)
        for line, row in enumerate(rows):
            tile = Image.fromarray(row.pictures[name])
            if tile.size != (TILE_PX, TILE_PX):
                tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST)
            canvas.paste(tile, (left, HEAD_PX + line * step))
    out = io.BytesIO()
    canvas.save(out, format="PNG", optimize=True)
    return out.getvalue()
