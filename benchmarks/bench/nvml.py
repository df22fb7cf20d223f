"""NVIDIA's management library (libnvidia-ml, which comes with the driver) through ctypes: power, clocks, throttling.

It needs no package and no CUDA context. What a GPU does not offer (power inside a MIG slice, energy before Volta) is
left out of a reading. NVML counts GPUs otherwise than CUDA does, so they are matched by their place on the PCI bus.
"""

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

from sdk.errors import BackendError

__all__ = ["THROTTLING", "Nvml", "open_nvml", "throttle_names"]

LIBRARY = "libnvidia-ml.so.1"
CUDA_LIBRARY = "libcuda.so.1"
SM_CLOCK, MEMORY_CLOCK = 1, 2  # nvmlClockType_t
GPU_TEMPERATURE = 0  # nvmlTemperatureSensors_t
TEXT_BYTES = 96
THROTTLING = {  # nvmlClocksEventReasons that slow a run down; idling and clocks that somebody set do not count
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal, software",
    0x40: "thermal, hardware",
    0x80: "power brake",
}
REMEDY = "install NVIDIA's driver, or measure without GPU sensors"


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def throttle_names(bits: int) -> tuple[str, ...]:
    """Words for a reading's `throttle`; none when the GPU runs freely."""
    return tuple(name for bit, name in THROTTLING.items() if bits & bit)


class Nvml:
    """One GPU. Readings never raise: a GPU that fell off the bus gives empty ones."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    def close(self) -> None:
        """Lets NVML go; readings are empty afterwards."""
        if self._handle is not None:
            self._handle = None
            self._library.nvmlShutdown()

    def read(self) -> dict[str, float]:
        """Present values, those that the GPU offers: gpu_w, gpu_j (since the driver was loaded), sm_mhz, memory_mhz,
        gpu_c, throttle (bits of THROTTLING, a number), gpu_used_mib, gpu_processes (that compute, ours included)."""
        found: dict[str, float | None] = {
            "gpu_w": self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint, scale=1e-3),
            "gpu_j": self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong, scale=1e-3),
            "sm_mhz": self._number("nvmlDeviceGetClockInfo", ctypes.c_uint, SM_CLOCK),
            "memory_mhz": self._number("nvmlDeviceGetClockInfo", ctypes.c_uint, MEMORY_CLOCK),
            "gpu_c": self._number("nvmlDeviceGetTemperature", ctypes.c_uint, GPU_TEMPERATURE),
            "throttle": self._number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong),
            "gpu_used_mib": self._memory("used"),
            "gpu_processes": self.processes(),
        }
        return {name: value for name, value in found.items() if value is not None}

    def facts(self) -> dict[str, Any]:
        """What does not change: name, driver, memory_mib, power_limit_w, mig (is it cut into slices, whose readings are
        then those of all of them together?); None where the GPU does not say."""
        driver = ctypes.create_string_buffer(TEXT_BYTES)
        told = self._call("nvmlSystemGetDriverVersion", driver, ctypes.c_uint(TEXT_BYTES), handle=False)
        name = ctypes.create_string_buffer(TEXT_BYTES)
        named = self._call("nvmlDeviceGetName", name, ctypes.c_uint(TEXT_BYTES))
        return {
            "name": name.value.decode(errors="replace") if named else None,
            "driver": driver.value.decode(errors="replace") if told else None,
            "memory_mib": self._memory("total"),
            "power_limit_w": self._number("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint, scale=1e-3),
            "mig": self._mig(),
        }

    def processes(self) -> int | None:
        """How many processes compute on the GPU, ours included; None where that is not told (containers)."""
        count = ctypes.c_uint(0)
        for name in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"):
            function = getattr(self._library, name, None)
            if function is not None and self._handle is not None:
                status = function(self._handle, ctypes.byref(count), None)
                return count.value if status in (0, 7) else None  # 7: NVML_ERROR_INSUFFICIENT_SIZE, the count is there
        return None

    def _mig(self) -> bool | None:
        now, later = ctypes.c_uint(0), ctypes.c_uint(0)
        told = self._call("nvmlDeviceGetMigMode", ctypes.byref(now), ctypes.byref(later))
        return bool(now.value) if told else None

    def _memory(self, part: str) -> float | None:
        memory = _Memory()
        return getattr(memory, part) / 2**20 if self._call("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None

    def _number(self, function: str, kind: Callable[[], Any], *before: int, scale: float = 1.0) -> float | None:
        value = kind()
        arguments = [ctypes.c_int(one) for one in before]
        return value.value * scale if self._call(function, *arguments, ctypes.byref(value)) else None

    def _call(self, function: str, *arguments: Any, handle: bool = True) -> bool:
        if self._handle is None:
            return False
        call = getattr(self._library, function, None)  # an old library lacks the newer ones
        return call is not None and call(*([self._handle] if handle else []), *arguments) == 0


def open_nvml(
    index: int = 0,  # as CUDA counts
    *,
    load: Callable[[str], Any] = ctypes.CDLL,  # another one in tests
) -> Nvml:
    """The sensors of GPU number `index`. Raises BackendError without the library or that GPU."""
    try:
        library = load(LIBRARY)
    except OSError as error:
        raise BackendError(f"NVIDIA's {LIBRARY} for GPU sensors", str(error), REMEDY) from error
    handle = ctypes.c_void_p()
    try:
        status = library.nvmlInit_v2()
        if status:
            raise BackendError("nvmlInit_v2 to succeed", f"NVML error {status}", REMEDY)
        bus = _pci_bus_id(index, load)
        if bus is not None:
            status = library.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle))
        else:
            status = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    except AttributeError as error:
        raise BackendError(f"NVIDIA's {LIBRARY} for GPU sensors", f"a library of that name: {error}", REMEDY) from error
    if status:
        library.nvmlShutdown()
        raise BackendError(f"sensors of GPU cuda:{index}", f"NVML error {status}", "pass a GPU that nvidia-smi lists")
    return Nvml(library, handle)


def _pci_bus_id(index: int, load: Callable[[str], Any]) -> bytes | None:
    """b"0000:3b:00.0" of a GPU as CUDA counts; None where CUDA's driver library does not answer."""
    text, device = ctypes.create_string_buffer(TEXT_BYTES), ctypes.c_int()
    with contextlib.suppress(OSError, AttributeError):  # no such library, or one that lacks the function
        cuda = load(CUDA_LIBRARY)
        calls = (
            lambda: cuda.cuInit(ctypes.c_uint(0)),
            lambda: cuda.cuDeviceGet(ctypes.byref(device), ctypes.c_int(index)),
            lambda: cuda.cuDeviceGetPCIBusId(text, ctypes.c_int(TEXT_BYTES), device),
        )
        if all(call() == 0 for call in calls):
            return text.value
    return None
