"""What a runner is: one open subject that makes queries. And what failures of a point mean."""

import contextlib
import re
import resource
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol

from benchmarks.bench.results import Subject
from sdk.errors import FaceTRTError

Query = Callable[[], Any]
OUT_OF_MEMORY = re.compile(
    r"out of memory|bad alloc|bad_alloc|failed to allocate|can't allocate|cannot allocate|could not allocate"
    r"|unable to allocate|OUT_OF_MEMORY",
    re.IGNORECASE,
)
LEFT_FOR_OTHERS = 0.9  # of the memory that is available: a limit of our own makes an error of what would be a kill
MIB = 2**20


class Runner(Protocol):
    """An open network, run in one way. close() frees it, twice is harmless."""

    subject: Subject
    threads: int  # of its library, 0: the default
    frame_hw: tuple[int, int] | None

    def query(self, faces: int) -> Query:
        """A call that does one query of `faces` faces, its inputs ready."""
        ...

    def close(self) -> None: ...


def subject_of(model: str, backend: str, precision: str, *, way: str, span: str) -> Subject:
    return Subject(f"{model}/{backend}/{precision}/{way}/{span}", model, backend, precision, way, span)


def is_out_of_memory(error: BaseException) -> bool:
    """Libraries have no common class for it; their texts are known."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def told(error: BaseException) -> str:
    """One line for a result: "out of memory: ..." or what our errors say."""
    lines = str(error).strip().splitlines()
    text = (lines or [type(error).__name__])[0][:300]
    if is_out_of_memory(error):
        return f"out of memory: {text}"
    return text if isinstance(error, FaceTRTError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def memory_limit() -> Generator[None, None, None]:
    """Inside, memory beyond what the machine has left is refused to us, in place of a kill by the system.

    Linux alone; elsewhere nothing changes. Ours is the limit on data: address space that CUDA reserves is not in it.
    """
    limit = _data_limit()
    if limit is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = limit if before[1] == resource.RLIM_INFINITY else min(limit, before[1])
    if before[0] != resource.RLIM_INFINITY:
        ceiling = min(ceiling, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_limit() -> int | None:
    try:
        return _status("/proc/self/status", "VmData") + int(LEFT_FOR_OTHERS * _status("/proc/meminfo", "MemAvailable"))
    except (OSError, KeyError):
        return None


def _status(path: str, name: str) -> int:
    """Bytes of a line "NAME: N kB"."""
    for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


class PeakMemory:
    """What this process' memory rises by at most: `with PeakMemory() as peak: ...; peak.mib` (None where unknown)."""

    mib: float | None = None

    def __enter__(self) -> "PeakMemory":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts anew
            self._before: int | None = _status("/proc/self/status", "VmRSS")
        except (OSError, KeyError):
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        self.mib = self.so_far()

    def so_far(self) -> float | None:
        """The rise up to now."""
        if self._before is None:
            return None
        return max(0.0, (_status("/proc/self/status", "VmHWM") - self._before) / MIB)
