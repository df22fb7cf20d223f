"""What an engine is tied to on the machine at hand: TensorRT, the GPU, the driver, JetPack, the processor.

Reads files and asks the driver's own library through sdk.runtime.gpu.probe(): no CUDA context is made.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import BackendError

__all__ = ["FLAVOUR_NAMES", "RTX_RUNS_ON", "Machine", "jetpack_release", "this_machine"]

FLAVOUR_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX", "onnxruntime": "onnxruntime"}

RTX_RUNS_ON = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")  # desktop GPUs from Turing on (release 1.7)

TEGRA_RELEASE = Path("/etc/nv_tegra_release")  # "# R36 (release), REVISION: 4.3, GCID: ..." on every JetPack
JETPACKS = (  # first L4T release of each JetPack, newest first
    ((38, 4, 0), "7.1"),
    ((38, 2, 0), "7.0"),
    ((36, 4, 4), "6.2.1"),
    ((36, 4, 3), "6.2"),
    ((36, 4, 0), "6.1"),
    ((36, 0, 0), "6.0"),
    ((35, 0, 0), "5"),
)


@dataclass(frozen=True)
class Machine:
    """Where an engine shall run. None: there is none (no GPU, no driver, no JetPack)."""

    flavour: str  # "tensorrt" | "tensorrt_rtx"; "onnxruntime" for files of the CPU
    tensorrt: str  # version of that library, as it gives it itself
    driver: str | None  # NVIDIA driver, e.g. "580.65.06"
    cuda: str | None  # newest CUDA the driver takes, e.g. "13.0"
    gpu: str | None  # name of the GPU, e.g. "Orin", "NVIDIA GeForce RTX 4090"
    sm: str | None  # its compute capability, e.g. "sm_87"
    jetpack: str | None  # e.g. "6.2 (L4T 36.4.3)"
    platform: str  # "x86_64" | "aarch64"


def this_machine(flavour: str | None = None, device: int = 0) -> Machine:
    """The machine at hand, its GPU number `device`, and the TensorRT that sdk.runtime.trt_api.load(flavour) finds.

    Works without a GPU and without a driver: gpu and sm are None then. Raises MissingPackageError without TensorRT,
    BackendError for a device that is not there although others are.
    """
    from sdk.runtime.gpu import probe  # late: importing this file costs nothing
    from sdk.runtime.trt_api import load

    found = probe()
    gpu = next((one for one in found.gpus if one.index == device), None)
    if gpu is None and found.gpus:
        known = ", ".join(f"cuda:{one.index} ({one.name})" for one in found.gpus)
        raise BackendError(f"a GPU among {known}", f"cuda:{device}", "pass device= of one of those")
    library = load(flavour)
    return Machine(
        flavour=library.flavour,
        tensorrt=library.version,
        driver=found.driver,
        cuda=found.cuda,
        gpu=gpu.name if gpu else None,
        sm=gpu.sm if gpu else None,
        jetpack=jetpack_release(),
        platform=platform.machine(),
    )


def jetpack_release(path: Path = TEGRA_RELEASE) -> str | None:
    """JetPack of a Jetson as "6.2 (L4T 36.4.3)", of one that came out later as "L4T 99.1.0"; None elsewhere."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Jetson
        return None
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+)(?:\.(\d+))?", text)
    if match is None:
        return None
    release = tuple(int(number or 0) for number in match.groups())
    l4t = "L4T " + ".".join(map(str, release))
    known = next((name for first, name in JETPACKS if release >= first and release[0] == first[0]), None)
    return f"{known} ({l4t})" if known else l4t
