"""Files of measured numbers: checked before the work, written whole or not at all, the same on every run."""

import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdk.errors import OutputError
from training.data.packs import pack_name

ROOT = Path(__file__).resolve().parents[1]


def check_target(path: Path) -> None:
    """Make the folder of a file to be written. Raises OutputError where that or the file cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"a folder at {path.parent}", str(error), "give another path") from error
    if path.is_dir():
        raise OutputError("a file to write", f"the folder {path}", "give a file name in it")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"a writable folder {path.parent}", "no permission", "give another path")


def write_results(path: Path, content: dict[str, Any]) -> None:
    """JSON without NaN or infinity (null instead), renamed to its place when complete. Raises OutputError."""
    text = json.dumps(finite(content), indent=1, allow_nan=False) + "\n"
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise OutputError(f"to write {path}", str(error), "free space there or give another path") from error


def finite(value: Any) -> Any:  # noqa: ANN401
    """The same tree of dicts and lists with None for NaN and infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recorded_command(module: str, arguments: Sequence[str]) -> str:
    """The command without this machine's folders: archives by name, paths from the repository's root or the last part.

    It does not depend on whether the output is already there.
    """
    words: list[str] = []
    flag = ""
    for word in arguments:
        key, equals, value = word.partition("=") if word.startswith("--") else (flag, "", word)
        if word.startswith("--") and not equals:
            words.append(word)
        else:
            words.append((key + "=" if equals else "") + _portable(key, value))
        flag = "" if equals or not word.startswith("--") else word
    return f"python -m {module} {shlex.join(words)}"


def _portable(flag: str, value: str) -> str:
    if flag == "--pack":
        return pack_name(value)
    if flag != "--json" and "/" not in value:
        return value
    path = Path(value).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
