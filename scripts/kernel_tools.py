"""CUDA's compilers and readers for scripts/build_kernels.py, from a toolkit or from NVIDIA's packages, through ctypes.

NVRTC 12.6   nvidia-cuda-nvrtc-cu12   cubins up to sm_90 and the PTX: drivers of CUDA 12 refuse the form (ELF ABI 8)
                                      that compilers of CUDA 13 write; JetPack 6 has such a driver
NVRTC 13.0   nvidia-cuda-nvrtc        cubins from sm_100 on
nvFatbin     nvidia-nvfatbin          one file of many cubins
cuda_fp16.h  nvidia-cuda-runtime-cu12
cuobjdump, nvdisasm                   registers, stack, machine instructions
nvcc 13      a toolkit                only for `make -C kernels check`, where it is installed
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

INSTALL = "install them: pip install -e '.[{extra}]' -c constraints/cpu.txt"


class ToolError(Exception):
    """A tool is missing or refuses; the message says what was expected, what was found and the remedy."""


def package_folders() -> list[Path]:
    """Folders of NVIDIA's packages: site-packages/nvidia/cuda_nvrtc, .../cu13, ..."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    return [folder for root in roots for folder in sorted(root.iterdir()) if folder.is_dir()]


def toolkit_folders() -> list[Path]:
    named = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    nvcc = shutil.which("nvcc")
    found = [Path(one) for one in named if one] + ([Path(nvcc).resolve().parents[1]] if nvcc else [])
    return [*found, Path("/usr/local/cuda")]


def find(relative: str, *, what: str, extra: str = "kernels") -> Path:
    """A file below a package or a toolkit. Raises ToolError."""
    for folder in [*package_folders(), *toolkit_folders()]:
        if (folder / relative).is_file():
            return folder / relative
    raise ToolError(f"expected {what}; no {relative} in a package or toolkit; {INSTALL.format(extra=extra)}")


def include_folder() -> Path:
    """Where cuda_fp16.h lies. Raises ToolError."""
    return find("include/cuda_fp16.h", what="CUDA's headers (nvidia-cuda-runtime-cu12)").parent


def tool(name: str) -> Path:
    """cuobjdump or nvdisasm; the package's first, since an older toolkit's cannot read new cubins. Raises ToolError."""
    try:
        return find(f"bin/{name}", what=f"{name} (nvidia-cuda-{name})")
    except ToolError:
        on_path = shutil.which(name)
        if on_path is None:
            raise
        return Path(on_path)


@dataclass(frozen=True)
class Compiled:
    """What a compiler gave."""

    code: bytes
    warnings: str  # "" when it had nothing to say


class Nvrtc:
    """A run-time compiler: source text -> cubin or PTX."""

    def __init__(self, library: Path) -> None:
        for beside in sorted(library.parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(beside))  # NVRTC asks for it by name; not every release looks beside itself
        self._library = ctypes.CDLL(str(library))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    @classmethod
    def open(cls, major: int) -> Nvrtc:
        """NVRTC of CUDA 12 or 13. Raises ToolError."""
        package = {12: "nvidia-cuda-nvrtc-cu12", 13: "nvidia-cuda-nvrtc"}[major]
        extra = {12: "kernels", 13: "kernels-build"}[major]
        return cls(find(f"lib/libnvrtc.so.{major}", what=f"NVRTC of CUDA {major} ({package})", extra=extra))

    def compile(self, source: Path, target: str, *, options: tuple[str, ...]) -> Compiled:
        """`target`: "sm_87" gives a cubin, "compute_80" PTX. Raises ToolError with the compiler's text."""
        flags = [f"--gpu-architecture={target}", *options]
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text, name, 0, None, None)
        try:
            array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
            status = self._library.nvrtcCompileProgram(program, len(flags), array)
            log = self._get(program, "ProgramLog").rstrip(b"\0").decode(errors="replace").strip()
            if status:
                raise ToolError(f"expected {source.name} to compile for {target}; NVRTC {self.version} says:\n{log}")
            kind = "CUBIN" if target.startswith("sm") else "PTX"
            return Compiled(self._get(program, kind).rstrip(b"\0" if kind == "PTX" else b""), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _get(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise ToolError(f"expected {function} to succeed; {self._library.nvrtcGetErrorString(status).decode()}")


def find_nvcc() -> Path | None:
    """nvcc of CUDA 13 or newer, None where there is none."""
    found = [shutil.which("nvcc"), *(folder / "bin" / "nvcc" for folder in toolkit_folders())]
    for path in (Path(one) for one in found if one):
        if path.is_file():
            said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
            release = said.partition("release ")[2].partition(".")[0]
            if release.isdigit() and int(release) >= 13:
                return path
    return None


def run_nvcc(nvcc: Path, source: Path, target: str, output: Path, *, options: tuple[str, ...]) -> None:
    """A cubin by nvcc, every warning an error. Raises ToolError."""
    strict = ["-Werror", "all-warnings", "-Xptxas", "-Werror", "-Xcompiler", "-Wall,-Wextra"]
    command = [nvcc, "-cubin", f"-arch={target}", *options, *strict, "-o", output, source]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"expected {source.name} to compile for {target}; nvcc says:\n{done.stdout}{done.stderr}")


def fat_binary(images: dict[str, bytes]) -> bytes:  # "sm_87" -> cubin, "compute_80" -> PTX
    """One file of all images, not compressed: xz sees what they have in common. Raises ToolError."""
    library = ctypes.CDLL(str(find("lib/libnvfatbin.so.13", what="nvFatbin (nvidia-nvfatbin)", extra="kernels-build")))
    flags = [b"-64", b"-compress-mode=none"]

    def call(function: str, *arguments: object) -> None:
        status = getattr(library, function)(*arguments)
        if status:
            library.nvFatbinGetErrorString.restype = ctypes.c_char_p
            raise ToolError(f"expected {function} to succeed; {library.nvFatbinGetErrorString(status).decode()}")

    handle = ctypes.c_void_p()
    call("nvFatbinCreate", ctypes.byref(handle), (ctypes.c_char_p * len(flags))(*flags), ctypes.c_size_t(len(flags)))
    try:
        for target, code in images.items():
            number = target.split("_")[1].encode()
            if target.startswith("compute"):
                text = code + b"\0"
                call("nvFatbinAddPTX", handle, text, ctypes.c_size_t(len(text)), number, b"", None)
            else:
                call("nvFatbinAddCubin", handle, code, ctypes.c_size_t(len(code)), number, b"")
        size = ctypes.c_size_t()
        call("nvFatbinSize", handle, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        call("nvFatbinGet", handle, buffer)
        return buffer.raw
    finally:
        library.nvFatbinDestroy(ctypes.byref(handle))


def dump(binary: Path, option: str, *, target: str = "") -> str:
    """What cuobjdump says: "--dump-resource-usage", "--dump-sass", "--list-elf". Raises ToolError."""
    path = os.pathsep.join([str(tool("nvdisasm").parent), os.environ.get("PATH", "")])
    command = [tool("cuobjdump"), option, *(["-arch", target] if target else []), binary]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, PATH=path))
    if done.returncode:
        raise ToolError(f"expected cuobjdump to read {binary.name}; it says: {done.stderr.strip()}")
    return done.stdout
