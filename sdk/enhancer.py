"""FaceEnhancer: frame and boxes in, one FaceResult a face out; render() puts the faces back.

    windows_of -> crop -> to_network -> backend.run -> from_network and decode -> FaceResult

Stateless between calls and safe from any number of threads: a face's result is the same bits whether it came alone, in
a batch or beside other threads' requests (on the CPU; see sdk.runtime.ort_backend).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdk.cutting import Cut, Gpu, borrowing, cutting, cutting_pictures, gpu_of
from sdk.detect import Detector, open_detector
from sdk.errors import BackendError, DetectorError, InputError
from sdk.inputs import as_frame8, check_boxes, check_options, check_strength, windows_of
from sdk.networks import Model, open_all
from sdk.pipeline import MIN_CONFIDENCE, Face, inside_of, refined_windows, results_of, run_faces
from sdk.rendering import put_back
from sdk.result import FaceResult, FaceStatus
from sdk.routing import routes_of

if TYPE_CHECKING:
    from sdk.video.stream import FaceStream, StreamOptions

__all__ = ["MIN_CONFIDENCE", "PAINTED", "FaceEnhancer"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

PAINTED = (FaceStatus.OK, FaceStatus.PARTLY_OUTSIDE, FaceStatus.TOO_SMALL)  # what render() puts into the frame


class FaceEnhancer:
    """Enhances small faces on the CPU, or on a GPU with TensorRT. Use it as a context manager, or call close().

    Args:
        model: None: of the shipped networks the one that fits each face's size (windows up to 24 px: x8 from 16 px;
            up to 48 px: x4 from 32 px; larger: x4 from 64 px; a face that was blown up goes to the one that fits its
            detail). A shipped name or a paper's ("jasrnet"; sdk.zoo says where they are looked for), a path (.onnx,
            or an .engine of trt-build), a loaded Backend, or a sequence of those: these networks always.
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
        min_confidence: mean height of the heatmap peaks below which a face is reported as low_confidence. None: what
            the network's spec says, else MIN_CONFIDENCE: how high peaks are depends on how maps were trained.
        kernels: with TensorRT cut, decode and make pictures on the GPU too, where our kernels cover the network;
            describe() says whether. False: on the CPU.

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
        min_confidence: float | None = None,
        kernels: bool = True,
    ) -> None:
        check_options(color=color, refine=refine, min_confidence=min_confidence, threads=threads, device=device)
        self.color = color
        self.refine = refine
        self.min_confidence = min_confidence
        self._detector = open_detector(detector, color=color)
        self._opened = open_all(model, backend, device=device, threads=threads, precision=precision)
        networks = [one.network for one in self._opened]
        self._routes = routes_of(networks)
        self._gpu, self._ways = gpu_of(networks) if kernels else (None, {})

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
        if self._gpu is not None:
            self._gpu.close()

    def describe(self) -> str:
        """A line a network: what runs it, precision, device, file, and why it was chosen.

        `picoface_x8: onnxruntime, fp32 on cpu, .../picoface_x8.onnx (no NVIDIA driver: ...)`
        """
        return "\n".join(one.line() + self._ways.get(id(one.network), "") for one in self._opened)

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
        with cutting(self._gpu if len(boxes_px) else None, frame8, self.color) as (cut, gpu):
            return self._enhance(boxes_px, windows, reasons, cut, frame_hw=frame_hw, refine=refine, gpu=gpu)[0]

    def enhance_device(
        self,
        frame: object,  # [H, W, 3] uint8 on the GPU in self.color's order, or an sdk.runtime.kernel_frames.DeviceNv12
        boxes: Any,  # array-like [N, 4] on the host, as for enhance()
        *,
        box_kind: str = "face",
        strength: float = 1.0,
        pictures: bool = False,
        stream: object | None = None,
    ) -> list[FaceResult]:
        """enhance() and render() for a frame on the GPU (torch, cupy, pycuda, a decoder), in place.

        The faces are pasted into `frame`, as render() does; it is complete when this returns. Only boxes, points and
        scores cross to the host, and with `pictures` the faces; else `image` of a result is None.

        Args:
            stream: the caller's, on which the frame was written; None: see sdk.runtime.interop.

        Raises:
            BackendError: a network that the kernels do not cover, see describe(). InputError: as enhance(), render().
        """
        check_strength(strength)
        strength = float(strength)
        boxes_px = check_boxes(boxes)
        why_not = self.describe()
        with borrowing(self._gpu, frame, self.color, strength=strength, stream=stream, why_not=why_not) as there:
            windows, reasons = windows_of(boxes_px, there.size_hw, kind=box_kind)
            refine = self.refine if box_kind == "face" else 0
            there.require([route.backend for route in self._routes])
            results, faces = self._enhance(
                boxes_px, windows, reasons, there.cut, frame_hw=there.size_hw, refine=refine, gpu=there
            )
            found = [face and face.there for face in faces]
            return there.finish(results, found, pictures=pictures, painted=PAINTED)

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
        with cutting_pictures(self._gpu, pictures, self.color) as (cut, gpu):
            return self._enhance(boxes_px, boxes_px, reasons, cut, frame_hw=None, refine=0, gpu=gpu)[0]

    def stream(self, source: Any, options: StreamOptions | None = None) -> FaceStream:
        """The faces of a clip or camera, to iterate over; `source` and errors: see sdk.video.stream.FaceStream."""
        from sdk.video.stream import FaceStream

        return FaceStream(self, source, options)

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
        check_strength(strength)
        frame8 = as_frame8(frame, self.color)
        canvas = frame8.copy()
        put_back(canvas, [one for one in results if one.status in PAINTED], strength=float(strength), gpu=self._gpu)
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
        gpu: Gpu | None = None,
    ) -> tuple[list[FaceResult], list[Face | None]]:
        routes = self._routes
        if not routes:
            raise BackendError("an open FaceEnhancer", "one after close()", "make a new one")
        for _ in range(refine):
            first = run_faces(routes, windows, cut, pictures=False, gpu=gpu)
            windows = refined_windows(windows, first, min_confidence=self.min_confidence)
        faces = run_faces(routes, windows, cut, gpu=gpu, min_confidence=self.min_confidence)
        inside = np.ones(len(windows)) if frame_hw is None else inside_of(windows, frame_hw)
        minimum = self.min_confidence
        results = results_of(
            faces, boxes, windows, reasons, inside=inside, cut=cut, color=self.color, min_confidence=minimum
        )
        return results, faces


def _call_detector(
    detector: Callable[[U8], Any],
    frame: U8,  # [H, W, 3]
) -> F64:
    try:
        return check_boxes(detector(frame))
    except InputError as error:
        raise DetectorError(f"a detector that returns {error.expected}", error.got, error.remedy) from error
