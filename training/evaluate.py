"""Evaluation of networks beside bicubic, on any archive or by a paper's whole protocol.

    python -m training.evaluate picoface_x8 --pack fsrnet_val_nc.tar.xz --split helen --protocol fsrnet --lr-size 16
    python -m training.evaluate runs/fsrnet/fsrnet.pt picoface_x8 --protocol fsrnet_helen50 [--aug]

The second form takes archive, input, numbers and baseline from training.protocols, and keeps the rows of its file that
were made from the same weights. MODEL is a shipped name, an .onnx file, a checkpoint (also a last.pt in progress)
or bicubic. The rest is about the first form.

The truth is each picture at LR size times scale (`file128` where the archive has it and it fits, else `file`, reduced
by antialiased bicubic); the input is the truth reduced again and rounded to 8 bit. NME by the outer eye corners, in
percent; AUC to 10 %; failures above 8 %.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sdk.errors import FaceTRTError, InputError
from sdk.image.metrics import PROTOCOLS, auc, failure_rate, nme, score_pair
from training.data.degrade import DEGRADATIONS
from training.data.packs import Pack, open_pack
from training.evaluate_examples import Example, Options, examples
from training.predictors import Predictor, open_predictor
from training.protocol_run import DETECTOR, Asked, run_protocol
from training.protocols import PRESETS
from training.results import check_target, recorded_command, write_results

BATCH = 16
AUC_AT = 0.10  # Super-FAN and 300-W tables
FAILED_AT = 0.08


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


def cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def preset_table(rows: list[dict[str, Any]]) -> str:
    """Rows of a protocol's file as Markdown: the numbers that its kind has, bins and lists left out."""
    digits = {"psnr": 2, "ssim": 4, "nme": 2, "auc": 3, "failure_rate": 3, "error": 2, "relative_gain": 3}
    digits |= {"accuracy": 4, "accuracy_sd": 4, "iou": 4}
    names = [name for name in digits if any(row.get(name) is not None for row in rows)]
    lines = [f"| {' | '.join(['model', 'n', *names])} |", "|---" * (2 + len(names)) + "|"]
    for row in rows:
        told = row["model"] + (" with augmentation" if row["augmented"] else "")
        told += f" ({row['detector']})" if "detector" in row else ""
        lines.append(f"| {' | '.join([told, str(row['n']), *(cell(row.get(n), digits[n]) for n in names)])} |")
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="shipped name, .onnx, checkpoint, or bicubic")
    parser.add_argument("--pack", help="folder, tar file, or name of an archive in the cache")
    parser.add_argument("--split", help="split of index.csv (default: all pictures, or the protocol's)")
    parser.add_argument(
        "--lr-size", type=int, default=16, choices=(16, 32, 64), help="px of the input (default: %(default)s)"
    )
    names = f"how to measure: {', '.join(sorted(PROTOCOLS))}; or a whole protocol: {', '.join(PRESETS)}"
    parser.add_argument("--protocol", default="fsrnet", metavar="NAME", help=f"{names} (default: %(default)s)")
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
    whole = parser.add_argument_group("whole protocols")
    whole.add_argument("--aug", action="store_true", help="mean of the eight turned and mirrored versions (FSRNet_aug)")
    whole.add_argument("--limit", type=count, metavar="N", help="the first N pictures alone")
    whole.add_argument(
        "--detector", action="append", default=[], metavar="MODEL",
        help=f"landmark_gain, superfan_gain: network that finds the points; may be repeated (default: {DETECTOR})",
    )  # fmt: skip
    whole.add_argument("--embedder", metavar="FILE", help="lfw: .onnx of a recogniser, or grey (none: a stand-in)")
    whole.add_argument("--parser", metavar="MODEL", help="parsing: network with parsing maps")
    return parser.parse_args(arguments)


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; got {text}; leave it out for all")
    return value


def options_of(args: argparse.Namespace) -> Options:
    """Of the first form. Raises InputError: an unknown protocol, no archive, options of the second form."""
    if args.protocol not in PROTOCOLS:
        known = f"a protocol of {', '.join([*sorted(PROTOCOLS), *PRESETS])}"
        raise InputError(known, repr(args.protocol), "check the spelling")
    second = {"--aug": args.aug, "--limit": args.limit, "--detector": args.detector}
    second |= {"--embedder": args.embedder, "--parser": args.parser}
    given = [name for name, value in second.items() if value]
    if given or args.pack is None:
        got = given[0] if given else "no --pack"
        remedy = f"give --pack and no {given[0]}, or one of {', '.join(PRESETS)}" if given else "give one by --pack"
        raise InputError(f"an archive and its options with --protocol {args.protocol}", got, remedy)
    return Options(args.split, args.lr_size, args.protocol, args.lr_files, args.degraded, args.jitter)


def asked_of(args: argparse.Namespace) -> Asked:
    """Of the second form. Raises InputError: options of the first."""
    first = {"--lr-files": args.lr_files, "--degraded": args.degraded, "--jitter": args.jitter}
    first["--lr-size"] = args.lr_size != 16
    given = [name for name, value in first.items() if value]
    if given:
        raise InputError(f"options that --protocol {args.protocol} has", given[0], f"leave {given[0]} out")
    return Asked(
        args.pack, args.split, args.limit, args.aug, detectors=tuple(args.detector), embedder=args.embedder,
        parser=args.parser,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    command = recorded_command("training.evaluate", arguments or sys.argv[1:])
    try:
        if args.json is not None:
            check_target(args.json)
        if args.protocol in PRESETS:
            rows = run_protocol(
                args.protocol, args.models, asked_of(args), path=args.json, command=command, report=sys.stderr.write
            )
            sys.stdout.write(preset_table(rows))
            return 0
        options = options_of(args)
        pack = open_pack(args.pack)
        predictors = [open_predictor(model) for model in args.models]
        for predictor in predictors:  # before the work of the first
            predictor.scale(args.lr_size)
        results = [evaluate(predictor, pack, options) for predictor in predictors]
        sys.stdout.write(table(results))
        if args.json is not None:
            write_results(args.json, {"command": command, "protocol": args.protocol, "results": results})
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
