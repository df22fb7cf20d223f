"""Who used the processors: this process, others, or the host of a virtual machine (steal)."""

import os
import time
from pathlib import Path

__all__ = ["ProcessorTime"]

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ProcessorTime:
    """Sums of processor seconds since the system started. Readings never raise."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._stat = root / "proc/stat"
        self._slowed = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        self._clock = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"

    def read(self) -> dict[str, float]:
        """busy_s (all processes), steal_s (the host gave the processor to others), own_s (this process and children
        that ended), cpu_mhz, and cpu_throttle: times that a processor was slowed down for its heat."""
        times = os.times()
        found = {"own_s": time.process_time() + times.children_user + times.children_system}
        try:
            head = self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()
            user, nice, system, _, _, irq, softirq, steal = (int(one) for one in head[1:9])
            found["busy_s"] = (user + nice + system + irq + softirq) / TICKS_PER_S
            found["steal_s"] = steal / TICKS_PER_S
        except (OSError, ValueError):  # not Linux
            pass
        clock = _number(self._clock)
        if clock is not None:
            found["cpu_mhz"] = clock * 1e-3
        slowed = [count for file in self._slowed if (count := _number(file)) is not None]
        if slowed:
            found["cpu_throttle"] = sum(slowed)
        return found


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
