"""What a run of a paper's recipe starts from: the weights of another checkpoint, or its own to go on with."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sdk.errors import BuildError, InputError, ModelError
from sdk.runtime.file_lock import locked
from training.loop import plain
from training.recipes.stage import PaperRecipe, Stage

LOCK_S = 3.0  # longer than a killed run's --workers outlive it
PLACES = {  # (model of a checkpoint, model to train): where its weights go
    ("fan", "super_fan"): "fan.",
    ("super_fan_generator", "super_fan"): "generator.",
}
NEEDED = ("raw_weights", "weights", "optimisers", "step", "seconds", "history", "running", "earlier", "plan", "config")


def fitting_weights(model: nn.Module, saved: Mapping[str, Any], *, name: str) -> dict[str, Tensor]:
    """Of another checkpoint, what has the same name and shape in `model`, which the registry calls `name`.

    A FAN or a generator goes to its place in Super-FAN, whole: a FAN of more stacks gives its first ones.

    Raises InputError: weights of another network, or too few of them.
    """
    found = str(saved.get("model"))
    place = PLACES.get((found, name), "")
    if found != name and not place:
        expected = f"a checkpoint of {name!r}"
        raise InputError(f"{expected} to start from", f"one of {found!r}", "give another --init, or leave it out")
    if place == "fan.":
        reads, wants = saved.get("config", {}).get("input_size"), model.config.fan().input_size
        if reads != wants:
            expected = f"a FAN that reads pictures of {wants} px, as this recipe's does"
            raise InputError(expected, f"one of {reads} px", "take super_fan for 256 px, super_fan_64 for 64 px")
    own = model.state_dict()
    given = {place + key: value for key, value in saved.get("weights", {}).items()}
    fitting = {key: value for key, value in given.items() if key in own and value.shape == own[key].shape}
    lacking = [key for key in own if key.startswith(place) and key not in fitting]
    if not fitting or (place and lacking):
        example = lacking[0] if lacking else "any weight"
        got = f"a checkpoint of {found!r} of other sizes, without {example} and {max(0, len(lacking) - 1)} more"
        raise InputError(f"weights that fit {name!r} to start from", got, "give another --init, or leave it out")
    return fitting


def check_kind(saved: Mapping[str, Any], *, path: Path) -> None:
    """Raises ModelError: not what PaperRun saves."""
    lacking = [name for name in NEEDED if name not in saved]
    if lacking or "stage" not in saved.get("recipe", {}):
        got = f"{path} of another kind, without {(lacking or ['recipe.stage'])[0]!r}"
        raise ModelError("the checkpoint of a paper's recipe to go on with", got, "give another --out")


def told_of(recipe: PaperRecipe, stage: Stage, *, bf16: bool) -> dict[str, Any]:
    """The recipe's numbers, and the names that a model card asks for: what a checkpoint tells of its run."""
    told = asdict(recipe)
    del told["stages"], told["config"]
    size = {"lr_sizes": [getattr(recipe.config, "lr_size", 0)], "lr": stage.lr, "part": stage.name}
    return plain({**told, **size, "stage": asdict(stage), "bf16": bf16})


def asked_of(
    recipe: PaperRecipe, stage: Stage, *, seed: int, bf16: bool, earlier: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What must be the same for a run to go on; earlier: the runs that its weights come from, none: not asked for."""
    more = {"model": recipe.model, "config": recipe.config.as_dict(), "earlier": list(earlier)}
    return {**told_of(recipe, stage, bf16=bf16), "seed": seed, **more}


def check_same_run(saved: Mapping[str, Any], asked: Mapping[str, Any], *, path: Path) -> None:
    """asked as asked_of gives it. Raises ModelError as check_kind; InputError: one of another run."""
    check_kind(saved, path=path)
    saved, asked = ({**values, "earlier": _names(values["earlier"])} for values in (saved, asked))
    if not asked["earlier"]:  # what a run started from is in its own checkpoint: --init need not be said again
        del asked["earlier"]
    known = {**_defaults(), **flat(plain({**saved["recipe"], **{k: saved.get(k) for k in asked if k in saved}}))}
    for name, value in flat(plain(asked)).items():
        if name not in known or known[name] != value:
            expected = f"{name}={known.get(name)!r} as in the run of {path}"
            raise InputError(expected, repr(value), "give another --out for another run")


@contextmanager
def alone(folder: Path) -> Generator[None, None, None]:
    """Nobody else trains into `folder` meanwhile: two would overwrite each other's checkpoints. Raises InputError.

    The lock dies with its process, however that ends.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / ".lock", timeout_s=LOCK_S, on_wait=lambda: None))
        except OSError as error:
            got = f"{folder} ({error.strerror})"
            raise InputError("a folder to write to", got, "give another --out") from error
        except BuildError as error:
            got = f"another process that trains into {folder}"
            raise InputError("a folder of its own for each training", got, "wait, or give another --out") from error
        yield


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"stage": {"lr": 1}} -> {"stage.lr": 1}"""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _names(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{run['name']} {run['part']}" for run in runs]


def check_order(folder: Path, stages: Sequence[str]) -> None:
    """Raises InputError: a later stage was begun and an earlier one never, so that an --init had taken its place."""
    begun = [(folder / name / "last.pt").exists() for name in stages]
    if any(later and not earlier for earlier, later in zip(begun, begun[1:], strict=False)):
        absent = stages[begun.index(False)]
        expected = f"the --init that the run in {folder} began with, in place of its stage {absent!r}"
        raise InputError(expected, "none, or another", "give it again, or another --out")


def _defaults() -> dict[str, Any]:
    """Of the numbers of recipes and stages: a checkpoint from before one of them existed was trained by its default."""
    recipe = {f.name: f.default for f in fields(PaperRecipe) if f.default is not MISSING}
    return flat(plain({**recipe, "stage": asdict(Stage("", 0.0, 0.0))}))
