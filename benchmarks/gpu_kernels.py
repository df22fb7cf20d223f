"""Our kernels on a GPU, for benchmarks.gpu_check: right on fresh inputs, clean under compute-sanitizer, how fast.

A time is that of a launch inside a replayed CUDA graph of launches over rotated buffers, three times the L2 cache and
more, so that every launch reads from DRAM: replays for at least `MEASURE_S` after a warm-up, wall clock around them,
divided by the launches. Beside it stands the share of the copy rate that was measured the same way, and the time of
plain launches in a row. Where so many buffers would not fit `MOST_BYTES` (whole frames, of which little is read),
"cold" is false: the caches helped. `python -m benchmarks.gpu_kernels --smoke` runs every kernel once, for
compute-sanitizer.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu_arrays import NotPossible
from benchmarks.gpu_engines import Broken
from benchmarks.kernel_cases import Case, all_cases
from benchmarks.kernel_rivals import rivals_of, time_rival
from sdk.errors import BackendError
from sdk.runtime.device import Device, Graph, Stream
from sdk.runtime.face_rooms import Rooms
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_module import KernelSet

__all__ = ["Bench", "checks", "copy_rate", "correct", "timed"]

POISON = 0xA5
ROTATED_L2 = 3.0  # caches' worth of buffers
MOST_LAUNCHES = 512  # a graph
MOST_BYTES = 2 << 30  # of buffers
WARM_UP_S, MEASURE_S = 0.2, 0.3
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
SANITIZER_S = 480  # time limit

Check = tuple[str, Callable[[], dict[str, Any]]]


class Bench:
    """A GPU with our kernels, a stream and memory; with the device current."""

    def __init__(self) -> None:
        self.device = Device(0)
        self.kernels = KernelSet(self.device)
        self.stream = Stream(self.device)
        self.rooms = Rooms(self.device)

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Generator[Bench, None, None]:
        bench = cls()
        try:
            with bench.device.current():
                yield bench
                bench.stream.synchronize()
        finally:
            bench.kernels.close()
            bench.rooms.close()
            bench.stream.close()

    def l2_bytes(self) -> int:
        attribute = self.device.driver.module.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
        return int(self.device.driver("cuDeviceGetAttribute", attribute, self.device.index))

    def arrays(self, case: Case, given: Mapping[str, Any], number: int = 0) -> dict[str, DeviceArray]:
        """Inputs on the GPU, and outputs full of poison."""
        at = {name: self.rooms.put(f"{name} {number}", one, stream=self.stream) for name, one in given.items()}
        for name, (shape, dtype) in case.outputs.items():
            if name not in at:
                at[name] = self.rooms.array(f"{name} {number}", shape, dtype, stream=self.stream)
                pointer, size_bytes = at[name].pointer, at[name].size_bytes
                self.device.driver("cuMemsetD8Async", pointer, POISON, size_bytes, self.stream.handle)
        return at


def correct(bench: Bench, case: Case) -> dict[str, Any]:
    """One launch against the reference. Raises Broken."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    given = case.make(np.random.default_rng(seed))
    at = bench.arrays(case, given)
    case.launch(bench.kernels, at, bench.stream)
    bench.stream.synchronize()
    try:
        return {"seed": seed, **case.check(given, {name: at[name].copy_to_host() for name in case.outputs})}
    except Broken as error:
        raise Broken(f"{error} (seed {seed})") from error


def timed(bench: Bench, case: Case, rate_gb_s: float) -> dict[str, Any]:
    """Microseconds a launch, by graph and plain, and the share of the copy rate that its bytes make."""
    given = case.make(np.random.default_rng(0))
    wanted = max(2, int(np.ceil(ROTATED_L2 * bench.l2_bytes() / case.moved_bytes)))
    held_bytes = sum(one.nbytes for one in given.values()) + case.moved_bytes
    copies = max(2, min(wanted, MOST_LAUNCHES, MOST_BYTES // held_bytes))
    sets = [bench.arrays(case, given, number) for number in range(copies)]
    bench.stream.synchronize()

    def launches() -> None:
        for at in sets:
            case.launch(bench.kernels, at, bench.stream)

    launches()
    graph = Graph(bench.stream, launches)
    graph_us = 1e6 * _seconds(bench.stream, graph.launch) / copies
    plain_us = 1e6 * _seconds(bench.stream, launches) / copies
    graph.close()
    share = case.moved_bytes / graph_us / 1e3 / rate_gb_s
    found: dict[str, Any] = {
        "graph_us": graph_us,
        "plain_us": plain_us,
        "of_copy_rate": share,
        "cold": copies >= wanted,
    }
    return {**found, "moved_bytes": case.moved_bytes, "launches": copies}


def copy_rate(bench: Bench) -> float:
    """GB/s, read and written together, of copies on the GPU beyond its L2."""
    size_bytes = max(1 << 26, int(ROTATED_L2 * bench.l2_bytes()))
    source = bench.rooms.array("copy from", (size_bytes,), np.uint8, stream=bench.stream)
    target = bench.rooms.array("copy to", (size_bytes,), np.uint8, stream=bench.stream)
    copy = Graph(bench.stream, lambda: bench.device.copy(target.pointer, source.pointer, size_bytes, bench.stream))
    seconds = _seconds(bench.stream, copy.launch)
    copy.close()
    return 2 * size_bytes / seconds / 1e9


def _seconds(stream: Stream, work: Callable[[], None]) -> float:
    """Wall time of one call of `work` among many in a row."""
    for limit_s in (WARM_UP_S, MEASURE_S):
        calls, started_s = 0, time.perf_counter()
        while calls < 3 or time.perf_counter() - started_s < limit_s:
            for _ in range(4):
                work()
            calls += 4
            stream.synchronize()
    return (time.perf_counter() - started_s) / calls


def sanitizer(tool: str) -> dict[str, Any]:
    """Every kernel once under a tool of compute-sanitizer, in a process of its own."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise NotPossible("no compute-sanitizer on the PATH (it comes with the CUDA toolkit)")
    command = [
        program,
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        sys.executable,
        "-m",
        "benchmarks.gpu_kernels",
        "--smoke",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SANITIZER_S)
    if "Device not supported" in done.stdout:
        raise NotPossible("compute-sanitizer says that it does not support this device")
    summary = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
    if done.returncode:
        raise Broken(f"exit {done.returncode}: {summary or (done.stdout + done.stderr)[-800:]}")
    return {"summary": summary}


def checks() -> Iterator[Check]:
    """All of it, by name; each opens the GPU for itself."""

    def on(check: Callable[..., dict[str, Any]], *arguments: Any) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            with Bench.open() as bench:
                return check(bench, *arguments)

        return run

    def time_one(bench: Bench, case: Case) -> dict[str, Any]:
        rate = copy_rate(bench)
        return {"copy_gb_s": rate, **timed(bench, case, rate)}

    cases = all_cases()
    for case in cases:
        yield f"kernels correct {case.name}", on(correct, case)
    for tool in SANITIZERS:
        yield f"kernels {tool}", lambda t=tool: sanitizer(t)
    for case in cases:
        yield f"kernels time {case.name}", on(time_one, case)
        for rival in rivals_of(case):
            yield f"kernels rival {case.name}: {rival}", lambda c=case, r=rival: time_rival(c, r)


def main() -> int:
    """Every kernel once, small."""
    if sys.argv[1:] != ["--smoke"]:
        sys.stderr.write("expected --smoke; see benchmarks.gpu_check for all else\n")
        return 2
    try:
        with Bench.open() as bench:
            for case in all_cases():
                if case.faces <= 8:
                    correct(bench, case)
    except BackendError as error:
        sys.stderr.write(f"gpu_kernels: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
