"""One process or thread at a time: an flock on a file. It dies with whoever holds it, so it is never stale."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sdk.errors import BuildError

__all__ = ["locked"]

POLL_S = 0.1


@contextmanager
def locked(path: Path, *, timeout_s: float, on_wait: Callable[[], None]) -> Generator[int, None, None]:
    """Holds the lock while inside and gives its file descriptor; a child that inherits it holds the lock too.

    The file stays: removing it would let a third process lock another file of the same name. `on_wait` is called once
    when somebody else holds the lock. Raises OSError when the file cannot be made, BuildError after timeout_s.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        started_s, waiting = time.monotonic(), False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    on_wait()
                    waiting = True
            if time.monotonic() - started_s > timeout_s:
                got = f"another process holding {path} for {timeout_s:.0f} s"
                raise BuildError("the engine's lock", got, "look what holds it: fuser -v FILE; or wait") from None
            time.sleep(POLL_S)
        yield handle
    finally:
        os.close(handle)
