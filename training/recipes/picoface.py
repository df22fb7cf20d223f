"""Recipes of PicoFace. No paper stands behind these numbers: all are our choice, reasons beside them."""

from dataclasses import dataclass, replace

from training.models.picoface import PICOFACE_X4, PICOFACE_X8, PicoFaceConfig


@dataclass(frozen=True)
class Recipe:
    """One run of the trainer: one branch of one network on one set of archives."""

    name: str
    config: PicoFaceConfig
    part: str  # "sr" | "landmarks": the branch that learns
    packs: tuple[str, ...]  # archives, by stem
    steps: int
    batch: int = 32
    lr: float = 1.0e-3  # Adam; 1.5e-3 spikes now and then with the log loss
    betas: tuple[float, float] = (0.9, 0.99)  # short second moment: few steps
    warmup_steps: int = 200
    decay_share: float = 0.4  # last part of the run, cosine to 0; constant before, so a run can be lengthened
    clip_norm: float = 1.0
    ema: float = 0.999
    hr_size: int = 128  # pixels of the truth
    lr_sizes: tuple[int, ...] = (16,)  # input sizes drawn in turn
    luma_share: float = 0.6  # the tables of the papers measure Y; colour must not drift
    degraded_share: float = 0.25  # of the batch; more costs clean PSNR, less leaves blur in camera pictures
    degradation: float = 0.5  # probability of each effect in a degraded picture; Super-FAN, PAPERS 2.5
    # Of the picture's side. FairFace is cut tighter than the landmark window, which is 1.1 to 1.4 of it (median 1.23).
    window_sides: tuple[float, float] = (0.9, 1.4)
    rotation_rad: float = 0.25
    log_scale: float = 0.10
    shift: float = 0.06  # of the crop's side
    shear: float = 0.05
    rough_share: float = 0.3  # of the landmark batches: blur, noise, JPEG
    polish_share: float = 0.35  # last part of a landmark run: points decoded around the peak, augmentation
    polish_augment: float = 0.45  # times as strong: boxes in use are off by less than the training's
    weak_weight: float = 0.3  # of program-made points against hand-made ones
    pseudo_weight: float = 0.8  # of the teacher's points: off by less than a 16-px student
    sigma_cells: float = 1.5
    radius: int = 4  # of the centroid decoder, as in the SDK
    quantised: bool = False  # quantisation-aware: training.fake_quant
    map_weight: float = 60.0  # the maps must place the peak: the points alone are content with a flat map
    point_weight: float = 30.0


FREE = ("faces_clean_ccby_pd",)
LANDMARKS = ("faces68_helen_nc", "faces68_ytf_weak_nc", "faces_clean_ccby_pd")

RECIPES = {
    "picoface_x8_sr": Recipe("picoface_x8_sr", PICOFACE_X8, "sr", FREE, steps=24000),
    # Closer windows too: at 64 -> 256 px the same network sees a face twice as large.
    "picoface_x4_sr": Recipe(
        "picoface_x4_sr", PICOFACE_X4, "sr", FREE, steps=5500, batch=16, lr_sizes=(32,), window_sides=(0.57, 1.4)
    ),
    "picoface_x8_landmarks": Recipe("picoface_x8_landmarks", PICOFACE_X8, "landmarks", LANDMARKS, steps=17500),
    "picoface_x4_landmarks": Recipe(
        "picoface_x4_landmarks", PICOFACE_X4, "landmarks", LANDMARKS, steps=4500, lr_sizes=(64, 32)
    ),
}

# Short second runs from --init, on the finished super-resolution branch: gentle all the way.
POLISH = {"lr": 4.0e-4, "warmup_steps": 100, "decay_share": 0.8, "polish_share": 1.0, "map_weight": 20.0}
for _name in ("picoface_x8_landmarks", "picoface_x4_landmarks"):
    RECIPES[f"{_name}_polish"] = replace(RECIPES[_name], name=f"{_name}_polish", steps=3500, **POLISH)

# For cameras worse than most: on blur, noise and JPEG together it won 0.1 dB and lost 0.05 dB on clean faces, so the
# shipped weights do without it.
for _name in ("picoface_x8_sr", "picoface_x4_sr"):
    _polish = {"lr": 6.0e-4, "warmup_steps": 50, "decay_share": 0.9, "degraded_share": 0.5, "degradation": 0.85}
    RECIPES[f"{_name}_polish"] = replace(RECIPES[_name], name=f"{_name}_polish", steps=1900, **_polish)

# Quantisation-aware training from a finished network (--init NAME.pt): short and gentle, the branches folded. What the
# clean and the quantised network learn is the same, so everything else is the polish runs'.
QAT = {"quantised": True, "lr": 1.0e-4, "warmup_steps": 30, "decay_share": 0.9, "ema": 0.99, "steps": 400}
for _name in ("picoface_x8", "picoface_x4"):
    RECIPES[f"{_name}_sr_qat"] = replace(RECIPES[f"{_name}_sr"], name=f"{_name}_sr_qat", **QAT)
    _landmarks = RECIPES[f"{_name}_landmarks"]
    RECIPES[f"{_name}_landmarks_qat"] = replace(
        _landmarks, name=f"{_name}_landmarks_qat", polish_share=1.0, **{**QAT, "map_weight": 20.0}
    )

NETWORKS = {  # the stages of a whole network, each starting from the one before
    name: tuple(f"{name}_{stage}" for stage in ("sr", "landmarks", "landmarks_polish"))
    for name in ("picoface_x8", "picoface_x4")
}
NETWORKS |= {f"{name}_qat": (f"{name}_sr_qat", f"{name}_landmarks_qat") for name in list(NETWORKS)}
