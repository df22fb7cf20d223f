"""Dataclasses from and to JSON, read strictly: known fields alone, each of its type, every number finite."""

import dataclasses
import math
import types
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sdk.errors import InputError

T = TypeVar("T")
REMEDY = "make the file again with trt-bench"


def plain(value: Any) -> Any:
    """JSON of dataclasses: dicts, lists, texts, finite numbers, booleans and None. Raises InputError for NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError("finite numbers in a result", repr(value), "leave what was not measured out (null)")
    return value


def read(kind: type[T], value: Any, where: str) -> T:
    """A dataclass from parsed JSON; `where` names the place in messages. Raises InputError.

    Fields with a default may be absent, all others must be there; unknown ones are refused.
    """
    if not isinstance(value, dict):
        raise InputError(f"an object at {where}", _shown(value), REMEDY)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise InputError(f"fields among {', '.join(fields)} at {where}", f"unknown {', '.join(unknown)}", REMEDY)
    needed = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING and n not in value]
    if needed:
        raise InputError(f"the fields {', '.join(needed)} at {where}", "an object without them", REMEDY)
    hints = _hints(kind)
    return kind(**{name: _typed(hints[name], item, f"{where}.{name}") for name, item in value.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A JSON value as the annotated type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _typed(next(one for one in arguments if one is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"a list at {where}", _shown(value), REMEDY)
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise InputError(f"{len(arguments)} items at {where}", str(len(value)), REMEDY)
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_typed(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"an object at {where}", _shown(value), REMEDY)
        return {name: _typed(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, where)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:  # an integer of more than 308 digits
            pass
        raise InputError(f"a finite number at {where}", _shown(value), REMEDY)
    if hint is not float and type(value) is hint:
        return value
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    raise InputError(f"{names[hint]} at {where}", _shown(value), REMEDY)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
