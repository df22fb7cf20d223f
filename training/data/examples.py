"""Training batches of the papers' networks: archives through a pipeline, as a pure function of (seed, step).

Every example has a random generator of its own, so a resumed run sees what an unbroken one would have seen, and several
processes that share a batch see together what one alone would. The order is a new permutation in each epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.crop import apply_affine, inside_fraction, invert_affine, landmark_box, window_affine
from sdk.image.points68 import COUNT, FLIP_68
from sdk.image.resample import resize
from training.data.feeding import U8, Pair, cut_face, degrade_pair, face_windows, moved, network_input, patches
from training.data.packs import Pack, open_pack
from training.data.pipelines import Pipeline, pipeline

INSIDE = 0.95  # of a paper's window that an archive's pictures must hold, for it to be cut from them
MAX_PIXELS = 120_000_000  # of all pictures at all scales, held in memory as truth and input, 4 bytes each
TRAINING_SETS = ("", "T91", "BSDS200")  # splits that are sets to learn from, without one to validate on
HELD_OUT = 20  # every so many pictures of an archive without splits is kept for validation
PATCH_FILTERS = ("drop_smooth", "drop_sharp", "none")


@dataclass(frozen=True, eq=False)
class Arrays:
    """A batch in the pipeline's channels and range."""

    lr: npt.NDArray[np.float32]  # [N, C, h, w]
    hr: npt.NDArray[np.float32]  # [N, C, H, W]
    points: npt.NDArray[np.float32]  # [N, 68, 2] pixels of hr; NaN: unknown
    weight: npt.NDArray[np.float32]  # [N, 68] 1 where a point is known and inside


class Order:
    """Which example stands where: a permutation of n for each epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._permutation = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(self.n)

    def __getitem__(self, position: int) -> int:
        return int(self._permutation(position // self.n)[position % self.n])


@dataclass(frozen=True, eq=False)
class Faces:
    """Truths of one side, cut once."""

    pictures: U8  # [M, S, S, 3]
    points: npt.NDArray[np.float64]  # [M, 68, 2] pixels of the truth; NaN: unknown

    def __len__(self) -> int:
        return len(self.pictures)


class FaceExamples:
    """Faces of one size, jittered anew each time."""

    def __init__(
        self, rule: Pipeline, packs: Sequence[Pack], seed: int, *, report: Callable[[str], None], labelled: str = "any"
    ) -> None:
        """labelled: faces with points are all ("only") or every other one ("half"). Raises InputError: nothing left."""
        self.rule, self.seed = rule, seed
        train, val = [], []
        for pack in packs:
            shown, held = split_rows(pack)
            if labelled == "only":
                shown, held = ([r for r in rows if r["id"] in pack.points] for rows in (shown, held))
            train.append(cut_faces(rule, pack, shown, report=report))
            val.append(cut_faces(rule, pack, held[:100], report=lambda text: None))
        self.train, self.val = _together(train), _together(val)
        if not len(self.train) or not len(self.val):
            got = f"{len(self.train)} to learn from and {len(self.val)} to validate on"
            kind = "faces with points" if labelled == "only" else "faces"
            raise InputError(kind, got, "pass other archives by --data")
        self.order = Order(len(self.train), seed)
        known = np.flatnonzero(np.isfinite(self.train.points).all(axis=(1, 2)))
        self.known = known if labelled == "half" and 0 < len(known) < len(self.train) else None
        self.order_known = Order(len(known), seed)

    def __len__(self) -> int:
        return len(self.train)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Arrays:
        """The share of one of `world` processes in the batch of `size` examples."""
        pairs, points = [], []
        for place in range(rank, size, world):
            index = self._index(step * size + place)
            rng = np.random.default_rng([self.seed, step, place])
            pair = degrade_pair(self.rule, self.train.pictures[index], rng)
            pairs.append(pair)
            points.append(moved(self.train.points[index], pair, flip=FLIP_68))
        return _arrays(self.rule, pairs, points)

    def _index(self, position: int) -> int:
        if self.known is not None and position % 2:
            return int(self.known[self.order_known[position // 2]])
        return self.order[position]

    def validation(self, *, count: int) -> Arrays:
        """Upright faces, the same each time; MTUN's inputs are upright here too."""
        rng = np.random.default_rng(0)
        chosen = np.linspace(0, len(self.val) - 1, min(count, len(self.val))).round().astype(int)
        pairs = [degrade_pair(self.rule, self.val.pictures[i], rng, augment=False) for i in chosen]
        return _arrays(self.rule, pairs, [self.val.points[i] for i in chosen])


class PatchExamples:
    """Patches of pictures of any size, at all scales of the pipeline, in their eight versions where it has them."""

    def __init__(self, rule: Pipeline, packs: Sequence[Pack], seed: int, *, report: Callable[[str], None]) -> None:
        assert rule.patch_px is not None, rule
        self.rule, self.seed = rule, seed
        self.truths: list[npt.NDArray[np.float32]] = []  # [1, H, W] each
        self.fed: list[npt.NDArray[np.float32]] = []
        places: list[tuple[int, int, int]] = []  # picture, row, column
        self.held_out: list[Pair] = []
        rng = np.random.default_rng(0)
        for pack in packs:
            shown, held = split_rows(pack)
            for number, row in enumerate(shown):
                if sum(truth.size for truth in self.truths) > MAX_PIXELS:
                    report(f"{pack.name}: the first {number} of {len(shown)} pictures, to fit into memory\n")
                    break
                picture = pack.picture(row)
                for scale in rule.scales:
                    places += self._take(degrade_pair(rule, picture, rng, scale=scale, augment=False))
            largest = rule.scales[-1]
            self.held_out += [
                degrade_pair(rule, pack.picture(row), rng, scale=largest, augment=False) for row in held[:20]
            ]
        if not places or not self.held_out:
            got = f"{len(places)} patches and {len(self.held_out)} pictures to validate on"
            raise InputError(f"patches of {rule.patch_px} px", got, "pass larger pictures by --data")
        self.places = np.array(places, np.int32)
        self.order = Order(len(self), seed)
        report(f"{len(self.places)} patches of {len(self.truths)} pictures\n")

    def _take(self, pair: Pair) -> list[tuple[int, int, int]]:
        truth, fed = (network_input(self.rule, a[None].astype(np.float32))[0] for a in (pair.hr, pair.fed))
        number = len(self.truths)
        self.truths.append(truth)
        self.fed.append(fed)
        return [(number, rows.start, columns.start) for rows, columns in patches(self.rule, pair)]

    def __len__(self) -> int:
        """Of one epoch: the versions of a patch count as patches, as in the papers' numbers."""
        return len(self.places) * (8 if self.rule.quarter_turns and self.rule.mirrored else 1)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Arrays:
        side = self.rule.patch_px
        found = []
        for place in range(rank, size, world):
            version, index = divmod(self.order[step * size + place], len(self.places))
            number, y, x = self.places[index]
            both = np.stack([a[number][:, y : y + side, x : x + side] for a in (self.fed, self.truths)])
            both = np.rot90(both, version % 4, axes=(2, 3))
            found.append(both[..., ::-1] if version >= 4 else both)
        lr, hr = np.stack(found, axis=1)
        unknown = np.full((lr.shape[0], COUNT, 2), np.nan, np.float32)
        return Arrays(lr, hr, unknown, np.zeros(unknown.shape[:2], np.float32))

    def validation(self, *, count: int) -> list[Arrays]:
        """Whole pictures at the largest scale, one at a time."""
        none = [np.full((COUNT, 2), np.nan)]
        return [_arrays(self.rule, [pair], none) for pair in self.held_out[:count]]


def split_rows(pack: Pack) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows to learn from and to validate on: the splits train and val; of SRINC's sets or without splits, every 20th.

    Raises InputError for an archive of other splits alone: test sets are not trained on.
    """
    if any(row.get("split", "") not in TRAINING_SETS for row in pack.rows):
        return pack.select("train"), pack.select("val")
    return [r for i, r in enumerate(pack.rows) if i % HELD_OUT], pack.rows[::HELD_OUT]


def cut_faces(rule: Pipeline, pack: Pack, rows: Sequence[dict[str, str]], *, report: Callable[[str], None]) -> Faces:
    """Truths of an archive: the paper's window where its pictures hold it, else as the archive cut them."""
    side = rule.hr_px
    assert side is not None, rule
    fits = _holds_windows(rule, pack, rows)
    pictures = np.zeros((len(rows), side, side, 3), np.uint8)
    points = np.full((len(rows), COUNT, 2), np.nan)
    for i, row in enumerate(rows):
        known = pack.points.get(row["id"])
        photo = pack.picture(row) if fits else pack.square_picture(row)
        height, width = photo.shape[:2]
        if fits and known is not None:
            box = landmark_box(known[None])
            pictures[i] = cut_face(rule, photo, box[0])
            windows = face_windows(rule, box)
            points[i] = apply_affine(known[None], invert_affine(window_affine(windows, size=side)))[0]
            continue
        pictures[i] = resize(photo, (side, side)).astype(np.uint8)
        if known is not None:
            points[i] = (known + 0.5) * (side / np.array([width, height])) - 0.5
    how = f"cut as {rule.source} says" if fits else "as the archive cut them"
    report(f"{pack.name}: {len(rows)} faces, {how}\n")
    return Faces(pictures, points)


def _holds_windows(rule: Pipeline, pack: Pack, rows: Sequence[dict[str, str]]) -> bool:
    """Whether all these faces have points and most of the paper's windows lie inside the pictures."""
    if not rows or rule.cut == "celeba_aligned" or any(r["id"] not in pack.points for r in rows):
        return False
    shares = []
    for row in rows[:50]:
        windows = face_windows(rule, landmark_box(pack.points[row["id"]][None]))
        shares.append(inside_fraction(windows, pack.picture(row).shape[:2])[0])
    return float(np.median(shares)) >= INSIDE


def _together(faces: Sequence[Faces]) -> Faces:
    return Faces(np.concatenate([f.pictures for f in faces]), np.concatenate([f.points for f in faces]))


def _arrays(rule: Pipeline, pairs: Sequence[Pair], points: Sequence[npt.NDArray[np.floating]]) -> Arrays:
    hr = network_input(rule, np.stack([pair.hr for pair in pairs]).astype(np.float32))
    lr = network_input(rule, np.stack([pair.fed for pair in pairs]))
    found = np.stack(points)
    limit = np.array([hr.shape[3], hr.shape[2]]) - 0.5
    inside = ((found > -0.5) & (found < limit)).all(axis=2)  # False where NaN
    return Arrays(lr, hr, found.astype(np.float32), inside.astype(np.float32))


def make_examples(
    name: str,
    sources: Sequence[str],
    seed: int,
    *,
    patch_filter: str = "drop_smooth",
    labelled: str = "any",
    report: Callable[[str], None],
) -> FaceExamples | PatchExamples:
    """Examples of archives through the pipeline of that name. Raises InputError as open_pack."""
    rule = pipeline(name)
    packs = [open_pack(source) for source in sources]
    if rule.patch_px is None:
        return FaceExamples(rule, packs, seed, report=report, labelled=labelled)
    if patch_filter not in PATCH_FILTERS:
        raise InputError(f"a patch_filter of {PATCH_FILTERS}", repr(patch_filter), "correct the recipe")
    limit = rule.max_bicubic_psnr_db
    limits = {"drop_smooth": (None, limit), "drop_sharp": (limit, None), "none": (None, None)}[patch_filter]
    rule = replace(rule, min_bicubic_psnr_db=limits[0], max_bicubic_psnr_db=limits[1])
    return PatchExamples(rule, packs, seed, report=report)
