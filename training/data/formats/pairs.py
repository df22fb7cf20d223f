"""Pairs of pictures: LFW's verification protocol, and the folders that super-resolution is measured on.

LFW (Huang et al. 2007), `pairs.txt`: folds and pairs a fold (`10 300`), then for each fold 300 lines `name n1 n2` of
one person and 300 lines `name1 n1 name2 n2` of two; `pairsDevTrain.txt` and `pairsDevTest.txt` have one fold. Picture
n of a person is `name/name_000n.jpg`.

Super-resolution (Set5, Set14, BSD100, Urban100), as distributed in one of three ways:
    Set5/image_SRF_2/img_001_SRF_2_HR.png beside ..._LR.png     SelfExSR; whole sets are `SRF_2/` folders as well
    Set5/HR/baby.png, Set5/LR_bicubic/X2/babyx2.png             EDSR; also GTmod12 and LRbicx2
    Set5/baby.png                                               truths alone
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import InputError
from training.data.formats.sample import (
    BadSampleError,
    Skips,
    first_of,
    folder_of,
    inside,
    list_lines,
    pictures_below,
)

SELFEXSR = re.compile(r"^(?P<stem>.+_SRF_(?P<scale>\d+))_(?P<kind>HR|LR)$", re.IGNORECASE)
METHODS = re.compile(r"_SRF_\d+_[A-Za-z]+$")  # other methods' results in SelfExSR's folders, and its bicubic ones
TRUTHS = ("HR", "GTmod12", "GTmod8", "GTmod4", "original", "Original")
SMALL = re.compile(r"^(?:LRbicx|X|x)(?P<scale>\d+)$")
SETS = ("Set5", "Set14", "BSD100", "BSDS100", "B100", "Urban100", "Manga109", "T91", "BSDS200")


@dataclass(frozen=True)
class VerificationPair:
    """Two pictures of LFW and whether they show one person."""

    left: Path
    right: Path
    same: bool
    fold: int  # counted from 1
    source: Path
    line: int


@dataclass(frozen=True)
class PicturePair:
    """A truth, and its reduced picture where the data set brings one."""

    hr: Path
    lr: Path | None
    scale: int | None
    name: str
    split: str  # the data set


def read_lfw(root: str | Path, skips: Skips) -> Iterator[VerificationPair]:
    """Pairs of pairs.txt (else pairsDevTest.txt, pairsDevTrain.txt) in file order."""
    folder = folder_of(root)
    path = first_of(folder, "pairs.txt", "pairsDevTest.txt", "pairsDevTrain.txt")
    if path is None:
        raise InputError(f"pairs.txt below {folder}", "none", "put LFW's list beside its folders of people")
    pictures = first_of(folder, "lfw", "lfw-deepfunneled", "lfw_funneled") or folder
    lines = [(n, text.split()) for n, text in enumerate(list_lines(path), 1) if text.strip()]
    header = lines[0][1] if lines else []
    if not header or len(header) > 2 or not all(f.isdigit() and int(f) > 0 for f in header):
        raise InputError(f"folds and pairs in the first line of {path}", repr(" ".join(header)), "fetch it again")
    folds, each = (int(header[0]), int(header[1])) if len(header) == 2 else (1, int(header[0]))
    rows = lines[1:]
    for place, (line, fields) in enumerate(rows):
        try:
            if len(fields) not in (3, 4):
                raise BadSampleError(f"3 or 4 fields expected, found {len(fields)}", line=line)
            same = len(fields) == 3
            if same != (place % (2 * each) < each):
                want = "one person" if place % (2 * each) < each else "two people"
                raise BadSampleError(f"a pair of {want} expected at this place of the fold", line=line)
            left = _person(pictures, fields[0], fields[1], line)
            right = _person(pictures, fields[0] if same else fields[2], fields[-1], line)
            yield VerificationPair(left, right, same, place // (2 * each) + 1, path, line)
        except BadSampleError as bad:
            skips.add(path, line, bad.reason)
    if len(rows) != 2 * folds * each:
        skips.add(path, 1, f"{2 * folds * each} pairs announced, {len(rows)} lines found")


def _person(pictures: Path, name: str, number: str, line: int) -> Path:
    if not number.isdigit():
        raise BadSampleError(f"no number of a picture: {number!r}", line=line)
    return inside(pictures, f"{name}/{name}_{int(number):04d}.jpg", line=line)


def read_pairs(root: str | Path, skips: Skips) -> Iterator[PicturePair]:
    """Truths of a folder of super-resolution sets with their reduced pictures, or alone."""
    folder = folder_of(root)
    files = pictures_below(folder)
    if not files:
        raise InputError(f"pictures below {folder}", "none", "unpack the data set there")
    if any(SELFEXSR.match(p.stem) for p in files):
        yield from _selfexsr(folder, files, skips)
        return
    small = [p for p in files if _scale_of(p, folder) is not None]
    truths = [p for p in files if p not in set(small)]
    for path in truths:
        split = set_of(path, folder)
        base = path.parent.parent if path.parent.name in TRUTHS else path.parent
        mine = [p for p in small if p.is_relative_to(base) and _stem(p, folder) == path.stem]
        for lr in mine:
            yield PicturePair(path, lr, _scale_of(lr, folder), path.stem, split)
        if not mine:
            yield PicturePair(path, None, None, path.stem, split)
    known = {p.stem for p in truths}
    for lr in small:
        if _stem(lr, folder) not in known:
            skips.add(lr, None, "no truth of its name")


def _selfexsr(folder: Path, files: list[Path], skips: Skips) -> Iterator[PicturePair]:
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        match = SELFEXSR.match(path.stem)
        if match:
            found.setdefault((path.parent, match["stem"]), {})[match["kind"].upper()] = path
        elif not METHODS.search(path.stem):
            skips.add(path, None, "neither ..._SRF_N_HR nor ..._SRF_N_LR, as the other files are")
    for (_, stem), pair in sorted(found.items()):
        if "HR" not in pair:
            skips.add(pair["LR"], None, "no ..._HR beside it")
            continue
        scale = int(stem.rpartition("_")[2])
        yield PicturePair(pair["HR"], pair.get("LR"), scale, stem, set_of(pair["HR"], folder))
        if "LR" not in pair:
            skips.add(pair["HR"], None, "no ..._LR beside it: the truth is kept alone")


def _scale_of(path: Path, root: Path) -> int | None:
    for part in path.relative_to(root).parts[:-1]:
        match = SMALL.match(part)
        if match:
            return int(match["scale"])
    return None


def _stem(path: Path, root: Path) -> str:
    """Name of the truth of a reduced picture: `babyx2` of scale 2 is of `baby`."""
    return re.sub(rf"x{_scale_of(path, root)}$", "", path.stem)


def set_of(path: Path, root: Path) -> str:
    """Data set of a picture: a known name in its path, else the first folder, else the root's own name."""
    parts = [root.name, *path.relative_to(root).parts[:-1]]
    known = {s.lower(): s for s in SETS}
    named = [known[p.lower()] for p in parts if p.lower() in known]
    return named[-1] if named else (parts[1] if len(parts) > 1 and parts[1] not in TRUTHS else parts[0])
