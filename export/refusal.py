"""The gate's no, as an error that carries its numbers."""

from __future__ import annotations

from typing import Any

from sdk.errors import BuildError

__all__ = ["GateRefused"]


class GateRefused(BuildError):  # noqa: N818 - a verdict
    """What was built loses too much, and is not saved."""

    def __init__(self, expected: str, got: str, remedy: str, numbers: dict[str, Any], table: str) -> None:
        super().__init__(expected, got, remedy)
        self.numbers = numbers  # Verdict.as_dict()
        self.table = table  # Verdict.table()
