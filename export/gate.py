"""The gate: what a precision costs on faces, against the fp32 network, and whether that is little enough to ship.

Judged are pictures and landmarks as a user gets them, not tensors: PSNR and SSIM against the truth by FSRNet's protocol
(luminance, 8 bit), NME of the decoded points, beside NaN scan, PSNR and largest error against fp32.

Where the faces' points do not fit the network (another scheme than its own), the distance to the fp32 network's points
stands for the loss of NME: by the triangle inequality it is never less than the loss itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from export.faces import Faces, lr_crops
from export.graph import Model
from export.simulate import simulated
from sdk.enhancer import MIN_CONFIDENCE
from sdk.errors import BuildError, ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.metrics import PROTOCOLS, nme, score_pair
from sdk.image.pixels import from_network, to_network
from sdk.image.points68 import OUTER_EYES
from sdk.spec import ModelSpec

__all__ = ["THRESHOLDS", "Answer", "Limits", "Runner", "Verdict", "answer", "judge", "not_finite", "onnx_runner"]

F32 = npt.NDArray[np.float32]
Runner = Callable[[F32], Mapping[str, npt.NDArray[Any]]]  # [N, C, h, w] -> outputs by name

BATCH = 8  # faces a call: bounds the memory, and is in every default profile
OTHER_MODEL = "export it again: graph and spec are of different models"
# Of the picture's side: outer eye corners nearer than that are a failed face, no length to divide by.
LEAST_EYES = 1 / 8


@dataclass(frozen=True)
class Limits:
    """What a precision may cost."""

    psnr_fp32_db: float  # at least, against the fp32 network's picture (RGB, all pixels of all faces)
    dpsnr_db: float  # at most, PSNR against the truth
    dnme_pt: float  # at most, percentage points of NME


THRESHOLDS = {
    "fp32": Limits(60.0, 0.01, 0.01),  # not infinite: TensorRT multiplies fp32 in TF32 unless told otherwise
    "fp16": Limits(50.0, 0.05, 0.02),
    "int8": Limits(0.0, 0.25, 0.25),
    "fp8": Limits(0.0, 0.25, 0.25),
}


@dataclass(frozen=True)
class Verdict:
    """The gate's numbers and whether they pass."""

    precision: str
    ran: str  # "engine", or "not run": the typed graph was judged on onnxruntime in its place
    source: str  # of the faces
    faces: int
    faces_sha256: str
    numbers: dict[str, float]  # see judge()
    limits: dict[str, float]
    reasons: list[str] = field(default_factory=lambda: list[str]())  # why it does not pass, one sentence each

    @property
    def passed(self) -> bool:
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: NaN and infinity become None."""
        numbers = {key: value if math.isfinite(value) else None for key, value in self.numbers.items()}
        return {**asdict(self), "numbers": numbers, "passed": self.passed}

    def table(self) -> str:
        """Lines for a terminal."""
        n = self.numbers
        ran = "engine run" if self.ran == "engine" else "typed graph on onnxruntime; engine not run"
        worst = f"worst face {n['worst_psnr_fp32_db']:.1f}"
        lines = [
            f"gate {self.precision} on {self.faces} faces of {self.source} ({ran})",
            f"  against fp32   PSNR {n['psnr_fp32_db']:.1f} dB ({worst}), largest error {n['max_error_sr']:.4f}",
            f"  against truth  PSNR {n['psnr_db']:.2f} dB ({-n['dpsnr_db']:+.3f}),"
            f" SSIM {n['ssim']:.4f} ({-n['dssim']:+.4f})",
        ]
        if "dnme_pt" in n:
            truth = f"NME {n['nme_percent']:.3f} %" if "nme_percent" in n else "NME"
            moved = f"moved by {n['moved_pt']:.3f} pt on average"
            lines.append(f"  landmarks      {truth} ({n['dnme_pt']:+.3f} pt), {moved}")
        return "\n".join([*lines, *(f"  REFUSED: {reason}" for reason in self.reasons)])


def onnx_runner(graph: onnx.ModelProto, *, threads: int | None = None) -> Runner:
    """Runs a graph on onnxruntime's CPU provider as it is written: fp16 rounds, Q/DQ fuse into no other arithmetic.

    Raises BuildError when onnxruntime refuses the graph; the runner does when it fails on a batch.
    """
    graph = simulated(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads or 0
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise _refused(error) from error
    names = [value.name for value in session.get_outputs()]
    source = session.get_inputs()[0].name

    def run(batch: F32) -> dict[str, npt.NDArray[Any]]:
        try:
            return dict(zip(names, session.run(names, {source: batch}), strict=True))
        except Exception as error:  # as above
            raise _refused(error, f" on {'x'.join(map(str, batch.shape))}") from error

    return run


def _refused(error: Exception, where: str = "") -> BuildError:
    got = " ".join(str(error).split())[:300]
    return BuildError(f"a graph that onnxruntime can run{where}", got, "report the model: its typed graph is wrong")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network gave for the judging faces."""

    sr: F32  # [N, C, H, W]; of a network that gives `image` alone, made from that
    pictures: npt.NDArray[np.uint8]  # [N, H, W, 3]
    heatmaps: F32 | None  # [N, K, h, w]
    points: F32 | None  # [N, K, 2] px of the picture
    sure: npt.NDArray[np.bool_] | None  # [N] the heatmaps peak as high as FaceEnhancer asks
    rounded: bool = False  # sr has whole grey levels


def answer(run: Runner, faces: Faces, spec: ModelSpec, *, fp32: Answer | None = None) -> Answer:
    """Runs a network on the faces; `image` and `landmarks`, where it gives them, count as they are. One that gives no
    picture takes `fp32`'s. Raises ModelError when its picture or its heatmaps are not of the spec's size."""
    crops = lr_crops(faces, spec.lr_size)  # [N, lr, lr, 3]
    batch = to_network(crops, spec)
    parts = [dict(run(batch[i : i + BATCH])) for i in range(0, len(batch), BATCH)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if fp32 is not None and not {"sr", "image"} & set(found):
        found["sr"] = fp32.sr
    image = found.get("image")  # [N, H, W, 3] uint8, or float32 with the same levels
    rounded = "sr" not in found and image is not None
    sr = _as_network(image, spec) if image is not None and rounded else found["sr"].astype(np.float32)
    side = spec.hr_size
    if sr.shape != (len(faces), spec.channels, side, side):
        expected = f"pictures [N, {spec.channels}, {side}, {side}] from {spec.name}"
        raise ModelError(expected, f"shape {list(sr.shape)}", OTHER_MODEL)
    if image is None:
        pictures = from_network(np.nan_to_num(sr, nan=0.0, posinf=0.0, neginf=0.0), spec, lr=crops)
    else:
        pictures = image.astype(np.uint8)
    heatmaps = found["heatmaps"].astype(np.float32) if "heatmaps" in found else None
    maps = (len(faces), spec.heatmap_count, spec.heatmap_size, spec.heatmap_size)
    if heatmaps is not None and spec.heatmap_kind and heatmaps.shape != maps:
        expected = f"heatmaps {list(maps)} from {spec.name}"
        raise ModelError(expected, f"shape {list(heatmaps.shape)}", OTHER_MODEL)
    if spec.heatmap_kind != "landmarks":
        return Answer(sr, pictures, heatmaps, None, None, rounded)
    if "landmarks" in found:
        points, scores = found["landmarks"][..., :2], found["landmarks"][..., 2]  # [N, K, 2], [N, K]
    else:
        assert heatmaps is not None, sorted(found)
        decoded = decode(np.nan_to_num(heatmaps), mode=spec.decoder, radius=spec.decoder_radius)
        points, scores = cells_to_image(decoded.points, heatmaps.shape[2:], (side, side)), decoded.scores
    enough = MIN_CONFIDENCE if spec.min_confidence is None else spec.min_confidence
    return Answer(sr, pictures, heatmaps, points, scores.mean(axis=1) >= enough, rounded)


def _as_network(
    pictures: npt.NDArray[Any],  # [N, H, W, 3] RGB, 0 to 255
    spec: ModelSpec,
) -> F32:  # [N, 3, H, W]
    """What a network would have had to give for these pictures."""
    low, high = spec.value_range
    colours = pictures[..., ::-1] if spec.colour == "bgr" else pictures
    return np.moveaxis(colours.astype(np.float32) * ((high - low) / 255.0) + low, 3, 1)


def judge(
    model: Model,
    run: Runner,
    faces: Faces,
    *,
    precision: str,
    ran: str = "not run",
    fp32: Answer | None = None,  # None: the model's fp32 graph is run on onnxruntime
) -> Verdict:
    """Numbers of the candidate `run` on the faces, in the units their names end in.

    psnr_fp32_db, worst_psnr_fp32_db, max_error_sr, max_error_heatmaps: against fp32, on the raw outputs (the picture
    clipped to the spec's range and scaled to [0, 1]). psnr_db, ssim: against the truth; dpsnr_db, dssim: what the
    precision lost of them. nme_percent: only with points. dnme_pt: what was lost; moved_pt: distance to fp32's points.
    """
    spec = model.spec
    fp32 = fp32 or answer(onnx_runner(model.graph), faces, spec)
    mine = answer(run, faces, spec, fp32=fp32)
    reasons = list(not_finite(fp32, "the fp32 network")) or list(not_finite(mine, f"the {precision} network"))
    numbers = {**_against_fp32(fp32, mine, spec), **_against_truth(fp32, mine, faces), **_landmarks(fp32, mine, faces)}
    limits = THRESHOLDS[precision]
    reasons += [] if reasons else _beyond(numbers, limits)
    return Verdict(precision, ran, faces.source, len(faces), faces.sha256, numbers, asdict(limits), reasons)


def not_finite(answer: Answer, who: str) -> Iterator[str]:
    """A sentence for each output with NaN or infinity in it."""
    for name, array in (("sr", answer.sr), ("heatmaps", answer.heatmaps), ("landmarks", answer.points)):
        if array is not None and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
            yield f"{who} gives NaN or infinity in {name} of {bad} of {len(array)} faces"


def _against_fp32(fp32: Answer, mine: Answer, spec: ModelSpec) -> dict[str, float]:
    low, high = spec.value_range
    truth = _as_network(fp32.pictures, spec) if mine.rounded else fp32.sr
    difference = (np.clip(mine.sr, low, high) - np.clip(truth, low, high)) / (high - low)  # [N, C, H, W]
    by_face = np.square(difference.astype(np.float64)).reshape(len(difference), -1).mean(axis=1)  # [N]
    numbers = {
        "psnr_fp32_db": _decibel(float(by_face.mean())),
        "worst_psnr_fp32_db": _decibel(float(by_face.max())),
        "max_error_sr": float(np.abs(difference).max()),
    }
    if mine.heatmaps is not None and fp32.heatmaps is not None:
        numbers["max_error_heatmaps"] = float(np.abs(mine.heatmaps - fp32.heatmaps).max())
    return numbers


def _decibel(mean_square: float) -> float:
    """150 dB where there is no difference at all: a number that JSON can hold."""
    return float("nan") if math.isnan(mean_square) else min(150.0, -10.0 * math.log10(max(mean_square, 1e-15)))


def _against_truth(fp32: Answer, mine: Answer, faces: Faces) -> dict[str, float]:
    (psnr32, ssim32), (psnr, ssim) = (_scores(answer.pictures, faces.hr) for answer in (fp32, mine))
    return {"psnr_db": psnr, "dpsnr_db": psnr32 - psnr, "ssim": ssim, "dssim": ssim32 - ssim}


def _scores(
    pictures: npt.NDArray[np.uint8],  # [N, H, W, 3]
    truth: npt.NDArray[np.uint8],  # [N, H, W, 3]
) -> tuple[float, float]:
    pairs = [score_pair(a, b, PROTOCOLS["fsrnet"]) for a, b in zip(pictures, truth, strict=True)]
    psnr_db, ssim = np.minimum(pairs, 150.0).mean(axis=0)  # an exact picture has infinitely many dB
    return float(psnr_db), float(ssim)


def _landmarks(fp32: Answer, mine: Answer, faces: Faces) -> dict[str, float]:
    """Over the faces of which the fp32 network is sure: FaceEnhancer calls the others low_confidence, and their points
    jump from one flat peak to the next at the least rounding. Over all where it is sure of less than half."""
    if fp32.points is None or mine.points is None or fp32.sure is None:
        return {}
    sure = fp32.sure if 2 * fp32.sure.sum() >= len(fp32.sure) else np.ones_like(fp32.sure)
    before, after = fp32.points[sure], mine.points[sure]
    distance = np.linalg.norm(after - before, axis=2).mean(axis=1)  # [n]
    moved = 100 * float((distance / _lengths(fp32, faces)[sure]).mean())
    if faces.points is None or faces.points.shape != mine.points.shape:
        return {"faces_with_points": float(sure.sum()), "dnme_pt": moved, "moved_pt": moved}
    normaliser = "outer_eye" if mine.points.shape[1] == 68 else "sqrt_landmark_box"
    errors = [100 * float(nme(p, faces.points[sure], normaliser=normaliser).mean()) for p in (before, after)]
    return {
        "faces_with_points": float(sure.sum()),
        "nme_percent": errors[1],
        "dnme_pt": errors[1] - errors[0],
        "moved_pt": moved,
    }


def _lengths(fp32: Answer, faces: Faces) -> npt.NDArray[np.float64]:
    """[N] px to divide by: outer eye corners of the truth, else of the fp32 network's points."""
    points = fp32.points if faces.points is None or fp32.points is None else faces.points
    assert points is not None and fp32.points is not None
    if points.shape[1] != 68:
        return np.sqrt(np.prod(points.max(axis=1) - points.min(axis=1), axis=1)).astype(np.float64)
    eyes = np.linalg.norm(points[:, OUTER_EYES[0]] - points[:, OUTER_EYES[1]], axis=1)
    return np.maximum(eyes, LEAST_EYES * faces.hr.shape[1]).astype(np.float64)


def _beyond(numbers: dict[str, float], limits: Limits) -> list[str]:
    rules = (
        ("psnr_fp32_db", limits.psnr_fp32_db, False, "PSNR against fp32 is {:.2f} dB, at least {:g} is asked"),
        ("dpsnr_db", limits.dpsnr_db, True, "{:.3f} dB of PSNR are lost, {:g} are allowed"),
        ("dnme_pt", limits.dnme_pt, True, "{:.3f} points of NME are lost, {:g} are allowed"),
    )
    broken: list[str] = []
    for name, limit, is_most, text in rules:
        value = numbers.get(name)
        if value is not None and not (value <= limit if is_most else value >= limit):  # NaN breaks every rule
            broken.append(text.format(value, limit))
    return broken
