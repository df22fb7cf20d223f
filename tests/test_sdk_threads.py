"""The same bits alone, in a batch and beside other threads; results own their memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_onnx import save_tiny, tiny_spec

from sdk.enhancer import FaceEnhancer
from sdk.errors import ModelError
from sdk.zoo import shipped_paths

REQUESTS, THREADS = 200, 8


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def enhancer(request, tmp_path_factory):
    """Two networks, made here or those that come with the package, and a detector that costs nothing."""
    folder = tmp_path_factory.mktemp("models")
    models = [save_tiny(folder / "x8.onnx"), save_tiny(folder / "x4.onnx", tiny_spec(32, 4), seed=1)]
    if request.param == "shipped":
        try:
            models = shipped_paths()
        except ModelError:
            pytest.skip("no shipped models in this checkout")
    with FaceEnhancer(models, detector=lambda frame: [[5, 5, 30, 35]], threads=1, min_confidence=0.01) as made:
        yield made


def mixed_requests():
    """(method, arguments) of every kind: sizes for both networks, batches, no face, invalid boxes, whole pictures."""
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(6)]
    requests = []
    for number in range(REQUESTS):
        frame = frames[number % len(frames)]
        corner = rng.uniform(-5, 60, (number % 4, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 50, (len(corner), 1))], axis=1)
        kind = number % 5
        if kind == 3:
            requests.append(("enhance_aligned", ([frame[:32, :32], frame[:20, :20]],), {}))
        elif kind == 4:
            requests.append(("enhance", (frame,), {}))
        else:
            requests.append(("enhance", (frame, boxes), dict(box_kind=("face", "landmarks", "crop")[kind])))
    return requests


def bits(results):
    """All that a list of results says, as bytes."""
    parts = []
    for result in results:
        arrays = (result.image, result.landmarks, result.scores, result.spread, result.window, result.crop_to_frame)
        parts += [None if array is None else (array.shape, array.tobytes()) for array in arrays]
        parts += [result.status, result.reason, result.model]
    return parts


def test_eight_threads_equal_one(enhancer):
    def serve(request):
        name, arguments, options = request
        return bits(getattr(enhancer, name)(*arguments, **options))

    requests = mixed_requests()
    serial = [serve(request) for request in requests]
    with ThreadPoolExecutor(THREADS) as pool:
        parallel = list(pool.map(serve, requests))
    different = [number for number in range(REQUESTS) if serial[number] != parallel[number]]
    assert not different
    assert len({str(one) for one in serial}) > REQUESTS // 2  # the requests did differ


def test_a_face_has_the_same_bits_alone_and_in_any_batch(enhancer):
    frame = np.random.default_rng(4).integers(0, 256, (100, 160, 3), dtype=np.uint8)
    corner = np.random.default_rng(5).uniform(0, 90, (7, 2))
    boxes = np.concatenate([corner, corner + np.linspace(9, 60, 7)[:, None]], axis=1)
    together = enhancer.enhance(frame, boxes)
    alone = [enhancer.enhance(frame, box[None])[0] for box in boxes]
    assert bits(together) == bits(alone)
    assert bits(enhancer.enhance(frame, boxes[::-1])) == bits(alone[::-1])


def test_results_own_their_memory(enhancer):
    frame = np.random.default_rng(6).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    kept = enhancer.enhance(frame, [[4, 4, 30, 36], [20, 20, 50, 60], [-900, 0, -800, 9], [0, 0, 64, 64]])
    before = bits(kept)
    frame[:] = 0
    enhancer.enhance(frame, [[4, 4, 30, 36], [20, 20, 50, 60]])
    assert bits(kept) == before
    for result in kept:
        for array in (result.image, result.landmarks, result.box_xyxy_px, result.window):
            assert array is None or array.base is None or array.base.size == array.size
