"""What suits a device: `--target NAME` chooses what was left open and says why; what cannot work is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from export.options import Options
from sdk.errors import BuildError
from sdk.runtime.gpu import Gpu
from sdk.runtime.trt_api import TensorRT
from sdk.runtime.trt_builder import NO_GPU, TACTIC_SOURCES

__all__ = ["DEVICES", "Device", "choose", "refuse_impossible"]

MEMORY_SHARE = 4  # a tactic may use a quarter of the memory: the camera app needs the rest
FP8_FROM = 89  # compute capability: Ada, Hopper, Blackwell; not Orin (87)
DESKTOPS = ("sm_75", "sm_86", "sm_89", "sm_120")  # GeForce RTX 20, 30, 40, 50
AMPERE = 80
RTX_INT8_FROM = 80  # measured with RTX 1.7.1: for sm_75, alone or among others, it convolves int8 graphs in fp16


@dataclass(frozen=True)
class Device:
    """One kind of machine."""

    title: str
    sm: tuple[str, ...]  # compute capabilities that it may have; (): any
    workspace_mib: int  # at most
    dla_cores: int
    dla: str  # what to know about its accelerators
    fp8: bool
    flavour: str | None  # TensorRT that it has; None: whichever is installed


ORIN_NX_DLA = (
    "one (8 GB) or two cores with JetPack 6: --dla-core 0 --gpu-fallback; slower than the GPU, but leaves it free"
)
AGX_DLA = "two cores with JetPack 6, and again from TensorRT 11.4.1 on: --dla-core 0 --gpu-fallback"
DEVICES = {
    "jetson-orin-nano": Device("Jetson Orin Nano", ("sm_87",), 1024, 0, "it has none", False, "tensorrt"),
    "orin-nx": Device("Jetson Orin NX", ("sm_87",), 2048, 2, ORIN_NX_DLA, False, "tensorrt"),
    "agx-orin": Device("Jetson AGX Orin", ("sm_87",), 4096, 2, AGX_DLA, False, "tensorrt"),
    "thor": Device("Jetson AGX Thor", ("sm_110",), 8192, 0, "it has none", True, "tensorrt"),
    "desktop": Device("a desktop with a GeForce RTX", (), 4096, 0, "it has none", True, None),
    "datacenter": Device("a data-centre GPU", (), 16384, 0, "it has none", True, "tensorrt"),
}


def choose(options: Options, gpu: Gpu | None, *, portable: bool) -> tuple[Options, list[str]]:
    """Options with what `--target` decides, and a line for each decision. Raises BuildError when it cannot be here.

    `portable`: TensorRT-RTX is what will build, which needs no GPU.
    """
    if options.target is None or options.target == "cpu":
        return options, []
    device = DEVICES[options.target]
    lines = [f"target {options.target}: {device.title}"]
    _check_place(options, gpu, device=device, portable=portable)
    changes: dict[str, object] = {}
    if device.flavour and options.flavour is None:
        changes["flavour"] = device.flavour
    if portable and not options.targets and gpu is None:
        int8 = options.precision == "int8"
        changes["targets"] = chosen = tuple(sm for sm in DESKTOPS if not int8 or _number(sm) >= RTX_INT8_FROM)
        what = "GeForce RTX 30 to 50 (20 has no int8 there)" if int8 else "GeForce RTX 20 to 50"
        lines.append(f"--targets {','.join(chosen)}: {what}; TensorRT-RTX builds for all without one")
    if options.workspace_mib is None and gpu is not None:
        changes["workspace_mib"] = size = max(min(device.workspace_mib, gpu.memory_mib // MEMORY_SHARE), 1)
        lines.append(f"--workspace {size}: at most a quarter of {gpu.memory_mib} MiB, the rest is the application's")
    lines.append(f"--precision {options.precision}: {_precision_reason(options, device)}")
    if device.sm == ("sm_87",) or device.dla_cores:
        chosen = f"core {options.dla_core}" if options.dla_core is not None else "not used"
        lines.append(f"DLA {chosen}: {device.dla}")
    if options.hardware_compatibility == "none":
        lines.append("--hardware-compatibility none: an engine for this GPU model alone is the fastest")
    return dataclasses.replace(options, **changes), lines


def refuse_impossible(options: Options, gpu: Gpu | None, *, trt: TensorRT) -> None:
    """What the builder would refuse after minutes is refused now: BuildError, naming the feature and the version."""
    _check_gpus(options, gpu, trt=trt)
    for feature, needed in (
        ("optimization_level", options.optimization_level is not None),
        ("hardware_compatible", options.hardware_compatibility == "ampere_plus"),
        ("same_capability", options.hardware_compatibility == "same_compute_capability"),
        ("version_compatible", options.version_compatible),
        ("refit", options.refit),
        ("strip", options.strip_weights),
        ("dla", options.dla_core is not None),
        ("tactic_sources", options.tactic_sources is not None),
        ("timing_cache", options.timing_cache is not None),
        *((TACTIC_SOURCES[word][1], True) for word in options.tactic_sources or ()),
    ):
        if needed:
            trt.need(feature)
    wanted = list(options.targets) or ([gpu.sm] if gpu else [])
    if options.precision == "fp8":
        trt.need("fp8")
        lacking = [sm for sm in wanted if _number(sm) < FP8_FROM]
        if lacking:
            got = f"{', '.join(lacking)}, which has none"
            raise BuildError(f"a GPU with FP8 (sm_{FP8_FROM} or newer, not Orin)", got, "use --precision int8 or fp16")
    too_old = [sm for sm in wanted if trt.portable and options.precision == "int8" and _number(sm) < RTX_INT8_FROM]
    if too_old:
        got = f"{', '.join(too_old)}, where it would run them in fp16: all of the loss and none of the gain"
        remedy = f"leave out {', '.join(too_old)}, build that with --precision fp16, or with TensorRT on the device"
        raise BuildError(f"GPUs of sm_{RTX_INT8_FROM} or newer for int8 convolutions of {trt.title}", got, remedy)
    if options.hardware_compatibility == "ampere_plus":
        older = [sm for sm in wanted if _number(sm) < AMPERE]
        if older:
            remedy = "leave out --hardware-compatibility"
            raise BuildError(f"a GPU of sm_{AMPERE} or newer for ampere_plus", ", ".join(older), remedy)
        if gpu is not None and gpu.integrated:
            remedy = "leave out --hardware-compatibility: JetPack does not support it"
            raise BuildError("a discrete GPU for ampere_plus", gpu.name, remedy)


def _check_gpus(options: Options, gpu: Gpu | None, *, trt: TensorRT) -> None:
    """Is there something to build for?"""
    if options.targets and not trt.portable:
        remedy = "leave out --targets, or add --flavour tensorrt_rtx"
        raise BuildError("TensorRT-RTX for --targets", f"{trt.title}, which builds for the GPU that is here", remedy)
    if gpu is None and not trt.portable:
        raise BuildError(f"a GPU for {trt.title} to build on", trt.no_gpu(), NO_GPU)
    if gpu is None and not options.targets:
        remedy = "name the GPUs, for example --targets sm_86,sm_89,sm_120"
        raise BuildError("GPUs to build for", "no GPU here and no --targets", remedy)
    unknown = [one for one in options.targets or ((gpu.sm,) if gpu else ()) if one not in trt.targets()]
    if trt.portable and unknown:
        expected = f"GPUs that {trt.title} builds for: {', '.join(trt.targets())}"
        remedy = "leave them out of --targets; for such a GPU build with TensorRT on the device itself"
        raise BuildError(expected, ", ".join(unknown), remedy)


def _check_place(
    options: Options,
    gpu: Gpu | None,
    *,
    device: Device,
    portable: bool,
) -> None:
    if device.sm and portable:
        got = "TensorRT-RTX, which builds for desktop GPUs"
        raise BuildError(f"TensorRT for {device.title}", got, f"run trt-build on the {device.title} itself")
    if device.sm and (gpu is None or gpu.sm not in device.sm):
        got = f"{gpu.name} ({gpu.sm})" if gpu else "no GPU"
        expected = f"a {device.title} ({', '.join(device.sm)}) to build for --target {options.target}"
        raise BuildError(expected, got, "run trt-build on that device: TensorRT builds for the GPU that is there")
    if options.dla_core is not None and not device.dla_cores:
        got = f"--dla-core {options.dla_core}"
        raise BuildError(f"no DLA on {device.title}", got, "leave it out")


def _precision_reason(options: Options, device: Device) -> str:
    reasons = {
        "fp32": "asked for; fp16 is faster, and the gate shows that it costs nothing visible",
        "fp16": "runs on the tensor cores; the gate shows what it costs; try int8 for more speed",
        "int8": "asked for; the gate shows what it costs",
        "fp8": "asked for; Ada, Hopper, Blackwell and Thor have it",
    }
    no_fp8 = "" if device.fp8 else "; this device has no FP8"
    return reasons[options.precision] + no_fp8


def _number(sm: str) -> int:
    return int(sm.removeprefix("sm_"))
