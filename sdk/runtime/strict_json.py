"""JSON of dataclasses, read strictly: exactly the known fields, each of its type, and nobody edited the text since.

The text carries a digest of its own content. It keeps accidents and hand edits out, not an attacker: anybody can
compute it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from sdk.errors import EngineError

__all__ = ["dump", "load"]

DIGEST = "digest"


def dump(values: Mapping[str, Any]) -> str:
    """Indented JSON of `values` and a digest of them; NaN and infinities become null. Ends with a newline."""
    finite = _finite(dict(values))
    return json.dumps({**finite, DIGEST: _digest(finite)}, indent=1, allow_nan=False) + "\n"


def load(
    text: str,
    kinds: Mapping[str, str],  # field -> its annotation, one of KINDS
    *,
    name: str,  # of the file, for messages
    version: tuple[str, int],  # the field that holds the format's version, and the one that is read
    remedy: str,
) -> dict[str, Any]:
    """Inverse of dump(). Raises EngineError for all that is not exactly that."""
    try:
        parsed: Any = json.loads(text)
        json.dumps(parsed)  # nested too deep for it? then the digest cannot be compared
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{name} as JSON", f"text that is none ({error})", remedy) from None
    if not isinstance(parsed, dict):
        raise EngineError(f"{name} as a JSON object", type(parsed).__name__, remedy)
    values = cast("dict[str, Any]", parsed)
    found = values.get(version[0])
    if found != version[1]:
        raise EngineError(f"{name} of {version[0]} {version[1]}", f"{found!r}"[:200], remedy)
    unknown = sorted(values.keys() - kinds.keys() - {DIGEST})
    missing = sorted(kinds.keys() - values.keys())
    if unknown or missing:
        got = " and ".join(f"{what} {keys}" for what, keys in (("unknown", unknown), ("missing", missing)) if keys)
        raise EngineError(f"the fields of this release in {name}", got, remedy)
    digest = values.pop(DIGEST, None)
    for key, value in values.items():
        if not KINDS[kinds[key]](value):
            raise EngineError(f"{key} in {name} as {kinds[key]}", f"{value!r}"[:200], remedy)
    if digest != _digest(values):
        raise EngineError(f"{name} as it was written", "one that was edited since (its digest differs)", remedy)
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.generic):  # json takes float64, but neither float32 nor bool_
        return _finite(cast("Any", value).item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _listed(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(each(item) for item in cast("list[Any]", value))


def _mapped(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(each(v) for v in cast("dict[str, Any]", value).values())


KINDS: dict[str, Callable[[Any], bool]] = {
    "str": _text,
    "str | None": lambda value: value is None or _text(value),
    "int": _whole,
    "float": _number,
    "bool": lambda value: isinstance(value, bool),
    "dict[str, Any]": _mapped(lambda value: True),
    "dict[str, str]": _mapped(_text),
    "dict[str, int]": _mapped(_whole),
    "list[str]": _listed(_text),
    "list[dict[str, list[list[int]]]]": _listed(_mapped(_listed(_listed(_whole)))),
}
