"""The check of the whole chain, on the fake GPU with real kernels: passes as it is, and finds what is wrong."""

import fake_host
import kernel_host
import numpy as np
import pytest
from chain_host import FRAME, SPEC, engine

from benchmarks import gpu_chain, gpu_runtime
from benchmarks.gpu_engines import Broken
from sdk.runtime import face_chain

pytestmark = kernel_host.needs_compiler
FACES = np.stack([FRAME[y : y + 8, x : x + 8].transpose(2, 0, 1) / np.float32(255) for y, x in ((0, 0), (20, 30))])
SMALL = dict(rounds=1, sizes=(3,), frame_hw=(48, 64))


@pytest.fixture
def path(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_runtime, "WARM_UP", 1)
    with fake_host.running(monkeypatch, tmp_path) as host:
        engine(tmp_path).close()
        yield tmp_path / "x2.engine"
        host.cuda.problems.clear()  # of the stale graph


def test_faces_lie_where_the_windows_say():
    frame, windows = gpu_chain.scene(FACES, 5, frame_hw=(48, 64))
    assert frame.shape == (48, 64, 3) and len({tuple(one) for one in windows.tolist()}) == 5
    x0, y0, x1, y1 = windows[2].astype(int)
    assert (x1 - x0, y1 - y0) == (10, 10) and (frame[y0:y1, x0:x1] == frame[1:11, 1:11]).all()  # the first one again
    with pytest.raises(Broken, match="do not fit"):
        gpu_chain.scene(FACES, 500, frame_hw=(48, 64))


def test_it_passes_and_tells_differences_and_times(path):
    (numbers,) = gpu_chain.chain(path, FACES, **SMALL).values()
    assert 0 <= numbers["apart"]["level"] <= 1 and numbers["apart"]["point_px"] < 0.05
    for name in ("device_graph", "device_launches", "host_graph", "host_launches", "host_cpu"):
        assert numbers[name]["median_ms"] > 0
    assert numbers["device_launches_over_graph"] > 0


@pytest.mark.parametrize("broken", ["paste", "capture", "stale"])
def test_what_is_wrong_is_found(path, monkeypatch, broken):
    if broken == "paste":  # a wrong strength
        real = face_chain.paste_gate
        monkeypatch.setattr(face_chain, "paste_gate", lambda *all_, amount, **rest: real(*all_, amount=0.5, **rest))
        words = "further from the CPU's"
    elif broken == "capture":
        monkeypatch.setattr("sdk.runtime.trt_api.TensorRT.enqueue", refusing())
        words = "no graph"
    else:  # a graph that is not told of another frame
        monkeypatch.setattr(face_chain, "edit", lambda *_: True)
        words = "graph and launches paste other pixels|CUDA_ERROR"
    with pytest.raises(Exception, match=words) as caught:
        gpu_chain.chain(path, FACES, **SMALL)
    assert caught.type.__name__ in ("Broken", "BackendError", "Failed")


def refusing():
    """TensorRT's enqueue, which fails in a recording."""
    from sdk.errors import BackendError
    from sdk.runtime.trt_api import TensorRT

    real = TensorRT.enqueue

    def enqueue(self, context, stream):
        if context.cuda.capturing(stream):
            raise BackendError("an engine that can be recorded", "one that cannot", "pass graphs=False")
        real(self, context, stream)

    return enqueue


def test_sizes_of_the_check_meet_a_full_and_a_partly_full_bucket():
    assert {1, 3, 8} <= set(gpu_chain.FACES) and SPEC.lr_size * gpu_chain.WINDOW < 1.5 * SPEC.lr_size
