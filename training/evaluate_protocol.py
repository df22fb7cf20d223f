"""One network by one protocol of kind "pictures": PSNR, SSIM, landmark errors, pose bins, SRINC's cumulative PSNR.

A network that takes enlarged pictures gets the archive's own where the protocol says so, else the picture that its
paper's pipeline makes of the small one (JASRNet's code enlarges otherwise than the rest).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.metrics import PROTOCOLS, auc, cumulative_psnr, failure_rate, nme, score_pair
from sdk.image.pixels import rgb_to_y
from training.data.feeding import U8, fed_picture
from training.data.pipelines import pipeline
from training.eightfold import EightFold
from training.paper_results import rounded
from training.pose import BINS_DEG, bin_of
from training.predictors import Network
from training.protocol_examples import Example
from training.protocols import Preset
from training.recipes.papers import PAPERS

BATCH = 8
AUC_AT = 0.10  # Super-FAN's and 300-W's tables
FAILED_AT = {"outer_eye": 0.08, "sqrt_landmark_box": 0.10}
Model = Network | EightFold
Points = npt.NDArray[np.float32]


def fitting(model: Model, preset: Preset) -> Model:
    """The network at the protocol's scale. Raises InputError where it has another size or scale."""
    model = model.at_scale(preset.scale)
    if preset.lr_px is not None:
        model.scale(preset.lr_px)
    elif not model.spec.any_size:
        got = f"{model.name}, for {model.spec.lr_size} px"
        raise InputError("a network for pictures of any size", got, "pick a protocol of faces")
    return model


def input_of(model: Model, preset: Preset, example: Example) -> tuple[U8, npt.NDArray[np.float32] | None, str]:
    """What a network is fed: the small picture, the enlarged one if it takes that, and words for it."""
    upright = example.upright if model.spec.heatmap_kind != "components" else None  # MTUN turns it by itself
    lr, turned = (example.lr, "") if upright is None else (upright, ", turned back")
    if not model.spec.input_upscaled:
        return lr, None, (f"{lr.shape[0]} px" if preset.lr_px else "small files") + turned
    if example.file is not None:
        return lr, example.file.astype(np.float32), "enlarged files"
    size_hw = example.hr.shape[:2]
    if model.spec.name not in PAPERS:
        return lr, None, f"bicubic{turned}"
    rule = pipeline(PAPERS[model.spec.name].pipeline)
    told = "OpenCV's bicubic" if rule.enlarged == "opencv" else "bicubic"
    return lr, fed_picture(rule, lr, size_hw), told + turned


def predictions(
    model: Model, preset: Preset, chosen: Sequence[Example]
) -> Iterator[tuple[Example, U8, U8 | None, Points | None]]:
    """(example, picture, luminance plane of a luminance network, points) in order, run in batches of one shape."""
    pending: list[Example] = []
    for example in chosen:
        if pending and (len(pending) == BATCH or pending[0].hr.shape != example.hr.shape):
            yield from _batch(model, preset, pending)
            pending = []
        pending.append(example)
    if pending:
        yield from _batch(model, preset, pending)


def _batch(
    model: Model, preset: Preset, batch: list[Example]
) -> Iterator[tuple[Example, U8, U8 | None, Points | None]]:
    inputs = [input_of(model, preset, example) for example in batch]
    lr = np.stack([small for small, _, _ in inputs])
    large = [enlarged for _, enlarged, _ in inputs if enlarged is not None]
    outputs = model.outputs(lr, enlarged=np.stack(large) if large else None)
    pictures, points = model.decoded(outputs, lr)
    planes = None
    if model.spec.colour == "y":
        levels = np.nan_to_num(outputs["sr"][:, 0].astype(np.float64), nan=0.0)  # as sdk.image.pixels.from_network
        planes = np.floor(np.clip(levels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    for i, example in enumerate(batch):
        found = points[i] if points is not None and points.shape[1] == 68 else None
        yield example, pictures[i], None if planes is None else planes[i], found


def luminance(picture: U8) -> U8:
    """[H, W, 3] -> [H, W], BT.601 limited range, rounded."""
    return rgb_to_y(picture, rounded=True).astype(np.uint8)


def evaluate(model: Model | None, preset: Preset, chosen: Sequence[Example]) -> dict[str, Any]:
    """One row of training.paper_results; None: the protocol's baseline."""
    if model is None:
        found = ((e, e.baseline, None, None) for e in chosen)
        name, fed = ("bilinear" if preset.baseline == "bilinear" else "bicubic"), preset.baseline
    else:
        model = fitting(model, preset)
        found = predictions(model, preset, chosen)
        name, fed = model.name, input_of(model, preset, chosen[0])[2]
    scores: list[dict[str, Any]] = []
    cumulative = np.zeros(255)
    for example, picture, plane, points in found:
        scores.append(_scores(example, picture, plane, points, preset=preset))
        if preset.cumulative:
            y = luminance(picture) if plane is None else plane
            cumulative += cumulative_psnr(y, luminance(example.hr)) / len(chosen)
    row = {"model": name, "augmented": isinstance(model, EightFold), "n": len(scores), "input": fed}
    row |= summary(scores, preset)
    if preset.pose_bins:
        row["bins"] = _bins(scores, preset)
    if preset.cumulative:
        row["cumulative_psnr_db"] = rounded(cumulative.tolist())
    row["per_image"] = {key: rounded([s[key] for s in scores]) for key in ("psnr", "ssim", "nme")}
    return row


def _scores(
    example: Example, picture: U8, plane: U8 | None, points: Points | None, *, preset: Preset
) -> dict[str, Any]:
    """Of one picture; NME in percent."""
    also: dict[str, tuple[float | None, float | None]] = {}
    scale = preset.scale
    for name in preset.metrics:
        protocol = PROTOCOLS[name]
        if not example.native:
            also[name] = (None, None)
        elif preset.luminance and plane is not None:
            also[name] = score_pair(plane, luminance(example.hr), protocol, scale=scale)
        else:
            also[name] = score_pair(picture, example.hr, protocol, points=example.points, scale=scale)
    error = None
    if points is not None and example.points is not None:
        error = 100.0 * float(nme(points[None], example.points[None], normaliser=preset.normaliser)[0])
    psnr, ssim = also[preset.metrics[0]]
    yaw_bin = None if example.yaw_deg is None else bin_of(example.yaw_deg)
    return {"psnr": psnr, "ssim": ssim, "nme": error, "also": also, "bin": yaw_bin}


def summary(scores: list[dict[str, Any]], preset: Preset) -> dict[str, Any]:
    """Means over pictures. A picture that is equal to its truth has no finite PSNR; the mean is null then."""
    errors = np.array([s["nme"] for s in scores if s["nme"] is not None]) / 100.0
    also = {
        name: {"psnr": _mean([s["also"][name][0] for s in scores]), "ssim": _mean([s["also"][name][1] for s in scores])}
        for name in preset.metrics[1:]
    }
    return {
        "psnr": _mean([s["psnr"] for s in scores]),
        "ssim": _mean([s["ssim"] for s in scores]),
        "also": also,
        "n_landmarks": int(errors.size),
        "nme": 100.0 * float(errors.mean()) if errors.size else None,
        "auc": auc(errors, AUC_AT) if errors.size else None,
        "failure_rate": failure_rate(errors, FAILED_AT[preset.normaliser]) if errors.size else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _bins(scores: list[dict[str, Any]], preset: Preset) -> list[dict[str, Any]]:
    """Super-FAN's three, empty ones too."""
    rows = []
    for low, high in BINS_DEG:
        name = f"{low}-{high}"
        part = [s for s in scores if s["bin"] == name]
        told = summary(part, preset)
        rows.append({"yaw_deg": name, "n": len(part), **{k: told[k] for k in ("psnr", "ssim", "nme", "auc")}})
    return rows
