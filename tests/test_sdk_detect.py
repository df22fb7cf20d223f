"""sdk.detect: a real photo's face at many sizes, in the boxes that square_windows expects; what is missing is named."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sdk import detect
from sdk.detect import CascadeDetector, YuNetDetector, face_boxes, open_detector
from sdk.errors import DetectorError, InputError, MissingPackageError
from sdk.image.crop import square_windows
from sdk.image.resample import resize
from sdk.pictures import read_picture

PHOTO = read_picture(Path(__file__).parents[1] / "benchmarks/assets/astronaut.png").pixels
WINDOW = np.array([157.6, 58.6, 293.4, 194.3])  # of the face in it, by its landmarks: 90 px between brows and chin


def overlap(a, b):
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner)


def best(boxes, window):
    return max((overlap(w, window) for w in square_windows(boxes, kind="face")), default=0.0)


def reduced(factor):
    size = round(512 * factor)
    return np.asarray(resize(PHOTO, (size, size)), np.uint8), WINDOW * size / 512


@pytest.mark.parametrize("face_px", [90, 45, 24, 18])
def test_the_face_is_found_at_every_size(face_px):
    """IoU 0.6: windows a tenth off in each direction; the refining pass takes care of the rest."""
    picture, window = reduced(face_px / 90)
    boxes = CascadeDetector(color="rgb")(picture)
    assert boxes.dtype == np.float64 and boxes.shape[1] == 4 and best(boxes, window) > 0.6
    heights = boxes[:, 3] - boxes[:, 1]
    assert (heights[:-1] >= heights[1:]).all()


def test_a_small_face_in_a_larger_frame():
    picture, window = reduced(20 / 90)
    frame = np.full((360, 640, 3), 90, np.uint8)
    frame[100 : 100 + len(picture), 300 : 300 + len(picture)] = picture
    assert best(CascadeDetector(color="rgb")(frame), window + np.tile([300, 100], 2)) > 0.6
    assert best(CascadeDetector(color="rgb", min_face_px=80)(frame), window + np.tile([300, 100], 2)) == 0


def test_colour_orders_agree_and_the_frame_is_left_alone():
    picture = reduced(0.5)[0]
    before = picture.copy()
    rgb = CascadeDetector(color="rgb")(picture)
    np.testing.assert_array_equal(rgb, CascadeDetector(color="bgr")(picture[..., ::-1]))
    np.testing.assert_array_equal(picture, before)


def test_box_convention_by_eye():
    """A cascade's square of 100 px about (50, 50): the window has 129 px, its centre is 7.6 px lower."""
    box = face_boxes(np.array([[0.0, 0.0, 100.0, 100.0]]))
    window = square_windows(box, kind="face")[0]
    np.testing.assert_allclose(window, [50 - 64.5, 57.6 - 64.5, 50 + 64.5, 57.6 + 64.5])
    assert 0.7 < (box[0, 2] - box[0, 0]) / (box[0, 3] - box[0, 1]) < 0.9  # narrower than high, as faces are


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (40, 40, 3)])
def test_no_face_is_an_empty_array(shape):
    assert CascadeDetector()(np.zeros(shape, np.uint8)).shape == (0, 4)


def test_threads_take_turns():
    pictures = [reduced(factor)[0] for factor in (0.3, 0.25, 0.2, 0.3)]
    detector = CascadeDetector(color="rgb")
    serial = [detector(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for expected, found in zip(serial, pool.map(detector, pictures), strict=True):
            np.testing.assert_array_equal(expected, found)


def test_open_detector(tmp_path):
    def own(frame):
        return []

    assert open_detector(own) is own and isinstance(open_detector(None), CascadeDetector)
    with pytest.raises(InputError, match="None, a path or a callable"):
        open_detector(3)
    with pytest.raises(InputError, match="min_face_px"):
        CascadeDetector(min_face_px=0)
    with pytest.raises(DetectorError, match="YuNet"):
        open_detector(tmp_path / "absent.onnx")


def test_a_yunet_file_that_is_none(tmp_path):
    path = tmp_path / "yunet.onnx"
    path.write_text("no network")
    with pytest.raises(DetectorError, match=r"yunet\.onnx, which OpenCV refuses"):
        YuNetDetector(path)(np.zeros((40, 40, 3), np.uint8))


def test_yunet_boxes(tmp_path, monkeypatch):
    """Rows of OpenCV's FaceDetectorYN are x, y, w, h, five points and a score; frames must be BGR."""
    seen = []
    rows = np.array([[10, 20, 5, 6, *[0] * 10, 0.9], [1, 2, 30, 40, *[0] * 10, 0.7]], np.float32)
    network = SimpleNamespace(setInputSize=seen.append, detect=lambda image: seen.append(image) or (1, rows))
    maker = SimpleNamespace(create=lambda *arguments: network)
    fake = SimpleNamespace(FaceDetectorYN=maker, error=ZeroDivisionError)
    monkeypatch.setattr(detect, "_opencv", lambda needed: fake)
    (tmp_path / "a.onnx").touch()
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    boxes = open_detector(str(tmp_path / "a.onnx"), color="rgb")(picture)
    np.testing.assert_array_equal(boxes, [[1, 2, 31, 42], [10, 20, 15, 26]])
    assert seen[0] == (9, 8)
    np.testing.assert_array_equal(seen[1], picture[..., ::-1])
    network.detect = lambda image: (0, None)
    assert open_detector(tmp_path / "a.onnx")(picture).shape == (0, 4)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "no such package installed"),
        (SimpleNamespace(__version__="5.0.0"), "OpenCV 5.0.0, which has no CascadeClassifier"),
    ],
)
def test_without_a_fitting_opencv(monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, "cv2", module)
    with pytest.raises(MissingPackageError, match=f'{words}; install it: pip install "opencv-python-headless'):
        CascadeDetector()(np.zeros((40, 40, 3), np.uint8))
