"""One network from two runs.

    python -m training.join --sr A/last.pt --landmarks B/last.pt --name picoface_x8 -o picoface_x8.pt

No gradient passes between the branches of PicoFace, so each keeps the licence of its own data; the file says which is
which, by the archives that its runs name.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sdk.errors import FaceTRTError, ModelError
from training import checkpoint
from training.models.picoface import PicoFace
from training.recipes.picoface import FREE, LANDMARKS

BRANCHES = {"sr": "super-resolution branch", "landmarks": "landmark branch"}


def licence(part: str, runs: Sequence[dict[str, Any]]) -> str:
    """What one branch may be used for, by the archives its runs saw. Raises ModelError when no run trained it."""
    packs = {pack for run in runs if run["part"] == part for pack in run["packs"]}
    if not packs:
        names = [run["name"] for run in runs]
        raise ModelError(f"a checkpoint whose {BRANCHES[part]} was trained", f"runs {names}", "pass the right file")
    if packs <= set(FREE) and part == "sr":
        terms = "Apache-2.0, trained on CC BY 4.0 and public-domain faces only"
    elif packs <= set(LANDMARKS):
        terms = "research use only, trained also on HELEN/300-W and YouTube Faces frames"
    else:
        terms = f"the terms of its training data ({', '.join(sorted(packs))})"
    return f"{BRANCHES[part]}: {terms}"


def join(
    sr: dict[str, Any],
    landmarks: dict[str, Any],
    name: str,
    *,
    earlier: Sequence[dict[str, Any]] = (),
    other_trunk: bool = False,
) -> dict[str, Any]:
    """A checkpoint with the averaged weights of both branches.

    Args:
        earlier: checkpoints that the two started from and do not name themselves; told in the notes.
        other_trunk: accept a landmark branch that was trained on other features than the joined network gives it.

    Raises:
        ModelError: branches that do not fit together, or were not trained.
    """
    weights = {key: value for key, value in sr["weights"].items() if key.startswith("sr.")}
    reads = landmarks["config"].get("head_reads_trunk", False)
    if reads and not other_trunk and any(not torch.equal(v, landmarks["weights"][k]) for k, v in weights.items()):
        expected = "a landmark run that started from this super-resolution branch, whose features it reads"
        raise ModelError(expected, "one on another", "train it with --init SR/last.pt, or say --other-trunk")
    weights |= {key: value for key, value in landmarks["weights"].items() if key.startswith("landmarks.")}
    runs: list[dict[str, Any]] = []
    for saved in (sr, *earlier, landmarks):
        runs += [run for run in checkpoint.runs_of(saved) if run not in runs]
    joined = {"model": sr["model"], "config": landmarks["config"], "weights": weights, "runs": runs}
    model = checkpoint.build(joined)
    assert isinstance(model, PicoFace), type(model)
    notes = "; ".join(f"{r['name']}: {r['steps']} steps of {r['batch']} on {', '.join(r['packs'])}" for r in runs)
    terms = "; ".join(licence(part, runs) for part in BRANCHES)
    joined["spec"] = model.spec(name, licence=terms, notes=notes).to_json()
    return joined


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.join", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sr", type=Path, required=True, help="checkpoint that gives the super-resolution branch")
    parser.add_argument("--landmarks", type=Path, required=True, help="checkpoint that gives the landmark branch")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="runs that these started from")
    parser.add_argument("--other-trunk", action="store_true", help="accept landmarks learned on another trunk")
    parser.add_argument("--name", required=True, help="name of the joined network, e.g. picoface_x8")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        sr, landmarks, *earlier = (checkpoint.load(path) for path in (args.sr, args.landmarks, *args.earlier))
        joined = join(sr, landmarks, args.name, earlier=earlier, other_trunk=args.other_trunk)
        checkpoint.save(args.out, joined)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
