"""Train a network or one branch of it: `python -m training.train --recipe picoface_x8 --out runs/x8`.

Killed at any moment, the same command goes on from the last save and ends with the same weights as an unbroken
run: batches depend on (seed, step) alone, and the checkpoint holds weights, averages and optimiser. Ctrl-C and
SIGTERM save first. A branch's folder gets last.pt, log.csv, log.json and samples/*.png; a whole network's gets a
folder for each stage and NAME.pt.

A paper's network goes through its paper's stages: `--recipe jasrnet --data ARCHIVE... --budget 20m` measures the
time of a step, scales the paper's schedule to the budget and writes both into the checkpoint. `torchrun` shares each
batch among processes.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from sdk.errors import FaceTRTError, InputError
from training import checkpoint, processes
from training.join import join
from training.recipes.papers import PAPERS
from training.recipes.picoface import NETWORKS, RECIPES, Recipe
from training.run import Run
from training.tasks import make_task
from training.train_paper import train_recipe

STOPPED = 130  # exit code after Ctrl-C or SIGTERM


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipe", required=True, choices=[*NETWORKS, *RECIPES, *PAPERS], help="a network, or one branch"
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--steps", type=positive, help="instead of the recipe's; the schedule scales with them")
    parser.add_argument(
        "--packs", "--data", nargs="+", help="archives instead of the recipe's (folders, tars or cached names)"
    )
    parser.add_argument("--init", type=Path, help="checkpoint to start from, as far as shapes agree")
    parser.add_argument("--pseudo", type=Path, help="npz of points found by a teacher (training.pseudo_label)")
    parser.add_argument("--seed", type=int, default=0, choices=range(2**16), metavar="0..65535")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--validate-every", type=positive, metavar="STEPS", help="(default: 1000, or ten times a run)")
    papers = parser.add_argument_group("papers' networks")
    papers.add_argument("--budget", help="time of all stages, such as 90s, 20m or 1.5h; processor time on a CPU")
    papers.add_argument("--batch", type=positive, help="instead of the paper's: more updates in a short budget")
    papers.add_argument("--lr-times", type=factor, default=1.0, metavar="FACTOR", help="of the paper's learning rates")
    papers.add_argument("--features", type=Path, help="weights of the perceptual loss, or a checkpoint to stand in")
    papers.add_argument("--caffe", action="store_true", help="those weights were made for BGR in 0..255 minus a mean")
    papers.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    papers.add_argument("--workers", type=int, default=0, choices=range(65), metavar="0..64", help="make batches ahead")
    papers.add_argument("--bf16", action="store_true", help="networks in bfloat16, losses in float32")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; got {text}; leave it out for the default")
    return value


def factor(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text}; leave it out for 1")
    return value


class StopSignal:
    """Remembers Ctrl-C and SIGTERM from construction to close(), for all stages of a network."""

    def __init__(self) -> None:
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def close(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def refuse_what_would_be_ignored(args: argparse.Namespace) -> None:
    """Raises InputError for options of the other kind of recipe."""
    papers = {"--budget": args.budget, "--features": args.features, "--caffe": args.caffe, "--bf16": args.bf16}
    papers |= {"--workers": args.workers, "--device": args.device != "cpu"}
    papers |= {"--batch": args.batch, "--lr-times": args.lr_times != 1.0}
    unused = {"--pseudo": args.pseudo} if args.recipe in PAPERS else papers
    given = [name for name, value in unused.items() if value]
    if given:
        raise InputError(f"options that --recipe {args.recipe} has", given[0], f"leave {given[0]} out")


def load_pseudo_points(path: Path) -> dict[str, np.ndarray]:
    """id -> [68, 2] of training.pseudo_label's file. Raises InputError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {str(k): v for k, v in zip(archive["id"], archive["pts68"], strict=True)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError("an npz of training.pseudo_label", f"{path} ({error})", "make it again") from error


def train_stage(
    recipe: Recipe, folder: Path, args: argparse.Namespace, *, initial: Path | None, should_stop: Callable[[], bool]
) -> bool:
    """Train, or go on with, one run. True when it reached its last step."""
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    if args.packs is not None:
        recipe = replace(recipe, packs=tuple(args.packs))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("a folder to write to", f"{folder} ({error.strerror})", "give another --out") from error
    pseudo = None
    if args.pseudo is not None and recipe.part == "landmarks":
        pseudo = load_pseudo_points(args.pseudo)
    run = Run(recipe, folder, seed=args.seed, initial=initial)
    if run.step < recipe.steps and not should_stop():
        task = make_task(recipe, args.seed, pseudo=pseudo)
        run.fit(task, validate_every=args.validate_every or 1000, report=_report, should_stop=should_stop)
    done = run.step >= recipe.steps
    where = f"saved {run.path}" if run.path.exists() else "nothing to save yet"
    _report(f"\n{recipe.name}: {'finished' if done else 'stopped'} at step {run.step}; {where}\n")
    return done


def train_network(name: str, folder: Path, args: argparse.Namespace, should_stop: Callable[[], bool]) -> bool:
    """All stages of a network, each from the one before: landmarks are learned on the finished features."""
    initial = args.init
    if initial is None and any(RECIPES[stage].quantised for stage in NETWORKS[name]):
        remedy = f"pass --init {name.removesuffix('_qat')}.pt"
        raise InputError("a finished network to train quantisation-aware", "no --init", remedy)
    for stage in NETWORKS[name]:
        if not train_stage(RECIPES[stage], folder / stage, args, initial=initial, should_stop=should_stop):
            return False
        initial = folder / stage / "last.pt"
    saved = checkpoint.load(initial)
    checkpoint.save(folder / f"{name}.pt", join(saved, saved, name.removesuffix("_qat")))
    _report(f"wrote {folder / name}.pt; next: python -m export.to_onnx\n")
    return True


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    folder = args.out or Path("runs") / args.recipe
    stop = StopSignal()
    try:
        refuse_what_would_be_ignored(args)
        if args.recipe in PAPERS:
            done = train_recipe(PAPERS[args.recipe], folder, args, report=_report, should_stop=lambda: stop.asked)
        elif args.recipe in RECIPES:
            recipe = RECIPES[args.recipe]
            done = train_stage(recipe, folder, args, initial=args.init, should_stop=lambda: stop.asked)
        else:
            done = train_network(args.recipe, folder, args, lambda: stop.asked)
    except (FaceTRTError, FloatingPointError) as error:
        _report(f"{error}\n")
        return 2
    finally:
        stop.close()
        processes.stop()
    return 0 if done else STOPPED


def _report(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
