"""Published FAN weights as a checkpoint of ours: `python -m training.import_fan 2DFAN4.pth.tar -o fan.pt`.

Reads the names of the authors' PyTorch code (face_alignment/models.py, its two-dimensional networks): a state dict, one
inside {"state_dict": ...}, names behind "module.", or a TorchScript archive of the network. Every array must be there,
have its shape and be finite, and none may be left over. `--stacks 2` keeps the first two hourglasses, a network of two:
each was supervised by itself. Its heatmaps are drawn half a pixel of FAN's input further than ours
(models.fan.FAN_PIXEL_OFFSET).

Super-FAN takes the file as it takes a FAN of its own, by `--init`: the first stage, which trains a FAN, is left out, of
four hourglasses the first two are taken, and the weights become both the joined FAN and the frozen one of Eq. 4.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdk.errors import FaceTRTError, ModelError
from training import checkpoint
from training.models.fan import FAN, FANConfig

REMEDY = "pass a state dict of a two-dimensional FAN in the authors' PyTorch names"
STEM = {"conv1": "conv", "bn1": "bn", "conv2": "block1", "conv3": "block2", "conv4": "block3"}
STACK = {
    "top_m_": "block",
    "conv_last": "conv",
    "bn_end": "bn",
    "l": "heat",
    "bl": "feed_features",
    "al": "feed_heatmaps",
}
HOURGLASS = {"b1": "up", "b2": "down", "b3": "back"}


def our_name(name: str, *, depth: int = 4) -> str | None:
    """conv2.downsample.0.weight -> stem.block1.skip.0.weight; None for a name that is none of FAN's."""
    head, _, rest = name.partition(".")
    rest = rest.replace("downsample.", "skip.")
    if head in STEM:
        return f"stem.{STEM[head]}.{rest}"
    if found := re.fullmatch(r"m(\d+)", head):
        block, _, inner = rest.partition(".")
        level = re.fullmatch(r"(b1|b2|b3|b2_plus)_(\d+)", block)
        if level is None or not 1 <= int(level[2]) <= depth or (level[1] == "b2_plus" and level[2] != "1"):
            return None
        down = "inner." * (depth - int(level[2]))
        own = "inner" if level[1] == "b2_plus" else HOURGLASS[level[1]]
        return f"stacks.{found[1]}.hourglass.{down}{own}.{inner}"
    if found := re.fullmatch(r"(top_m_|conv_last|bn_end|l|bl|al)(\d+)", head):
        return f"stacks.{found[2]}.{STACK[found[1]]}.{rest}"
    return None


def read_state(path: Path) -> dict[str, Tensor]:
    """Arrays of a file by name. Raises ModelError."""
    if not path.is_file():
        raise ModelError("a file of FAN's weights", f"{path}, which does not exist", REMEDY)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as first:  # foreign bytes make torch's unpickler raise nearly anything
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is old; so are the files
                content = torch.jit.load(path, map_location="cpu").state_dict()
        except Exception as error:  # as do they its reader of TorchScript
            reason = (str(first).splitlines() or ["the file is empty"])[0]
            raise ModelError("weights that torch reads safely", f"{path} ({reason})", REMEDY) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError("a state dict", f"{type(content).__name__} in {path}", REMEDY)
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def convert(state: Mapping[str, Tensor], *, stacks: int | None = None, source: str = "FAN") -> dict[str, Any]:
    """A checkpoint of ours. stacks: how many of the first hourglasses to keep; None: all.

    Raises ModelError: names that are not FAN's, arrays that lack, are left over, do not fit or are not finite.
    """
    named = {our_name(name): (name, value) for name, value in state.items()}
    strange = [name for name in state if our_name(name) is None]
    numbers = {int(name.split(".")[1]) for name in named if name is not None and name.startswith("stacks.")}
    if strange or not numbers or numbers != set(range(len(numbers))):
        got = f"{strange[0]!r}" if strange else f"hourglasses {sorted(numbers)}"
        raise ModelError("names of a two-dimensional FAN", got, REMEDY)
    there, kept = len(numbers), len(numbers) if stacks is None else stacks
    if not 1 <= kept <= there:
        raise ModelError(f"1 to {there} hourglasses", str(stacks), "leave --stacks out to keep all")
    heat = state.get("l0.weight")
    points = 68 if heat is None else heat.shape[0]
    whole = FAN(FANConfig(points=points, stacks=there)).state_dict()
    for name, wanted in whole.items():
        if name.endswith("num_batches_tracked"):
            continue
        theirs, value = named.get(name, (name, None))
        if value is None or value.shape != wanted.shape:
            got = "none" if value is None else f"{theirs} {tuple(value.shape)}"
            raise ModelError(f"an array {tuple(wanted.shape)} for {name}", got, REMEDY)
        if not torch.isfinite(value).all():
            raise ModelError(f"finite numbers in {theirs}", "NaN or infinity", REMEDY)
    strange = [theirs for name, (theirs, _) in named.items() if name not in whole]
    if strange:
        raise ModelError("arrays of that FAN alone", f"{strange[0]!r} and {len(strange) - 1} more", REMEDY)
    config = FANConfig(points=points, stacks=kept)
    weights = {name: named[name][1].float() if name in named else value for name, value in whole.items()}
    own = FAN(config).state_dict()
    run = {"name": source, "part": "fan", "packs": ["300W-LP as published"], "batch": 0, "lr": 0.0, "lr_sizes": []}
    run |= {"steps": 0, "minutes": None, "seed": 0, "told": f"{source}: published weights of FAN"}
    return {
        "model": "fan",
        "config": config.as_dict(),
        "weights": {name: weights[name] for name in own},
        "perceptual": "none",
        "runs": [run],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.import_fan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the published weights")
    parser.add_argument("-o", "--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--stacks", type=int, help="hourglasses to keep, the first ones (default: all)")
    args = parser.parse_args(arguments)
    try:
        made = convert(read_state(args.file), stacks=args.stacks, source=args.file.name)
        count = sum(value.numel() for value in checkpoint.build(made).parameters())
        checkpoint.save(args.out, made)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{args.out}: FAN of {made['config']['stacks']} hourglasses, {count} parameters\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
