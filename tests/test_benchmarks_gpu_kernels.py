"""The kernels' part of the GPU check, run on the fake GPU; the rivals' arithmetic on torch's CPU."""

import fake_cuda
import kernel_host
import numpy as np
import pytest

from benchmarks import gpu_kernels, kernel_cases, kernel_rivals
from benchmarks.gpu_arrays import NotPossible
from benchmarks.gpu_engines import Broken
from benchmarks.gpu_kernels import Bench
from sdk.image.crop import apply_affine
from sdk.image.heatmap import decode

pytestmark = kernel_host.needs_compiler

SMALL = {case.kernel: case for case in reversed(kernel_cases.all_cases()) if case.faces == 1}


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "WARM_UP_S", 0.0)
    monkeypatch.setattr(gpu_kernels, "MEASURE_S", 0.0)
    monkeypatch.setattr(gpu_kernels, "ROTATED_L2", 0.01)
    cuda = fake_cuda.install(monkeypatch)
    yield cuda
    assert not cuda.problems, cuda.problems
    assert cuda.live in ({}, {"contexts": 1}), cuda.live


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_a_sound_kernel_passes(cuda, case):
    with Bench.open() as bench:
        assert gpu_kernels.correct(bench, case)["seed"] >= 0


@pytest.mark.parametrize("kernel", ["heatmap_decode", "image_tail", "crop_norm", "paste", "pixel_shuffle"])
def test_a_wrong_output_is_found(cuda, monkeypatch, kernel):
    """The output as it was poisoned: a launch that does nothing."""
    case = SMALL[kernel]
    monkeypatch.setattr(gpu_kernels.KernelSet, "launch", lambda *_, **__: None)
    with Bench.open() as bench, pytest.raises(Broken, match="is off by .* .seed"):
        gpu_kernels.correct(bench, case)


def test_times(cuda):
    with Bench.open() as bench:
        rate = gpu_kernels.copy_rate(bench)
        found = gpu_kernels.timed(bench, SMALL["pixel_shuffle"], rate)
    assert rate > 0 and found["graph_us"] > 0 and found["plain_us"] > 0 and found["launches"] == 2 and found["cold"]


def test_checks_have_names_of_their_own(monkeypatch):
    monkeypatch.setattr(gpu_kernels.shutil, "which", lambda name: None)
    found = dict(gpu_kernels.checks())
    assert len(found) == len(list(gpu_kernels.checks())) and "kernels racecheck" in found
    assert all(name.startswith("kernels ") for name in found)
    with pytest.raises(NotPossible, match="no compute-sanitizer"):
        found["kernels memcheck"]()
    rival = next(name for name in found if "rival" in name)
    with pytest.raises(NotPossible, match="torch"):
        found[rival]()


def tensors(case):
    torch = pytest.importorskip("torch")
    given = case.make(np.random.default_rng(1))
    return torch, given, {name: torch.from_numpy(one) for name, one in given.items()}


def test_the_rival_of_decode_decodes():
    torch, given, on_torch = tensors(SMALL["heatmap_decode"])
    found = kernel_rivals.prepared("heatmap_decode", torch)(**on_torch).numpy()
    wanted = decode(given["maps"], mode="quarter")
    np.testing.assert_allclose(found[..., :2], apply_affine(wanted.points, given["matrices"]), atol=1e-3)


def test_the_rival_of_pixel_shuffle_shuffles():
    torch, given, on_torch = tensors(SMALL["pixel_shuffle"])
    SMALL["pixel_shuffle"].check(given, {"out": kernel_rivals.prepared("pixel_shuffle", torch)(**on_torch).numpy()})


def test_the_rival_of_the_tail_makes_the_same_picture():
    """In half precision throughout, whose rounding is up to a quarter of a level."""
    case = next(one for one in kernel_cases.all_cases() if one.kernel == "image_tail" and "r=1 " in one.what)
    torch, given, on_torch = tensors(case)
    found = kernel_rivals.prepared("image_tail", torch)(**on_torch).numpy()
    with pytest.raises(Broken, match="share_of_levels is off by 0.0"):  # and no level by more than one
        case.check(given, {"picture": found})


def test_the_rival_of_crop_finds_the_faces():
    """Without antialiasing: only about the same colours."""
    torch, given, on_torch = tensors(SMALL["crop_norm"])
    on_torch["frame"] = on_torch["frame"] // 255 * 0 + 128
    found = kernel_rivals.prepared("crop_norm", torch)(**on_torch).float().numpy()
    assert found.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(found, 128 / 255, atol=1e-3)
