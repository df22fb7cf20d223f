"""Boxes of faces in a frame: a callable of the caller's, OpenCV's cascade (built in), or a YuNet file.

The cascade's window has 20 px, about a face of 18 px between brows and chin, and faces at the very limit are missed;
frames are therefore enlarged before the search. Measured recall by face size, false positives and times are in
benchmarks/results/detector_recall.json (python -m benchmarks.detector_recall).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import DetectorError, InputError, MissingPackageError

__all__ = ["CascadeDetector", "Detector", "YuNetDetector", "open_detector"]

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

# frame uint8 [H, W, 3] in the enhancer's colour order -> array-like [N, 4] x0, y0, x1, y1 px, forehead to chin
Detector = Callable[[U8], Any]

PIP = 'pip install "opencv-python-headless>=4.8,<5"'

CASCADE_FILE = "haarcascade_frontalface_alt.xml"  # of the four frontal ones the one with the fewest false positives
CASCADE_PX = 20  # side of its window
SCALE_STEP = 1.1  # 1.2 takes 60 % of the time and finds 10 % fewer of the faces below 24 px
MIN_NEIGHBOURS = 1  # windows that must agree beside the first; 3 loses a quarter of the faces below 24 px
SEARCH_PX = 1.25**2 * 1920 * 1080  # pixels searched: 1080p enlarged by 1.25 finds 20-px faces, and bounds the time
MAX_ENLARGE = 2.0  # beyond it the cascade finds no more faces in small frames, only more false ones

# The cascade's box b (square, brows to mouth) to the common "face" box, forehead to chin: such that
# square_windows(kind="face") gives the landmark boxes' windows. Medians over 461 faces of 18 to 96 px of HELEN's
# training split in 1080p frames: window side 1.296 b (sd 0.12), centre lower by 0.078 b (sd 0.04).
FACE_HEIGHT = 1.108  # face box height per b: 1.296 over the 1.17 of square_windows
FACE_DOWN = 0.026  # centre lower, per b: 0.078 less the 0.04 x 1.296 that square_windows adds
FACE_WIDTH = 0.84  # face box width per height; square_windows uses the larger side alone

SAME_FACE_IOU = 0.3  # boxes that overlap more are one face
YUNET_SCORE = 0.6  # YuNet's own default is 0.9, which misses most faces below 24 px


def open_detector(
    detector: str | Path | Detector | None,
    *,
    color: str = "bgr",
) -> Detector:
    """None: the built-in cascade. A path: a YuNet .onnx file. A callable is returned as it is.

    Opens no library yet. Raises InputError for anything else, DetectorError for a path without a file.
    """
    if detector is None:
        return CascadeDetector(color=color)
    if isinstance(detector, (str, Path)):
        return YuNetDetector(detector, color=color)
    if callable(detector):
        return detector
    got = type(detector).__name__
    raise InputError("a detector as None, a path or a callable", got, "leave it out for the built-in one")


class CascadeDetector:
    """OpenCV's frontal-face cascade, with small faces in mind. Safe from several threads, which take turns.

    Args:
        color: "bgr" or "rgb", the order of the frames it will see.
        min_face_px: side of the smallest face to find, brows to chin. None: as fits the frame's size: 20 in a frame
            of 1080p, 12 in frames a quarter of that, more in larger ones, so that the time stays the same.
    """

    def __init__(self, *, color: str = "bgr", min_face_px: float | None = None) -> None:
        if min_face_px is not None and not min_face_px >= 4:
            raise InputError("min_face_px of 4 or more", str(min_face_px), "leave it out for the default")
        self._color = color
        self._min_face_px = min_face_px
        self._lock = threading.Lock()  # the classifier keeps the picture it works on
        self._cascade: Any = None

    def __call__(
        self,
        frame: U8,  # [H, W, 3]
    ) -> F64:
        """Boxes float64 [N, 4], forehead to chin, largest first. Raises MissingPackageError, DetectorError."""
        cv2 = _opencv("CascadeClassifier")
        factor = self._enlargement(frame.shape[0], frame.shape[1])
        size_wh = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        if min(size_wh) < CASCADE_PX:
            return np.zeros((0, 4))
        try:
            code = cv2.COLOR_BGR2GRAY if self._color == "bgr" else cv2.COLOR_RGB2GRAY
            grey = cv2.cvtColor(np.ascontiguousarray(frame), code)
            if factor != 1.0:
                grey = cv2.resize(grey, size_wh, interpolation=cv2.INTER_LINEAR if factor > 1 else cv2.INTER_AREA)
            with self._lock:
                if self._cascade is None:
                    self._cascade = _load_cascade(cv2)
                found, votes = self._cascade.detectMultiScale2(grey, SCALE_STEP, MIN_NEIGHBOURS)
        except cv2.error as error:
            raise DetectorError("OpenCV's cascade to run", str(error).strip(), f"try another release: {PIP}") from error
        rectangles = np.asarray(found, np.float64).reshape(-1, 4) / factor  # [N, 4] x, y, w, h
        boxes = _distinct(face_boxes(rectangles), np.asarray(votes, np.float64).reshape(-1))
        return boxes[np.argsort(-(boxes[:, 3] - boxes[:, 1]), kind="stable")]

    def _enlargement(self, rows: int, columns: int) -> float:
        if self._min_face_px is not None:
            return 1.25 * CASCADE_PX / self._min_face_px
        return min(MAX_ENLARGE, float(np.sqrt(SEARCH_PX / (rows * columns))))


class YuNetDetector:
    """OpenCV's FaceDetectorYN with a YuNet .onnx file of the caller's (MIT licence). Threads take turns."""

    def __init__(self, path: str | Path, *, color: str = "bgr") -> None:
        self._path = Path(path)
        if not self._path.is_file():
            remedy = "download face_detection_yunet_*.onnx from OpenCV's zoo, or leave detector out"
            raise DetectorError("the path of a YuNet .onnx file", f"{str(path)!r}, where there is no file", remedy)
        self._color = color
        self._lock = threading.Lock()
        self._network: Any = None

    def __call__(
        self,
        frame: U8,  # [H, W, 3]
    ) -> F64:
        """Boxes float64 [N, 4], forehead to chin, largest first. Raises MissingPackageError, DetectorError."""
        cv2 = _opencv("FaceDetectorYN")
        bgr = np.ascontiguousarray(frame if self._color == "bgr" else frame[..., ::-1])
        try:
            with self._lock:
                if self._network is None:
                    self._network = cv2.FaceDetectorYN.create(str(self._path), "", (320, 320), YUNET_SCORE)
                self._network.setInputSize((bgr.shape[1], bgr.shape[0]))
                _, found = self._network.detect(bgr)
        except cv2.error as error:
            detail = f"{self._path.name}, which OpenCV refuses: {str(error).strip()[:200]}"
            raise DetectorError("a YuNet .onnx file", detail, "download it again, or leave detector out") from error
        if found is None:
            return np.zeros((0, 4))
        boxes = np.asarray(found, np.float64)[:, :4]  # [N, 4] x, y, w, h
        boxes[:, 2:] += boxes[:, :2]
        return boxes[np.argsort(-(boxes[:, 3] - boxes[:, 1]), kind="stable")]


def face_boxes(
    rectangles: F64,  # [N, 4] x, y, w, h of the cascade
) -> F64:
    """The common "face" boxes [N, 4] x0, y0, x1, y1 of the cascade's rectangles."""
    side = rectangles[:, 2]
    centre_x = rectangles[:, 0] + side / 2
    centre_y = rectangles[:, 1] + (0.5 + FACE_DOWN) * side
    half_h = FACE_HEIGHT * side / 2
    half_w = FACE_WIDTH * half_h
    return np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], axis=1)


def _distinct(
    boxes: F64,  # [N, 4]
    votes: F64,  # [N] windows of the cascade that agreed
) -> F64:
    """Boxes of which no two overlap much; the one with more votes stays."""
    kept: list[F64] = []
    for i in np.argsort(-votes, kind="stable"):
        box = boxes[i]
        if all(_iou(box, other) <= SAME_FACE_IOU for other in kept):
            kept.append(box)
    return np.array(kept, np.float64).reshape(-1, 4)


def _iou(
    a: F64,  # [4]
    b: F64,  # [4]
) -> float:
    inner = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def _opencv(needed: str) -> Any:
    """The cv2 module, if it has the class. OpenCV 5 dropped the cascades."""
    feature = "finding faces (pass boxes to do without)"
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(feature, "opencv-python-headless<5", PIP) from error
    if not hasattr(cv2, needed):
        got = f"OpenCV {cv2.__version__}, which has no {needed}"
        raise MissingPackageError(feature, "opencv-python-headless<5", PIP, got=got)
    return cv2


def _load_cascade(
    cv2: Any,  # the module
) -> Any:
    path = str(Path(cv2.data.haarcascades) / CASCADE_FILE)
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        raise DetectorError(f"OpenCV's {CASCADE_FILE}", f"no such cascade at {path}", f"install it again: {PIP}")
    return cascade
