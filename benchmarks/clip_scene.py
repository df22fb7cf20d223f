"""A test clip made of freely licensed pictures: faces that move and zoom, a flash and a click at every full second.

The archive demo_free (CC0 and public domain) where it is unpacked, else NASA's portrait of this repository. Sound: a
click of 20 ms at each full second, in the frame of that time a white square; whoever plays or copies the clip can be
checked for sync by both.
"""

from __future__ import annotations

import csv
import importlib
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sdk.image.resample import resize
from sdk.pictures import read_picture

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

PORTRAIT = Path(__file__).resolve().parent / "assets" / "astronaut.png"
PORTRAIT_FACE = (178.0, 74.0, 270.0, 190.0)  # forehead to chin
SQUARE_PX = 24  # the flash, in the left lower corner
SOUND_HZ = 48_000
CLICK_S, CLICK_HZ = 0.02, 1500.0
BACKGROUND_LEVELS = 6  # noise of a camera


@dataclass(frozen=True, eq=False)
class Walker:
    """A picture that wanders: at time t its face is `width` px wide about (x, y)."""

    picture: U8  # [h, w, 3] RGB
    face: tuple[float, float, float, float]  # box in it
    start: tuple[float, float]  # shares of the frame
    swing: tuple[float, float]  # shares of the frame
    width_px: tuple[float, float]  # smallest, largest
    period_s: float

    def at(self, time_s: float, size_hw: tuple[int, int]) -> tuple[float, float, float]:
        """Centre x, y and width of the face, px."""
        phase = 2.0 * math.pi * time_s / self.period_s
        x = (self.start[0] + self.swing[0] * math.sin(phase)) * size_hw[1]
        y = (self.start[1] + self.swing[1] * math.sin(1.7 * phase)) * size_hw[0]
        low, high = self.width_px
        return x, y, low + (high - low) * (0.5 - 0.5 * math.cos(0.6 * phase))


def pictures() -> list[tuple[U8, tuple[float, float, float, float]]]:
    """Pictures RGB and the box of the face in each."""
    root = Path(os.environ.get("FACETRT_CACHE") or Path.home() / ".cache/facetrt/packs") / "demo_free"
    found: list[tuple[U8, tuple[float, float, float, float]]] = []
    if (root / "index.csv").is_file():
        with open(root / "index.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["scene"] and row["scene_side"]:
                    side = float(row["scene_side"])
                    x, y = float(row["scene_x0"]) + 0.5 * side, float(row["scene_y0"]) + 0.53 * side
                    half = (0.30 * side, 0.39 * side)  # forehead to chin in a window
                    box = (x - half[0], y - half[1], x + half[0], y + half[1])
                    found.append((read_picture(root / row["scene"]).pixels, box))
    return found or [(read_picture(PORTRAIT).pixels, PORTRAIT_FACE)]


def walkers(count: int) -> list[Walker]:
    """Persons of a scene: two of 20 to 70 px, the others down to 14 px."""
    known, rng = pictures(), np.random.default_rng(4)
    people: list[Walker] = []
    for number in range(count):
        picture, face = known[(2 * number) % len(known)]
        place = ((number + 0.5) / count, 0.35 + 0.25 * (number % 2))
        swing = (0.25 / count, 0.06)
        widths = (20.0, 70.0) if number < 2 else (14.0, 24.0)
        people.append(Walker(picture, face, place, swing, widths, 11.0 + 3.0 * float(rng.random())))
    return people


class Scene:
    """Frames of the clip, by their time."""

    def __init__(self, people: list[Walker], size_hw: tuple[int, int]) -> None:
        rough = np.random.default_rng(1).uniform(60, 180, (9, 16, 3)).astype(np.float32)
        self._ground = resize(rough, size_hw)
        self._noise = np.random.default_rng(2).normal(scale=BACKGROUND_LEVELS, size=(*size_hw, 3)).astype(np.float32)
        self._people, self._size_hw = people, size_hw

    def boxes(self, time_s: float) -> F64:
        """Faces [N, 4] x0, y0, x1, y1."""
        rows = []
        for person in self._people:
            x, y, width = person.at(time_s, self._size_hw)
            aspect = (person.face[3] - person.face[1]) / (person.face[2] - person.face[0])
            rows.append([x - width / 2, y - aspect * width / 2, x + width / 2, y + aspect * width / 2])
        return np.array(rows, np.float64).reshape(-1, 4)

    def frame(self, index: int, fps: float) -> U8:
        """uint8 [H, W, 3] RGB."""
        time_s = index / fps
        shift = (37 * index) % self._size_hw[1]
        canvas = self._ground + np.roll(self._noise, shift, axis=1)  # noise that differs, cheaply
        for person in self._people:
            _put(canvas, person, person.at(time_s, self._size_hw))
        if index % round(fps) == 0:
            canvas[-SQUARE_PX:, :SQUARE_PX] = 255.0
        return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def _put(canvas: npt.NDArray[np.float32], person: Walker, place: tuple[float, float, float]) -> None:
    """The person's picture reduced, its face at the place, on the canvas [H, W, 3] in place."""
    x, y, width = place
    scale = (person.face[2] - person.face[0]) / width  # picture px per frame px
    picture, halvings = person.picture, 0
    while 2.0 ** (halvings + 1) <= scale:  # what is left to the linear kernel is less than a halving: no aliases
        halvings += 1
        picture = _halved(person, halvings)
    scale /= 2.0**halvings
    centre = [0.5 * (person.face[k] + person.face[k + 2]) / 2.0**halvings for k in (0, 1)]
    low = [max(0, math.ceil(c - m / scale)) for c, m in zip((x, y), centre, strict=True)]
    ends = zip((x, y), centre, picture.shape[1::-1], canvas.shape[1::-1], strict=True)
    high = [min(limit, math.floor(c + (side - m) / scale)) for c, m, side, limit in ends]
    if min(high[0] - low[0], high[1] - low[1]) < 1:
        return
    affine = np.array([[scale, 0.0, centre[0] + scale * (low[0] - x)], [0.0, scale, centre[1] + scale * (low[1] - y)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (high[0] - low[0], high[1] - low[1])
    part = cv2.warpAffine(picture, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    canvas[low[1] : high[1], low[0] : high[0]] = part


@cache
def _halved(person: Walker, times: int) -> U8:
    """The person's picture, halved so many times."""
    picture = person.picture if times == 1 else _halved(person, times - 1)
    size = (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def write_clip(path: Path, *, seconds: int, fps: int, size_hw: tuple[int, int], faces: int) -> Scene:
    """The clip as H.264 with AAC. Raises MissingPackageError's ImportError without PyAV."""
    av: Any = importlib.import_module("av")
    scene = Scene(walkers(faces), size_hw)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "16", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = size_hw[1], size_hw[0], "yuv420p"
        audio = out.add_stream("aac", rate=SOUND_HZ, layout="mono")
        step = SOUND_HZ // fps
        for index in range(seconds * fps):
            picture = av.VideoFrame.from_ndarray(scene.frame(index, fps), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            out.mux(video.encode(picture))
            samples = av.AudioFrame.from_ndarray(_sound(index * step, step), format="s16", layout="mono")
            samples.sample_rate, samples.pts = SOUND_HZ, index * step
            out.mux(audio.encode(samples))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return scene


def _sound(first: int, count: int) -> npt.NDArray[np.int16]:
    """Samples [1, count]: a click at each full second."""
    time_s = (first + np.arange(count)) / SOUND_HZ
    since = np.mod(time_s, 1.0)
    return (20_000 * np.sin(2 * np.pi * CLICK_HZ * time_s) * (since < CLICK_S)).astype(np.int16)[None]
