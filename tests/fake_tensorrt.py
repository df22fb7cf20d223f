"""TensorRT on NumPy, for what runs engines: a plan is JSON, an inference really computes, on the fake driver's memory.

The network: "sr" is the input enlarged by repetition and halved, "heatmaps" the input's first channel plus one. With
ONNX bytes in the plan onnxruntime computes instead. As strict as the real one: addresses aligned and large enough,
shapes within the profile, one context a profile before TensorRT 10; `faults` makes calls fail.
"""

import base64
import enum
import functools
import hashlib
import json
import sys
import types
import weakref

import numpy as np

from sdk.runtime import trt_api
from sdk.runtime.machine import this_machine
from sdk.runtime.manifest import Manifest, write_manifest
from sdk.runtime.trt_log import SEVERITIES
from sdk.spec import ModelSpec

DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT32", "UINT8", "BF16"])
TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT32: np.int32, DataType.UINT8: np.uint8}
SCALE = 2
SCRATCH_BYTES = 4096


def toy_spec(**changes):
    values = dict(name="toy_x2", lr_size=4, scale=SCALE, any_size=True, heatmap_kind="landmarks", heatmap_count=1)
    values.update(heatmap_size=4, output_names=("sr", "heatmaps"))
    return ModelSpec(**{**values, **changes})


def toy(batch):  # [N, 3, h, w]
    """What the network computes."""
    sr = np.repeat(np.repeat(batch, SCALE, axis=2), SCALE, axis=3) / 2
    return {"sr": sr.astype(batch.dtype), "heatmaps": batch[:, :1] + 1}


def make_plan(profiles=((1, 1), (1, 8), (1, 64)), sizes=(4, 16), **changes):
    """A plan with (smallest, largest) batches as profiles, for faces of `sizes` px a side."""
    low, high = sizes
    ranges = [[[least, 3, low, low], [most, 3, low, low], [most, 3, high, high]] for least, most in profiles]
    plan = dict(profiles=ranges, shape=[-1, 3, -1, -1], inputs={"lr": "FLOAT"}, onnx="")
    plan["outputs"] = {"sr": "FLOAT", "heatmaps": "FLOAT"}
    return json.dumps({**plan, **changes}).encode()


def write_toy(path, plan=None, *, spec=None, **changes):
    """The plan and its manifest, as for the machine at hand; returns the path."""
    plan = make_plan() if plan is None else plan
    path.write_bytes(plan)
    machine = this_machine("tensorrt")
    values = dict(
        facetrt="0", created="2026-11-20T12:00:00Z", command="trt-build", onnx_sha256="0" * 64, build_s=1.0,
        spec=json.loads((spec or toy_spec()).to_json()), engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan), precision="fp16", gate={"ran": "engine", "passed": True, "allowed_loss": False},
    )  # fmt: skip
    write_manifest(path, Manifest(**{**values, **vars(machine), **changes}))
    return path


class Engine:
    def __init__(self, trt, plan):
        self.trt, self.plan = trt, plan
        self.names = [*plan["inputs"], *plan["outputs"]]
        self.contexts = weakref.WeakSet()
        self.num_io_tensors, self.num_optimization_profiles = len(self.names), len(plan["profiles"])
        trt.engines.add(self)

    def create(self, kind):
        if self.trt.fault("context"):
            self.trt.say("out of memory")
            return None
        return kind(self)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.plan["inputs"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType[{**self.plan["inputs"], **self.plan["outputs"]}[name]]

    def get_tensor_shape(self, name):
        return tuple(self.plan["shape"]) if name in self.plan["inputs"] else (-1, -1, -1, -1)

    def get_tensor_profile_shape(self, name, profile):
        return [tuple(shape) for shape in self.plan["profiles"][profile]]

    @functools.cached_property
    def compute(self):
        """Input array -> output arrays by name."""
        if not self.plan["onnx"]:
            return toy
        import onnxruntime

        session = onnxruntime.InferenceSession(base64.b64decode(self.plan["onnx"]))
        names = [one.name for one in session.get_outputs()]
        return lambda batch: dict(zip(names, session.run(None, {session.get_inputs()[0].name: batch}), strict=True))


class Context:
    def __init__(self, engine):
        self.engine, self.trt, self.cuda = engine, engine.trt, engine.trt.cuda
        self.profile, self.shape, self.addresses, self.settled = None, None, {}, False
        self.device_memory = None
        engine.contexts.add(self)

    def set_optimization_profile_async(self, index, stream):
        taken = any(one.profile == index for one in self.engine.contexts if one is not self)
        if self.trt.fault("profile") or (taken and not self.trt.typed):
            self.trt.say(f"profile {index} is in use by another context")
            if not self.trt.typed:  # as 8.x does
                raise RuntimeError("Error in set optimization profile async.")
            return False
        self.profile = index
        return True

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.plan["profiles"][self.profile] if self.engine.plan["profiles"] else (shape,) * 3
        inside = all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))
        self.shape, self.settled = tuple(shape), False
        return inside

    def get_tensor_shape(self, name):
        if self.trt.fault("shape"):
            return (-1,)
        return self.engine.compute(np.zeros(self.shape, np.float32))[name].shape

    def set_tensor_address(self, name, address):
        if address % 256:
            self.trt.say(f"{name} is not aligned")
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        capturing = self.cuda.capturing(stream)
        if self.trt.fault("enqueue") or (capturing and (self.trt.fault("capture") or not self.settled)):
            self.trt.say("an operation not permitted when stream is capturing" if capturing else "enqueue failed")
            return False
        self.settled, shape, addresses, me = True, self.shape, dict(self.addresses), weakref.ref(self)
        engine = self.engine
        assert set(addresses) == set(engine.names), "tensors without an address"
        types_ = {name: np.dtype(NUMPY[engine.get_tensor_dtype(name)]) for name in engine.names}
        source = next(iter(engine.plan["inputs"]))
        self.cuda.launch(stream, lambda: _infer(me, shape, addresses, source, types_))
        return True


class NewContext(Context):
    def set_device_memory(self, address, size_bytes):
        assert size_bytes >= SCRATCH_BYTES
        self.device_memory = address


class OldEngine(Engine):
    """Of TensorRT 8."""

    device_memory_size = SCRATCH_BYTES

    def create_execution_context_without_device_memory(self):
        return self.create(Context)


class NewEngine(Engine):
    """Of TensorRT 10 and later."""

    device_memory_size_v2 = SCRATCH_BYTES

    def create_execution_context(self, strategy):
        assert strategy == self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.create(NewContext)


def _infer(me, shape, addresses, source, types_):
    context = me()
    if context is None:
        raise AssertionError("a context died with work under way")
    cuda, trt = context.cuda, context.trt
    cuda.check(context.device_memory, SCRATCH_BYTES)
    size_bytes = int(np.prod(shape)) * types_[source].itemsize
    batch = view(cuda, addresses[source], size_bytes).view(types_[source]).reshape(shape)
    trt.inferences.append(shape)
    trt.last_input = batch.copy()
    for name, array in context.engine.compute(batch.astype(np.float32)).items():
        result = np.ascontiguousarray(array, types_[name])
        view(cuda, addresses[name], result.nbytes)[:] = result.view(np.uint8).reshape(-1)


def view(cuda, address, size_bytes):
    """Bytes of device memory as an array, after a look whether they may be used."""
    import ctypes

    return np.frombuffer((ctypes.c_uint8 * size_bytes).from_address(cuda.check(address, size_bytes)), np.uint8)


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        trt = sys.modules["tensorrt"]
        if trt.fault("engine"):
            trt.say("the plan was made by another version")
            return None
        return (NewEngine if trt.typed else OldEngine)(trt, json.loads(plan))


class FakeTensorRT(types.ModuleType):
    """The module `tensorrt`. faults: "engine", "context", "profile", "shape", "enqueue", "capture" -> how often."""

    def __init__(self, cuda, version="10.13.3.9"):
        super().__init__("tensorrt")
        self.__version__, self.cuda, self.typed = version, cuda, int(version.split(".")[0]) >= 10
        self.faults, self.inferences, self.engines = {}, [], weakref.WeakSet()
        self.loggers = []
        self.ILogger = type("ILogger", (), {name: index for index, name in enumerate(SEVERITIES)})
        self.ILogger.__init__ = lambda logger: self.loggers.append(logger)
        self.Runtime, self.DataType, self.TensorIOMode = Runtime, DataType, TensorIOMode
        self.NetworkDefinitionCreationFlag = types.SimpleNamespace(EXPLICIT_BATCH=0)
        if self.typed:
            self.NetworkDefinitionCreationFlag.STRONGLY_TYPED = 1
            self.ExecutionContextAllocationStrategy = types.SimpleNamespace(USER_MANAGED=2)

    def fault(self, name):
        left = self.faults.get(name, 0)
        self.faults[name] = left - 1
        return left > 0

    def say(self, text):
        self.loggers[-1].log(self.ILogger.ERROR, text)

    @property
    def contexts(self):
        return sum(len(engine.contexts) for engine in self.engines)


def install(monkeypatch, cuda, version="10.13.3.9"):
    """Put a fake in the place of TensorRT; returns it."""
    trt = FakeTensorRT(cuda, version)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(trt_api, "_loaded", functools.cache(trt_api._loaded.__wrapped__))
    return trt
