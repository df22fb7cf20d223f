"""paste_gate on the CPU runner and behind its launcher, against the rule of sdk.pipeline in NumPy."""

import fake_gpu
import numpy as np
import pytest
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized

from sdk.errors import InputError
from sdk.runtime.kernel_args import PasteGateArgs
from sdk.runtime.kernel_gate import paste_gate

pytestmark = needs_compiler
POISON = np.array(0xA5A5A5A5, np.uint32).view(np.float32)


def run(marks, *, N=None, status=None, count=None, amount=1.0, least=0.5, schedule=0):
    """strength [N], confidence [N], points [N, K, 2]"""
    N = len(marks) if N is None else N
    K = 0 if marks is None else marks.shape[1]
    with Memory() as memory:
        strength, confidence = memory.poisoned((N,), np.float32), memory.poisoned((N,), np.float32)
        points = memory.poisoned((N, K, 2), np.float32)
        args = PasteGateArgs(
            marks=None if marks is None else memory.put(marks.astype(np.float32)),
            status=None if status is None else memory.put(np.array(status, np.uint32)),
            count=None if count is None else memory.put(np.array([count], np.int32)),
            points=points.pointer, strength=strength.pointer, confidence=confidence.pointer,
            amount=amount, least=least, landmarks=K, capacity=N,
        )  # fmt: skip
        Kernels("paste_gate.cu").launch("paste_gate", args, grid=(N, 1, 1), block=(32, 1, 1), schedule=schedule)
        return strength.get(), confidence.get(), points.get()


def marks_of(*scores, K=68):
    marks = np.random.default_rng(0).uniform(0, 100, (len(scores), K, 4))
    marks[..., 2] = np.array(scores)[:, None]
    return marks


def test_by_eye():
    strength, confidence, points = agreed(lambda s: run(marks_of(0.75, 0.25, 0.5, np.nan), amount=0.5, schedule=s))
    assert strength.tolist() == [0.5, 0.0, 0.5, 0.0]
    assert confidence[:3].tolist() == [0.75, 0.25, 0.5] and np.isnan(confidence[3])
    np.testing.assert_array_equal(points, marks_of(0, 0, 0, 0)[..., :2].astype(np.float32))


@pytest.mark.parametrize("K", [1, 5, 31, 32, 33, 68, 194])
def test_the_mean_is_the_scores(K):
    marks = np.random.default_rng(K).uniform(0, 1, (3, K, 4))
    confidence = agreed(lambda s: run(marks, schedule=s))[1]
    np.testing.assert_allclose(confidence, marks[..., 2].mean(axis=1), rtol=8 * 2.0**-24)


def test_a_broken_picture_keeps_all_out_but_not_past_the_count():
    for status, count, wanted in (((0, 0, 1), None, 0.0), ((0, 0, 1), 2, 1.0), ((2, 0, 0), 1, 0.0), ((0,) * 3, 3, 1.0)):
        strength, confidence, _ = run(marks_of(0.9, 0.9, 0.9), status=status, count=count)
        done = 3 if count is None else count
        assert strength[:done].tolist() == [wanted] * done
        assert (strength[done:] == POISON).all() and (confidence[done:] == POISON).all()
    strength, *_ = run(marks_of(*[0.9] * 70), status=[0] * 69 + [1])  # further away than a warp is wide
    assert not strength.any()


def test_without_landmarks_all_are_pasted():
    strength, confidence, _ = run(None, N=2, amount=0.25)
    assert strength.tolist() == [0.25, 0.25] and np.isnan(confidence).all()


def test_the_launcher(monkeypatch):
    with fake_gpu.running(monkeypatch) as gpu:
        strength, confidence = gpu.room((2,), np.float32), gpu.room((2,), np.float32)
        points, marks = gpu.room((2, 68, 2), np.float32), gpu.put(marks_of(0.5, 0.6), np.float32)
        rest = dict(strength=strength, confidence=confidence, stream=gpu.stream)
        paste_gate(gpu.kernels, marks, points=points, least=0.55, amount=0.5, **rest)
        assert gpu.get(strength).tolist() == [0.0, 0.5]
        paste_gate(gpu.kernels, None, status=gpu.put(np.ones(2, np.uint32)), **rest)
        assert gpu.get(strength).tolist() == [0.0, 0.0]
        for changes, name in (
            (dict(points=None), "points"),
            (dict(points=gpu.room((2, 67, 2), np.float32)), "points"),
            (dict(points=points, confidence=np.zeros(2, np.float32)), "confidence"),
            (dict(points=points, status=gpu.room((3,), np.uint32)), "status"),
            (dict(points=points, amount=2.0), "amount"),
            (dict(points=points, least=float("nan")), "least"),
        ):
            with pytest.raises(InputError, match=name):
                paste_gate(gpu.kernels, marks, **{**rest, **changes})


def under_sanitizers():
    run(marks_of(0.1, 0.9, K=33), status=[0, 0])


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_paste_gate:under_sanitizers")
    assert done.returncode == 0, done.stderr
