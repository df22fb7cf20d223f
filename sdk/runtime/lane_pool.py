"""Who runs in which lane: a thread keeps the lane it had, and there are never more than so many."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator

from sdk.errors import BackendError
from sdk.runtime.device import Device
from sdk.runtime.lane import Lane

__all__ = ["LanePool"]

CLOSE_TIMEOUT_S = 60.0  # far longer than any batch takes

log = logging.getLogger("facetrt")


class _Token:
    """Lives in a thread's local storage and dies with the thread."""


class LanePool:
    """Lends lanes to threads. A lane is made when a thread has none and no idle one has lost its thread.

    Threads beyond the limit take turns with idle lanes of others, or wait. A thread's lane is freed once the thread has
    ended, at the next use of the pool; one of them is kept for the next thread.
    """

    def __init__(self, name: str, device: Device, make: Callable[[], Lane], *, limit: int) -> None:
        self._name = name
        self._device: Device | None = device  # None: closed; whoever still has an array of it keeps it
        self._make: Callable[[], Lane] | None = make  # None: closed; it holds the engine
        self._limit = limit
        self._changed = threading.Condition()
        self._idle: dict[Lane, weakref.ref[_Token]] = {}  # longest idle first
        self._busy: set[Lane] = set()
        self._making = 0  # lanes that a thread is about to add
        self._local = threading.local()
        self._closing = False

    @property
    def lanes(self) -> int:
        """How many there are."""
        with self._changed:
            return len(self._idle) + len(self._busy)

    @contextlib.contextmanager
    def lease(self) -> Generator[Lane, None, None]:
        """A lane for this thread alone, with the device current. Raises BackendError after close()."""
        device = self._device
        if device is None:
            raise self._closed()
        with device.current():
            lane = self._take()
            try:
                yield lane
            except BaseException:
                self._give_back(lane, usable=_drained(lane))
                raise
            self._give_back(lane, usable=True)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait for the lanes in use, free all, lend no more; twice is harmless.

        False when lanes were still in use after the timeout (a thread that hangs, or was killed): those are left alone.
        """
        device = self._device
        if device is None or not device.usable:
            return True  # closed, or in a forked process, where all of this belongs to the parent
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._busy and not self._making, timeout_s)
            lanes, self._idle = list(self._idle), {}
        if not done:
            log.warning("%s: closed while a thread had used it for over %.0f s", self._name, timeout_s)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(BackendError):  # an error has ended the context; free what can be freed
                stack.enter_context(device.current())
            while lanes:
                lanes.pop().close()
            self._make = self._device = None  # the engine goes here, with its own GPU current
        return done

    def _closed(self) -> BackendError:
        return BackendError("an open model", f"{self._name} after close()", "open it again")

    def _take(self) -> Lane:
        token = self._token()
        while True:
            with self._changed:
                lane = self._wait(token)
                ended = self._ended()
            for one in ended:
                one.close()
            lane = lane or self._added()
            if lane is not None:
                return lane

    def _wait(self, token: _Token) -> Lane | None:
        """An idle lane, now busy, or None: this thread may add one. Called with the lock held."""
        while True:
            if self._closing:
                raise self._closed()
            lane = self._pick(token)
            if lane is not None:
                del self._idle[lane]
                self._busy.add(lane)
                return lane
            if len(self._busy) + len(self._idle) + self._making < self._limit:
                self._making += 1
                return None
            self._changed.wait()

    def _pick(self, token: _Token) -> Lane | None:
        """The idle lane that this thread had last, else one whose thread has ended, else, at the limit, any."""
        orphan: Lane | None = None
        for lane, owner in self._idle.items():
            if owner() is token:
                return lane
            if owner() is None:
                orphan = lane
        if orphan is None and len(self._busy) + len(self._idle) + self._making >= self._limit:
            return next(iter(self._idle), None)
        return orphan

    def _added(self) -> Lane | None:
        """A new lane, busy. None when there was no room for it beside others: from now on threads share those."""
        lane: Lane | None = None
        try:
            make = self._make
            if make is None:  # close() has given up waiting
                raise self._closed()
            lane = make()
        except BackendError as error:
            with self._changed:
                others = len(self._busy) + len(self._idle)
                if not others:
                    raise
                self._limit = others
            log.warning("%s: from now on threads share %d lane(s): %s", self._name, others, str(error))
        finally:
            with self._changed:
                self._making -= 1
                if lane is not None:
                    self._busy.add(lane)
                self._changed.notify_all()
        return lane

    def _give_back(self, lane: Lane, *, usable: bool) -> None:
        with self._changed:
            usable = usable and self._make is not None  # None: close() has given up waiting for this lane
            ended = self._ended()
            self._busy.discard(lane)
            if usable:
                self._idle[lane] = weakref.ref(self._token())
            self._changed.notify_all()
        for one in ended if usable else [*ended, lane]:
            one.close()

    def _ended(self) -> list[Lane]:
        """Idle lanes whose thread has ended, but for the latest, taken out of the pool. Lock held."""
        gone = [lane for lane, owner in self._idle.items() if owner() is None][:-1]
        for lane in gone:
            del self._idle[lane]
        return gone

    def _token(self) -> _Token:
        token: _Token | None = getattr(self._local, "token", None)
        if token is None:
            token = self._local.token = _Token()
        return token


def _drained(lane: Lane) -> bool:
    """After an error: wait for what was enqueued before it. False when the lane is beyond use."""
    started_s = time.monotonic()
    try:
        lane.settle()
    except BackendError as error:
        log.warning(
            "a lane of %s is given up after %.1f s: %s", lane.engine.name, time.monotonic() - started_s, str(error)
        )
        return False
    return True
