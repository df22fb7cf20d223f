"""What each paper's network is fed, by name: the cut of a face, its augmentation, its reduction, its colours and range.

Numbers are those of the papers ("P"), of their authors' code ("C"), or our decision ("D") where both are silent, as
collected in PAPERS 1.2, 2.5, 3.3, 4.4, 4.5 and 5.3. `training.data.feeding` carries them out.
"""

from dataclasses import dataclass, replace

from sdk.errors import InputError
from training.data.degrade import Degradation


@dataclass(frozen=True)
class Jitter:
    """Ranges of a random similarity about the picture's centre. Beyond the border the edge is repeated."""

    rotation_deg: float = 0.0  # up to, either way
    scale: tuple[float, float] = (1.0, 1.0)  # of the face
    shift: float = 0.0  # up to, either way, of the picture's side


@dataclass(frozen=True)
class Pipeline:
    """One paper's way from a photo to the network's input."""

    source: str
    scales: tuple[int, ...]
    hr_px: int | None  # side of the truth; None: pictures of any size
    cut: str  # rule of feeding.face_windows
    channels: int = 3
    colour: str = "rgb"  # as in ModelSpec
    value_range: tuple[float, float] = (0.0, 1.0)
    enlarged: str | None = None  # what enlarges the input: "bicubic", "opencv"; None: the small picture is fed
    enlarged_8bit: bool = True  # the enlarged input is rounded to whole grey levels
    jitter: Jitter = Jitter()
    jitter_of: str = "both"  # "both": truth and input together; "input": the truth stays upright
    mirrored: bool = False  # half of the pictures
    quarter_turns: bool = False  # 0, 90, 180 or 270 degrees; with `mirrored` the eight versions of a picture
    contrast: tuple[float, float] = (1.0, 1.0)  # factor about the mean level
    brightness: float = 0.0  # up to, either way, of the white level
    camera: Degradation | None = None  # blur, noise and JPEG of the input; gains of both
    patch_px: int | None = None  # side of training patches
    stride_px: int | None = None
    max_bicubic_psnr_db: float | None = None  # smoother patches teach nothing and are left out
    min_bicubic_psnr_db: float | None = None  # SRINC's filter as printed: sharper patches are left out


# Real-image version of Super-FAN; its noise is not the paper's: none here.
SUPER_FAN_CAMERA = Degradation(
    probability=0.5,  # D
    blur_kernels_px=(3, 5, 7),  # P; sigma by OpenCV's rule, D
    noise_sigma=(0.0, 0.0),  # P has none
    jpeg_quality=(40, 95),  # D
    gain=(0.8, 1.2),  # D
)

_SRINC = {
    "scales": (2, 3, 4),  # P: mixed
    "channels": 1,
    "colour": "y",  # P: one grey channel; limited BT.601, D
    "enlarged": "bicubic",  # P
    "enlarged_8bit": False,  # MATLAB keeps the enlarged picture as it is
    "patch_px": 51,  # P
    "stride_px": 26,  # P
    "max_bicubic_psnr_db": 35.12,  # P's number; its direction is ours: the text drops the sharp ones, for being blurry
}
# Their papers' own patches: VDSR's 41 px side by side, SRCNN's 33 px every 14; neither leaves any out.
_VDSR = {**_SRINC, "patch_px": 41, "stride_px": 41, "max_bicubic_psnr_db": None}
_SRCNN = {key: value for key, value in _SRINC.items() if key != "scales"}  # one network a scale
_SRCNN |= {"patch_px": 33, "stride_px": 14, "max_bicubic_psnr_db": None}

PIPELINES = {
    "srinc": Pipeline("PAPERS 1.2", hr_px=None, cut="whole", mirrored=True, quarter_turns=True, **_SRINC),
    # P: cropped, not how; its number of patches leaves no room for turned copies.
    "srinc_f": Pipeline("PAPERS 1.2", hr_px=None, cut="landmarks", **_SRINC),
    "vdsr": Pipeline("PAPERS 6", hr_px=None, cut="whole", mirrored=True, quarter_turns=True, **_VDSR),
    **{f"srcnn_x{s}": Pipeline("PAPERS 6", (s,), hr_px=None, cut="whole", **_SRCNN) for s in (2, 3, 4)},
    "super_fan": Pipeline(
        "PAPERS 2.5",
        scales=(4,),
        hr_px=64,
        cut="face50",  # P: the face is 50 px high; inside 64 px, D
        jitter=Jitter(rotation_deg=30.0, scale=(0.85, 1.15)),  # P
        mirrored=True,  # P
        contrast=(0.8, 1.2),  # P without numbers, D
        brightness=0.1,  # P without numbers, D
    ),
    "super_fan_real": Pipeline(
        "PAPERS 2.5, real images",
        scales=(4,),
        hr_px=64,
        cut="face50",
        jitter=Jitter(rotation_deg=30.0, scale=(0.85, 1.15)),
        mirrored=True,
        contrast=(0.8, 1.2),
        brightness=0.1,
        camera=SUPER_FAN_CAMERA,
    ),
    "jasrnet": Pipeline(
        "PAPERS 3.3",
        scales=(8,),
        hr_px=128,
        cut="box120",  # C: box and 20 %
        enlarged="opencv",  # C
        # P: scale, rotation, mirroring; C: their ranges, AFLW's, whose shift of up to 30 px 300-W's list does not have
        jitter=Jitter(rotation_deg=20.0, scale=(0.9, 1.1)),
        mirrored=True,  # C
    ),
    "mtun": Pipeline(
        "PAPERS 4.4, 4.5",
        scales=(8,),
        hr_px=128,
        cut="celeba_aligned",  # C
        colour="bgr",  # C
        value_range=(-1.0, 1.0),  # C
        jitter=Jitter(rotation_deg=45.0, scale=(0.8, 1.0), shift=0.05),  # C, of a sister script
        jitter_of="input",  # P: the truth is upright, the input is not
    ),
    "fsrnet": Pipeline(
        "PAPERS 5.3",
        scales=(8,),
        hr_px=128,
        cut="twice",  # D: landmark box, its centre plus and minus its width and height
        enlarged="bicubic",  # P
        mirrored=True,  # P
        quarter_turns=True,  # P: eight versions
    ),
}
# The networks they compare themselves with, on FSRNet's faces; SRResNet ×4 takes Super-FAN's.
PIPELINES["srresnet_x8"] = replace(PIPELINES["fsrnet"], source="PAPERS 6", enlarged=None)
PIPELINES["urdgn"] = replace(PIPELINES["srresnet_x8"], value_range=(-1.0, 1.0))
# FAN by itself, PAPERS 2.5: scale 1 ± 0.3 as its code, angles drawn evenly instead; colours as Super-FAN's, D.
_FAN = replace(PIPELINES["super_fan"], jitter=Jitter(rotation_deg=30.0, scale=(0.7, 1.3)))
PIPELINES |= {"fan": replace(_FAN, hr_px=256), "fan_64": _FAN}


def pipeline(name: str) -> Pipeline:
    """Pipeline by name. Raises InputError listing the known ones."""
    if name not in PIPELINES:
        raise InputError(f"a pipeline of {sorted(PIPELINES)}", repr(name), "pick one of those")
    return PIPELINES[name]
