"""ModelSpec: all that a runtime must know about a network besides its weights.

It travels checkpoint -> ONNX metadata (key `facetrt.spec`) -> engine sidecar -> SDK as JSON; nobody retypes a size.
The fields cover the conventions of the five papers and of our own network:

    network      channels colour  value_range input_upscaled  lr_size scale  heatmap_kind  count  size
    SRINC        1        "y"     (0, 1)      True            any     2,3,4  None          0      0
    Super-FAN    3        "rgb"   (0, 1)      False           16      4      "landmarks"   68     64
    JASRNet      3        "rgb"   (0, 1)      True            16      8      "landmarks"   68     16
    MTUN         3        "bgr"   (-1, 1)     False           16      8      "components"  4      64
    FSRNet       3        "rgb"   (0, 1)      True            16      8      "landmarks"   194    64  (+ 11 parsing)
    picoface_x8  3        "rgb"   (0, 1)      False           16      8      "landmarks"   68     32
    picoface_x4  3        "rgb"   (0, 1)      False           32, any 4      "landmarks"   68     32
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sdk.errors import ModelError

__all__ = ["METADATA_KEY", "SPEC_VERSION", "SUBSTITUTES", "ModelSpec"]

METADATA_KEY = "facetrt.spec"  # in an ONNX file's metadata_props
SPEC_VERSION = 1  # raised when a field changes its meaning; older readers then refuse the file

COLOURS = ("rgb", "bgr", "y")
HEATMAP_KINDS = ("landmarks", "components", None)
DECODERS = ("argmax", "quarter", "centroid", "dark")
SUBSTITUTES = {"sr": "image", "heatmaps": "landmarks"}  # output -> what a file for use without this SDK has instead


@dataclass(frozen=True)
class ModelSpec:
    """What goes into a network, what comes out, and what it was trained for. Raises ModelError when inconsistent."""

    name: str  # e.g. "picoface_x8"
    lr_size: int  # side in px of the low-resolution face; the nominal one when any_size
    scale: int  # super-resolution factor: the SR picture has lr_size * scale px a side
    channels: int = 3  # 3, or 1 for networks that take luminance alone (Cb and Cr then come from bicubic)
    colour: str = "rgb"  # "rgb" | "bgr" | "y" (BT.601, limited range): order of the input and output channels
    value_range: tuple[float, float] = (0.0, 1.0)  # what grey levels 0 and 255 become, in the input and in the output
    mean: tuple[float, ...] = (0.0,)  # subtracted from the input after value_range; one number, or one per channel
    std: tuple[float, ...] = (1.0,)  # then divided by; the output is not touched by mean and std
    input_upscaled: bool = False  # True: the input was enlarged by bicubic to lr_size * scale before the network
    any_size: bool = False  # True: fully convolutional, other sizes than lr_size are taken too
    heatmap_kind: str | None = None  # "landmarks" | "components" | None (super-resolution only)
    heatmap_count: int = 0  # maps a face: 68, 194, 4; 0 without heatmaps
    heatmap_size: int = 0  # cells a side for an input of lr_size; grows in proportion when any_size
    parsing_count: int = 0  # face-parsing maps a face (FSRNet: 11); 0 without
    decoder: str = "dark"  # rule of sdk.image.heatmap.decode that the network was trained for
    decoder_radius: int = 4  # cells: half the window of the "centroid" rule
    sigma_cells: float = 1.5  # standard deviation of the training heatmaps' Gaussians
    min_confidence: float | None = None  # mean heatmap peak below which a face is none; None: the SDK's own
    output_names: tuple[str, ...] = ("sr",)  # names of the graph's outputs that are read: "sr", "heatmaps", "parsing"
    landmark_scheme: str = "300w68"  # order and meaning of the points: "300w68", "helen194", "celeba68"
    licence: str = ""  # what the weights may be used for
    notes: str = ""  # training data, date, anything a reader should know

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            field, expected, got = problem
            raise ModelError(f"{field} of a ModelSpec to be {expected}", got, "correct the spec of the model file")

    def _problem(self) -> tuple[str, str, str] | None:
        """First inconsistent field as (field, expected, got), or None."""
        landmarks = self.heatmap_kind is not None
        outputs = ("sr",) + (("heatmaps",) if landmarks else ()) + (("parsing",) if self.parsing_count else ())
        rules = (
            ("name", bool(self.name), "a non-empty text"),
            ("lr_size", self.lr_size >= 1, "a positive number of pixels"),
            ("scale", self.scale >= 1, "a positive factor"),
            ("channels", self.channels in (1, 3), "1 or 3"),
            ("colour", self.colour in COLOURS, f"one of {COLOURS}"),
            ("colour", (self.colour == "y") == (self.channels == 1), "'y' exactly when channels is 1"),
            ("value_range", self.value_range in ((0, 1), (-1, 1), (0, 255)), "(0, 1), (-1, 1) or (0, 255)"),
            ("mean", len(self.mean) in (1, self.channels), f"1 or {self.channels} numbers"),
            (
                "std",
                len(self.std) in (1, self.channels) and all(s > 0 for s in self.std),
                f"1 or {self.channels} numbers > 0",
            ),
            ("heatmap_kind", self.heatmap_kind in HEATMAP_KINDS, f"one of {HEATMAP_KINDS}"),
            ("heatmap_count", (self.heatmap_count > 0) == landmarks, "positive exactly when heatmap_kind is set"),
            ("heatmap_size", (self.heatmap_size > 0) == landmarks, "positive exactly when heatmap_kind is set"),
            ("parsing_count", self.parsing_count >= 0, "0 or more"),
            ("decoder", self.decoder in DECODERS, f"one of {DECODERS}"),
            ("decoder_radius", self.decoder_radius >= 1, "1 cell or more"),
            ("sigma_cells", self.sigma_cells > 0, "positive"),
            ("min_confidence", self.min_confidence is None or 0 <= self.min_confidence <= 1, "None or in [0, 1]"),
            (
                "output_names",
                self.output_names == ("landmarks",)
                or all({name, SUBSTITUTES.get(name)} & set(self.output_names) for name in outputs),
                f"at least {outputs}, or image for sr and landmarks for heatmaps, or landmarks alone",
            ),
            ("output_names", "image" not in self.output_names or self.channels == 3, "without image: 1 channel"),
            (
                "output_names",
                "landmarks" not in self.output_names or self.heatmap_kind == "landmarks",
                "without landmarks: no heatmaps of them",
            ),
        )
        for field, holds, expected in rules:
            if not holds:
                return field, expected, repr(getattr(self, field))
        return None

    @property
    def no_landmarks(self) -> str:
        """Why its faces have no landmarks, in one sentence; empty where they have."""
        if self.heatmap_kind == "components":
            return f"{self.name} gives {self.heatmap_count} maps of parts of the face, and no landmarks"
        return "" if self.heatmap_kind == "landmarks" else f"{self.name} gives a picture alone"

    @property
    def hr_size(self) -> int:
        """Side in px of the super-resolved face for an input of lr_size."""
        return self.lr_size * self.scale

    @property
    def input_size(self) -> int:
        """Side in px of the array fed to the network for a face of lr_size."""
        return self.hr_size if self.input_upscaled else self.lr_size

    def heatmap_cells(self, lr_size: int) -> int:
        """Heatmap cells a side for a face of lr_size px (differs from heatmap_size when any_size)."""
        return self.heatmap_size * lr_size // self.lr_size

    def to_json(self) -> str:
        """One line of JSON with a `version`; from_json() gives back an equal spec."""
        return json.dumps({"version": SPEC_VERSION, **dataclasses.asdict(self)}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Inverse of to_json(). Unknown, missing or mistyped fields and other versions raise ModelError."""
        try:
            parsed: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(
                "a ModelSpec as JSON", f"text that is not JSON ({error})", "export the model again"
            ) from None
        if not isinstance(parsed, Mapping):
            raise ModelError("a ModelSpec as a JSON object", type(parsed).__name__, "export the model again")
        return cls.from_dict(cast("Mapping[str, Any]", parsed))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """A spec from parsed JSON (as stored in checkpoints too). Raises ModelError like from_json()."""
        values = dict(values)
        version = values.pop("version", None)
        if version != SPEC_VERSION:
            raise ModelError(
                f"a ModelSpec of version {SPEC_VERSION}", f"version {version}", "use the facetrt release that wrote it"
            )
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - fields.keys())
        if unknown:
            raise ModelError(
                f"ModelSpec fields among {sorted(fields)}", f"unknown {unknown}", "correct the spec's JSON"
            )
        missing = sorted({"name", "lr_size", "scale"} - values.keys())
        if missing:
            raise ModelError(
                "a ModelSpec with name, lr_size and scale", f"none of {missing}", "add them to the spec's JSON"
            )
        return cls(**{name: _typed(name, str(fields[name].type), value) for name, value in values.items()})


def _typed(field: str, annotation: str, value: Any) -> Any:
    """A JSON value as the field's Python type; raises ModelError when it is of another type."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation.startswith("tuple"):
        element: type | tuple[type, ...] = str if "str" in annotation else (int, float)
        if isinstance(value, (list, tuple)) and all(isinstance(item, element) for item in cast("list[Any]", value)):
            return tuple(cast("list[Any]", value))
    elif annotation.startswith("float"):
        if number:
            return float(value)
        if value is None and "None" in annotation:
            return None
    elif annotation == "int":
        if number and isinstance(value, int):
            return value
    elif annotation == "bool":
        if isinstance(value, bool):
            return value
    elif isinstance(value, str) or (value is None and "None" in annotation):
        return value
    raise ModelError(f"{field} of a ModelSpec as {annotation}", f"{value!r}", "correct the spec's JSON")
