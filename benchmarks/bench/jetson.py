"""Sensors and power mode of a Jetson from the files of its kernel: INA3221 rails, clocks, temperature, throttling.

Everything is read below `root`, so that a test can hand in a tree of its own. Needs no tools and no rights.
"""

import re
from pathlib import Path

from benchmarks.bench.results import Jetson
from sdk.runtime.machine import jetpack_release

__all__ = ["JetsonSensors", "jetson_of"]

WHOLE_RAILS = ("VDD_IN", "VIN")  # the module's whole input: Orin NX and Nano, Thor
UNCONNECTED = ("NC", "sum of shunt voltages")
COOLING = ("cpufreq", "devfreq", "gpu")  # kinds of cooling device that slow clocks down; fans do not


class JetsonSensors:
    """Rails and clocks. Readings never raise: what cannot be read is left out."""

    def __init__(self, root: Path = Path("/")) -> None:
        monitors = sorted((root / "sys/class/hwmon").glob("hwmon*"))
        self._rails = _rails([one for one in monitors if _text(one / "name") == "ina3221"])
        self._overcurrent = [file for one in monitors for file in sorted(one.glob("oc*_event_cnt"))]
        self._gpu = next((d for d in sorted((root / "sys/class/devfreq").glob("*")) if _is_gpu(d.name)), None)
        zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        self._gpu_zone = next((z for z in zones if "gpu" in (_text(z / "type") or "").lower()), None)
        coolers = sorted((root / "sys/class/thermal").glob("cooling_device*"))
        self._coolers = [one for one in coolers if any(word in (_text(one / "type") or "") for word in COOLING)]

    @property
    def rails(self) -> tuple[str, ...]:
        """Names of the rails that are measured."""
        return tuple(self._rails)

    def read(self) -> dict[str, float]:
        """Present values: board_w (the whole module), one rail_NAME_w a rail, sm_mhz, gpu_c, throttle_events
        (over-current events since start-up) and cooling (1 while the kernel slows a clock down)."""
        found: dict[str, float] = {}
        for name, (millivolts, milliamperes) in self._rails.items():
            volts, amperes = _number(millivolts), _number(milliamperes)
            if volts is not None and amperes is not None:
                found[f"rail_{name}_w"] = volts * amperes * 1e-6
        whole = [found[f"rail_{name}_w"] for name in WHOLE_RAILS if f"rail_{name}_w" in found]
        if found:
            found["board_w"] = whole[0] if whole else sum(found.values())
        clock = _number(self._gpu / "cur_freq") if self._gpu else None
        if clock is not None:
            found["sm_mhz"] = clock * 1e-6
        heat = _number(self._gpu_zone / "temp") if self._gpu_zone else None
        if heat is not None:
            found["gpu_c"] = heat * 1e-3
        events = [count for file in self._overcurrent if (count := _number(file)) is not None]
        if events:
            found["throttle_events"] = sum(events)
        if self._coolers:
            found["cooling"] = float(any((_number(one / "cur_state") or 0) > 0 for one in self._coolers))
        return found


def jetson_of(root: Path = Path("/")) -> Jetson | None:
    """Which Jetson this is and how it is set up; None elsewhere."""
    model = _text(root / "proc/device-tree/model")
    if model is None or "jetson" not in model.lower():
        return None
    clocks = _clocks_fixed(root)
    release = jetpack_release(root / "etc/nv_tegra_release")
    return Jetson(model.rstrip("\0"), jetpack=release, nvpmodel=_power_mode(root), jetson_clocks=clocks)


def _rails(monitors: list[Path]) -> dict[str, tuple[Path, Path]]:
    """Rail -> (file of mV, file of mA)."""
    found: dict[str, tuple[Path, Path]] = {}
    for monitor in monitors:
        for label in sorted(monitor.glob("in*_label")):
            name, number = _text(label), label.name.removeprefix("in").removesuffix("_label")
            files = monitor / f"in{number}_input", monitor / f"curr{number}_input"
            if name and name not in UNCONNECTED and all(file.is_file() for file in files):
                found[name] = files
    return found


def _power_mode(root: Path) -> str | None:
    """ "MAXN (0)" of nvpmodel; None where it is not used."""
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return None
    number = int(status[1])
    listed = re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", _text(root / "etc/nvpmodel.conf") or "")
    name = next((name for index, name in listed if int(index) == number), None)
    return f"{name} ({number})" if name else str(number)


def _clocks_fixed(root: Path) -> bool | None:
    """Has jetson_clocks set the GPU's and every processor's lowest clock to the highest?"""
    pairs = [
        (_number(folder / "min_freq"), _number(folder / "max_freq"))
        for folder in sorted((root / "sys/class/devfreq").glob("*"))
        if _is_gpu(folder.name)
    ]
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        pairs.append((_number(folder / "scaling_min_freq"), _number(folder / "scaling_max_freq")))
    known = [pair for pair in pairs if None not in pair]
    return all(low == high for low, high in known) if known else None


def _is_gpu(folder: str) -> bool:
    return "gpu" in folder or folder.endswith((".ga10b", ".gv11b"))  # "17000000.gpu", "gpu-gpc-0", "17000000.ga10b"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
