"""`X.engine.refused.json`: the gate refused to keep this engine, so an app does not build it again at every start.

It holds as long as the builder is the same: another release of ours or of the library tries again, and so does
removing the file. A damaged one counts as none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import BuildError, EngineError
from sdk.pictures import write_file
from sdk.runtime import strict_json
from sdk.runtime.machine import Machine

__all__ = ["check", "forget", "refusal_path", "remember"]

log = logging.getLogger("facetrt")

VERSION = 1


@dataclass(frozen=True)
class Refusal:
    """What the gate said, and to whose engine."""

    refusal_version: int
    facetrt: str
    flavour: str
    tensorrt: str
    created: str  # UTC, ISO 8601
    expected: str  # the three parts of the error
    got: str
    remedy: str


def refusal_path(engine: Path) -> Path:
    """X.engine -> X.engine.refused.json."""
    return engine.with_name(engine.name + ".refused.json")


def check(engine: Path, machine: Machine | None) -> None:
    """Raises BuildError with the gate's numbers when the same builder's engine was refused before."""
    path = refusal_path(engine)
    try:
        kinds = {one.name: str(one.type) for one in dataclasses.fields(Refusal)}
        version = ("refusal_version", VERSION)
        text = path.read_text(encoding="utf-8")
        refusal = Refusal(**strict_json.load(text, kinds, name=path.name, version=version, remedy="remove it"))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, EngineError) as error:
        log.warning("ignoring %s, which cannot be read: %s", path, error)
        return
    if (refusal.facetrt, refusal.flavour, refusal.tensorrt) == _builder(machine):
        remedy = f"{refusal.remedy}; refused on {refusal.created}: remove {path} to try again"
        raise BuildError(refusal.expected, refusal.got, remedy)


def remember(engine: Path, machine: Machine | None, error: BuildError) -> None:
    """Keep the gate's refusal. Raises OutputError."""
    facetrt, flavour, tensorrt = _builder(machine)
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    refusal = Refusal(VERSION, facetrt, flavour, tensorrt, created, error.expected, error.got, error.remedy)
    write_file(refusal_path(engine), strict_json.dump(dataclasses.asdict(refusal)).encode())


def forget(engine: Path) -> None:
    """The engine was built after all."""
    with contextlib.suppress(FileNotFoundError):
        refusal_path(engine).unlink()


def _builder(machine: Machine | None) -> tuple[str, str, str]:
    """Release of ours, library and its release."""
    release = str(importlib.import_module("sdk").__version__)  # late: sdk imports this file
    if machine is not None:
        return release, machine.flavour, machine.tensorrt
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # another build of it, by another name
        return release, "onnxruntime", importlib.metadata.version("onnxruntime")
    return release, "onnxruntime", ""
