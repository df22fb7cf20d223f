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
from sdk.image.crop import FACE_RAISE, FACE_SIDE

__all__ = ["CascadeDetector", "Detector", "YuNetDetector", "open_detector"]

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

# frame uint8 [H, W, 3] in the enhancer's colour order -> array-like [N, 4] x0, y0, x1, y1 px, forehead to chin
Detector = Callable[[U8], Any]

PIP = 'pip install "opencv-python-headless>=4.8,<5"'

SEARCH_FILE = "haarcascade_frontalface_alt.xml"  # of the four frontal ones the one with the fewest false positives
VERIFY_FILE = "haarcascade_frontalface_alt2.xml"  # errs elsewhere, so what both take for a face mostly is one
CASCADE_PX = 20  # side of their windows
SCALE_STEP = 1.1  # 1.2 takes 60 % of the time and finds 10 % fewer of the faces below 24 px
# A face near the limit gives the search one or two windows, as noise does. So every window is a candidate, and each is
# cut out, brought to VERIFY_PX and searched again with fine steps. Against OpenCV's rule of two neighbours this found
# 83 in place of 78 % of the faces of 16 to 20 px, 78 in place of 69 % up to 24 px, with about as many false positives.
VERIFY_PX = 40
VERIFY_STEP = 1.05
VERIFY_MARGIN = 0.35  # of the window's side, around it
# Votes: windows of the verification plus twice those of the search, at least one of each. Real faces gather more of
# them the larger they are (above 48 searched px nearly all have 20), what only looks like one does not.
MIN_VOTES = (6.0, 10.0)  # for faces of ...
VOTES_PX = (30.0, 56.0)  # ... up to, and from, so many px of the enlarged frame; linear between
SEARCH_PX = 1.25**2 * 1920 * 1080  # pixels searched: 1080p enlarged by 1.25 finds 20-px faces, and bounds the time
MAX_ENLARGE = 2.0  # beyond it the cascade finds no more faces in small frames, only more false ones

# The network's window for a cascade's box b (square, brows to mouth): medians over 399 faces of 16 to 96 px of HELEN's
# training split in frames of 1080p; standard deviations 0.13 and 0.04, and 0.08 sideways.
WINDOW_SIDE = 1.29  # per b
WINDOW_DOWN = 0.076  # centre lower, per b
# From it the common "face" box, forehead to chin, that square_windows(kind="face") turns into that window.
FACE_WIDTH = 0.84  # per height
FACE_HEIGHT = WINDOW_SIDE / FACE_SIDE / FACE_WIDTH**0.5  # per b; square_windows goes by the root of the area
FACE_DOWN = WINDOW_DOWN + FACE_RAISE * WINDOW_SIDE  # centre lower, per b

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
        self._lock = threading.Lock()  # a cascade keeps the picture it works on
        self._cascades: Any = None

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
        code = cv2.COLOR_BGR2GRAY if self._color == "bgr" else cv2.COLOR_RGB2GRAY
        try:
            grey = cv2.cvtColor(np.ascontiguousarray(frame), code)
            with self._lock:
                if self._cascades is None:
                    self._cascades = _load_cascade(cv2, SEARCH_FILE), _load_cascade(cv2, VERIFY_FILE)
                rectangles, votes = _search(cv2, self._cascades[0], grey, size_wh)
                votes = _verified(cv2, self._cascades[1], grey, rectangles, votes)
        except cv2.error as error:
            raise DetectorError("OpenCV's cascade to run", str(error).strip(), f"try another release: {PIP}") from error
        sure = votes >= np.interp(rectangles[:, 2] * factor, VOTES_PX, MIN_VOTES)
        boxes = _distinct(face_boxes(rectangles[sure]), votes[sure])
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


def _search(
    cv2: Any,  # the module
    cascade: Any,
    grey: U8,  # [H, W]
    size_wh: tuple[int, int],  # px to search at
) -> tuple[F64, F64]:
    """Rectangles [N, 4] x, y, w, h in frame px, groups of like windows, and the number of windows [N] in each."""
    columns = grey.shape[1]
    if size_wh != (columns, grey.shape[0]):
        larger = size_wh[0] > columns
        grey = cv2.resize(grey, size_wh, interpolation=cv2.INTER_LINEAR if larger else cv2.INTER_AREA)
    windows = [tuple(int(v) for v in window) for window in cascade.detectMultiScale(grey, SCALE_STEP, 0)]
    found, counts = cv2.groupRectangles(windows * 2, 1, 0.2)  # twice, because it drops groups of one
    rectangles = np.asarray(found, np.float64).reshape(-1, 4) * (columns / size_wh[0])
    return rectangles, np.asarray(counts, np.float64).reshape(-1) / 2


def _verified(
    cv2: Any,  # the module
    cascade: Any,
    grey: U8,  # [H, W]
    rectangles: F64,  # [N, 4] x, y, w, h
    counts: F64,  # [N] windows of the search
) -> F64:
    """Votes [N]: windows of the second cascade around each rectangle plus twice `counts`, 0 where it finds none."""
    sizes = {
        "minSize": (round(0.7 * VERIFY_PX), round(0.7 * VERIFY_PX)),
        "maxSize": (round(1.45 * VERIFY_PX), round(1.45 * VERIFY_PX)),
    }
    votes = np.zeros(len(rectangles))
    for i, (x, y, side, _) in enumerate(rectangles.tolist()):
        margin = VERIFY_MARGIN * side
        left, top = int(max(0.0, x - margin)), int(max(0.0, y - margin))
        patch = grey[top : int(y + side + margin), left : int(x + side + margin)]
        factor = VERIFY_PX / side
        way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
        patch = cv2.resize(patch, None, fx=factor, fy=factor, interpolation=way)
        _, found = cascade.detectMultiScale2(patch, VERIFY_STEP, 1, **sizes)
        if len(found):
            votes[i] = max(found) + 2 * counts[i]
    return votes


def _distinct(
    boxes: F64,  # [N, 4]
    votes: F64,  # [N] windows of the cascades that agreed
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
    file: str,
) -> Any:
    path = str(Path(cv2.data.haarcascades) / file)
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        raise DetectorError(f"OpenCV's {file}", f"no such cascade at {path}", f"install it again: {PIP}")
    return cascade
