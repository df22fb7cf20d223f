"""Evaluation by a paper's protocol, beside bicubic.

    python -m training.evaluate picoface_x8 --pack fsrnet_val_nc.tar.xz --split helen --protocol fsrnet --lr-size 16

The truth is each picture at LR size times scale (`file128` where the archive has it and it fits, else `file`, reduced
by antialiased bicubic); the input is the truth reduced again and rounded to 8 bit. NME by the outer eye corners, in
percent; AUC to 10 %; failures above 8 %.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import FaceTRTError, InputError
from sdk.image.crop import apply_affine, crop, invert_affine, window_affine
from sdk.image.metrics import PROTOCOLS, auc, failure_rate, nme, score_pair
from sdk.image.resample import resize, round_8bit
from training.data.degrade import DEGRADATIONS, degrade
from training.data.packs import Pack, open_pack
from training.predictors import Predictor, enlarge, open_predictor
from training.results import check_target, recorded_command, write_results

BATCH = 16
AUC_AT = 0.10  # Super-FAN and 300-W tables
FAILED_AT = 0.08
SEED = 0  # of degradations and jitter


@dataclass(frozen=True)
class Options:
    """What is fed and how it is measured."""

    split: str | None
    lr_size: int
    protocol: str
    lr_files: bool = False
    degraded: str | None = None  # a name of DEGRADATIONS
    jitter: bool = False

    def __post_init__(self) -> None:
        if self.lr_files and (self.degraded or self.jitter):
            got = "--lr-files with --degraded or --jitter"
            raise InputError("inputs either from files or made", got, "leave one of them out")


@dataclass(frozen=True)
class Example:
    """One picture of an archive, cut and reduced."""

    id: str
    hr: npt.NDArray[np.uint8]  # [H, H, 3]
    lr: npt.NDArray[np.uint8]  # [h, h, 3]
    enlarged: npt.NDArray[np.uint8]  # [H, H, 3] bicubic
    points: npt.NDArray[np.float32] | None  # [68, 2] pixels of hr
    native: bool  # False: the truth had to be enlarged and says nothing about sharpness


def examples(pack: Pack, options: Options, scale: int) -> Iterator[Example]:
    """The pictures of a split in file order."""
    rows = pack.select(options.split, kind="HR")
    stored = lr_rows(pack, options, rows, scale) if options.lr_files else {}
    rng = np.random.default_rng(SEED)
    side = options.lr_size * scale
    for row in rows:
        picture, points = truth_of(pack, row, side)
        native = picture.shape[0] >= side
        if options.jitter:
            window = jitter_window(picture.shape[0], rng)
            native = window[0, 2] - window[0, 0] >= side
            picture, points = cut(picture, points, window, side)
        elif picture.shape[:2] != (side, side):
            points = None if points is None else (points + 0.5) * (side / picture.shape[0]) - 0.5
            picture = resize(picture, (side, side)).astype(np.uint8)
        small = (options.lr_size, options.lr_size)
        if row["id"] in stored:
            enlarged = pack.square_picture(stored[row["id"]])
            if enlarged.shape[0] != side:
                got = f"{enlarged.shape[0]} for {row['id']}"
                raise InputError(f"LR files of {side} px, as the truth", got, "pick the --lr-size they were made for")
            lr = resize(enlarged, small).astype(np.uint8)
        else:
            ranges = DEGRADATIONS.get(options.degraded or "")
            lr = resize(picture, small) if ranges is None else degrade(picture, small[0], rng, ranges=ranges)
            lr = lr.astype(np.uint8)
            enlarged = enlarge(lr[None], scale)[0]
        yield Example(row["id"], picture, lr, enlarged, points, native)


def lr_rows(pack: Pack, options: Options, rows: list[dict[str, str]], scale: int) -> dict[str, dict[str, str]]:
    """The archive's enlarged LR file of every picture, by id. Raises InputError where one has none for this scale."""
    found = [r for r in pack.select(options.split) if r.get("kind", "").startswith("LR")]
    if not found:
        raise InputError(f"LR files in {pack.name}", "none", "leave out --lr-files")
    stored = {r["id"]: r for r in found if r["kind"] in ("LR", f"LR_{scale}x")}
    missing = [r["id"] for r in rows if r["id"] not in stored]
    if missing:
        got = f"{sorted({r['kind'] for r in found})}, and none for {missing[0]} and {len(missing) - 1} more"
        remedy = "use --lr-size 16 for LR_8x files, or leave out --lr-files"
        raise InputError(f"an LR_{scale}x file of each picture", got, remedy)
    return stored


def truth_of(
    pack: Pack, row: dict[str, str], side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Square picture [S, S, 3] and its points. `file128` is taken for a side of 128, or when it is all there is."""
    column = "file128" if row.get("file128") and (side == 128 or not row.get("file")) else "file"
    picture = pack.square_picture(row, column=column)
    points = pack.points.get(row["id"])
    if points is not None and column == "file128" and row.get("file"):  # the points are in pixels of `file`
        full = float(row.get("w") or pack.picture(row).shape[1])
        points = (points + 0.5) * (picture.shape[0] / full) - 0.5
    return picture, points


def jittered(
    picture: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32] | None,
    rng: np.random.Generator,
    side: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """The picture seen through a window moved by up to 8 % and scaled by up to 10 %, edges repeated."""
    return cut(picture, points, jitter_window(picture.shape[0], rng), side)


def jitter_window(full: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """[1, 4] edge coordinates of the moved and scaled window of a picture of `full` px."""
    half = 0.5 * full * rng.uniform(0.9, 1.1)
    centre = 0.5 * full + rng.uniform(-0.08, 0.08, 2) * full
    return np.concatenate([centre - half, centre + half])[None]


def cut(
    picture: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32] | None,
    window: npt.NDArray[np.float64],  # [1, 4]
    side: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """The window at side x side, and the points in its pixels."""
    found = round_8bit(crop(picture, window, size=side))[0].astype(np.uint8)
    if points is None:
        return found, None
    return found, apply_affine(points[None], invert_affine(window_affine(window, size=side)))[0].astype(np.float32)


def evaluate(predictor: Predictor, pack: Pack, options: Options) -> dict[str, Any]:
    """One row of the results, with `per_image`."""
    scale = predictor.scale(options.lr_size)
    per_image: list[dict[str, Any]] = []
    pending: list[Example] = []
    for example in examples(pack, options, scale):
        pending.append(example)
        if len(pending) == BATCH:
            per_image += score(predictor, pending, options, scale)
            pending = []
    per_image += score(predictor, pending, options, scale) if pending else []
    errors = np.array([row["nme"] for row in per_image if row["nme"] is not None]) / 100.0
    summary = {
        name: mean([row[name] for row in per_image]) for name in ("psnr", "ssim", "nme", "bicubic_psnr", "bicubic_ssim")
    }
    return {
        "model": predictor.name,
        "pack": pack.name,
        "split": options.split,
        "lr_size": options.lr_size,
        "protocol": options.protocol,
        "degraded": options.degraded,
        "jitter": options.jitter,
        "lr_files": options.lr_files,
        "n": len(per_image),
        "n_landmarks": int(errors.size),  # faces that nme, auc and failure_rate are over
        **summary,
        "auc": auc(errors, AUC_AT) if errors.size else None,
        "failure_rate": failure_rate(errors, FAILED_AT) if errors.size else None,
        "per_image": per_image,
    }


def mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def score(predictor: Predictor, batch: list[Example], options: Options, scale: int) -> list[dict[str, Any]]:
    """Per-image numbers of a batch; NME in percent."""
    if options.lr_files and predictor.name == "bicubic":
        pictures, found = np.stack([e.enlarged for e in batch]), None
    else:
        pictures, found = predictor(np.stack([e.lr for e in batch]))
    protocol = PROTOCOLS[options.protocol]
    rows = []
    for index, example in enumerate(batch):
        ours = bicubic = (None, None)
        if example.native:
            ours = score_pair(pictures[index], example.hr, protocol, points=example.points, scale=scale)
            bicubic = score_pair(example.enlarged, example.hr, protocol, points=example.points, scale=scale)
        error = None
        if found is not None and example.points is not None:
            error = 100.0 * float(nme(found[index][None], example.points[None])[0])
        rows.append(
            {
                "id": example.id,
                "psnr": ours[0],
                "ssim": ours[1],
                "nme": error,
                "bicubic_psnr": bicubic[0],
                "bicubic_ssim": bicubic[1],
            }
        )
    return rows


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""

    def cell(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    lines = [
        "| model | pack / split | px | n | PSNR dB | SSIM | bicubic | NME % | AUC@10 % | failed % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        failed = None if r["failure_rate"] is None else 100.0 * r["failure_rate"]
        bicubic = f"{cell(r['bicubic_psnr'], 2)} / {cell(r['bicubic_ssim'], 4)}"
        lines.append(
            f"| {r['model']} | {r['pack']} / {r['split'] or 'all'} | {r['lr_size']} | {r['n']} | {cell(r['psnr'], 2)} "
            f"| {cell(r['ssim'], 4)} | {bicubic} | {cell(r['nme'], 2)} "
            f"| {cell(r['auc'], 3)} | {cell(failed, 1)} |"
        )
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="shipped name, .onnx, checkpoint, or bicubic")
    parser.add_argument("--pack", required=True, help="folder, tar file, or name of an archive in the cache")
    parser.add_argument("--split", help="split of index.csv (default: all pictures)")
    parser.add_argument(
        "--lr-size", type=int, default=16, choices=(16, 32, 64), help="px of the input (default: %(default)s)"
    )
    parser.add_argument("--protocol", default="fsrnet", choices=sorted(PROTOCOLS), help="default: %(default)s")
    parser.add_argument("--lr-files", action="store_true", help="use the archive's own enlarged LR files")
    parser.add_argument(
        "--degraded",
        choices=sorted(DEGRADATIONS),
        help="fixed seed; camera: blur, noise, JPEG, each in half of the inputs (Super-FAN); all: all three in each",
    )
    parser.add_argument(
        "--jitter", action="store_true", help="windows moved by up to 8 %% and scaled by up to 10 %%, fixed seed"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the results and every picture's numbers")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        options = Options(args.split, args.lr_size, args.protocol, args.lr_files, args.degraded, args.jitter)
        if args.json is not None:
            check_target(args.json)
        pack = open_pack(args.pack)
        predictors = [open_predictor(model) for model in args.models]
        for predictor in predictors:  # before the work of the first
            predictor.scale(args.lr_size)
        results = [evaluate(predictor, pack, options) for predictor in predictors]
        sys.stdout.write(table(results))
        if args.json is not None:
            command = recorded_command("training.evaluate", arguments or sys.argv[1:])
            write_results(args.json, {"command": command, "protocol": args.protocol, "results": results})
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
