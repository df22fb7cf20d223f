"""Small engines on the fake GPU for tests of the chain from frame to paste, and the CPU's answers to compare with."""

import base64
import json
import types
import weakref

import fake_tensorrt
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import save_tiny, tiny_spec

from sdk.enhancer import FaceEnhancer
from sdk.runtime.interop import DeviceArray
from sdk.runtime.trt_backend import TrtBackend
from sdk.spec import ModelSpec

RNG = np.random.default_rng(8)
FRAME = np.clip(RNG.normal(120, 40, (16, 20, 3)).repeat(4, axis=0).repeat(4, axis=1), 0, 255).astype(np.uint8)
FRAME = np.clip(FRAME + RNG.normal(0, 6, FRAME.shape), 0, 255).astype(np.uint8)  # 64 x 80
BOXES = np.array([[10.0, 12, 18, 20], [30, 20, 41, 31], [36, 24, 46, 34], [60, 40, 71, 51], [5, 40, 14, 49]])
POINTS_PX, LEVELS = 0.05, 1  # what the GPU may differ by
SPEC = tiny_spec(8, 2, any_size=False, heatmap_size=8)
LUMA = ModelSpec("tiny_luma", 8, 2, channels=1, colour="y", input_upscaled=True, any_size=True)


def luma_graph():
    """One channel in, 0.9 x + 0.04 out."""
    constants = [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in (("a", 0.9), ("b", 0.04))]
    nodes = [helper.make_node("Mul", ["y", "a"], ["ay"]), helper.make_node("Add", ["ay", "b"], ["sr"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 1, "h", "w"]) for n in ("y", "sr")]
    graph = helper.make_graph(nodes, "luma", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def with_log(proto):
    """Instead of sr its square root less 0.2: NaN where the face is dark."""
    for node in proto.graph.node:
        if node.output[0] == "sr":
            node.output[0] = "before"
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0.2, np.float32), "dark"))
    proto.graph.node.append(helper.make_node("Sub", ["before", "dark"], ["less"]))
    proto.graph.node.append(helper.make_node("Sqrt", ["less"], ["sr"]))
    return proto


def engine(tmp_path, name="x2", *, spec=SPEC, proto=None, profiles=((1, 8),), **options):
    """An engine that computes what a small ONNX graph says."""
    data = save_tiny(tmp_path / f"{name}.onnx", spec).read_bytes() if proto is None else proto.SerializeToString()
    changes = json.loads(fake_tensorrt.make_plan())
    changes["onnx"] = base64.b64encode(data).decode()
    side, C = spec.input_size, spec.channels
    low, high = (side, side * (2 if spec.any_size else 1))
    changes["profiles"] = [[[a, C, low, low], [b, C, low, low], [b, C, high, high]] for a, b in profiles]
    changes["shape"] = [-1, C, -1, -1]
    if proto is not None:
        loaded = onnx.load_from_string(data)
        changes["inputs"] = {loaded.graph.input[0].name: "FLOAT"}
        changes["outputs"] = {one.name: "FLOAT" for one in loaded.graph.output}
    path = fake_tensorrt.write_toy(tmp_path / f"{name}.engine", json.dumps(changes).encode(), spec=spec)
    return TrtBackend(path, **options)


def reference(backend, boxes, *, frame=FRAME, strength=1.0, **options):
    """(results, rendered) of the CPU around the same network."""
    with FaceEnhancer(backend, kernels=False, min_confidence=0.1) as enhancer:
        results = enhancer.enhance(frame, boxes, **options)
        return results, enhancer.render(frame, results, strength=strength)


def same(found, wanted):
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.status, mine.model, mine.reason) == (theirs.status, theirs.model, theirs.reason)
        np.testing.assert_allclose(mine.window, theirs.window, atol=POINTS_PX)
        for one, other, bound in (
            (mine.landmarks, theirs.landmarks, POINTS_PX),
            (mine.scores, theirs.scores, 2e-3),
            (mine.spread, theirs.spread, POINTS_PX),
            (mine.components, theirs.components, 1e-4),
        ):
            assert (one is None) == (other is None)
            if other is not None:
                np.testing.assert_allclose(one, other, atol=bound)
        if theirs.image is not None and mine.image is not None:
            assert np.abs(mine.image.astype(int) - theirs.image).max() <= LEVELS


def near(frame, wanted):
    """Two faces' rounding where they overlap."""
    off = np.abs(frame.astype(int) - wanted)
    assert off.max() <= 2 * LEVELS and (off > LEVELS).mean() < 1e-3, (off.max(), (off > LEVELS).mean())


def on_gpu(host, device, array):
    """A copy there, for as long as the caller holds it."""
    array = np.array(array, order="C")
    pointer = host.cuda.foreign(array)
    weakref.finalize(array, host.cuda.memory.pop, pointer, None)
    return DeviceArray(device, pointer, array.shape, array.dtype, owner=array)


def counted(cuda):
    """Calls of the driver inside: `.of(name)`."""
    before = cuda.calls.copy()
    return types.SimpleNamespace(of=lambda name: cuda.calls[name] - before[name])
