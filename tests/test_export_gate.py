"""The gate's numbers on errors that are known beforehand, and what it refuses."""

import json
import math

import numpy as np
import pytest
from small_network import LR, small_model, small_spec

from export.faces import Faces, load_faces
from export.gate import THRESHOLDS, answer, judge, onnx_runner
from sdk.errors import BuildError, ModelError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def faces(model):
    return load_faces("builtin", spec=model.spec, count=64).take(slice(0, 12))


@pytest.fixture(scope="module")
def runner(model):
    return onnx_runner(model.graph)


def changed(runner, **changes):
    """The runner with functions applied to its outputs."""

    def run(batch):
        outputs = dict(runner(batch))
        return {name: changes.get(name, lambda x: x)(array) for name, array in outputs.items()}

    return run


def test_the_network_itself_loses_nothing(model, runner, faces):
    verdict = judge(model, runner, faces, precision="fp16")
    assert verdict.passed
    assert verdict.numbers["psnr_fp32_db"] == 150.0
    assert verdict.numbers["dpsnr_db"] == verdict.numbers["dssim"] == verdict.numbers["moved_pt"] == 0.0
    assert verdict.faces == 12 and verdict.faces_sha256 == faces.sha256


def test_psnr_against_fp32_is_that_of_the_error_put_in(model, runner, faces):
    """An error of exactly 1 % of the range on pictures that clipping leaves alone is 40 dB."""
    middle = changed(runner, sr=lambda x: 0.3 + 0.4 * np.clip(x, 0, 1))
    fp32 = answer(middle, faces, model.spec)
    shifted = changed(middle, sr=lambda x: x + 0.01)
    numbers = judge(model, shifted, faces, precision="int8", fp32=fp32).numbers
    assert numbers["psnr_fp32_db"] == pytest.approx(40.0, abs=1e-3)
    assert numbers["worst_psnr_fp32_db"] == pytest.approx(40.0, abs=1e-3)
    assert numbers["max_error_sr"] == pytest.approx(0.01, abs=1e-6)


def test_points_moved_by_a_known_distance(tmp_path):
    """Maps rolled by one of 8 cells on 16 px move every point away from the border by 2 px."""
    spec = small_spec(heatmap_count=68)
    points = np.random.default_rng(0).uniform(5, 10, (12, 68, 2)).astype(np.float32)
    points[:, 36], points[:, 45] = (4.0, 8.0), (12.0, 8.0)  # outer eye corners 8 px apart
    maps = np.zeros((12, 68, LR, LR), np.float32)
    cells = np.clip(((points + 0.5) / 2 - 0.5).round().astype(int), 1, 6)
    for i, k in np.ndindex(12, 68):
        maps[i, k, cells[i, k, 1], cells[i, k, 0]] = 1.0
    pictures = np.random.default_rng(1).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    sr = np.moveaxis(pictures, 3, 1).astype(np.float32) / 255
    seen = []

    def run(batch, roll=0):
        start = 0 if not seen or seen[-1] >= 12 else seen[-1]
        seen.append(start + len(batch))
        part = slice(start, start + len(batch))
        return {"sr": sr[part], "heatmaps": np.roll(maps[part], roll, axis=3)}

    model = small_model(tmp_path)
    model = type(model)(model.graph, spec, model.path, model.sha256)
    faces = Faces("made", pictures, ((cells + 0.5) * 2 - 0.5).astype(np.float32), points_by="made")
    fp32 = answer(run, faces, spec)
    np.testing.assert_allclose(fp32.points, faces.points, atol=1e-3)
    verdict = judge(model, lambda b: run(b, roll=1), faces, precision="int8", fp32=fp32)
    eyes = np.linalg.norm(faces.points[:, 36] - faces.points[:, 45], axis=1)
    expected = 100 * float((2.0 / eyes).mean())
    assert verdict.numbers["moved_pt"] == pytest.approx(expected, rel=1e-3)
    assert verdict.numbers["dnme_pt"] == pytest.approx(expected, rel=1e-3)
    assert not verdict.passed and "points of NME are lost, 0.25 are allowed" in verdict.reasons[0]


def test_a_worse_picture_is_refused_with_its_loss(model, runner, faces):
    noise = np.random.default_rng(0).normal(0, 0.15, (12, 3, 16, 16)).astype(np.float32)
    verdict = judge(model, changed(runner, sr=lambda x: x + noise[: len(x)]), faces, precision="int8")
    assert not verdict.passed
    assert "dB of PSNR are lost, 0.25 are allowed" in " ".join(verdict.reasons)
    assert verdict.numbers["dssim"] > 0.01


def test_fp16_has_to_stay_above_50_db(model, runner, faces):
    assert THRESHOLDS["fp16"].psnr_fp32_db == 50.0 and THRESHOLDS["fp16"].dnme_pt == 0.02
    verdict = judge(model, changed(runner, sr=lambda x: x + 0.005), faces, precision="fp16")
    assert any("at least 50 is asked" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("output", ["sr", "heatmaps"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_in_one_face_is_seen(model, runner, faces, output, value):
    def spoil(array):
        array = array.copy()
        array[2, 1, 3, 3] = value
        return array

    verdict = judge(model, changed(runner, **{output: spoil}), faces, precision="int8")
    assert not verdict.passed
    assert f"the int8 network gives NaN or infinity in {output} of 2 of 12 faces" in verdict.reasons[0]
    assert json.loads(json.dumps(verdict.as_dict(), allow_nan=False))["passed"] is False


def test_a_network_that_is_nan_in_fp32_already_is_named_as_such(model, runner, faces):
    broken = answer(changed(runner, sr=lambda x: x * np.nan), faces, model.spec)
    verdict = judge(model, runner, faces, precision="fp16", fp32=broken)
    assert not verdict.passed and "the fp32 network gives NaN" in verdict.reasons[0]


def test_a_picture_of_another_size_is_an_error(model, runner, faces):
    with pytest.raises(ModelError, match=r"pictures \[N, 3, 16, 16\] from small_x2; got shape"):
        judge(model, changed(runner, sr=lambda x: x[..., :8]), faces, precision="int8")


@pytest.mark.parametrize("part", [np.s_[:, :3], np.s_[..., :4]], ids=["fewer maps", "fewer cells"])
def test_heatmaps_of_another_size_are_an_error(part, model, runner, faces):
    """Else an engine whose spec promises 68 points would be saved with 4."""
    with pytest.raises(ModelError, match=r"heatmaps \[12, 4, 8, 8\] from small_x2; got shape"):
        judge(model, changed(runner, heatmaps=lambda x: x[part]), faces, precision="int8")


def test_the_table_shows_numbers_and_reasons(model, runner, faces):
    verdict = judge(model, changed(runner, sr=lambda x: x + 0.2), faces, precision="int8")
    text = verdict.table()
    assert f"PSNR {verdict.numbers['psnr_db']:.2f} dB" in text and "REFUSED" in text and "12 faces of builtin" in text
    assert all(math.isfinite(v) for v in verdict.numbers.values())


def test_a_graph_that_onnxruntime_refuses_is_a_build_error(model):
    graph = type(model.graph)()
    graph.CopyFrom(model.graph)
    del graph.graph.initializer[:]
    with pytest.raises(BuildError, match="a graph that onnxruntime can run"):
        onnx_runner(graph)


def test_a_graph_that_fails_on_a_batch_is_a_build_error(runner):
    with pytest.raises(BuildError, match="a graph that onnxruntime can run on 2x3x9x9; got .* Got: 9 Expected: 8"):
        runner(np.zeros((2, 3, 9, 9), np.float32))
