"""Trees of a kernel's files, and an NVML, that tests move by hand."""


def write(root, files):
    """{"sys/x/y": text} below root; returns root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def jetson_tree(root, *, model="NVIDIA Jetson Orin Nano Developer Kit", rails=(("VDD_IN", 5000, 1200),), **more):
    """A Jetson with an INA3221 whose rails are (name, mV, mA), a GPU at 306 of 625 MHz and 15 W mode."""
    files = {
        "proc/device-tree/model": model + "\0",
        "proc/cpuinfo": "processor : 0\nCPU part : 0xd42\n",
        "proc/meminfo": "MemTotal:        7802520 kB\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=7W >\n",
        "var/lib/nvpmodel/status": "pmode:0000 fmode:quiet\n",
        "sys/class/hwmon/hwmon0/name": "tmp451\n",
        "sys/class/hwmon/hwmon1/name": "ina3221\n",
        "sys/class/hwmon/hwmon2/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon2/oc1_event_cnt": "3\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "49000\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "51250\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "2\n",
        "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu\n",
        "sys/class/thermal/cooling_device1/cur_state": "0\n",
    }
    for number, (name, millivolts, milliamperes) in enumerate(rails, start=1):
        folder = "sys/class/hwmon/hwmon1"
        files[f"{folder}/in{number}_label"] = name
        files[f"{folder}/in{number}_input"] = millivolts
        files[f"{folder}/curr{number}_input"] = milliamperes
    return write(root, files | more)


def rapl_tree(root, *, joule=100.0, limit_joule=262143.0):
    """One package with a core zone inside it, its memory, and the whole platform once more."""
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "psys",
    }
    files = {}
    for zone, name in zones.items():
        folder = f"sys/class/powercap/{zone}"
        files[f"{folder}/name"] = name + "\n"
        files[f"{folder}/energy_uj"] = f"{int(joule * 1e6)}\n"
        files[f"{folder}/max_energy_range_uj"] = f"{int(limit_joule * 1e6)}\n"
    return write(root, files)


class FakeNvml:
    """libnvidia-ml and libcuda in one; `values` are what a GPU tells, None: not supported."""

    def __init__(self, **values):
        self.values = {
            "nvmlDeviceGetPowerUsage": 250_000,
            "nvmlDeviceGetTotalEnergyConsumption": 1_000_000,
            "nvmlDeviceGetClockInfo": {1: 1980, 2: 3201},
            "nvmlDeviceGetTemperature": 41,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "processes": 1,
            "mig": 0,
            **values,
        }
        self.bus = b"0000:3b:00.0"
        self.opened = []

    def load(self, name):
        if name == "libcuda.so.1" and self.bus is None:
            raise OSError("no such file")
        return self

    def __getattr__(self, name):
        calls = {
            "nvmlInit_v2": lambda: self._note("init"),
            "nvmlShutdown": lambda: self._note("shutdown"),
            "cuInit": lambda flags: 0,
            "cuDeviceGet": lambda device, index: 0 if index.value < 2 else 101,
            "cuDeviceGetPCIBusId": lambda text, length, device: _put(text, self.bus),
            "nvmlDeviceGetHandleByPciBusId_v2": lambda bus, handle: self._note(bus),
            "nvmlDeviceGetHandleByIndex_v2": lambda index, handle: self._note(index.value) or 6 * (index.value > 0),
            "nvmlSystemGetDriverVersion": lambda text, length: _put(text, b"580.65.06"),
            "nvmlDeviceGetName": lambda handle, text, length: _put(text, b"NVIDIA H200"),
            "nvmlDeviceGetMemoryInfo": _memory,
            "nvmlDeviceGetComputeRunningProcesses_v3": lambda handle, count, room: (
                7 + _put(count._obj, self.values["processes"])
            ),
            "nvmlDeviceGetMigMode": lambda handle, now, later: _put(now._obj, self.values["mig"]),
        }
        if name in calls:
            return calls[name]
        if name.startswith("nvmlDeviceGet") and name in self.values:
            return lambda *arguments: self._answer(name, arguments)
        raise AttributeError(name)

    def _note(self, what):
        self.opened.append(what)
        return 0

    def _answer(self, name, arguments):
        value = self.values[name]
        if isinstance(value, dict):
            value = value[arguments[1].value]
        if value is None:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        return _put(arguments[-1]._obj, value)


def _put(place, value):
    place.value = value
    return 0


def _memory(handle, memory):
    memory._obj.total, memory._obj.used = 141 * 2**30, 3 * 2**20
    return 0
