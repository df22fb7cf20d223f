"""What machine this is: processor, memory, clocks' governor, load, libraries. Read from files below a `root`."""

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from benchmarks.bench.results import Gpu, Machine
from sdk.runtime import gpu as driver

__all__ = ["LIBRARIES", "gpu_of", "libraries", "load_now", "machine_of", "threads_per_core", "usable_cores"]

LIBRARIES = (  # distributions whose release changes a measurement
    *("numpy", "onnxruntime", "onnxruntime-gpu", "onnx", "opencv-python-headless", "opencv-python", "torch"),
    *("torch-tensorrt", "openvino", "tensorrt", "tensorrt-rtx", "cuda-python", "cuda-bindings", "onnx2torch"),
)
ARM_PARTS = {0xD42: "Cortex-A78AE", 0xD4F: "Neoverse-V2", 0xD83: "Neoverse-V3AE", 0xD0B: "Cortex-A76", 0xD08: "A72"}


def machine_of(root: Path = Path("/"), *, load_before: float, load_after: float) -> Machine:
    """The machine; the loads are load_now() before and after the run."""
    return Machine(
        cpu=_cpu_name(root),
        cores=usable_cores(root),
        threads_per_core=threads_per_core(root),
        memory_mib=_memory_mib(root),
        governor=_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load_before=round(load_before, 2),
        load_after=round(load_after, 2),
        system=platform.platform(),
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
    )


def load_now() -> float:
    """Processes that run or wait to, averaged over a minute; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def libraries(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Installed ones and their versions; imports none."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpu_of(index: int) -> Gpu | None:
    """The GPU as its driver describes it, without readings; None where there is no such one."""
    probed = driver.probe()
    for one in probed.gpus:
        if one.index == index:
            more = {"multiprocessors": str(one.multiprocessors), "integrated": "yes" if one.integrated else "no"}
            return Gpu(one.name, one.sm, probed.driver or "", probed.cuda or "", one.memory_mib, more=more)
    return None


def _cpu_name(root: Path) -> str:
    text = _text(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    if name:
        return name[1].strip()
    part = re.search(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)", text, re.MULTILINE)
    if part:
        number = int(part[1], 16)
        return f"ARM {ARM_PARTS.get(number, part[1])}"
    return platform.processor() or platform.machine() or "unknown"


def usable_cores(root: Path = Path("/")) -> int:
    """Processors that this process may use; a container's share of time counts, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
        count = min(count, max(1, -(-int(quota[0]) // int(quota[1]))))
    return count


def threads_per_core(root: Path = Path("/")) -> int:
    """Hardware threads that share a core; 1 where the system does not tell."""
    siblings = _line(root / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if siblings is None:
        return 1
    total = 0
    for part in siblings.split(","):  # "0", "0,4", "0-1"
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            total += int(last or first) - int(first) + 1
    return max(total, 1)


def _memory_mib(root: Path) -> int:
    total = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(total[1]) // 1024 if total else 0


def _line(path: Path) -> str | None:
    return _text(path).strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
