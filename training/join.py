"""One network from two runs.

    python -m training.join --sr A/last.pt --landmarks B/last.pt --name picoface_x8 -o picoface_x8.pt

The branches of PicoFace share no weights, so each keeps the licence of its own data, and the file says which is which.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdk.errors import ModelError
from training import checkpoint
from training.models.picoface import PicoFace

LICENCES = {
    "sr": "super-resolution branch: Apache-2.0, trained on CC BY 4.0 and public-domain faces only",
    "landmarks": "landmark branch: research use only, trained also on HELEN/300-W and YouTube Faces frames",
}
SUMMARY_FIELDS = ("name", "packs", "batch", "lr", "lr_sizes")


def summary(saved: dict[str, Any]) -> dict[str, Any]:
    """What a model card tells of a run."""
    recipe = {key: saved["recipe"][key] for key in SUMMARY_FIELDS}
    return {**recipe, "steps": saved["step"], "minutes": round(saved["seconds"] / 60.0, 1), "seed": saved["seed"]}


def join(
    sr: dict[str, Any], landmarks: dict[str, Any], name: str, *, earlier: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """A checkpoint with the averaged weights of both branches. Raises ModelError when they do not fit together.

    earlier: runs that the two started from, oldest first; told in the notes, so that a model card hides no training.
    """
    weights = {key: value for key, value in sr["weights"].items() if key.startswith("sr.")}
    weights |= {key: value for key, value in landmarks["weights"].items() if key.startswith("landmarks.")}
    runs = [summary(run) for run in (sr, *earlier, landmarks)]
    joined = {"model": sr["model"], "config": landmarks["config"], "weights": weights, "runs": runs}
    try:
        model = checkpoint.build(joined)
    except RuntimeError as error:
        got = f"{sr['config']} and {landmarks['config']}"
        raise ModelError("two runs whose branches fit together", got, "pick runs of one variant") from error
    assert isinstance(model, PicoFace), type(model)
    notes = "; ".join(
        f"{r['name']}: {r['steps']} steps of {r['batch']} on {', '.join(r['packs'])}" for r in joined["runs"]
    )
    joined["spec"] = model.spec(name, licence="; ".join(LICENCES.values()), notes=notes).to_json()
    return joined


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.join", description=__doc__)
    parser.add_argument("--sr", type=Path, required=True, help="checkpoint that gives the super-resolution branch")
    parser.add_argument("--landmarks", type=Path, required=True, help="checkpoint that gives the landmark branch")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="runs that these started from, oldest first"
    )
    parser.add_argument("--name", required=True, help="name of the joined network, e.g. picoface_x8")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    earlier = [checkpoint.load(path) for path in args.earlier]
    joined = join(checkpoint.load(args.sr), checkpoint.load(args.landmarks), args.name, earlier=earlier)
    checkpoint.save(args.out, joined)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
