"""What is known of an engine: `X.engine.json` beside the raw plan `X.engine`, compared before TensorRT sees the plan.

trt-build writes it last, so an engine without one was never verified. The file holds a digest of its own content and
the engine's size and SHA-256: an edited manifest, a truncated plan and a flipped bit are noticed here, not in TensorRT.

misfits() follows NVIDIA's rules (TensorRT documentation, "Engine Compatibility" and "Support Matrix" of 10.16 to 11.4):
    TensorRT      the same version; version-compatible plans also run on later releases of their major version from 8.6
                  on, plans of 8 on 9 and 10, plans of 10 on 11, and on no other major version.
                  The same model of GPU; "same_compute_capability": any GPU of that capability; "ampere_plus": any from
                  sm_80 on, not on JetPack. The same processor.
    TensorRT-RTX  the same version, always; a GPU of one of the capabilities it was built for.
Neither ties a plan to a driver: a changed driver is a note(), no misfit. A driver too old makes TensorRT refuse the
plan when it is opened, which the engine cache answers with a rebuild.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import EngineError
from sdk.pictures import write_file
from sdk.runtime import strict_json
from sdk.runtime.machine import FLAVOUR_NAMES, Machine, jetpack_release, this_machine
from sdk.spec import ModelSpec

__all__ = [
    "HARDWARE_COMPATIBILITY",
    "MANIFEST_VERSION",
    "PRECISIONS",
    "Machine",
    "Manifest",
    "jetpack_release",
    "manifest_path",
    "misfits",
    "notes",
    "read_engine",
    "read_manifest",
    "this_machine",
    "write_manifest",
]

MANIFEST_VERSION = 1  # raised when a field changes its meaning; older readers then refuse the file
PRECISIONS = ("fp32", "fp16", "int8", "fp8")
HARDWARE_COMPATIBILITY = ("none", "ampere_plus", "same_compute_capability")
NEXT_MAJORS = {8: (9, 10), 10: (11,)}  # later major versions that run a version-compatible plan
REBUILD = "build it again: trt-build MODEL -o {name}"


@dataclass(frozen=True)
class Manifest:
    """One engine: where it came from, what it needs, what its gate found. Raises EngineError for unknown words."""

    facetrt: str  # version of this product that built it
    created: str  # UTC, ISO 8601
    command: str  # the trt-build line
    spec: dict[str, Any]  # ModelSpec.to_json(), parsed
    onnx_sha256: str  # of the fp32 source file
    engine_sha256: str
    engine_bytes: int
    precision: str  # asked for: one of PRECISIONS
    flavour: str  # key of FLAVOUR_NAMES; "onnxruntime" for an int8 ONNX file of the CPU
    tensorrt: str  # version of the library that built it
    platform: str  # "x86_64" | "aarch64"
    build_s: float
    gate: dict[str, Any]  # numbers, with "ran": "engine" | "not run", "passed": bool, "allowed_loss": bool
    asked: dict[str, str] = field(default_factory=dict[str, str])  # layer -> precision
    found: dict[str, int] = field(default_factory=dict[str, int])  # precision -> layers that run in it
    kept_fp16: list[str] = field(default_factory=list[str])  # layers that were too sensitive for the precision
    fell_back_to_gpu: list[str] = field(default_factory=list[str])  # layers that the DLA does not take
    driver: str | None = None
    cuda: str | None = None
    gpu: str | None = None  # name of the GPU it was built on
    sm: str | None = None  # "sm_87"
    targets: list[str] = field(default_factory=list[str])  # TensorRT-RTX only: the sm_.. it was built for
    jetpack: str | None = None
    hardware_compatibility: str = "none"  # one of HARDWARE_COMPATIBILITY
    version_compatible: bool = False
    weights_stripped: bool = False
    profiles: list[dict[str, list[list[int]]]] = field(default_factory=list[dict[str, list[list[int]]]])
    manifest_version: int = MANIFEST_VERSION

    def __post_init__(self) -> None:
        words = (
            ("precision", self.precision, PRECISIONS),
            ("flavour", self.flavour, tuple(FLAVOUR_NAMES)),
            ("hardware_compatibility", self.hardware_compatibility, HARDWARE_COMPATIBILITY),
            ("manifest_version", self.manifest_version, (MANIFEST_VERSION,)),
            ("gate['ran']", self.gate.get("ran"), ("engine", "not run")),
            ("gate['passed']", self.gate.get("passed"), (True, False)),
            ("gate['allowed_loss']", self.gate.get("allowed_loss"), (True, False)),
        )
        for name, value, known in words:
            if value not in known:
                raise EngineError(f"{name} of a manifest among {known}", repr(value), "build the engine again")

    @property
    def model_spec(self) -> ModelSpec:
        """The network's spec. Raises ModelError when it is inconsistent."""
        return ModelSpec.from_dict(self.spec)

    @property
    def verified(self) -> bool:
        """Did the gate pass, or was its loss allowed in so many words?"""
        return bool(self.gate["passed"] or self.gate["allowed_loss"])

    def to_json(self) -> str:
        """Indented JSON of all fields and a digest of them; NaN is written as null. Ends with a newline."""
        return strict_json.dump(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, name: str = "X.engine.json") -> Manifest:
        """Inverse of to_json(). Raises EngineError for unknown, missing or mistyped fields and for an edited text."""
        kinds = {one.name: str(one.type) for one in dataclasses.fields(cls)}
        remedy = REBUILD.format(name=name.removesuffix(".json"))
        version = ("manifest_version", MANIFEST_VERSION)
        return cls(**strict_json.load(text, kinds, name=name, version=version, remedy=remedy))


def manifest_path(engine_path: str | Path) -> Path:
    """X.engine -> X.engine.json."""
    engine_path = Path(engine_path)
    return engine_path.with_name(engine_path.name + ".json")


def read_manifest(engine_path: str | Path) -> Manifest:
    """The manifest beside an engine. Raises EngineError when it is missing, damaged, edited or of another release."""
    path = manifest_path(engine_path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = f"copy it from where the engine was built, or {REBUILD.format(name=Path(engine_path).name)}"
        raise EngineError(f"a manifest {path.name} beside the engine", "no such file", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "bytes that are no text"
        raise EngineError(f"a readable manifest {path}", got, "check its permissions, or build it again") from error
    return Manifest.from_json(text, path.name)


def write_manifest(engine_path: str | Path, manifest: Manifest) -> Path:
    """Writes the manifest beside its engine, whole or not at all; returns its path. Raises OutputError."""
    path = manifest_path(engine_path)
    write_file(path, manifest.to_json().encode())
    return path


def read_engine(engine_path: str | Path) -> tuple[bytes, Manifest]:
    """The plan's bytes and its manifest. Raises EngineError unless they belong together: TensorRT sees no damage."""
    path = Path(engine_path)
    manifest = read_manifest(path)
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise EngineError(f"a readable engine {path}", str(error.strerror), "check the path") from error
    reasons = _damage(manifest, len(plan), hashlib.sha256(plan).hexdigest())
    if reasons:
        raise EngineError(f"{path.name} as trt-build wrote it", reasons[0], REBUILD.format(name=path.name))
    return plan, manifest


def misfits(
    manifest: Manifest,
    machine: Machine,
    *,
    onnx_sha256: str | None = None,  # of the fp32 source; None: not compared, like the others
    precision: str | None = None,
    engine_bytes: int | None = None,
    engine_sha256: str | None = None,
) -> list[str]:
    """Why the engine cannot be used here, one sentence a field with both sides named; [] when it fits."""
    reasons = _damage(manifest, engine_bytes, engine_sha256)
    if not manifest.verified:
        reasons.append("its gate failed and the loss was not allowed (--allow-loss)")
    if precision is not None and precision != manifest.precision:
        reasons.append(f"built as {manifest.precision}, asked for is {precision}")
    if onnx_sha256 is not None and onnx_sha256 != manifest.onnx_sha256:
        reasons.append(f"built from an ONNX file {manifest.onnx_sha256[:12]}, this one is {onnx_sha256[:12]}")
    if manifest.flavour != machine.flavour:
        built, here = FLAVOUR_NAMES[manifest.flavour], FLAVOUR_NAMES.get(machine.flavour, machine.flavour)
        return [*reasons, f"built for {built}, installed is {here}"]  # versions of the two do not compare
    if manifest.flavour == "onnxruntime":  # an ONNX file runs anywhere
        return reasons
    reasons += _version_misfit(manifest, machine) + _gpu_misfit(manifest, machine)
    if manifest.flavour == "tensorrt" and manifest.platform != machine.platform:
        reasons.append(f"built on {manifest.platform}, this machine is {machine.platform}")
    return reasons


def notes(manifest: Manifest, machine: Machine) -> list[str]:
    """Differences that do not keep an engine from being used but may explain what is seen later."""
    pairs = (("driver", manifest.driver, machine.driver), ("JetPack", manifest.jetpack, machine.jetpack))
    found = [f"built under {name} {was}, this is {now}" for name, was, now in pairs if was and now and was != now]
    if manifest.gate["ran"] != "engine":
        found.append("built where it could not run: its gate judged the typed graph, not the engine")
    return found


def _damage(manifest: Manifest, engine_bytes: int | None, engine_sha256: str | None) -> list[str]:
    if engine_bytes is not None and engine_bytes != manifest.engine_bytes:
        return [f"the engine has {engine_bytes} bytes, its manifest says {manifest.engine_bytes}"]
    if engine_sha256 is not None and engine_sha256 != manifest.engine_sha256:
        had, has = manifest.engine_sha256[:12], engine_sha256[:12]
        return [f"the engine's SHA-256 begins with {has}, its manifest says {had}"]
    return []


def _version_misfit(manifest: Manifest, machine: Machine) -> list[str]:
    built, here = manifest.tensorrt, machine.tensorrt
    if built == here or (manifest.flavour == "tensorrt" and manifest.version_compatible and _runs_later(built, here)):
        return []
    how = ", version-compatible" if manifest.version_compatible and manifest.flavour == "tensorrt" else ""
    return [f"built with {FLAVOUR_NAMES[manifest.flavour]} {built}{how}, installed is {here}"]


def _runs_later(built: str, here: str) -> bool:
    """Does TensorRT `here` run a version-compatible plan of TensorRT `built`?"""
    old, new = ([int(part) for part in text.split(".")[:4] if part.isdigit()] for text in (built, here))
    if not old or not new or old < [8, 6]:
        return False
    return new >= old if new[0] == old[0] else new[0] in NEXT_MAJORS.get(old[0], ())


def _gpu_misfit(manifest: Manifest, machine: Machine) -> list[str]:
    if manifest.targets:
        built = ", ".join(manifest.targets)
    else:
        built = f"{manifest.sm} ({manifest.gpu})" if manifest.gpu else str(manifest.sm)
    if machine.sm is None:
        return [f"built for {built}, this machine has no usable GPU"]
    fits = machine.sm in (manifest.targets or [manifest.sm])
    level = manifest.hardware_compatibility
    if manifest.flavour == "tensorrt":
        if level == "ampere_plus" and not manifest.jetpack and not machine.jetpack:
            fits = fits or (_capability(manifest.sm) >= 80 and _capability(machine.sm) >= 80)
        elif fits and level == "none" and manifest.gpu != machine.gpu:
            return [f"built on {manifest.gpu}, this GPU is {machine.gpu} (without hardware compatibility)"]
    how = "" if level == "none" else f" with hardware compatibility {level}"
    return [] if fits else [f"built for {built}{how}, this GPU is {machine.sm}"]


def _capability(sm: str | None) -> int:
    digits = (sm or "").removeprefix("sm_").rstrip("af")  # "sm_90a" -> 90
    return int(digits) if digits.isdigit() else 0
