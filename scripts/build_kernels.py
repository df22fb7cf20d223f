"""Build the kernels' code objects: `make -C kernels`, or `python -m scripts.build_kernels [--force] [--check]`.

For every kernels/X.cu: kernels/built/X.fatbin.xz with a cubin a GPU family and one PTX, and a line in built/index.json.
What is up to date is left alone, so a second run takes no time. --check compiles everything for every target, a
warning being an error, with NVRTC and, where it is installed, with nvcc, and keeps nothing.
"""

import argparse
import concurrent.futures
import hashlib
import json
import lzma
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts import kernel_tools
from scripts.kernel_tools import Nvrtc, ToolError
from sdk.runtime.kernel_files import INDEX_VERSION, Problem, read_index, source_digest

FOLDER = Path(__file__).resolve().parents[1] / "kernels"
CUBINS_12 = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90")  # by NVRTC 12.6: their drivers may be of CUDA 12
CUBINS_13 = ("sm_100", "sm_110", "sm_120")  # unknown to it
PTX = "compute_80"  # for GPUs that come later: ISA 8.5, which every driver since CUDA 12.5 reads
OPTIONS = ("--std=c++17",)
ENTRY = re.compile(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)\{", re.DOTALL)  # of PTX: name, parameters, directives
PARAMETER = re.compile(r"\.param[^,\n]*?\[(\d+)\]")


def sources(folder: Path = FOLDER) -> list[Path]:
    return sorted(folder.glob("*.cu"))


def nvrtc_for(target: str) -> int:
    """CUDA release whose NVRTC makes the target's code."""
    return 13 if target in CUBINS_13 else 12


def options() -> tuple[str, ...]:
    return (*OPTIONS, f"--include-path={FOLDER}", f"--include-path={kernel_tools.include_folder()}")


def compile_quietly(source: Path, target: str, nvrtc: Nvrtc) -> bytes:
    """Code for one target. Raises ToolError for a warning too."""
    made = nvrtc.compile(source, target, options=options())
    if made.warnings:
        raise ToolError(f"expected {source.name} to compile for {target} without a warning; NVRTC:\n{made.warnings}")
    return made.code


def entry_points(ptx: str) -> dict[str, dict[str, int]]:
    """Kernels of a PTX text: bytes of their argument struct and most threads a block. Raises ToolError."""
    found: dict[str, dict[str, int]] = {}
    for name, parameters, directives in ENTRY.findall(ptx):
        sizes = PARAMETER.findall(parameters)
        threads = re.search(r"\.maxntid\s+(\d+)", directives)
        if len(sizes) != 1 or threads is None:
            raise ToolError(f"expected one struct and __launch_bounds__ of {name}; it has {len(sizes)} parameters")
        found[name] = {"args_bytes": int(sizes[0]), "threads": int(threads[1])}
    return found


def recipe() -> dict[str, Any]:
    """What besides the sources decides the bytes."""
    versions = {f"nvrtc {major}": ".".join(map(str, Nvrtc.open(major).version)) for major in (12, 13)}
    return {"version": INDEX_VERSION, "targets": [*CUBINS_12, *CUBINS_13, PTX], "options": [*OPTIONS], **versions}


def is_current(folder: Path, name: str, index: dict[str, Any]) -> bool:
    entry = index.get("files", {}).get(name)
    binary = folder / "built" / f"{name}.fatbin.xz"
    if entry is None or not binary.is_file() or entry["source_sha256"] != source_digest(folder, name):
        return False
    return hashlib.sha256(binary.read_bytes()).hexdigest() == entry["binary_sha256"]


def build(folder: Path = FOLDER, *, force: bool = False) -> list[str]:
    """Names that were built. Raises ToolError, after building what can be built."""
    made_by = recipe()
    try:
        index = read_index(folder)
    except Problem:
        index = {}
    if force or any(index.get(key) != value for key, value in made_by.items()):
        index = {}
    files = {source.stem: index.get("files", {}).get(source.stem) for source in sources(folder)}
    wanted = [source for source in sources(folder) if not is_current(folder, source.stem, index)]
    (folder / "built").mkdir(exist_ok=True)
    problems: list[str] = []
    for source in wanted:
        try:
            files[source.stem] = build_one(source)
        except ToolError as error:
            problems.append(str(error))
    content = json.dumps({**made_by, "files": {k: v for k, v in files.items() if v}}, indent=1) + "\n"
    _replace(folder / "built" / "index.json", content.encode())
    for binary in (folder / "built").glob("*.fatbin*"):
        if binary.name.removesuffix(".fatbin.xz") not in files:
            binary.unlink()
    if problems:
        raise ToolError("\n".join(problems))
    return [source.stem for source in wanted]


def build_one(source: Path) -> dict[str, Any]:
    """Writes built/X.fatbin.xz; its line of the index. Raises ToolError."""
    digest = source_digest(source.parent, source.stem)
    compilers = {major: Nvrtc.open(major) for major in (12, 13)}
    targets = (*CUBINS_12, *CUBINS_13, PTX)
    images = {target: compile_quietly(source, target, compilers[nvrtc_for(target)]) for target in targets}
    ptx = images[PTX].decode()
    binary = lzma.compress(kernel_tools.fat_binary(images))
    if digest != source_digest(source.parent, source.stem):
        raise ToolError(f"expected {source.name} to stay as it is; it changed while it was compiled; run it again")
    _replace(source.parent / "built" / f"{source.stem}.fatbin.xz", binary)
    return {
        "source_sha256": digest,
        "binary": f"{source.stem}.fatbin.xz",
        "binary_sha256": hashlib.sha256(binary).hexdigest(),
        "binary_bytes": len(binary),
        "ptx_version": re.findall(r"\.version\s+([\d.]+)", ptx)[0],
        "kernels": entry_points(ptx),
    }


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    os.replace(draft, path)


def check(folder: Path = FOLDER) -> list[str]:
    """Compile everything for every target with every compiler at hand; lines of what was done. Raises ToolError."""
    nvcc = kernel_tools.find_nvcc()
    jobs = [(source, target) for source in sources(folder) for target in (*CUBINS_12, *CUBINS_13, PTX)]
    lines: list[str] = []

    def one(job: tuple[Path, str]) -> str:
        source, target = job
        compile_quietly(source, target, Nvrtc.open(nvrtc_for(target)))
        if nvcc is not None and target != PTX:
            with tempfile.TemporaryDirectory() as scratch:
                kernel_tools.run_nvcc(nvcc, source, target, Path(scratch) / "out.cubin", options=options())
        return f"{source.name} {target}: NVRTC {nvrtc_for(target)}{', nvcc' if nvcc and target != PTX else ''}"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        lines += pool.map(one, jobs)
    if nvcc is None:
        lines.append("not compiled by nvcc: no nvcc of CUDA 13 on this machine")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="also what is up to date")
    parser.add_argument("--check", action="store_true", help="compile for every target and keep nothing")
    options_ = parser.parse_args()
    try:
        lines = check() if options_.check else [f"built {name}" for name in build(force=options_.force)]
    except (ToolError, Problem) as error:
        sys.stderr.write(f"kernels: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines or ["kernels: up to date"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
