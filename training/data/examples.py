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
from sdk.image.points68 import COUNT, FLIP_68
from training.data.faces import cut_faces, together
from training.data.feeding import U8, Pair, degrade_pair, moved, network_input, patches
from training.data.formats.sample import Skips
from training.data.packs import Pack, open_pack
from training.data.parsing import UNKNOWN, move_classes
from training.data.pipelines import Pipeline, pipeline

MAX_PIXELS = 120_000_000  # of all pictures at all scales, held in memory as truth and input, 4 bytes each
TRAINING_SETS = ("", "T91", "BSDS200")  # splits that are sets to learn from, without one to validate on
HELD_OUT = 20  # every so many pictures of an archive without splits is kept for validation
WHOLE_PICTURES = 8  # validated on: each costs SRINC more than a step of training
PATCH_FILTERS = ("drop_smooth", "drop_sharp", "none")


@dataclass(frozen=True, eq=False)
class Arrays:
    """A batch in the pipeline's channels and range."""

    lr: npt.NDArray[np.float32]  # [N, C, h, w]
    hr: npt.NDArray[np.float32]  # [N, C, H, W]
    points: npt.NDArray[np.float32]  # [N, 68, 2] pixels of hr; NaN: unknown
    weight: npt.NDArray[np.float32]  # [N, 68] 1 where a point is known and inside
    classes: U8 | None = None  # [N, H, W] parsing labels of hr where they are learned; UNKNOWN: a face without


class Order:
    """Which example stands where: a permutation of n for each epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._permutation = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(self.n)

    def __getitem__(self, position: int) -> int:
        return int(self._permutation(position // self.n)[position % self.n])


class FaceExamples:
    """Faces of one size, jittered anew each time."""

    def __init__(
        self,
        rule: Pipeline,
        packs: Sequence[Pack],
        seed: int,
        *,
        report: Callable[[str], None],
        labelled: str = "any",
        classes: int = 0,
    ) -> None:
        """labelled: faces with points are all ("only") or every other one ("half"); classes: parsing labels to learn.

        Raises InputError: nothing left.
        """
        self.rule, self.seed, self.skips = rule, seed, Skips()
        train, val = [], []
        for pack in packs:
            shown, held = split_rows(pack)
            if labelled == "only":
                shown, held = ([r for r in rows if r["id"] in pack.points] for rows in (shown, held))
            tell(pack, classes=classes, report=report)
            kept = {"skips": self.skips, "classes": classes}
            train.append(cut_faces(rule, pack, shown, report=report, **kept))
            val.append(cut_faces(rule, pack, held[:100], report=lambda text: None, **kept))
        self.train, self.val = together(train), together(val)
        if not len(self.train) or not len(self.val):
            got = f"{len(self.train)} to learn from and {len(self.val)} to validate on"
            kind = "faces with points" if labelled == "only" else "faces"
            first = f"; {self.skips.entries[0]}" if len(self.skips) else ""
            raise InputError(kind, got + first, "pass other archives by --data")
        if self.train.classes is not None and (self.train.classes == UNKNOWN).all():
            expected = "faces with parsing labels, the column `parsing` of index.csv"
            raise InputError(expected, "none", "pass another archive by --data, or take the recipe without them")
        self.order = Order(len(self.train), seed)
        known = np.flatnonzero(np.isfinite(self.train.points).all(axis=(1, 2)))
        self.known = known if labelled == "half" and 0 < len(known) < len(self.train) else None
        self.order_known = Order(len(known), seed)

    def __len__(self) -> int:
        return len(self.train)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Arrays:
        """The share of one of `world` processes in the batch of `size` examples."""
        pairs, points, classes = [], [], []
        for place in range(rank, size, world):
            index = self._index(step * size + place)
            rng = np.random.default_rng([self.seed, step, place])
            pair = degrade_pair(self.rule, self.train.pictures[index], rng)
            pairs.append(pair)
            points.append(moved(self.train.points[index], pair, flip=FLIP_68))
            if self.train.classes is not None:
                classes.append(move_classes(self.train.classes[index], pair))
        return _arrays(self.rule, pairs, points, classes)

    def _index(self, position: int) -> int:
        if self.known is not None and position % 2:
            return int(self.known[self.order_known[position // 2]])
        return self.order[position]

    def validation(self, *, count: int) -> Arrays:
        """Upright faces, the same each time; MTUN's inputs are upright here too."""
        rng = np.random.default_rng(0)
        chosen = np.linspace(0, len(self.val) - 1, min(count, len(self.val))).round().astype(int)
        pairs = [degrade_pair(self.rule, self.val.pictures[i], rng, augment=False) for i in chosen]
        classes = [] if self.val.classes is None else [self.val.classes[i] for i in chosen]
        return _arrays(self.rule, pairs, [self.val.points[i] for i in chosen], classes)


class PatchExamples:
    """Patches of pictures of any size, at all scales of the pipeline, in their eight versions where it has them."""

    def __init__(self, rule: Pipeline, packs: Sequence[Pack], seed: int, *, report: Callable[[str], None]) -> None:
        assert rule.patch_px is not None, rule
        self.rule, self.seed, self.skips = rule, seed, Skips()
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
                picture = self._read(pack, row)
                for scale in rule.scales if picture is not None else ():
                    places += self._take(degrade_pair(rule, picture, rng, scale=scale, augment=False))
            for row in held[:WHOLE_PICTURES]:
                picture = self._read(pack, row)
                if picture is not None:
                    self.held_out.append(degrade_pair(rule, picture, rng, scale=rule.scales[-1], augment=False))
        if not places or not self.held_out:
            got = f"{len(places)} patches and {len(self.held_out)} pictures to validate on"
            raise InputError(f"patches of {rule.patch_px} px", got, "pass larger pictures by --data")
        self.places = np.array(places, np.int32)
        self.order = Order(len(self), seed)
        report(f"{len(self.places)} patches of {len(self.truths)} pictures\n")

    def _read(self, pack: Pack, row: dict[str, str]) -> U8 | None:
        """A picture, or None and a line in the list of those that cannot be used."""
        try:
            return pack.picture(row)
        except InputError as error:
            self.skips.add(pack.root / "index.csv", pack.rows.index(row) + 2, f"{row['id']}: {error}")
            return None

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


def tell(pack: Pack, *, classes: int, report: Callable[[str], None]) -> None:
    """What of an archive nobody will learn from."""
    ids = {row["id"] for row in pack.rows}
    stray = [name for name in pack.points if name not in ids]
    if stray:
        report(f"{pack.name}: points of {stray[0]} and {len(stray) - 1} more belong to no picture\n")
    if not classes and any(row.get("parsing") for row in pack.rows):
        report(f"{pack.name}: its parsing labels are not learned by this recipe\n")


def _arrays(
    rule: Pipeline,
    pairs: Sequence[Pair],
    points: Sequence[npt.NDArray[np.floating]],
    classes: Sequence[U8] = (),
) -> Arrays:
    hr = network_input(rule, np.stack([pair.hr for pair in pairs]).astype(np.float32))
    lr = network_input(rule, np.stack([pair.fed for pair in pairs]))
    found = np.stack(points)
    limit = np.array([hr.shape[3], hr.shape[2]]) - 0.5
    inside = ((found > -0.5) & (found < limit)).all(axis=2)  # False where NaN
    labels = np.stack(classes) if classes else None
    return Arrays(lr, hr, found.astype(np.float32), inside.astype(np.float32), labels)


def make_examples(
    name: str,
    sources: Sequence[str],
    seed: int,
    *,
    patch_filter: str = "drop_smooth",
    labelled: str = "any",
    classes: int = 0,
    report: Callable[[str], None],
) -> FaceExamples | PatchExamples:
    """Examples of archives through the pipeline of that name. Raises InputError as open_pack."""
    rule = pipeline(name)
    if not sources:
        raise InputError("archives to learn from", "none: this recipe has none of its own", "pass some by --data")
    packs = [open_pack(source) for source in sources]
    if rule.patch_px is None:
        return FaceExamples(rule, packs, seed, report=report, labelled=labelled, classes=classes)
    if patch_filter not in PATCH_FILTERS:
        raise InputError(f"a patch_filter of {PATCH_FILTERS}", repr(patch_filter), "correct the recipe")
    limit = rule.max_bicubic_psnr_db
    limits = {"drop_smooth": (None, limit), "drop_sharp": (limit, None), "none": (None, None)}[patch_filter]
    rule = replace(rule, min_bicubic_psnr_db=limits[0], max_bicubic_psnr_db=limits[1])
    return PatchExamples(rule, packs, seed, report=report)
