"""Energy of processors from the kernel's powercap files (RAPL; Intel and AMD), below a `root` that tests replace."""

import os
from pathlib import Path

from sdk.errors import BackendError

__all__ = ["Rapl"]

FOLDER = "sys/class/powercap"
COUNTED = ("package", "dram")  # zones; core and uncore are parts of their package, psys holds them all once more


class Rapl:
    """Counters of joules that wrap round; read() unwraps them. Raises BackendError where there is none to read."""

    def __init__(self, root: Path = Path("/")) -> None:
        zones = [zone for zone in sorted((root / FOLDER).glob("intel-rapl:*")) if _name(zone).startswith(COUNTED)]
        if not zones:
            got = f"no package or dram zone in /{FOLDER}"
            raise BackendError("the processor's energy counters (RAPL)", got, "virtual machines and ARM have none")
        locked = [zone for zone in zones if not os.access(zone / "energy_uj", os.R_OK)]
        if locked:
            remedy = f"let this user read it: sudo chmod a+r /{FOLDER}/*/energy_uj, or measure as root"
            raise BackendError("energy counters that this user may read", f"{locked[0].name} is not", remedy)
        self._zones = zones
        self._last: dict[Path, float] = {}
        self._total_uj = 0.0

    @property
    def zones(self) -> tuple[str, ...]:
        """Names: "package-0", "dram"."""
        return tuple(_name(zone) for zone in self._zones)

    def read(self) -> dict[str, float]:
        """{"cpu_j": joules of all zones since the first reading}; empty when a counter cannot be read any more."""
        for zone in self._zones:
            try:
                now = float((zone / "energy_uj").read_text(encoding="ascii"))
                before = self._last.get(zone, now)
                wrap = 0.0 if now >= before else float((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            except (OSError, ValueError):
                return {}
            self._total_uj += now - before + wrap
            self._last[zone] = now
        return {"cpu_j": self._total_uj * 1e-6}


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except OSError:
        return ""
