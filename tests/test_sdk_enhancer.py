"""sdk.enhancer: numbers against a bare session, one result a box whatever the box, colours, refining, rendering."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_onnx import save_tiny, tiny_spec

import sdk
from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError, DetectorError, InputError, ModelError
from sdk.image.crop import crop, landmark_box, square_windows
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.resample import resize
from sdk.pictures import read_picture
from sdk.result import FaceStatus

FRAME = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOX = [20.0, 30.0, 40.0, 50.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_tiny(folder / "x8.onnx"), save_tiny(folder / "x4.onnx", tiny_spec(32, 4), seed=1)]


@pytest.fixture(scope="module")
def enhancer(models):
    with FaceEnhancer(models, threads=1, color="rgb", detector=lambda frame: [BOX]) as made:
        yield made


def test_numbers_equal_a_bare_session(enhancer, models):
    """The definition, step by step: crop, network, clamp and round half up, decode, window to frame."""
    result = enhancer.enhance(FRAME, [BOX], box_kind="crop")[0]
    session = onnxruntime.InferenceSession(str(models[0]), providers=["CPUExecutionProvider"])
    lr = crop(FRAME, np.array([BOX]), size=16).transpose(0, 3, 1, 2) / np.float32(255)
    sr, heatmaps = session.run(["sr", "heatmaps"], {"lr": np.ascontiguousarray(lr)})
    expected = np.floor(np.clip(sr[0].transpose(1, 2, 0), 0, 1) * np.float32(255) + np.float32(0.5))
    np.testing.assert_array_equal(result.image, expected)
    cells = decode(heatmaps, mode="centroid").points
    points = cells_to_image(cells, (32, 32), (20, 20))[0] + np.array(BOX[:2])  # the window is 20 px wide
    np.testing.assert_allclose(result.landmarks, points, atol=1e-4)  # float32 of coordinates up to 160
    corner = result.crop_to_frame @ np.array([-0.5, -0.5, 1])
    np.testing.assert_allclose(corner, np.array(BOX[:2]) - 0.5)
    assert result.image.shape == (128, 128, 3) and result.model == "tiny_x8" and result.status is FaceStatus.OK


@pytest.mark.parametrize(
    ("side", "model", "size"),
    [(12, "tiny_x8", 128), (24, "tiny_x8", 128), (25, "tiny_x4", 128), (48, "tiny_x4", 128), (49, "tiny_x4", 256)],
)
def test_the_network_fits_the_window(enhancer, side, model, size):
    result = enhancer.enhance(FRAME, [[10, 10, 10 + side, 10 + side]], box_kind="crop")[0]
    assert (result.model, result.image.shape) == (model, (size, size, 3))


def test_a_blown_up_face_goes_to_the_network_of_its_detail(enhancer):
    """A real face of 16 px enlarged to 80 px, of 32 px enlarged to 96 px, and of 64 px as it is."""
    photo = read_picture(Path(__file__).parents[1] / "benchmarks/assets/astronaut.png").pixels[58:194, 158:294]
    for pixels, side, model, size in ((16, 80, "tiny_x8", 128), (32, 96, "tiny_x4", 128), (64, 64, "tiny_x4", 256)):
        small = np.asarray(resize(photo, (pixels, pixels)), np.uint8)
        picture = np.asarray(resize(small, (side, side)), np.uint8)
        result = enhancer.enhance_aligned([picture])[0]
        assert (result.model, result.image.shape) == (model, (size, size, 3))


def test_an_explicit_model_takes_every_face(models):
    with FaceEnhancer(models[0], threads=1) as one:
        assert {r.model for r in one.enhance(FRAME, [[10, 10, 90, 90], BOX], box_kind="crop")} == {"tiny_x8"}


def test_every_box_gets_its_result(enhancer):
    nan = float("nan")
    boxes = {
        (20, 30, 40, 50): "ok",
        (-15, 10, 10, 35): "partly_outside",
        (30, 30, 37, 37): "too_small",
        (nan, 0, 10, 10): "invalid_box",
        (0, 0, float("inf"), 10): "invalid_box",
        (40, 40, 30, 50): "invalid_box",
        (40, 40, 40, 50): "invalid_box",
        (500, 40, 540, 80): "invalid_box",
        (-1e6, -1e6, 1e6, 1e6): "invalid_box",
        (50, 50, 50.1, 50.1): "invalid_box",
    }
    results = enhancer.enhance(FRAME, list(boxes), box_kind="crop")
    assert [str(r.status) for r in results] == list(boxes.values())
    for result, box in zip(results, boxes, strict=True):
        np.testing.assert_array_equal(result.box_xyxy_px, box)
        invalid = result.status is FaceStatus.INVALID_BOX
        assert (result.image is None) == (result.landmarks is None) == invalid
        assert bool(result.reason) == (result.status is not FaceStatus.OK)
        assert result.to_dict()["status"] == result.status.value
    np.testing.assert_array_equal(enhancer.render(FRAME, results[3:]), FRAME)


def test_a_sharp_face_comes_back_unharmed(enhancer):
    frame = np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    result = enhancer.enhance(frame, [[10, 10, 266, 266]], box_kind="crop")[0]
    assert result.status is FaceStatus.NOT_DEGRADED and result.landmarks is not None
    np.testing.assert_array_equal(result.image, frame[10:266, 10:266])
    np.testing.assert_array_equal(enhancer.render(frame, [result]), frame)


def test_low_confidence_leaves_the_frame(models):
    with FaceEnhancer(models, threads=1, min_confidence=0.99) as strict:
        results = strict.enhance(FRAME, [BOX])
        assert results[0].status is FaceStatus.LOW_CONFIDENCE and "0.99" in results[0].reason
        np.testing.assert_array_equal(strict.render(FRAME, results), FRAME)


def test_colour_order_is_the_callers(enhancer, models):
    with FaceEnhancer(models, threads=1, color="bgr") as other:
        rgb = enhancer.enhance(FRAME, [BOX])[0]
        bgr = other.enhance(np.ascontiguousarray(FRAME[..., ::-1]), [BOX])[0]
    np.testing.assert_array_equal(rgb.image, bgr.image[..., ::-1])
    np.testing.assert_array_equal(rgb.landmarks, bgr.landmarks)
    picture = np.asarray(FRAME[30:50, 20:40, ::1])
    np.testing.assert_array_equal(enhancer.enhance_aligned([picture])[0].image[..., 0].shape, (128, 128))


def test_refining_moves_the_window_onto_the_landmarks(models):
    """One refining pass is a first call, the landmarks' window of its points, and a second call with that window."""
    with FaceEnhancer(models[1], threads=1, refine=1) as twice, FaceEnhancer(models[1], threads=1, refine=0) as once:
        box = [40.0, 30.0, 80.0, 75.0]
        first = once.enhance(FRAME, [box])[0]
        wanted = square_windows(landmark_box(first.landmarks[None].astype(np.float64)), kind="landmarks")
        second = once.enhance(FRAME, wanted, box_kind="crop")[0]
        refined = twice.enhance(FRAME, [box])[0]
        kept = twice.enhance(FRAME, [box], box_kind="landmarks")[0]
    np.testing.assert_allclose(first.window, square_windows(np.array([box]), kind="face")[0])
    np.testing.assert_allclose(refined.window, wanted[0], atol=1e-3)
    np.testing.assert_allclose(refined.image, second.image.astype(float), atol=1)  # points are float32, windows float64
    np.testing.assert_allclose(kept.window, square_windows(np.array([box]), kind="landmarks")[0])


def test_boxes_from_everywhere_agree(enhancer):
    seen = []
    wanted = enhancer.enhance(FRAME, np.array([BOX]))[0]
    for found in (enhancer.enhance(FRAME), enhancer.enhance(FRAME, lambda frame: seen.append(frame) or [BOX])):
        np.testing.assert_array_equal(found[0].image, wanted.image)
    assert seen[0] is FRAME  # the caller's own frame, in the caller's colours
    assert enhancer.enhance(FRAME, []) == [] == enhancer.enhance(FRAME, np.zeros((0, 4)))
    np.testing.assert_array_equal(enhancer.detect(FRAME), [BOX])


@pytest.mark.parametrize(
    "boxes",
    [BOX, [[1, 2, 3]], [[1, 2, 3, 4, 5]], [list("abcd")], [[1, 2], [3]], 5, [[1j] * 4], np.zeros((2, 2, 2)),
     np.ones((1, 4), bool)],
)  # fmt: skip
def test_wrong_boxes(enhancer, boxes):
    with pytest.raises(InputError, match=r"boxes as numbers of shape \(N, 4\); got .*; pass one row"):
        enhancer.enhance(FRAME, boxes)
    with pytest.raises(DetectorError, match="detector that returns boxes"):
        enhancer.enhance(FRAME, lambda frame: boxes)


def test_frames_of_every_kind(enhancer):
    grey = FRAME[..., 0]
    wanted = enhancer.enhance(np.repeat(grey[..., None], 3, axis=2), [BOX])[0].image
    alpha = np.dstack([np.repeat(grey[..., None], 3, axis=2), np.zeros_like(grey)])
    for frame in (grey, grey[..., None], alpha, grey.astype(np.uint16) * 257, (grey / 255).astype(np.float32)):
        np.testing.assert_array_equal(enhancer.enhance(frame, [BOX])[0].image, wanted)
        assert enhancer.render(frame, []).shape == FRAME.shape
    tiny = enhancer.enhance(FRAME[:1, :1], [[0, 0, 1, 1]], box_kind="crop")[0]
    assert tiny.status is FaceStatus.TOO_SMALL and (tiny.image == FRAME[0, 0]).all()


@pytest.mark.parametrize("frame", [np.full((9, 9, 3), np.nan), np.full((9, 9), 2.0), np.zeros((9, 9, 2), np.uint8),
                                   np.zeros((0, 9, 3), np.uint8), np.zeros(9), np.zeros((9, 9, 3), np.int64), [[1]],
                                   "photo.jpg", None])  # fmt: skip
def test_wrong_frames(enhancer, frame):
    for call in (lambda: enhancer.enhance(frame, [BOX]), lambda: enhancer.render(frame, []),
                 lambda: enhancer.enhance_aligned([frame])):  # fmt: skip
        with pytest.raises(InputError, match="expected .*; got .*; .*"):
            call()


def test_aligned_pictures_of_any_size(enhancer):
    pictures = [FRAME[:16, :16], FRAME[:64, :64], FRAME[:40, :40, 0]]
    results = enhancer.enhance_aligned(pictures)
    assert [r.image.shape[0] for r in results] == [128, 256, 128]
    whole = enhancer.enhance(pictures[0], [[0, 0, 16, 16]], box_kind="crop")[0]
    np.testing.assert_array_equal(results[0].landmarks, whole.landmarks)
    assert enhancer.enhance_aligned([]) == []
    with pytest.raises(InputError, match="square"):
        enhancer.enhance_aligned([FRAME])
    with pytest.raises(InputError, match=r"crops\[None\]"):
        enhancer.enhance_aligned(FRAME)


def test_render_strength(enhancer):
    results = enhancer.enhance(FRAME, [BOX, [90, 40, 130, 90]])
    before = FRAME.copy()
    full, none = enhancer.render(FRAME, results), enhancer.render(FRAME, results, strength=0)
    np.testing.assert_array_equal(FRAME, before)
    np.testing.assert_array_equal(none, FRAME)
    assert (full != FRAME).any() and not np.shares_memory(full, FRAME)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="strength"):
            enhancer.render(FRAME, results, strength=strength)


def test_wrong_options_and_use_after_close(models):
    for options in (dict(color="grey"), dict(refine=-1), dict(min_confidence=2), dict(detector=3)):
        with pytest.raises(InputError):
            FaceEnhancer(models, **options)
    with pytest.raises(InputError, match="at least one model"):
        FaceEnhancer([])
    with pytest.raises(ModelError, match="absent"):
        FaceEnhancer([models[0], "absent.onnx"])
    closed = FaceEnhancer(models)
    closed.close()
    closed.close()
    with pytest.raises(BackendError, match=r"close\(\)"):
        closed.enhance(FRAME, [BOX])
    with pytest.raises(InputError, match="box_kind"), FaceEnhancer(models) as opened:
        opened.enhance(FRAME, [BOX], box_kind="head")


def test_a_network_that_gives_nan_is_refused():
    class Broken:  # a fake backend: the SDK runs without any library
        spec = tiny_spec(heatmap_kind=None, heatmap_count=0, heatmap_size=0, output_names=("sr",))
        value = np.nan

        def run(self, batch):
            return {"sr": np.full((len(batch), 3, 128, 128), self.value, np.float32)}

        def close(self):
            self.value = None

    fake = Broken()
    with FaceEnhancer(fake) as broken, pytest.raises(ModelError, match="finite pixels"):
        broken.enhance(FRAME, [BOX])
    fake.value = 0.5
    result = FaceEnhancer(fake).enhance(FRAME, [BOX])[0]
    assert result.landmarks is None and np.isnan(result.confidence) and result.status is FaceStatus.OK
    assert (result.image == 128).all()
    assert sdk.FaceEnhancer is FaceEnhancer
