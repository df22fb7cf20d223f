"""SRINC's experiment (its Figure 4): does a landmark network err less on super-resolved faces than on bicubic ones?

One landmark network, fixed, runs on the baseline, on each method's pictures and on the truth. Super-FAN measures its
pictures in the same way (its Table 2): by a FAN that learned from sharp faces alone.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sdk.errors import InputError, ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.metrics import PROTOCOLS, auc, nme, score_pair
from sdk.image.resample import resize
from training import checkpoint
from training.data.feeding import U8
from training.data.packs import Pack
from training.eightfold import EightFold
from training.evaluate_protocol import AUC_AT, Model, predictions
from training.paper_results import rounded, training_of
from training.pose import BINS_DEG, bin_of
from training.predictors import open_network
from training.protocol_examples import Example
from training.protocols import Preset

Float64 = npt.NDArray[np.float64]
Key = dict[str, Any]
Make = Callable[[], dict[str, Any]]
BATCH = 16
RESAMPLES = 2000  # of the bootstrap
SEED = 0
COVERAGE = 0.95
ANY_SIZE = 2  # networks of any size get faces of twice their nominal one: PicoFace x4 learned points at 64 px


class Detector:
    """A landmark network behind one call; pictures are resized to its input by antialiased bicubic."""

    def __init__(self, name: str, path: Path, side: int, run: Callable[[U8], npt.NDArray[np.float32]]) -> None:
        self.name, self.side, self.run = name, side, run
        self.training = training_of(path)
        self.sha256 = str(self.training["sha256"])

    def __call__(
        self,
        pictures: U8,  # [N, S, S, 3] RGB
    ) -> npt.NDArray[np.float32]:  # [N, 68, 2] pixels of `pictures`
        full = pictures.shape[1]
        size = (self.side, self.side)
        fed = pictures if full == self.side else resize(pictures, size).astype(np.uint8)
        found = [self.run(fed[i : i + BATCH]) for i in range(0, len(fed), BATCH)]  # points in pixels of `fed`
        return ((np.concatenate(found) + 0.5) * (full / self.side) - 0.5).astype(np.float32)


def open_detector(model: str) -> Detector:
    """A shipped name, an .onnx file or a checkpoint that finds 68 points; of Super-FAN its FAN, fed the picture.

    Raises ModelError.
    """
    if model.endswith(".pt"):
        saved = checkpoint.load(model)
        if saved.get("model") in ("fan", "super_fan"):
            return _open_fan(saved, Path(model))
    network = open_network(model)
    spec = network.spec
    if spec.heatmap_kind != "landmarks" or spec.heatmap_count != 68:
        got = f"{network.name} with {spec.heatmap_count} maps of {spec.heatmap_kind}"
        raise ModelError("a network that finds 68 points", got, "pass another --detector")
    assert network.path is not None
    side = ANY_SIZE * spec.lr_size if spec.any_size else spec.lr_size

    def run(pictures: U8) -> npt.NDArray[np.float32]:
        points = network(pictures)[1]
        assert points is not None, spec
        return (points + 0.5) / spec.scale - 0.5

    return Detector(network.name, network.path, side, run)


def _open_fan(saved: dict[str, Any], path: Path) -> Detector:
    built = checkpoint.build(saved)
    fan = (built.fan if saved["model"] == "super_fan" else built).folded()
    side = fan.config.input_size
    mode = "quarter" if side == 256 else "dark"  # FAN's own rule is coarse on 16 x 16 cells

    def run(pictures: U8) -> npt.NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255.0
        with torch.inference_mode():
            maps = fan(batch)["heatmaps"].numpy()
        return cells_to_image(decode(maps, mode=mode).points, maps.shape[2:], (side, side))

    name = saved.get("recipe", {}).get("name", path.stem)
    return Detector(f"{name}'s FAN" if saved["model"] == "super_fan" else str(name), path, side, run)


def errors_of(detector: Detector, pictures: Sequence[U8], chosen: Sequence[Example], preset: Preset) -> Float64:
    """Landmark error [N] of each picture in percent. Raises InputError where a face has no points."""
    without = [e.id for e in chosen if e.points is None]
    if without:
        got = f"none for {without[0]} and {len(without) - 1} more"
        raise InputError("points of every face", got, "pass an archive with points")
    truth = np.stack([e.points for e in chosen if e.points is not None])
    return 100.0 * nme(detector(np.stack(pictures)), truth, normaliser=preset.normaliser)


def relative_gain(
    baseline: Float64,  # [N] errors
    method: Float64,  # [N] of the same faces
) -> tuple[float, tuple[float, float]]:
    """1 - mean(method) / mean(baseline), and its 95 % interval by bootstrap over faces (pairs stay together)."""
    rng = np.random.default_rng(SEED)
    picked = rng.integers(0, len(baseline), (RESAMPLES, len(baseline)))
    gains = 1.0 - method[picked].mean(axis=1) / baseline[picked].mean(axis=1)
    low, high = np.quantile(gains, [(1.0 - COVERAGE) / 2.0, (1.0 + COVERAGE) / 2.0])
    return float(1.0 - method.mean() / baseline.mean()), (float(low), float(high))


class GainWork:
    """For training.protocol_run: the rows that a network is to have, by their keys, each made when called."""

    def __init__(self, preset: Preset, detectors: Sequence[str]) -> None:
        self.preset, self.detectors = preset, [open_detector(name) for name in detectors]
        self.known: dict[str, tuple[Float64, Float64]] = {}  # detector -> errors on the baseline and on the truth

    def __call__(self, network: Model | None, pack: Pack, chosen: Sequence[Example]) -> Iterator[tuple[Key, Make]]:
        for name, shown in self._methods(network, chosen):
            for detector in self.detectors:
                key = {"model": name, "augmented": isinstance(network, EightFold)}
                key |= {"detector": detector.name, "detector_sha256": detector.sha256, "detector_px": detector.side}
                yield key, partial(self._make, detector, shown, chosen)

    def _methods(self, network: Model | None, chosen: Sequence[Example]) -> list[tuple[str, Callable[[], list[U8]]]]:
        """(name, its pictures); the network runs once, when the first detector asks."""
        if network is None:
            name = "bilinear" if self.preset.baseline == "bilinear" else "bicubic"
            return [(name, lambda: [e.baseline for e in chosen]), ("truth", lambda: [e.hr for e in chosen])]
        return [(network.name, cache(lambda: [p for _, p, _, _ in predictions(network, self.preset, chosen)]))]

    def _make(self, detector: Detector, shown: Callable[[], list[U8]], chosen: Sequence[Example]) -> dict[str, Any]:
        if detector.name not in self.known:
            baseline, truth = [e.baseline for e in chosen], [e.hr for e in chosen]
            self.known[detector.name] = (
                errors_of(detector, baseline, chosen, self.preset),
                errors_of(detector, truth, chosen, self.preset),
            )
        row = _row(detector, shown(), chosen, self.preset, reference=self.known[detector.name])
        return {**row, "detector_training": detector.training}


def _row(
    detector: Detector,
    pictures: Sequence[U8],
    chosen: Sequence[Example],
    preset: Preset,
    *,
    reference: tuple[Float64, Float64],
) -> dict[str, Any]:
    errors, protocol = errors_of(detector, pictures, chosen, preset), PROTOCOLS[preset.metrics[0]]
    gain, interval = relative_gain(reference[0], errors)
    scores = [score_pair(p, e.hr, protocol, scale=preset.scale)[0] for p, e in zip(pictures, chosen, strict=True)]
    row = {
        "n": len(chosen),
        "error": float(errors.mean()),
        "baseline_error": float(reference[0].mean()),
        "truth_error": float(reference[1].mean()),
        "relative_gain": gain,
        "gain_interval": list(interval),
        "auc": auc(errors / 100.0, AUC_AT),
        "psnr": float(np.mean(scores)),
        "per_image": {"error": rounded(errors.tolist())},
    }
    if preset.pose_bins:
        names = [bin_of(e.yaw_deg or 0.0) for e in chosen]
        row["bins"] = [_bin(f"{low}-{high}", names, errors) for low, high in BINS_DEG]
    return row


def _bin(name: str, names: Sequence[str], errors: Float64) -> dict[str, Any]:
    part = errors[[n == name for n in names]]
    return {
        "yaw_deg": name,
        "n": len(part),
        "error": float(part.mean()) if len(part) else None,
        "auc": auc(part / 100.0, AUC_AT) if len(part) else None,
    }
