"""Checkpoints: one file that explains itself and resumes a run exactly. Read with weights_only=True alone."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdk.errors import ModelError, OutputError
from training.models import MODELS

FORMAT = "facetrt-checkpoint-1"


def save(path: Path, payload: dict[str, Any]) -> None:
    """Write then rename, so that a kill leaves the old file or the new one. Raises OutputError."""
    temporary = path.with_suffix(path.suffix + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"format": FORMAT, **payload}, temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(
            f"room and permission to write {path}", str(error), "the last good file stays; free some room"
        ) from error


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours.

    Raises:
        ModelError: no such file, not a checkpoint, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError("a checkpoint file", f"{path}, which does not exist", "train one: python -m training.train")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make torch's unpickler raise nearly anything
        reason = (str(error).splitlines() or ["the file is empty"])[0]
        raise ModelError(
            "a FaceTRT checkpoint", f"{path}, which torch cannot read safely ({reason})", "use a file of training.train"
        ) from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        mark = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
        raise ModelError(f"a checkpoint of format {FORMAT!r}", f"{mark!r} in {path}", "use a file of training.train")
    return payload


def build(payload: dict[str, Any], *, weights: str = "weights") -> nn.Module:
    """The network of a checkpoint with its averaged weights, in eval mode. Raises ModelError."""
    model_type = MODELS.get(payload.get("model", ""))
    if model_type is None:
        raise ModelError(f"a network of {sorted(MODELS)}", repr(payload.get("model")), "update FaceTRT")
    try:
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in payload["config"].items()}
        model = model_type(model_type.config_type(**config))
        model.load_state_dict(payload[weights])
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError("a configuration and weights that fit together", reason, "take them from one run") from error
    return model.eval()


def runs_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """What a model card tells of the runs that made a checkpoint, oldest first; empty for a bare one."""
    if "runs" in payload:
        return list(payload["runs"])
    if "recipe" not in payload:
        return []
    own = {key: payload["recipe"][key] for key in ("name", "part", "packs", "batch", "lr", "lr_sizes")}
    own |= {"steps": payload["step"], "minutes": round(payload["seconds"] / 60.0, 1), "seed": payload["seed"]}
    return [*payload.get("earlier", []), own]
