"""GPUs of this machine: probe() asks the driver alone, driver() and compile_cuda() wrap cuda-python; its only importer.

probe() loads libcuda through ctypes, makes no CUDA context, needs no package and answers on any machine: TensorRT and
cuda-python crash or hang on some machines without a driver, so ask it before touching either. It initialises the
driver in this process; a process forked (not spawned) afterwards cannot use CUDA, as after any other CUDA call.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.errors import BackendError, MissingPackageError

__all__ = ["Driver", "Gpu", "Probe", "compile_cuda", "driver", "probe"]

LIBRARY = "libcuda.so.1"
SUCCESS = 0
VERSION_FILES = (Path("/sys/module/nvidia/version"), Path("/proc/driver/nvidia/version"))
ATTRIBUTES = {  # CUdevice_attribute: numbers that NVIDIA never changes
    "multiprocessors": 16,
    "integrated": 18,
    "major": 75,
    "minor": 76,
}
HINTS = {  # CUresult of cuInit -> what it mostly means
    3: "the process was forked after CUDA had been used in it; start it anew (multiprocessing: spawn)",
    34: "this is the stand-in library of a CUDA toolkit, not a driver; take its folder out of LD_LIBRARY_PATH",
    100: "the driver sees no GPU; look at nvidia-smi, CUDA_VISIBLE_DEVICES and, in a container, --gpus all",
    803: "library and kernel module are of different driver versions; restart the machine",
    804: "the CUDA compatibility package does not support this GPU; remove it from LD_LIBRARY_PATH",
    999: "the kernel module does not answer; look at nvidia-smi and dmesg",
}
REMEDIES = {  # symbolic name -> what to do about it
    "CUDA_ERROR_OUT_OF_MEMORY": "free GPU memory, use smaller batches, or fewer threads at once",
    "CUDA_ERROR_NOT_INITIALIZED": "open models after forking, or start processes with spawn",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "restart the process; run it under compute-sanitizer to find the access",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "update the driver, or see docs/GPU.md for the GPUs that kernels are shipped for",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "update the driver",
    "CUDA_ERROR_INVALID_DEVICE": "pass the device of a GPU that trt-build --doctor lists",
}
NVRTC_REMEDY = "install CUDA's NVRTC and headers: pip install nvidia-cuda-nvrtc nvidia-cuda-runtime, or JetPack's CUDA"
OTHER_REMEDY = "restart the process; if it stays, look at nvidia-smi and dmesg"


@dataclass(frozen=True)
class Gpu:
    """One GPU as CUDA counts them (CUDA_VISIBLE_DEVICES applies)."""

    index: int
    name: str  # "NVIDIA GeForce RTX 4090", "Orin"
    sm: str  # compute capability, "sm_89"
    memory_mib: int  # all of it, used or not; on a Jetson the memory that the processor shares
    multiprocessors: int = 0
    integrated: bool = False  # shares the processor's memory (Jetson)


@dataclass(frozen=True)
class Probe:
    """What the driver says. Without a usable GPU `gpus` is empty and `reason` says why in one sentence."""

    driver: str | None  # release of the NVIDIA driver, "580.65.06"
    cuda: str | None  # newest CUDA that this driver runs, "13.0"
    gpus: tuple[Gpu, ...]
    reason: str  # "" when there is a GPU


class _NoGpuError(Exception):
    """Why there is none, in words; never leaves probe()."""


def probe() -> Probe:
    """Driver and GPUs of this machine. Never raises, makes no CUDA context, takes some 0.1 s the first time."""
    try:
        library = _open_library()
    except OSError as error:
        return Probe(_driver_release(), None, (), f"no NVIDIA driver: {_one_line(str(error))}")
    cuda: str | None = None
    try:
        version = ctypes.c_int()
        _ask(library, "cuDriverGetVersion", ctypes.byref(version))  # works before cuInit
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        _ask(library, "cuInit", ctypes.c_uint(0))
        count = ctypes.c_int()
        _ask(library, "cuDeviceGetCount", ctypes.byref(count))
        gpus = tuple(_gpu(library, index) for index in range(count.value))
    except _NoGpuError as error:
        return Probe(_driver_release(), cuda, (), str(error))
    return Probe(_driver_release(), cuda, gpus, "" if gpus else f"the driver sees no GPU; {HINTS[100]}")


def _open_library() -> Any:
    return ctypes.CDLL(LIBRARY)


def _ask(library: Any, name: str, *arguments: object) -> None:
    """Call a function of the driver. Raises _NoGpuError with the symbolic name of what went wrong."""
    try:
        function = getattr(library, name)
    except AttributeError:
        raise _NoGpuError(f"{LIBRARY} has no function {name}: no NVIDIA driver, or a very old one") from None
    status = int(function(*arguments))
    if status != SUCCESS:
        hint = f"; {HINTS[status]}" if status in HINTS else ""
        raise _NoGpuError(f"{name} answered {_status_name(library, status)} ({status}){hint}")


def _status_name(library: Any, status: int) -> str:
    text = ctypes.c_char_p()
    try:
        known = library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text)) == SUCCESS
    except AttributeError:
        known = False
    return text.value.decode() if known and text.value else "an unknown error"


def _gpu(library: Any, index: int) -> Gpu:
    device, memory_bytes = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    _ask(library, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    _ask(library, "cuDeviceGetName", name, ctypes.c_int(len(name)), device)
    _ask(library, "cuDeviceTotalMem_v2", ctypes.byref(memory_bytes), device)
    found: dict[str, int] = {}
    for attribute, number in ATTRIBUTES.items():
        value = ctypes.c_int()
        _ask(library, "cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), device)
        found[attribute] = value.value
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        sm=f"sm_{found['major']}{found['minor']}",
        memory_mib=memory_bytes.value // 2**20,
        multiprocessors=found["multiprocessors"],
        integrated=bool(found["integrated"]),
    )


def _driver_release() -> str | None:
    """The kernel module's release: "580.65.06"; None where it shows none (no driver, WSL)."""
    for path in VERSION_FILES:
        try:
            words = path.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            continue
        for word in words:  # "580.65.06", or "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul ..."
            if word[0].isdigit() and "." in word and word.replace(".", "").isdigit():
                return word
    return None


class Driver:
    """CUDA's driver API through cuda-python, every status checked: `driver()("cuMemAlloc", 1024)` -> the results."""

    def __init__(self, module: Any) -> None:
        self.module: Any = module  # cuda.bindings.driver, for its enumerations

    def __call__(self, function: str, *arguments: Any, what: str = "") -> Any:
        """Call a function: None, the one result, or a tuple of results. `what` is for the error: "12 MiB for outputs".

        Raises BackendError with the status' symbolic name.
        """
        status, *results = getattr(self.module, function)(*arguments)
        if int(status) != SUCCESS:
            expected = f"{function} to give {what}" if what else f"{function} to succeed"
            got = f"{status.name} ({int(status)})"
            raise BackendError(expected, got, REMEDIES.get(status.name, OTHER_REMEDY))
        return None if not results else results[0] if len(results) == 1 else tuple(results)


@functools.cache
def driver() -> Driver:
    """cuda-python's driver API, initialised. Raises MissingPackageError without it, BackendError without a GPU."""
    found = probe()
    if not found.gpus:
        raise BackendError("an NVIDIA GPU", found.reason, 'use backend="onnxruntime", or see trt-build --doctor')
    ours = Driver(_import_bindings("cuda.bindings.driver", "cuda.cuda", feature="running engines"))
    ours("cuInit", 0)
    return ours


def _import_bindings(*names: str, feature: str) -> Any:
    """The first module of cuda-python that is there; the second name is that of 12.6.0 and older."""
    problem = ""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            problem = problem or _one_line(str(error))
    raise MissingPackageError(feature, "cuda-python", "pip install 'facetrt[cuda]'", got=problem)


def compile_cuda(source: Path, sm: str) -> bytes:
    """A cubin of a .cu file for GPUs "sm_87", by the NVRTC of this machine; takes a second, needs no GPU.

    Raises MissingPackageError without cuda-python, NVRTC or CUDA's headers, BackendError with the compiler's words.
    """
    nvrtc = _import_bindings("cuda.bindings.nvrtc", "cuda.nvrtc", feature="compiling kernels on the device")
    folders = [source.parent, *_include_folders()]
    flags = [f"--gpu-architecture={sm}", "--std=c++17", *(f"--include-path={folder}" for folder in folders)]

    def call(function: str, *arguments: Any) -> Any:
        status, *results = getattr(nvrtc, function)(*arguments)
        if int(status) != SUCCESS:
            raise BackendError(f"{function} to succeed", f"{status.name} ({int(status)})", NVRTC_REMEDY)
        return results[0] if results else None

    try:
        program = call("nvrtcCreateProgram", source.read_bytes(), source.name.encode(), 0, [], [])
    except RuntimeError as error:  # cuda-python without the library itself
        got = _one_line(str(error))
        raise MissingPackageError("compiling kernels on the device", "NVRTC", NVRTC_REMEDY, got=got) from error
    status, *_ = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
    log = b" " * call("nvrtcGetProgramLogSize", program)
    call("nvrtcGetProgramLog", program, log)
    if int(status) != SUCCESS:
        text = log.rstrip(b"\0 \n").decode(errors="replace")
        remedy = "install facetrt again, or mend the source"
        raise BackendError(f"{source.name} to compile for {sm}", f"{status.name}: {text}", remedy)
    cubin = b" " * call("nvrtcGetCUBINSize", program)
    call("nvrtcGetCUBIN", program, cubin)
    call("nvrtcDestroyProgram", program)
    return cubin


def _include_folders() -> list[Path]:
    """Where cuda_fp16.h may lie: a toolkit (JetPack has one), NVIDIA's packages."""
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [Path(one) / "include" for one in toolkits if one]
    packages = importlib.util.find_spec("nvidia")
    for root in (packages.submodule_search_locations or []) if packages else []:
        folders += sorted(Path(root).glob("*/include"))
    return [folder for folder in folders if (folder / "cuda_fp16.h").is_file()]


def _one_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0]
