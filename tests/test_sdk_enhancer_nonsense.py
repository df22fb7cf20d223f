"""Boxes and frames that make no sense, on the GPU's way: what the CPU says of them, and nothing else is touched."""

import re

import fake_host
import numpy as np
import pytest
from test_sdk_enhancer_kernels import LEVELS, POINTS_PX, networks, on_gpu, pytestmark  # noqa: F401 (a fixture)

from sdk.enhancer import FaceEnhancer
from sdk.runtime.device import Device

NUMBERS = (0.0, -1.0, 1e-30, 0.5, 31.0, 1e4, -1e4, 3e7, 1e30, np.inf, -np.inf, np.nan)


@pytest.fixture
def host(monkeypatch, tmp_path):
    with fake_host.running(monkeypatch, tmp_path) as found:
        yield found


def same(found, wanted):
    """Sentences hold digits that are rounded this way or that; in noise, a few points have two peaks of one height."""
    off = []
    for mine, theirs in zip(found, wanted, strict=True):
        words = [re.sub(r"[\d.]+", "#", one.reason) for one in (mine, theirs)]
        assert (mine.status, mine.model, words[0]) == (theirs.status, theirs.model, words[1])
        np.testing.assert_allclose(mine.window, theirs.window)
        assert (mine.image is None) == (theirs.image is None) and (mine.landmarks is None) == (theirs.landmarks is None)
        if theirs.image is not None:
            assert np.abs(mine.image.astype(int) - theirs.image).max() <= LEVELS
            off.append(np.abs(mine.landmarks - theirs.landmarks).max(axis=1) > POINTS_PX)
    assert np.mean(off) < 0.02


def nonsense(rng, size_hw, count):
    """Boxes [count, 4]: on the edges, beside the frame, inverted, without area, huge, and not finite."""
    H, W = size_hw
    low = rng.uniform(-1.5, 1.5, (count, 2)) * [W, H]
    boxes = np.concatenate([low, low + rng.uniform(-0.5, 2.0, (count, 2)) * max(H, W)], axis=1)
    wrong = rng.random(boxes.shape) < 0.12
    boxes[wrong] = rng.choice(NUMBERS, int(wrong.sum()))
    return boxes


@pytest.mark.parametrize("box_kind", ["face", "crop", "landmarks"])
def test_boxes_of_nonsense_give_what_the_cpu_gives(host, networks, box_kind):  # noqa: F811
    rng = np.random.default_rng(len(box_kind))
    frame = rng.integers(0, 256, (48, 64, 3), np.uint8)
    boxes = nonsense(rng, (48, 64), 12)
    with FaceEnhancer(networks, kernels=False, min_confidence=0.1, refine=0) as reference:
        wanted = reference.enhance(frame, boxes, box_kind=box_kind)
        rendered = reference.render(frame, wanted)
    with FaceEnhancer(networks, min_confidence=0.1, refine=0) as enhancer:
        same(enhancer.enhance(frame, boxes, box_kind=box_kind), wanted)
        there = on_gpu(host, Device(0), frame)
        same(enhancer.enhance_device(there, boxes, box_kind=box_kind, pictures=True), wanted)
        off = np.abs(there.copy_to_host().astype(int) - rendered)  # a point that moved moves its mask
        assert (off > 2 * LEVELS).mean() < 0.02
        host.cuda.memory.pop(there.pointer)
    assert len({one.status for one in wanted}) >= 2


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (1, 40), (33, 1)], ids=str)
def test_frames_of_a_few_pixels(host, networks, size_hw):  # noqa: F811
    """The network sees stripes there, and which of equal peaks wins hangs on rounding: no points are compared."""
    rng = np.random.default_rng([*size_hw])
    frame, boxes = rng.integers(0, 256, (*size_hw, 3), np.uint8), nonsense(rng, size_hw, 20)
    with FaceEnhancer(networks, kernels=False, min_confidence=0.1, refine=0) as reference:
        wanted = reference.enhance(frame, boxes)
    with FaceEnhancer(networks, min_confidence=0.1, refine=0) as enhancer:
        there = on_gpu(host, Device(0), frame)
        found = enhancer.enhance_device(there, boxes, pictures=True)
        host.cuda.memory.pop(there.pointer)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.model == theirs.model and (mine.image is None) == (theirs.image is None)
        np.testing.assert_allclose(mine.window, theirs.window)
        assert mine.landmarks is None or np.isfinite(mine.landmarks).all()
