"""Rivals compute what they claim to: the same network, the same points, the same faces in the frame."""

import dataclasses
import json
import stat

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import save_small, small_spec
from tiny_onnx import save_tiny, tiny_spec

from benchmarks.bench.model_files import resolve
from benchmarks.bench.options import Options
from benchmarks.bench.scenarios import Point, measure
from benchmarks.bench.workload import faces_batch
from benchmarks.rivals import listing, ort_session, plain_faces, torch_graph
from benchmarks.rivals.face_by_face import PasteRunner
from benchmarks.rivals.openvino_ways import OpenVinoRunner
from benchmarks.rivals.torch_ways import TorchRunner
from benchmarks.rivals.trtexec import TrtexecRunner
from sdk.errors import BackendError, InputError, MissingPackageError
from sdk.image.heatmap import encode

torch = pytest.importorskip("torch", reason="torch, of the extra train")


def single(kind, inputs, *, constants=(), shape=(2, 4, 8, 8), **attributes):
    """A graph of one operator on x and constants."""
    names = ["x", *(f"c{i}" for i in range(len(constants)))]
    given = [numpy_helper.from_array(np.array(value), name) for name, value in zip(names[1:], constants, strict=True)]
    operands = [names[i] if i is not None else "" for i in inputs]
    graph = helper.make_graph(
        [helper.make_node(kind, operands, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        given,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


RNG = np.random.default_rng(0)
F = np.float32
PADS, TWICE = dict(pads=[1] * 4), np.array([1, 1, 2, 2], F)
OLD_NEAREST = dict(mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
SLICED = [np.array([1, 0]), np.array([1 << 40, -1]), np.array([2, 3]), np.array([2, 1])]
CASES = {
    "conv": ("Conv", [0, 1, 2], [RNG.random((6, 2, 3, 3), F), RNG.random(6, F)], dict(group=2, strides=[2, 2], **PADS)),
    "conv dilated": ("Conv", [0, 1], [RNG.random((6, 4, 3, 3), F)], dict(dilations=[2, 2], pads=[2] * 4)),
    "transposed": ("ConvTranspose", [0, 1, 2], [RNG.random((4, 3, 4, 4), F), RNG.random(3, F)], PADS),
    "transposed by 2": ("ConvTranspose", [0, 1], [RNG.random((4, 3, 4, 4), F)], dict(strides=[2, 2], **PADS)),
    "batch norm": ("BatchNormalization", [0, 1, 2, 3, 4], [RNG.random(4, F) + 1 for _ in range(4)], {}),
    "shuffle": ("DepthToSpace", [0], [], dict(blocksize=2, mode="CRD")),
    "max": ("MaxPool", [0], [], dict(kernel_shape=[2, 2], strides=[2, 2])),
    "mean": ("AveragePool", [0], [], dict(kernel_shape=[2, 2], strides=[2, 2])),
    "pad": ("Pad", [0, 1], [np.array([0, 0, 1, 2, 0, 0, 3, 4])], dict(mode="edge")),
    "slice": ("Slice", [0, 1, 2, 3, 4], SLICED, {}),
    "resize": ("Resize", [0, None, 1], [TWICE], dict(mode="linear")),
    "nearest": ("Resize", [0, None, 1], [TWICE], OLD_NEAREST),
    "concat": ("Concat", [0, 0], [], dict(axis=1)),
    "sub": ("Sub", [0, 1], [np.array(0.5, F)], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_in_torch_is_onnxruntimes(name, tmp_path):
    kind, inputs, constants, attributes = CASES[name]
    path = tmp_path / "one.onnx"
    onnx.save(single(kind, inputs, constants=constants, **attributes), str(path))
    x = np.random.default_rng(1).standard_normal((2, 4, 8, 8)).astype(F)
    expected = ort_session.open_session(path).run(None, {"x": x})[0]
    found = torch_graph.read_network(path)(torch.from_numpy(x))[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "inputs", "constants", "attributes", "told"),
    [
        ("Gelu", [0], [], {}, "operators among"),
        ("Conv", [0, 1], [np.ones((4, 4, 3, 3), F)], dict(pads=[0, 0, 1, 1]), "same on both sides"),
        ("DepthToSpace", [0], [], dict(blocksize=2, mode="DCR"), "torch's order"),
    ],
)
def test_what_torch_would_compute_otherwise_is_refused(kind, inputs, constants, attributes, told, tmp_path):
    onnx.save(single(kind, inputs, constants=constants, **attributes), str(tmp_path / "one.onnx"))
    with pytest.raises(BackendError, match=told):
        torch_graph.read_network(tmp_path / "one.onnx")


@pytest.mark.parametrize("way", ["torch-eager", "torch-channels-last"])
def test_a_whole_network_in_torch_end_to_end(way, tmp_path):
    save_small(tmp_path / "small.onnx")
    runner = TorchRunner(resolve(str(tmp_path / "small.onnx")), way, precision="fp32", span="end-to-end", threads=1)
    pictures, points = runner.query(3)()
    assert len(pictures) == 3 and pictures[0].shape == (16, 16, 3) and pictures[0].dtype == np.uint8
    assert points.shape == (3, 4, 2) and np.isfinite(points).all()
    assert runner.subject.id == f"small/torch-cpu/fp32/{way}/end-to-end"
    found = measure(runner, Point("Offline", 2, 0.02))
    assert found.error is None and found.threads == 1


def test_the_usual_way_finds_the_peaks_of_the_maps():
    """Whole cells: exact; between cells a quarter is what the rule can tell."""
    centres = np.array([[[5.0, 9.0], [20.0, 3.0], [8.3, 8.0]]])
    maps = encode(centres, (32, 32), sigma_cells=1.5)
    windows = np.array([[100.0, 50.0, 164.0, 114.0]])  # 2 px a cell, cell centres at odd pixels
    found = plain_faces.points(maps, windows)
    np.testing.assert_allclose(found[0, :2], [[111.0, 69.0], [141.0, 57.0]], atol=1e-9)
    np.testing.assert_allclose(found[0, 2], [100 + (8.25 + 0.5) * 2, 67.0], atol=1e-9)


def test_the_usual_way_pastes_where_the_face_belongs():
    frame = np.full((120, 160, 3), 40, np.uint8)
    face = np.full((32, 32, 3), 200, np.uint8)
    affine = np.array([[[2.0, 0.0, 50.0], [0.0, 2.0, 30.0]]])
    found = plain_faces.paste(frame, [face], affine)
    assert (found[50:80, 70:100] == 200).all() and (found[:28] == 40).all() and (found[:, :48] == 40).all()


def test_cutting_the_usual_way_keeps_colours_and_range():
    spec = tiny_spec(16, 8)
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[..., 0] = 255  # blue in OpenCV's order
    batch = plain_faces.cut(frame, np.array([[10.0, 10.0, 40.0, 40.0]]), spec)
    assert batch.shape == (1, 3, 16, 16) and batch.dtype == F
    assert (batch[0, 2] == 1).all() and (batch[0, :2] == 0).all()


def test_both_ways_of_decode_and_paste_run(tmp_path):
    save_tiny(tmp_path / "tiny.onnx")
    file = resolve(str(tmp_path / "tiny.onnx"))
    results = [PasteRunner(file.name, file.spec, way).query(2)() for way in ("sdk", "face-by-face")]
    ours, theirs = (points for points, _ in results)
    assert ours.shape == theirs.shape == (2, 68, 2)
    np.testing.assert_allclose(ours, theirs, atol=100 / 32)  # less than a cell apart: the same places
    assert results[0][1].shape == results[1][1].shape == (1080, 1920, 3)


def test_trtexecs_own_times_become_a_measurement(tmp_path):
    save_tiny(tmp_path / "tiny.onnx")
    program = tmp_path / "trtexec"
    entries = json.dumps([{"latencyMs": 0.5 + 0.001 * i} for i in range(50)])
    program.write_text(f"""#!/bin/sh
for word in "$@"; do case "$word" in --exportTimes=*) echo '{entries}' > "${{word#--exportTimes=}}" ;; esac; done
""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    runner = TrtexecRunner(resolve(str(tmp_path / "tiny.onnx")), command=str(program))
    found = measure(runner, Point("Offline", 8, 1.0))
    assert found.samples == 50 and found.latency_ms.p50 == pytest.approx(0.5245)
    with pytest.raises(MissingPackageError, match="trtexec"):
        TrtexecRunner(resolve(str(tmp_path / "tiny.onnx")), command="no-such-trtexec")
    program.write_text("#!/bin/sh\necho 'no GPU' >&2; exit 3\n")
    assert "no GPU" in measure(runner, Point("Offline", 8, 1.0)).error


def test_rivals_by_name(tmp_path):
    assert listing.check_names(("none",)) == () and set(listing.check_names(("auto",))) == set(listing.OPENERS)
    with pytest.raises(InputError, match="--rivals"):
        listing.check_names(("torch-eager", "nobody"))
    save_tiny(tmp_path / "tiny.onnx")
    options = Options(models=(), rivals=("onnxruntime-cuda", "torch-tensorrt", "torch-cuda-compile"))
    rivals = list(listing.rivals_of(resolve(str(tmp_path / "tiny.onnx")), options, lacks=lambda *_: None))
    assert [rival.name for rival in rivals] == list(options.rivals)
    if not torch.cuda.is_available():
        for rival in rivals:  # each says what is missing, in three parts
            with pytest.raises((BackendError, MissingPackageError)) as caught:
                rival()
            assert caught.value.remedy


def test_openvino_computes_what_onnxruntime_does(tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO, of the extra rivals")
    save_small(tmp_path / "small.onnx")
    runner = OpenVinoRunner(resolve(str(tmp_path / "small.onnx")), threads=1)
    batch = faces_batch(small_spec(), 3)
    expected = ort_session.open_session(tmp_path / "small.onnx").run(["sr", "heatmaps"], {"lr": batch})
    found = runner.query(3)()
    for want, got in zip(expected, (found["sr"], found["heatmaps"]), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
    assert runner.subject.id == "small/openvino-cpu/fp32/openvino/engine"
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(BackendError, match="OpenVINO to open"):
        OpenVinoRunner(dataclasses.replace(resolve(str(tmp_path / "small.onnx")), path=tmp_path / "bad.onnx"))
