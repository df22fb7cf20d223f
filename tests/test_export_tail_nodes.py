"""Landmarks and pictures computed by ONNX operators: as sdk.image does, with nothing that TensorRT does otherwise."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_sdk_image_heatmap_plateaus import plateaus

from export.tail_nodes import IMAGE_TYPES, Nodes, add_image, add_landmarks
from sdk.image.heatmap import DECODE_MODES, cells_to_image, decode, encode
from sdk.image.pixels import from_network
from sdk.spec import ModelSpec

# Cells: fp32 sums of 81 values in another order, at positions up to 24. dark divides differences of logarithms, which
# the reference takes in float64, by a determinant that is small where the map is flat. 0.02 are promised.
CELLS = dict(argmax=0.0, quarter=0.0, centroid=2e-5, dark=2e-3)
MAPS, SIDE = 5, 24


def landmark_spec(mode, *, size=SIDE, **changes):
    values = dict(heatmap_kind="landmarks", heatmap_count=MAPS, heatmap_size=size, output_names=("sr", "heatmaps"))
    return ModelSpec("t", size, 2, decoder=mode, **values, **changes)


def session_of(nodes, source, target, kind=TensorProto.FLOAT):
    free = ["a", "b", "c", "d"]
    target = helper.make_tensor_value_info(target, kind, free[: 3 if target == "landmarks" else 4])
    source = helper.make_tensor_value_info(source, TensorProto.FLOAT, free)
    graph = helper.make_graph(nodes.nodes, "tail", [source], [target], nodes.constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def landmarks_of(maps, spec):
    nodes = Nodes()
    add_landmarks(nodes, spec)
    return session_of(nodes, "heatmaps", "landmarks").run(None, {"heatmaps": maps})[0]


def agree(maps, mode, **changes):
    """Compare with the reference in cells; returns what was computed."""
    spec = landmark_spec(mode, any_size=maps.shape[2:] != (SIDE, SIDE), **changes)
    found = landmarks_of(maps, spec)
    decoded = decode(maps, mode=mode, radius=spec.decoder_radius)
    H, W = maps.shape[2:]
    wanted = cells_to_image(decoded.points, (H, W), (2 * H, 2 * W))
    assert found.dtype == np.float32 and found.shape == (len(maps), maps.shape[1], 3)
    np.testing.assert_allclose(found[..., :2] / 2, wanted / 2, rtol=0, atol=CELLS[mode])
    np.testing.assert_array_equal(found[..., 2], decoded.scores)
    return found


def test_a_peak_between_two_cells_by_eye():
    maps = np.zeros((1, 1, SIDE, SIDE), np.float32)
    maps[0, 0, 10, 6:8] = 1.0  # half way between the cells 6 and 7 of 24, on a picture of 48
    found = landmarks_of(maps, landmark_spec("centroid"))
    np.testing.assert_allclose(found[0, 0], [2 * (6.5 + 0.5) - 0.5, 2 * (10 + 0.5) - 0.5, 1.0], atol=1e-5)


@pytest.mark.parametrize("mode", DECODE_MODES)
@pytest.mark.parametrize("size", [(SIDE, SIDE), (13, 30)], ids=["fixed", "any size"])
def test_the_reference_is_met(mode, size):
    rng = np.random.default_rng(3)
    H, W = size
    points = rng.uniform(-2, [W + 1, H + 1], (40, MAPS, 2))  # beyond the borders too
    blobs = encode(points, size, sigma_cells=1.5) + rng.normal(0, 0.02, (40, MAPS, H, W))
    for maps in (blobs, rng.random(blobs.shape), rng.random(blobs.shape) - 1.5):
        agree(maps.astype(np.float32), mode)


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_of_equal_peaks_the_lowest_index_wins(mode):
    rng = np.random.default_rng(4)
    agree(rng.integers(0, 2, (20, MAPS, SIDE, SIDE)).astype(np.float32), mode)
    agree(np.zeros((1, MAPS, SIDE, SIDE), np.float32), mode)
    agree(np.full((1, MAPS, SIDE, SIDE), -0.0, np.float32), mode)


@pytest.mark.parametrize("mode", DECODE_MODES)
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(mode, strange):
    rng = np.random.default_rng(5)
    maps = rng.random((20, MAPS, SIDE, SIDE), np.float32)
    maps[rng.random(maps.shape) < 0.004] = strange  # about half of the windows hold one
    agree(maps, mode)


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_maps_without_a_number_are_as_in_the_reference(mode):
    maps = np.full((1, MAPS, SIDE, SIDE), np.nan, np.float32)
    maps[0, 1] = -np.inf
    maps[0, 2] = np.inf
    maps[0, 3, 7, 5] = -3e38
    with np.errstate(over="ignore", invalid="ignore"):
        found = agree(maps, mode)
    assert (found[0, :3, :2] == 0.5).all(), "the first cell's centre"
    assert np.isnan(found[0, 0, 2]) and found[0, 3].tolist() == [10.5, 14.5, np.float32(-3e38)]


def test_dark_stays_on_the_peak_of_a_plateau():
    found = agree(np.concatenate([plateaus(SIDE)] + [plateaus(SIDE)[:, :1]], axis=1), "dark")
    wanted = cells_to_image(decode(plateaus(SIDE), mode="argmax").points, (SIDE, SIDE), (2 * SIDE, 2 * SIDE))
    np.testing.assert_array_equal(found[:, :4, :2], wanted)


@settings(max_examples=40, deadline=None, derandomize=True)  # dark is cut off at 2 cells: a coin may fall there
@given(
    mode=st.sampled_from(DECODE_MODES),
    H=st.integers(1, 20),
    W=st.integers(1, 20),
    radius=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_any_size_and_radius(mode, H, W, radius, seed):
    maps = np.random.default_rng(seed).normal(0.2, 0.4, (3, MAPS, H, W)).astype(np.float32)
    agree(maps, mode, decoder_radius=radius)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("span", [(0, 1), (-1, 1), (0, 255)])
@pytest.mark.parametrize("kind", sorted(IMAGE_TYPES))
def test_pictures(colour, span, kind):
    low, high = span
    spec = ModelSpec("t", 8, 2, colour=colour, value_range=span)
    levels = np.arange(-40, 728, dtype=np.float32).reshape(2, 3, 16, 8) / 2  # halves: the rounding shows
    sr = (levels / 255 * (high - low) + low).astype(np.float32)
    sr[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    nodes = Nodes()
    add_image(nodes, spec, kind=kind)
    found = session_of(nodes, "sr", "image", IMAGE_TYPES[kind]).run(None, {"sr": sr})[0]
    with np.errstate(invalid="ignore"):
        wanted = from_network(sr, spec)
    assert found.shape == (2, 16, 8, 3) and found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found.astype(np.int64), wanted)


@pytest.mark.parametrize("mode", DECODE_MODES)
@pytest.mark.parametrize("any_size", [False, True])
def test_only_operators_that_every_tensorrt_takes_and_takes_alike(mode, any_size):
    nodes = Nodes()
    spec = landmark_spec(mode, any_size=any_size, colour="bgr", value_range=(-1, 1))
    add_landmarks(nodes, spec)
    add_image(nodes, spec)
    used = {node.op_type for node in nodes.nodes}
    assert not used & {"ArgMax", "TopK", "GatherND", "GatherElements", "OneHot", "NonZero", "MatMul", "Conv", "Loop"}
    assert not used & {"ReduceMax", "ReduceMin", "ReduceMean"}, "their axes became an input with opset 18"
    assert nodes.nodes[-1].op_type == "Cast", "uint8 only at the edge"
    read = {name for node in nodes.nodes for name in node.input}
    assert {tensor.name for tensor in nodes.constants} <= read, "no constant that nobody reads"
    assert len({node.name for node in nodes.nodes}) == len(nodes.nodes)
