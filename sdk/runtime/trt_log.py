"""TensorRT's log, handed on to whoever listens."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["SEVERITIES", "Log", "Sink"]

SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
ERRORS_KEPT = 20  # messages that an error may quote

Sink = Callable[[str, str], None]  # (severity, text) of one message


class Log:
    """TensorRT keeps one logger a process: this one, handed to every builder and runtime, never freed."""

    def __init__(self, module: Any) -> None:
        names = {getattr(module.ILogger, name): name for name in SEVERITIES}
        errors: collections.deque[str] = collections.deque(maxlen=ERRORS_KEPT)
        sinks: list[Sink] = []

        class Native(module.ILogger):  # the base class is only known now
            def __init__(self) -> None:
                module.ILogger.__init__(self)  # pybind11 insists on this form

            def log(self, severity: Any, text: str) -> None:  # from any thread; an exception here would end the process
                name = names.get(severity, str(severity))
                if name in SEVERITIES[:2]:
                    errors.append(text.strip())
                for sink in tuple(sinks):
                    sink(name, text)

        self.native = Native()
        self.errors, self.sinks = errors, sinks
        self.lock = threading.Lock()
