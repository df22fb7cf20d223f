"""The one place that tells TensorRT 8.5/8.6, 10.3 to 10.16, 11.x and TensorRT-RTX apart, and the one importer of them.

Nothing asks for a version: sdk.runtime.trt_features names the attributes that make a feature, has() looks whether they
are there, and need() says in words what is missing. TensorRT.module is for sdk.runtime.trt_builder and trt_layers;
all others call methods.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, BuildError, EngineError, MissingPackageError
from sdk.runtime.trt_features import FEATURES, WITHOUT_EFFECT
from sdk.runtime.trt_log import Log, Sink

__all__ = ["FEATURES", "FLAVOURS", "IoTensor", "Sink", "TensorRT", "load"]

FLAVOURS = ("tensorrt", "tensorrt_rtx")  # in the order in which load() tries them
TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
INSTALL = {
    "tensorrt": "pip install 'facetrt[tensorrt]'; on a Jetson: sudo apt install python3-libnvinfer, and make the "
    "environment with python3 -m venv --system-site-packages",
    "tensorrt_rtx": "pip install 'facetrt[rtx]'",
}
ENVIRONMENT = "FACETRT_TENSORRT"  # names the flavour that load(None) takes
DTYPES = {  # members of trt.DataType that may cross an engine's edge -> NumPy's
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class IoTensor:
    """One input or output of an engine."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # -1 where it depends on the profile or the call


class TensorRT:
    """An imported TensorRT. Engines and contexts are its own opaque objects; each must die before the process ends."""

    def __init__(self, flavour: str, module: Any) -> None:
        self.flavour = flavour
        self.module: Any = module
        self.version = str(module.__version__)
        self._log = Log(module)
        known = [kind for kind in DTYPES if hasattr(module.DataType, kind)]
        self._dtypes: dict[Any, npt.DTypeLike] = {getattr(module.DataType, kind): DTYPES[kind] for kind in known}

    @property
    def title(self) -> str:
        """For people: "TensorRT 10.3.0"."""
        return f"{TITLES[self.flavour]} {self.version}"

    @property
    def typed(self) -> bool:
        """Precision is read from the graph (TensorRT 10 and newer, RTX), not from builder flags (8.5, 8.6)."""
        return self.has("typed")

    @property
    def portable(self) -> bool:
        """Builds for named compute capabilities, without any GPU (RTX)."""
        return self.has("portable")

    @property
    def logger(self) -> Any:
        return self._log.native

    def has(self, feature: str) -> bool:
        """Whether this TensorRT has all that a key of FEATURES names, and heeds it."""
        if feature in WITHOUT_EFFECT.get(self.flavour, ()):
            return False
        for dotted in FEATURES[feature].names:
            owner: Any = self.module
            for name in dotted.split("."):
                if not hasattr(owner, name):
                    return False
                owner = getattr(owner, name)
        return True

    def need(self, feature: str) -> None:
        """Raises BuildError, naming the feature and the version, when has() is false."""
        if not self.has(feature):
            title, where = FEATURES[feature].title, FEATURES[feature].where
            raise BuildError(
                f"a TensorRT with {title}", f"{self.title}, which has none", f"leave it out, or use {where}"
            )

    @contextlib.contextmanager
    def listening(self, sink: Sink | None) -> Generator[None, None, None]:
        """While inside, every message of the log goes to `sink`, from any thread. A sink must not raise."""
        if sink is None:
            yield
            return
        with self._log.lock:
            self._log.sinks.append(sink)
        try:
            yield
        finally:
            with self._log.lock:
                self._log.sinks.remove(sink)

    def targets(self) -> list[str]:
        """Compute capabilities that it builds for without having such a GPU: ["sm_75", ...]; [] unless portable."""
        if not self.portable:
            return []
        members = [name for name in dir(self.module.ComputeCapability) if name[:2] == "SM" and name[2:].isdigit()]
        return [f"sm_{number}" for number in sorted(int(name[2:]) for name in members)]

    def forget_errors(self) -> None:
        """What the log said before is of no interest to the errors of what comes now."""
        self._log.errors.clear()

    def last_errors(self) -> str:
        """The errors that the log saw lately, oldest first, in one line; "" without any."""
        return "; ".join(self._log.errors)

    def open_engine(
        self,
        plan: bytes,
        sink: Sink | None = None,
        *,
        host_code: bool = False,  # version-compatible plans hold some, and do not load unless it is allowed
    ) -> Any:
        """Load a plan. Raises EngineError with the log's own words, also where no GPU is there to load it."""
        problem = self.no_gpu()
        if problem:
            raise EngineError(f"a GPU to load an engine of {self.title} on", problem, "see trt-build --doctor")
        self.forget_errors()
        with self.listening(sink):
            runtime = self.module.Runtime(self.logger)
            if host_code and runtime is not None and self.has("host_code"):
                runtime.engine_host_code_allowed = True
            engine = runtime.deserialize_cuda_engine(plan) if runtime is not None else None
        if engine is None:
            got = self.last_errors() or "no reason in its log"
            raise EngineError(f"an engine that {self.title} loads on this GPU", got, "build it again with trt-build")
        return engine  # keeps its runtime alive

    def io_tensors(self, engine: Any) -> list[IoTensor]:
        """Inputs and outputs, in the engine's order. Raises EngineError for a type that NumPy does not have."""
        found: list[IoTensor] = []
        for index in range(engine.num_io_tensors):
            name: str = engine.get_tensor_name(index)
            native = engine.get_tensor_dtype(name)
            if native not in self._dtypes:
                raise EngineError(f"{name} of a type that NumPy has", str(native), "build it again with trt-build")
            is_input = engine.get_tensor_mode(name) == self.module.TensorIOMode.INPUT
            shape = tuple(int(size) for size in engine.get_tensor_shape(name))
            found.append(IoTensor(name, is_input, np.dtype(self._dtypes[native]), shape))
        return found

    def profiles(self, engine: Any) -> list[dict[str, tuple[tuple[int, ...], ...]]]:
        """For each optimisation profile: input name -> (smallest, best, largest) shape."""
        inputs = [tensor.name for tensor in self.io_tensors(engine) if tensor.is_input]

        def shapes(name: str, profile: int) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(int(n) for n in shape) for shape in engine.get_tensor_profile_shape(name, profile))

        return [{name: shapes(name, i) for name in inputs} for i in range(engine.num_optimization_profiles)]

    def new_context(self, engine: Any) -> Any:
        """An execution context: for one thread at a time. Raises BackendError, mostly for want of memory."""
        context = engine.create_execution_context()
        if context is None:
            self._failed("an execution context", "free GPU memory or build for smaller batches")
        return context

    def select_profile(self, context: Any, index: int, stream: int) -> None:
        """Switch profiles; work already enqueued on another stream must be finished. Raises BackendError."""
        try:
            selected = bool(context.set_optimization_profile_async(index, stream))
        except RuntimeError:  # what 8.x raises instead of returning False, without any reason in it
            selected = False
        if not selected:
            self._failed(f"optimisation profile {index}", "use a profile that the engine has, in one context at a time")

    def set_shape(self, context: Any, name: str, shape: tuple[int, ...]) -> None:
        """Shape of an input for the next enqueue(). Raises BackendError outside the selected profile."""
        if not context.set_input_shape(name, shape):
            self._failed(f"{name} of shape {shape} within the profile", "build with larger --max-batch or shapes")

    def set_address(self, context: Any, name: str, pointer: int) -> None:
        """Device address of an input or output. Raises BackendError for an unknown name."""
        if not context.set_tensor_address(name, pointer):
            self._failed(f"an address for the tensor {name}", "use the names of io_tensors()")

    def enqueue(self, context: Any, stream: int) -> None:
        """Put one inference on a CUDA stream and return. Raises BackendError."""
        if not context.execute_async_v3(stream):
            self._failed("an inference to be enqueued", "check device memory and shapes")

    def layer_information(self, engine: Any) -> str:
        """The engine's layers as JSON; detailed if it was built so, as trt-build does. Allocates a context for it."""
        inspector = engine.create_engine_inspector()
        context = self.new_context(engine)  # without one 8.x says "N/A due to dynamic shapes"; starts at profile 0
        for name, (_, best, _) in self.profiles(engine)[0].items():
            self.set_shape(context, name, best)
        inspector.execution_context = context
        return str(inspector.get_engine_information(self.module.LayerInformationFormat.JSON))

    def _failed(self, expected: str, remedy: str) -> NoReturn:
        raise BackendError(expected, f"{self.title}: {self.last_errors() or 'no reason in its log'}", remedy)

    def no_gpu(self) -> str:
        """Why no engine can be loaded here, or "". Without a driver TensorRT crashes the process, so ask first."""
        from sdk.runtime.gpu import probe  # late: loads libcuda

        found = probe()
        return "" if found.gpus else found.reason


@functools.cache
def _loaded(flavour: str) -> TensorRT:
    return TensorRT(flavour, importlib.import_module(flavour))


def load(flavour: str | None = None) -> TensorRT:
    """Import one of FLAVOURS; None: $FACETRT_TENSORRT, else the first that imports. Touches no GPU and no driver.

    Raises MissingPackageError with the command that installs it, also where one is there and cannot be used;
    BackendError for an unknown flavour.
    """
    flavour = flavour or os.environ.get(ENVIRONMENT) or None
    if flavour is not None and flavour not in FLAVOURS:
        raise BackendError(f"a TensorRT among {FLAVOURS}", repr(flavour), f"correct ${ENVIRONMENT} or --flavour")
    problems: list[str] = []
    for name in (flavour,) if flavour else FLAVOURS:
        try:
            return _loaded(name)
        except Exception as error:  # its libraries are missing, it is older than 8.5, a folder of that name, ...
            problems.append(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    wanted = flavour or "tensorrt"
    raise MissingPackageError("building and running engines", wanted, INSTALL[wanted], got="; ".join(problems))
