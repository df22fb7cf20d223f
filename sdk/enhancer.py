"""FaceEnhancer: frame and boxes in, one FaceResult a face out; render() puts the faces back.

    windows_of -> crop -> to_network -> backend.run -> from_network and decode -> FaceResult

Stateless between calls and safe from any number of threads: a face's result is the same bits whether it came alone, in
a batch or beside other threads' requests (on the CPU; see sdk.runtime.ort_backend).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.detect import Detector, open_detector
from sdk.errors import BackendError, DetectorError, InputError
from sdk.image.paste import paste
from sdk.inputs import as_frame8, check_boxes, check_options, is_share, windows_of
from sdk.pipeline import Cut, frame_cut, inside_of, pictures_cut, refined_windows, results_of, run_faces
from sdk.result import FaceResult, FaceStatus
from sdk.routing import check_outputs, routes_of
from sdk.runtime.backend import Backend
from sdk.runtime.onnx_file import read_onnx
from sdk.runtime.opening import Opened, open_network
from sdk.zoo import model_path, shipped_paths

__all__ = ["PAINTED", "FaceEnhancer"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Model = str | Path | Backend

# Mean heatmap peak. With picoface_x8 all of 100 validation faces of HELEN have 0.77 or more from 16 px, faces of video
# frames 0.73 from 24 px, faces under noise of 20 levels 0.59 from 16 px; half of random windows without a face have
# less than 0.5. What the detector takes for a face by mistake looks like one to the network too (0.53 to 0.77).
MIN_CONFIDENCE = 0.55
PAINTED = (FaceStatus.OK, FaceStatus.PARTLY_OUTSIDE, FaceStatus.TOO_SMALL)  # what render() puts into the frame


class FaceEnhancer:
    """Enhances small faces on the CPU, or on a GPU with TensorRT. Use it as a context manager, or call close().

    Args:
        model: None: of the shipped networks the one that fits each face's size (windows up to 24 px: x8 from 16 px;
            up to 48 px: x4 from 32 px; larger: x4 from 64 px; a face that was blown up goes to the one that fits its
            detail). A shipped name, a path (.onnx, or an .engine of trt-build), a loaded Backend, or a sequence of
            those: these networks always.
        backend: "auto": TensorRT if this machine has a GPU and a TensorRT that can be used, else "onnxruntime";
            describe() says why. "tensorrt": an error where that is not so. With TensorRT the first use on a machine
            builds an engine, which takes minutes, goes to the log "facetrt", and is kept in $FACETRT_ENGINE_CACHE.
        device: None: the first GPU with TensorRT, else the CPU. "cpu". "cuda:0": this GPU, with TensorRT or an
            onnxruntime that has its CUDA provider.
        precision: None: fp16 with TensorRT, fp32 with onnxruntime. "fp32". "fp16": TensorRT only. "int8": faster;
            with onnxruntime on the CPU only.
        color: "bgr" (OpenCV's order) or "rgb": order of frames that come in and of pictures that go out.
        detector: None: the built-in one, opened when first needed. A path: a YuNet .onnx file. A callable: takes the
            frame as uint8 [H, W, 3] in the order of `color`, returns [N, 4] boxes x0, y0, x1, y1 in px.
        threads: None: onnxruntime's default, one thread per physical core. 1 is best when several processes or
            threads enhance at once.
        refine: how often a box of kind "face" is moved onto the landmarks found in it before the final pass. 0 is
            fastest, 1 (default) makes a loose box as good as a careful one.
        min_confidence: mean height of the heatmap peaks below which a face is reported as low_confidence.

    Raises:
        ModelError, BackendError (EngineError: an engine that does not fit here), DetectorError, MissingPackageError,
        BuildError and OutputError (no engine can be built or kept), InputError (an option of a wrong type or range).
    """

    def __init__(
        self,
        model: Model | Sequence[Model] | None = None,
        *,
        backend: str = "auto",
        device: str | None = None,
        precision: str | None = None,
        color: str = "bgr",
        detector: str | Path | Detector | None = None,
        threads: int | None = None,
        refine: int = 1,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> None:
        check_options(color=color, refine=refine, min_confidence=min_confidence, threads=threads, device=device)
        self.color = color
        self.refine = refine
        self.min_confidence = min_confidence
        self._detector = open_detector(detector, color=color)
        self._opened = _open_all(model, backend, device=device, threads=threads, precision=precision)
        self._routes = routes_of([one.network for one in self._opened])

    def __enter__(self) -> FaceEnhancer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the networks that were opened here; enhance() then raises BackendError. Closing twice is harmless.

        A Backend that the caller passed in stays open: whoever made it closes it. Results stay valid.
        """
        self._routes = []
        for one in self._opened:
            if one.ours:
                one.network.close()

    def describe(self) -> str:
        """A line a network: what runs it, precision, device, file, and why it was chosen.

        `picoface_x8: onnxruntime, fp32 on cpu, .../picoface_x8.onnx (no NVIDIA driver: ...)`
        """
        return "\n".join(one.line() for one in self._opened)

    def detect(
        self,
        frame: npt.NDArray[Any],  # [H, W, 3] uint8 in self.color's order, or what sdk.image.pixels.as_rgb8 takes
    ) -> F64:
        """Boxes of the faces in a frame, float64 [N, 4] x0, y0, x1, y1 in px, largest first with the built-in detector.

        Raises InputError for the frame, DetectorError when the detector fails or returns something else.
        """
        frame8 = as_frame8(frame, self.color)
        return _call_detector(self._detector, frame8)

    def enhance(
        self,
        frame: npt.NDArray[Any],  # [H, W, 3] uint8 in self.color's order, or what sdk.image.pixels.as_rgb8 takes
        boxes: Any = None,  # array-like [N, 4] x0, y0, x1, y1 in px; a callable frame -> boxes; None: the detector
        *,
        box_kind: str = "face",
    ) -> list[FaceResult]:
        """One FaceResult a box, in the order of the boxes; a face is never left out, its status says what happened.

        Args:
            frame: never changed, and only the pixels around the boxes are read. Coordinates count from the left
                upper corner of the frame, pixel centres at integers for points, edges for boxes.
            boxes: from the caller, a detector, or None.
            box_kind: what the boxes enclose: "face" (a detector's box: forehead to chin), "landmarks" (tight around
                the 68 points) or "crop" (the window itself). Only "face" boxes get a refining pass.

        Raises:
            InputError: a frame or boxes of a wrong shape or dtype. DetectorError: see detect(). BackendError: closed.
        """
        frame8 = as_frame8(frame, self.color)
        if boxes is None:
            boxes = _call_detector(self._detector, frame8)
        elif callable(boxes):
            boxes = _call_detector(boxes, frame8)
        boxes_px = check_boxes(boxes)
        frame_hw = (frame8.shape[0], frame8.shape[1])
        windows, reasons = windows_of(boxes_px, frame_hw, kind=box_kind)
        refine = self.refine if box_kind == "face" else 0
        return self._enhance(
            boxes_px, windows, reasons, frame_cut(frame8, self.color), frame_hw=frame_hw, refine=refine
        )

    def enhance_aligned(
        self,
        crops: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],  # N square pictures, each like a frame, of any size
    ) -> list[FaceResult]:
        """One FaceResult a picture that already is a network's window. Landmarks are in the picture's own pixels.

        Raises InputError for a picture that is not square or not a picture.
        """
        if isinstance(crops, np.ndarray) and crops.ndim != 4:
            raise InputError("crops as [N, H, W, 3] or a list of pictures", f"shape {crops.shape}", "pass crops[None]")
        pictures = [as_frame8(picture, self.color) for picture in crops]
        for picture in pictures:
            if picture.shape[0] != picture.shape[1]:
                remedy = "cut the face out as a square, or pass the frame and a box to enhance()"
                raise InputError("square face pictures", f"{picture.shape[1]} x {picture.shape[0]} px", remedy)
        boxes_px = np.array([[0, 0, len(picture), len(picture)] for picture in pictures], np.float64).reshape(-1, 4)
        reasons = [""] * len(pictures)
        return self._enhance(boxes_px, boxes_px, reasons, pictures_cut(pictures, self.color), frame_hw=None, refine=0)

    def render(
        self,
        frame: npt.NDArray[Any],  # the frame that enhance() saw
        results: Sequence[FaceResult],
        *,
        strength: float = 1.0,
    ) -> U8:
        """A new uint8 [H, W, 3] frame in self.color's order with the enhanced faces in place, later ones on top.

        Faces that are not degraded, of low confidence or without a valid box stay as they are in the frame.
        strength: 0 leaves the frame as it is, 1 (default) shows the networks' faces alone.

        Raises InputError for a strength outside [0, 1] or a frame that is not a picture.
        """
        if not is_share(strength):
            raise InputError("strength as a number in [0, 1]", repr(strength), "use 1 for the full effect, 0 for none")
        frame8 = as_frame8(frame, self.color)
        canvas = frame8.copy()
        for group in _same_size([result for result in results if result.status in PAINTED]):
            images = np.stack([cast("U8", result.image) for result in group])  # [n, S, S, 3]
            affines = np.stack([result.crop_to_frame for result in group])  # [n, 2, 3]
            points = [result.landmarks for result in group]
            landmarks = np.stack(cast("list[F32]", points)) if all(p is not None for p in points) else None
            paste(canvas, images, affines, landmarks=landmarks, strength=strength, out=canvas)
        return canvas

    def _enhance(
        self,
        boxes: F64,  # [N, 4]
        windows: F64,  # [N, 4], NaN for invalid boxes
        reasons: Sequence[str],
        cut: Cut,
        *,
        frame_hw: tuple[int, int] | None,  # None: the windows are whole pictures
        refine: int,
    ) -> list[FaceResult]:
        routes = self._routes
        if not routes:
            raise BackendError("an open FaceEnhancer", "one after close()", "make a new one")
        for _ in range(refine):
            first = run_faces(routes, windows, cut, pictures=False)
            windows = refined_windows(windows, first, min_confidence=self.min_confidence)
        faces = run_faces(routes, windows, cut)
        inside = np.ones(len(windows)) if frame_hw is None else inside_of(windows, frame_hw)
        minimum = self.min_confidence
        return results_of(
            faces, boxes, windows, reasons, inside=inside, cut=cut, color=self.color, min_confidence=minimum
        )


def _open_all(
    model: Model | Sequence[Model] | None,
    backend: str,
    *,
    device: str | None,
    threads: int | None,
    precision: str | None,
) -> list[Opened]:
    """The networks to use; those opened here before one fails are closed again."""
    if model is None:
        models: Sequence[Any] = shipped_paths()
    elif isinstance(model, Sequence) and not isinstance(model, str):
        models = model
    else:
        models = [model]
    if not models:
        raise InputError("at least one model", "an empty sequence", "leave model out for the shipped ones")
    opened: list[Opened] = []
    try:
        for one in models:
            if isinstance(one, Backend):
                opened.append(Opened(one, type(one).__name__, "", "", None, "the caller passed it in", ours=False))
                check_outputs(one.spec)
                continue
            if not isinstance(one, (str, Path)):
                remedy = "leave model out for the shipped ones"
                raise InputError("a model as a name, a path or a Backend", repr(one), remedy)
            path = model_path(one)
            if path.suffix.lower() == ".onnx" and path.is_file():
                check_outputs(read_onnx(path).spec)  # now, not after minutes of building an engine
            opened.append(open_network(path, backend, device=device, threads=threads, precision=precision))
            check_outputs(opened[-1].network.spec)
    except BaseException:
        for one in opened:
            if one.ours:
                one.network.close()
        raise
    return opened


def _call_detector(
    detector: Callable[[U8], Any],
    frame: U8,  # [H, W, 3]
) -> F64:
    try:
        return check_boxes(detector(frame))
    except InputError as error:
        raise DetectorError(f"a detector that returns {error.expected}", error.got, error.remedy) from error


def _same_size(results: Sequence[FaceResult]) -> list[list[FaceResult]]:
    """Runs of neighbours whose pictures are of one size: paste() takes those in one call and keeps their order."""
    groups: list[list[FaceResult]] = []
    for result in results:
        size = cast("U8", result.image).shape
        if groups and cast("U8", groups[-1][0].image).shape == size:
            groups[-1].append(result)
        else:
            groups.append([result])
    return groups
