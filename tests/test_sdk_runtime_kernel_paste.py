"""The launcher of paste on the fake GPU, which runs the kernels themselves, against sdk.image.paste; NV12 both ways."""

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import InputError
from sdk.image.crop import window_affine
from sdk.image.nv12 import Nv12Frame
from sdk.image.nv12_paste import paste_nv12
from sdk.image.paste import paste
from sdk.runtime import kernel_paste
from sdk.runtime.kernel_frames import DeviceNv12
from sdk.runtime.kernel_paste import PLACED_BYTES

pytestmark = kernel_host.needs_compiler

RNG = np.random.default_rng(6)
FRAME = RNG.integers(0, 256, (12, 16, 3), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
FACES = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
WINDOWS = np.array([[10.0, 8.0, 40.5, 38.5], [30.0, 20.0, 60.0, 50.0], [-10.0, 40.0, 30.0, 80.0]])
MAPS = window_affine(WINDOWS, size=32)


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch) as found:
        yield found


def put_all(gpu):
    return dict(faces=gpu.put(FACES), crop_to_frame=gpu.put(MAPS, np.float32), placed=gpu.room((3, PLACED_BYTES), "u1"))


@pytest.mark.parametrize("color_match", [False, True])
def test_equals_the_reference_in_place(gpu, color_match):
    frame, status = gpu.put(FRAME), gpu.room((3,), np.int32)
    kernel_paste.paste(
        gpu.kernels, frame, **put_all(gpu), stream=gpu.stream, strength=0.5, color_match=color_match, status=status
    )
    off = np.abs(gpu.get(frame).astype(int) - paste(FRAME, FACES, MAPS, strength=0.5, color_match=color_match))
    assert off.max() <= 1 and (off > 0).mean() < 0.01  # float32 against float64 at a tie of rounding
    assert gpu.get(status).tolist() == [0, 0, 0]


def test_strengths_count_and_faces_that_are_none(gpu):
    maps = MAPS.copy()
    maps[1] = np.nan
    frame, status = gpu.put(FRAME), gpu.room((3,), np.int32)
    given = put_all(gpu) | dict(crop_to_frame=gpu.put(maps, np.float32))
    kernel_paste.paste(
        gpu.kernels, frame, **given, stream=gpu.stream, strength=gpu.put([1.0, 1.0, 1.0], np.float32),
        count=gpu.put([2], np.int32), status=status,
    )  # fmt: skip
    off = np.abs(gpu.get(frame).astype(int) - paste(FRAME, FACES[:1], MAPS[:1]))
    assert off.max() <= 1
    assert gpu.get(status)[:2].tolist() == [0, 1]


def test_nv12(gpu):
    y, uv = RNG.integers(30, 220, (60, 82), np.uint8), RNG.integers(90, 160, (30, 41, 2), np.uint8)
    wanted = Nv12Frame(y.copy(), uv.copy())
    paste_nv12(wanted, FACES, MAPS)
    frame = DeviceNv12(gpu.put(y), gpu.put(uv))
    kernel_paste.paste(gpu.kernels, frame, **put_all(gpu), stream=gpu.stream)
    for found, plane in ((frame.y, wanted.y), (frame.uv, wanted.uv)):
        off = np.abs(gpu.get(found).astype(int) - plane)
        assert off.max() <= 1 and (off > 0).mean() < 0.02


def test_zero_faces_launch_nothing(gpu):
    empty = dict(faces=gpu.room((0, 8, 8, 3), "u1"), crop_to_frame=gpu.room((0, 2, 3), "f4"))
    kernel_paste.paste(
        gpu.kernels, gpu.put(FRAME), **empty, placed=gpu.room((0, PLACED_BYTES), "u1"), stream=gpu.stream
    )
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


BAD = {
    "host frame": (lambda gpu: dict(frame=FRAME), "frame on the GPU"),
    "faces": (lambda gpu: dict(faces=gpu.room((3, 8, 9, 3), "u1")), "faces of shape"),
    "maps": (lambda gpu: dict(crop_to_frame=gpu.put(MAPS)), "crop_to_frame of float32"),
    "few maps": (lambda gpu: dict(crop_to_frame=gpu.put(MAPS[:2], np.float32)), "crop_to_frame of shape .N=3"),
    "placed": (lambda gpu: dict(placed=gpu.room((3, 100), "u1")), "placed of shape"),
    "landmarks": (lambda gpu: dict(landmarks=gpu.room((3, 67, 2), "f4")), "landmarks of shape"),
    "strength": (lambda gpu: dict(strength=1.5), "strength in"),
    "feather": (lambda gpu: dict(feather=0.0), "feather > 0"),
    "host strengths": (lambda gpu: dict(strength=np.ones(3, np.float32)), "strength on the GPU"),
    "planes": (lambda gpu: dict(frame=DeviceNv12(gpu.room((60, 82), "u1"), gpu.room((30, 40, 2), "u1"))), "frame.uv"),
}


@pytest.mark.parametrize(("change", "names"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named_before_the_launch(gpu, change, names):
    given = dict(frame=gpu.put(FRAME)) | put_all(gpu) | change(gpu)
    with pytest.raises(InputError, match=names):
        kernel_paste.paste(gpu.kernels, given.pop("frame"), stream=gpu.stream, **given)
    assert gpu.cuda.calls["cuLaunchKernel"] == 0


def test_an_unknown_siting_of_nv12():
    with pytest.raises(InputError, match="siting"):
        DeviceNv12(None, None, siting="top")
