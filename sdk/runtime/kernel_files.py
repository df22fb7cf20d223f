"""Where the kernels' machine code comes from: the shipped fat binary, or NVRTC on the device from the shipped sources.

    wheel      sdk/_kernels/       *.cu, *.cuh, built/*.fatbin.xz, built/index.json
    checkout   ../kernels/         the same; `make -C kernels` writes built/

A fat binary holds a cubin for every GPU family that we name and one PTX; the driver takes the fitting one. It is packed
with xz, a quarter of what CUDA's own compression leaves, and readable for drivers of any age once unpacked. index.json
holds the digest of the sources that each was made from, so that an edited source is noticed, and of the file itself, so
that a damaged one is. Then NVRTC compiles the sources on the device, and the log says why.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import lzma
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sdk.errors import BackendError, FaceTRTError

__all__ = [
    "INDEX_VERSION",
    "CodeObject",
    "KernelInfo",
    "Problem",
    "kernel_folder",
    "load_code",
    "read_index",
    "runs_on",
]

log = logging.getLogger("facetrt")

INDEX_VERSION = 1
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
HOST_ONLY = "host/"  # headers of the tests' host runner: no part of what runs on a GPU
REBUILD = "run make -C kernels in a checkout, or install facetrt again"
COMPUTE = re.compile(r"(?:sm|compute)_(\d+)(\d)[af]?")


class Problem(Exception):  # noqa: N818 (a reason on its way to the log)
    """Why a shipped binary cannot be used, in words."""


@dataclass(frozen=True)
class KernelInfo:
    """One entry point of a code object."""

    args_bytes: int  # size of its argument struct
    threads: int  # most threads a block


@dataclass(frozen=True)
class CodeObject:
    """Machine code of one .cu file, for cuModuleLoadData."""

    name: str  # "heatmap_decode"
    image: bytes
    kernels: Mapping[str, KernelInfo]  # by name; empty where NVRTC made it
    origin: str  # for people: "cubin sm_87", "PTX compute_80, compiled by the driver", "NVRTC on the device (why)"


def kernel_folder() -> Path:
    """The folder of the sources and of built/. Raises BackendError when there is none."""
    sdk = Path(__file__).resolve().parents[1]
    for folder in (sdk / "_kernels", sdk.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise BackendError("the kernels' sources", f"none in {sdk / '_kernels'}", "install facetrt again")


def source_digest(folder: Path, name: str) -> str:
    """SHA-256 of a .cu file and of all that it includes from its folder. Raises Problem for one that is not there."""
    found: dict[str, bytes] = {}
    queue = [f"{name}.cu"]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        try:
            found[path] = (folder / path).read_bytes()
        except OSError as error:
            raise Problem(f"{path} cannot be read ({error.strerror or error})") from error
        includes: list[str] = INCLUDE.findall(found[path].decode("utf-8", errors="replace"))
        queue += [one for one in includes if not one.startswith(HOST_ONLY)]
    state = hashlib.sha256()
    for path in sorted(found):
        state.update(f"{path} {len(found[path])}\n".encode() + found[path])
    return state.hexdigest()


def read_index(folder: Path) -> dict[str, Any]:
    """built/index.json. Raises Problem when it is missing, damaged or of another release."""
    path = folder / "built" / "index.json"
    try:
        parsed: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Problem(f"no built/index.json ({error.strerror or error})") from error
    except ValueError as error:
        raise Problem(f"built/index.json is damaged ({error})") from error
    index = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    if index.get("version") != INDEX_VERSION or not isinstance(index.get("files"), dict):
        raise Problem("built/index.json is of another release")
    return index


def runs_on(target: str, sm: str) -> bool:
    """Does code for the target run on a GPU of that compute capability? Cubins within a major, PTX upwards."""
    theirs, ours = COMPUTE.fullmatch(target), COMPUTE.fullmatch(sm)
    if theirs is None or ours is None:
        return False
    wanted, have = (int(theirs[1]), int(theirs[2])), (int(ours[1]), int(ours[2]))
    return wanted <= have if target.startswith("compute") else wanted[0] == have[0] and wanted[1] <= have[1]


def load_code(
    name: str,
    sm: str,
    *,
    compiler: Callable[[Path, str], bytes],  # (source, sm) -> cubin; raises FaceTRTError
    folder: Path | None = None,
    refused: str = "",  # why the driver did not take the shipped binary: go to NVRTC at once
) -> CodeObject:
    """Code of one .cu file for a GPU "sm_87". Raises BackendError, with both reasons, when there is no way."""
    folder = kernel_folder() if folder is None else folder
    try:
        if refused:
            raise Problem(refused)
        return _shipped(folder, name, sm)
    except Problem as problem:
        reason = str(problem)
    log.warning("kernels/%s: %s; compiling it with NVRTC for %s", name, reason, sm)
    try:
        image = compiler(folder / f"{name}.cu", sm)
    except FaceTRTError as error:
        raise BackendError(
            f"machine code of the kernel {name} for {sm}",
            f"{reason}; and NVRTC: {error.got}",
            f"{REBUILD}; {error.remedy}",
        ) from error
    return CodeObject(name, image, {}, f"NVRTC on the device ({reason})")


def _shipped(folder: Path, name: str, sm: str) -> CodeObject:
    """The fat binary, after a look whether it is whole, up to date and for this GPU. Raises Problem."""
    index = read_index(folder)
    try:
        entry = index["files"][name]
        targets = [str(target) for target in index["targets"]]
        binary, wanted = folder / "built" / str(entry["binary"]), str(entry["binary_sha256"])
        kernels = {
            str(one): KernelInfo(int(about["args_bytes"]), int(about["threads"]))
            for one, about in entry["kernels"].items()
        }
        made_from = str(entry["source_sha256"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Problem(f"built/index.json says nothing usable of {name} ({error!r})") from error
    if made_from != source_digest(folder, name):
        raise Problem(f"{binary.name} is stale: {name}.cu or a header changed after it was built")
    try:
        image = binary.read_bytes()
    except OSError as error:
        raise Problem(f"{binary.name} is missing ({error.strerror or error})") from error
    if hashlib.sha256(image).hexdigest() != wanted:
        raise Problem(f"{binary.name} is damaged")
    try:
        image = lzma.decompress(image)
    except lzma.LZMAError as error:
        raise Problem(f"{binary.name} cannot be unpacked ({error})") from error
    fitting = [target for target in targets if runs_on(target, sm)]
    if not fitting:
        raise Problem(f"{binary.name} has nothing for {sm}, only {', '.join(targets)}")
    cubins = [target for target in fitting if target.startswith("sm")]
    origin = f"cubin {max(cubins, key=_order)}" if cubins else f"PTX {fitting[-1]}, compiled by the driver"
    return CodeObject(name, image, kernels, origin)


@functools.cache
def _order(target: str) -> int:
    return int(target.split("_")[1])
