"""The kernels of kernels/, compiled by g++ and run on the CPU: a CUDA thread is a fiber (kernels/host/fibers.hpp).

    kernels = Kernels("paste.cu")                       # compiled once, kept in a folder of the temporary directory
    def run(schedule):
        with Memory() as memory:
            out = memory.poisoned((N, 3), np.float32)
            args = PasteArgs(memory.put(picture), out.pointer, ...)
            kernels.launch("paste_bgr", args, grid=(N, 1, 1), block=(256, 1, 1), schedule=schedule)
            return out.get()
    result = agreed(run)                                # several schedules, equal bits

`sanitized("test_kernels_paste:small")` calls a function of a test module again in a child process, with every kernel
compiled for the address and undefined-behaviour sanitizers.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "kernels"
SCHEDULES = (0, 1, 7, 8)  # ascending, descending, two at random
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror")
NVCC_ONLY = ("-Wno-unknown-pragmas",)  # its unroll pragmas
FORM = (*NVCC_ONLY, "-DCUHOST", "-fPIC", "-fvisibility=hidden", "-shared", "-x", "c++")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O0")
CANARY_BYTES = 256  # before and after every array
CANARY, POISON = 0xC5, 0xA5
ALIGNMENT = 256  # of cudaMalloc
KEPT_S = 3 * 24 * 3600.0  # compiled libraries
SANITIZING = "KERNEL_HOST_SANITIZE"  # set in the children of sanitized()


class KernelFaultError(Exception):
    """The host runner stopped a kernel; the message says why."""


def cuda_include() -> Path | None:
    """The folder of cuda_fp16.h: the toolkit's, or that of NVIDIA's runtime package."""
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [Path(t) / "include" for t in toolkits if t]
    nvidia = importlib.util.find_spec("nvidia")
    for root in (nvidia.submodule_search_locations or []) if nvidia else []:
        folders += sorted(Path(root).glob("cu*/include"))
    return next((f for f in folders if (f / "cuda_fp16.h").is_file()), None)


def missing() -> str:
    """Why kernels cannot be compiled here; empty when they can."""
    if not shutil.which("g++"):
        return "no g++ to compile kernels for the CPU"
    return "" if cuda_include() else "no cuda_fp16.h: neither a CUDA toolkit nor the package nvidia-cuda-runtime"


needs_compiler = pytest.mark.skipif(bool(missing()), reason=missing() or "compiler present")


def included(source: Path) -> list[Path]:
    """The file and what it includes of ours: an edit elsewhere compiles nothing anew."""
    found, queue = {source}, [source]
    while queue:
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', queue.pop().read_text(), re.MULTILINE):
            places = [folder / name for folder in (source.parent, source.parent / "host")]
            more = {path for path in places if path.is_file()} - found
            found |= more
            queue += more
    return sorted(found)


def compiled(
    source: Path,
    *,
    defines: tuple[str, ...] = (),
    sanitize: bool = False,
    once: bool = False,
) -> Path:
    """The shared library of a .cu file, compiled now or by an earlier test from the same bytes; `once`: in a hurry."""
    extra = [*(SANITIZERS if sanitize else ()), *(("-O0",) if once else ()), *(f"-D{d}" for d in defines)]
    command = ["g++", *FLAGS, *extra, *FORM]
    command += ["-isystem", str(cuda_include())]
    digest = hashlib.sha256(repr(command).encode())  # not of the folder: copies with a planted fault are kept too
    for path in included(source):
        digest.update(path.name.encode() + path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"facetrt-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else"
    library = folder / f"{source.stem}-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        for old in folder.iterdir():
            if time.time() - old.stat().st_mtime > KEPT_S:
                old.unlink(missing_ok=True)
        command += ["-I", str(source.parent), str(source)]
        draft = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(draft)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{source} does not compile:\n{done.stderr}")
        os.replace(draft, library)
    return library


class Kernels:
    """The entry points of one .cu file."""

    def __init__(self, source: str | Path, *, defines: tuple[str, ...] = (), once: bool = False) -> None:
        sanitize = SANITIZING in os.environ
        self.library = ctypes.CDLL(str(compiled(FOLDER / source, defines=defines, sanitize=sanitize, once=once)))
        self.library.cuda_host_fault.restype = ctypes.c_char_p

    def launch(
        self,
        name: str,
        args: ctypes.Structure,
        *,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        schedule: int = 0,
    ) -> None:
        """Run a grid to its end. Raises KernelFaultError with the runner's reason."""
        entry = getattr(self.library, f"launch_{name}")
        three = ctypes.c_uint * 3
        size = ctypes.c_size_t(ctypes.sizeof(args))
        status = entry(ctypes.byref(args), size, three(*grid), three(*block), ctypes.c_uint(schedule))
        assert status != 2, f"{name}: {type(args).__name__} has {ctypes.sizeof(args)} bytes, the kernel's differs"
        if status:
            raise KernelFaultError(f"{name}: {self.library.cuda_host_fault().decode()}")

    def counts(self) -> tuple[int, int]:
        """Block barriers and warp operations of the last launch."""
        out = (ctypes.c_uint64 * 2)()
        self.library.cuda_host_counts(out)
        return out[0], out[1]


class Array:
    """Memory as cudaMalloc gives it, between canaries; a sanitizer build has the sanitizer's guards instead."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.size = int(np.prod(shape)) * dtype.itemsize
        self.margin = 0 if SANITIZING in os.environ else CANARY_BYTES
        self.block = ctypes.c_void_p()
        status = LIBC.posix_memalign(ctypes.byref(self.block), ALIGNMENT, max(self.size, 1) + 2 * self.margin)
        assert status == 0, f"posix_memalign: {status}"
        self.pointer = (self.block.value or 0) + self.margin
        self._bytes(self.pointer - self.margin, self.size + 2 * self.margin)[:] = CANARY
        self._bytes(self.pointer, self.size)[:] = POISON

    def _bytes(self, address: int, size: int) -> np.ndarray:
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8) if size else np.zeros(0, np.uint8)

    def view(self) -> np.ndarray:
        return self._bytes(self.pointer, self.size).view(self.dtype).reshape(self.shape)

    def get(self) -> np.ndarray:
        """A copy."""
        return self.view().copy()

    def free(self) -> None:
        """Raises AssertionError when a kernel wrote beside the array."""
        around = [self.pointer - self.margin, self.pointer + self.size]
        intact = all((self._bytes(start, self.margin) == CANARY).all() for start in around)
        LIBC.free(self.block)
        assert intact, f"a kernel wrote outside its array of shape {self.shape}"


class Memory:
    """Arrays for one launch, freed and checked together."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        for array in self.arrays:
            array.free()

    def put(self, values: np.ndarray) -> int:
        """A pointer to a copy in C order."""
        array = self.poisoned(values.shape, values.dtype)
        array.view()[...] = values
        return array.pointer

    def poisoned(self, shape: tuple[int, ...], dtype: object) -> Array:
        self.arrays.append(Array(shape, np.dtype(dtype)))
        return self.arrays[-1]


LIBC = ctypes.CDLL(None)
LIBC.free.argtypes = [ctypes.c_void_p]
LIBC.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]


def agreed(run: Callable[[int], np.ndarray | tuple[np.ndarray, ...]], schedules: tuple[int, ...] = SCHEDULES):
    """What `run(schedule)` gives, after demanding the same bits from every schedule."""
    first = run(schedules[0])
    for schedule in schedules[1:]:
        other = run(schedule)
        pairs = zip(first, other, strict=True) if isinstance(first, tuple) else [(first, other)]
        for a, b in pairs:
            differ = np.flatnonzero(a.reshape(-1).view(np.uint8) != b.reshape(-1).view(np.uint8))
            assert not differ.size, f"schedule {schedule} gives other bits than {schedules[0]}, from byte {differ[0]}"
    return first


def sanitized(call: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`module:function(*arguments)` in a child process whose kernels are compiled with sanitizers."""
    module, function = call.split(":")
    names = ("libasan.so", "libubsan.so")
    files = [subprocess.run(["g++", f"-print-file-name={n}"], capture_output=True, text=True).stdout for n in names]
    environment = dict(os.environ, LD_PRELOAD=" ".join(f.strip() for f in files))
    environment |= {SANITIZING: "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["ASAN_OPTIONS"] = "detect_leaks=0:detect_stack_use_after_return=0"
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), str(Path(__file__).parent)])
    program = f"import sys, {module}; {module}.{function}(*sys.argv[1:])"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
