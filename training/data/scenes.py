"""Scenes composed of faces and of what is not one, for the detector: pictures with square windows around faces.

Faces come from archives of single faces with 68 points; backgrounds from photos without people, and from beside the
heads of those pictures: clothes, hair, walls, at any size. Some faces bring their own surroundings, the others are cut
out along the head, so that neither a rectangle nor an edge gives a face away. All is drawn from (seed, number) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, landmark_box, square_windows
from training.data.degrade import jpeg
from training.data.packs import Pack

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

HEAD = (0.66, 0.92)  # half axes of the ellipse around a head, by width and height of the landmarks' box
HEAD_UP = 0.18  # its centre above theirs, by the box's height: hair
OVERLAP = 0.1  # of two windows, at most
TRIES = 8  # to find a free place


# Pictures of set291 (T91 and BSDS200) with people, faces of people, or something that looks like one; picked by eye.
# fmt: off
WITH_PEOPLE = frozenset((
    "t53", "t54", "t55", "t56", "t57", "t58", "tt18", "122048", "126039", "145014", "145053", "147021", "147062",
    "15004", "151087", "153077", "153093", "155060", "156079", "16052", "170054", "181018", "181079", "181091",
    "187003", "187029", "187083", "188005", "188063", "189003", "189011", "198004", "198023", "198054", "202012",
    "216041", "216053", "23025", "23080", "23084", "239007", "239096", "242078", "245051", "246016", "246053",
    "260081", "26031", "271008", "274007", "285036", "286092", "292066", "302003", "310007", "323016", "361084",
    "365025", "365073", "368016", "368078", "370036", "372047", "376001", "376020", "388016", "48055", "55075",
    "56028", "61060", "61086", "65019", "65074", "90076",
))
# fmt: on


@dataclass(frozen=True)
class SceneRule:
    """Ranges to draw from. Sizes are those of the landmarks' box, its larger side, as in the tables of recall."""

    side_px: int = 320
    faces: tuple[int, int] = (0, 9)
    empty: float = 0.12  # share of scenes without a face
    size_px: tuple[float, float] = (7.0, 110.0)  # log-uniform
    with_surroundings: float = 0.3
    zoom: tuple[float, float] = (0.5, 2.5)  # of a background picture, log-uniform
    turn_deg: float = 20.0
    blur: float = 0.25  # share of scenes out of focus
    noise_levels: float = 8.0
    jpeg_quality: tuple[int, int] = (45, 96)
    jpeg_share: float = 0.6


@dataclass(frozen=True)
class _Person:
    """A picture, encoded, and its points."""

    data: npt.NDArray[np.uint8]
    points: F64  # [68, 2]

    def picture(self) -> U8:
        return cv2.imdecode(self.data, cv2.IMREAD_COLOR)[..., ::-1]


@dataclass(frozen=True, eq=False)
class Scene:
    """picture uint8 [S, S, 3] RGB; windows float64 [N, 4], edges in px, of the faces in it."""

    picture: U8
    windows: F64


class SceneExamples:
    """Scenes of one split of some archives."""

    def __init__(
        self,
        packs: Sequence[Pack],
        split: str,
        *,
        seed: int,
        rule: SceneRule | None = None,
        grounds: Sequence[Pack] = (),  # pictures without people, apart from WITH_PEOPLE
        pseudo: Mapping[str, npt.NDArray[np.floating]] | None = None,  # more points by id
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises InputError when no picture of the split has points."""
        self.rule, self.seed = rule or SceneRule(), seed
        self._people: list[_Person] = []
        for pack in packs:
            known = {**(pseudo or {}), **pack.points}
            for row in pack.select(split):
                if row["id"] in known:
                    data = np.fromfile(pack.root / row["file"], np.uint8)
                    self._people.append(_Person(data, np.asarray(known[row["id"]], np.float64)))
        if not self._people:
            names = ", ".join(pack.name for pack in packs)
            raise InputError(f"pictures with 68 points in the split {split!r}", f"none in {names}", "pass --pseudo")
        self._grounds = [
            np.fromfile(pack.root / row["file"], np.uint8)
            for pack in grounds
            for row in pack.rows
            if row["id"] not in WITH_PEOPLE
        ]
        report(f"{len(self._people)} faces and {len(self._grounds)} backgrounds for scenes\n")

    def scene(self, number: int) -> Scene:
        """The scene of that number, the same each time."""
        rng = np.random.default_rng([self.seed, number])
        canvas = self._background(rng)
        windows: list[F64] = []
        low, high = self.rule.faces
        count = 0 if rng.random() < self.rule.empty else int(rng.integers(max(low, 1), high + 1))
        whole = sorted((rng.random(count) < self.rule.with_surroundings).tolist(), reverse=True)
        for with_surroundings in whole:  # first those that cover the most
            window = self._put(canvas, windows, rng, with_surroundings=with_surroundings)
            if window is not None:
                windows.append(window)
        picture = self._photographed(canvas, rng)
        found = np.array(windows).reshape(-1, 4)
        if rng.random() < 0.5:
            picture = np.ascontiguousarray(picture[:, ::-1])
            found = np.stack(
                [self.rule.side_px - found[:, 2], found[:, 1], self.rule.side_px - found[:, 0], found[:, 3]], 1
            )
        return Scene(picture, found)

    def _someone(self, rng: np.random.Generator) -> _Person:
        return self._people[int(rng.integers(len(self._people)))]

    def _background(self, rng: np.random.Generator) -> F32:
        """float32 [S, S, 3]: a part of a picture, or a coarse gradient, under patches of faces' surroundings."""
        side = self.rule.side_px
        if self._grounds and rng.random() < 0.85:
            canvas = self._part_of_a_picture(rng)
        else:
            coarse = rng.uniform(0, 255, (*rng.integers(1, 6, 2), 3)).astype(np.float32)
            canvas = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, 3)
        for _ in range(int(rng.integers(0, 8))):
            patch = _beside_the_head(self._someone(rng), rng)
            if patch is None:
                continue
            width, height = (int(v) for v in np.exp(rng.uniform(np.log(24), np.log(1.2 * side), 2)))
            shrinks = width < patch.shape[1] and height < patch.shape[0]
            grown = cv2.resize(patch, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
            x, y = (int(v) for v in rng.integers(-20, side - 10, 2))
            x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, side), min(y + height, side)
            canvas[y0:y1, x0:x1] = grown[y0 - y : y1 - y, x0 - x : x1 - x]
        if rng.random() < 0.2:
            canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.7, 6.0)))
        return canvas

    def _part_of_a_picture(self, rng: np.random.Generator) -> F32:
        """Zoomed, turned by quarters and mirrored; what it does not fill is filled with its mirror image."""
        picture = cv2.imdecode(self._grounds[int(rng.integers(len(self._grounds)))], cv2.IMREAD_COLOR)[..., ::-1]
        side, zoom = self.rule.side_px, float(np.exp(rng.uniform(*np.log(self.rule.zoom))))
        way = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_CUBIC
        grown = cv2.resize(np.ascontiguousarray(picture), None, fx=zoom, fy=zoom, interpolation=way)
        missing = [max(0, side - length) for length in grown.shape[:2]]
        while missing[0] or missing[1]:
            now = [min(gap, length - 1) for gap, length in zip(missing, grown.shape[:2], strict=True)]
            grown = cv2.copyMakeBorder(grown, 0, now[0], 0, now[1], cv2.BORDER_REFLECT_101)
            missing = [max(0, side - length) for length in grown.shape[:2]]
        y, x = (int(rng.integers(0, length - side + 1)) for length in grown.shape[:2])
        part = np.rot90(grown[y : y + side, x : x + side], int(rng.integers(4)) if rng.random() < 0.3 else 0)
        return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part).astype(np.float32)

    def _put(
        self, canvas: F32, windows: Sequence[F64], rng: np.random.Generator, *, with_surroundings: bool
    ) -> F64 | None:
        """A face into the canvas, in place; its window [4], or None where no place was free."""
        person, side = self._someone(rng), self.rule.side_px
        size = float(np.exp(rng.uniform(*np.log(self.rule.size_px))))
        box = landmark_box(person.points[None])[0]
        scale = size / float((box[2:] - box[:2]).max())
        picture, mask = person.picture().astype(np.float32), np.ones(1, np.float32)
        mask = np.ones(picture.shape[:2], np.float32) if with_surroundings else _head_mask(picture.shape[:2], box)
        turn = 0.0 if with_surroundings else float(rng.normal(scale=self.rule.turn_deg / 2))
        for _ in range(TRIES):
            place = rng.uniform(0.0, side, 2)
            affine = cv2.getRotationMatrix2D((0.5 * (box[:2] + box[2:]) - 0.5).tolist(), turn, scale)
            affine[:, 2] += place - (0.5 * (box[:2] + box[2:]) - 0.5)
            points = apply_affine(person.points[None], affine[None])
            window = square_windows(landmark_box(points), kind="landmarks")[0]
            inside = (np.minimum(window[2:], side) - np.maximum(window[:2], 0.0)).clip(0).prod()
            covers = _covered(_footprint(affine, picture.shape[:2]) if with_surroundings else window, windows)
            if inside >= 0.75 * (window[2:] - window[:2]).prod() and covers <= OVERLAP:
                _lay(canvas, picture, mask, affine, scale)
                return window
        return None

    def _photographed(self, canvas: F32, rng: np.random.Generator) -> U8:
        """What lens, sensor and file do to it."""
        rule = self.rule
        if rng.random() < rule.blur:
            canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.3)))
        canvas = 255.0 * np.clip(canvas / 255.0, 0.0, 1.0) ** rng.uniform(0.7, 1.4)
        canvas = canvas * rng.uniform(0.7, 1.25) * rng.uniform(0.92, 1.08, 3) + rng.uniform(-12, 12)
        if rng.random() < 0.15:
            canvas = np.repeat(canvas.mean(axis=2, keepdims=True), 3, axis=2)
        canvas = canvas + rng.normal(size=canvas.shape) * rng.uniform(0.0, rule.noise_levels)
        picture = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        if rng.random() < rule.jpeg_share:
            picture = jpeg(picture, int(rng.integers(*rule.jpeg_quality)))
        return picture


def _beside_the_head(person: _Person, rng: np.random.Generator) -> F32 | None:
    """A random rectangle of the picture that the head's ellipse does not touch, or None after some tries."""
    picture = person.picture()
    box = landmark_box(person.points[None])[0]
    centre, half = _head(box)
    height, width = picture.shape[:2]
    for _ in range(TRIES):
        size = np.exp(rng.uniform(np.log(14), np.log(0.6 * min(height, width)), 2)).astype(int)
        x, y = int(rng.integers(0, width - size[0])), int(rng.integers(0, height - size[1]))
        nearest = np.clip(centre, [x, y], [x + size[0], y + size[1]])  # of the rectangle to the ellipse's centre
        if (((nearest - centre) / half) ** 2).sum() > 1.0:
            return picture[y : y + size[1], x : x + size[0]].astype(np.float32)
    return None


def _head(box: F64) -> tuple[F64, F64]:
    """Centre and half axes of the ellipse around a head."""
    size = box[2:] - box[:2]
    centre = 0.5 * (box[:2] + box[2:]) - np.array([0.0, HEAD_UP * size[1]])
    return centre, np.array(HEAD) * size


def _head_mask(size_hw: tuple[int, int], box: F64) -> F32:
    """1 inside the head's ellipse, 0 outside, with a soft edge. [H, W]"""
    centre, half = _head(box)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    radius = np.hypot((x - centre[0] + 0.5) / half[0], (y - centre[1] + 0.5) / half[1])
    return np.clip((1.0 - radius) / 0.12 + 0.5, 0.0, 1.0).astype(np.float32)


def _footprint(affine: F64, size_hw: tuple[int, int]) -> F64:
    """The upright box [4] that a picture covers in the scene."""
    corners = np.array([[0, 0], [size_hw[1], 0], [0, size_hw[0]], [size_hw[1], size_hw[0]]], np.float64) - 0.5
    return landmark_box(apply_affine(corners[None], affine[None]))[0]


def _covered(box: F64, windows: Sequence[F64]) -> float:
    """The largest share of a window that the box covers, or of the box that lies in a window."""
    shares = [0.0]
    for window in windows:
        inner = (np.minimum(box[2:], window[2:]) - np.maximum(box[:2], window[:2])).clip(0).prod()
        shares.append(float(inner / min((window[2:] - window[:2]).prod(), (box[2:] - box[:2]).prod())))
    return max(shares)


def _lay(canvas: F32, picture: F32, mask: F32, affine: F64, scale: float) -> None:
    """The picture through its map onto the canvas, in place. It is reduced by areas first: no aliases."""
    if scale < 1.0:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        step = np.array([picture.shape[1] / size[0], picture.shape[0] / size[1]])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        turn = affine[:, :2] * step
        affine = np.concatenate([turn, (affine[:, 2] + affine[:, :2] @ (0.5 * step - 0.5))[:, None]], axis=1)
    side = (canvas.shape[1], canvas.shape[0])
    share = cv2.warpAffine(mask, affine, side, flags=cv2.INTER_LINEAR)[..., None]
    laid = cv2.warpAffine(picture, affine, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    canvas += share * (laid - canvas)
