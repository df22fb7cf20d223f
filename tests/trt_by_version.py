"""TensorRT of any release, as strict as its tables of names: what a release does not have raises AttributeError here.

trt_names.json holds, for each release, the names of the real bindings that our sources use. After using a new one:
python tests/trt_by_version.py ../shared/prototypes/api_names.json
Enumerations are numbered otherwise in every release, so that a literal number shows.
"""

import ast
import enum
import json
import re
import sys
import types
from pathlib import Path

from sdk.runtime import gpu
from sdk.runtime.trt_api import TensorRT

TABLE = Path(__file__).with_name("trt_names.json")
ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "sdk/runtime").glob("trt_*.py"))
NAMES = json.loads(TABLE.read_text()) if TABLE.exists() else {}
VERSIONS = tuple(NAMES)
ENUMERATIONS = [
    "BuilderFlag",
    "DataType",
    "DeviceType",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TacticSource",
    "TensorIOMode",
]
CLASSES = [
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
]
LAYERS = ("conv1", "conv2", "shuffle")
IO = {"lr": (-1, 3, 16, 16), "sr": (-1, 3, 128, 128)}


def used():
    """Attributes, functions and words in quotes of our sources: all that may name something of theirs."""
    words = set()
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            words.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            words |= set(node.value.split("."))
    return words


def extract(table):
    """{release: {class: names}} of all names in our sources that the release has."""
    words = used()
    order = sorted(table, key=lambda version: [int(part) for part in version.split(".")])
    known = {v: [c for c in sorted((*CLASSES, *ENUMERATIONS)) if table[v].get(c)] for v in order}
    return {v: {c: sorted(words & set(table[v][c])) for c in classes} for v, classes in known.items()}


def _make(trt, kind, **attributes):
    thing = getattr(trt, kind)()
    for key, value in attributes.items():
        setattr(thing, key, value)
    return thing


def _keep(thing, key, value):
    thing._kept.append((key, value))
    return True


def _builder(trt):
    """What the classes of the builder do; only the names that the release has are put into them."""

    def create_network(builder, flags):
        layers = [_make(trt, "ILayer", name=name) for name in LAYERS]
        network = _make(trt, "INetworkDefinition", num_layers=len(layers), get_layer=layers.__getitem__)
        network._flags = flags
        return network

    def build(builder, network, config):
        trt.built.append((network, config))
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
            going_on = monitor.step_complete("Building engine", 1)
            monitor.phase_finish("Building engine")
            if not going_on:
                return None
        trt.say("Computing costs for conv1", "VERBOSE")
        return trt.plan

    return {
        "Builder": dict(
            num_DLA_cores=2,
            create_network=create_network,
            create_builder_config=lambda self: _make(trt, "IBuilderConfig"),
            create_optimization_profile=lambda self: _make(trt, "IOptimizationProfile"),
            build_serialized_network=build,
        ),
        "IBuilderConfig": dict(
            set_flag=lambda self, flag: _keep(self, "set", flag.name),
            clear_flag=lambda self, flag: _keep(self, "clear", flag.name),
            set_memory_pool_limit=lambda self, pool, size: _keep(self, pool.name, size),
            set_tactic_sources=lambda self, bits: _keep(self, "tactics", bits),
            add_optimization_profile=lambda self, profile: _keep(self, "profile", profile) - 1,
            create_timing_cache=lambda self, content: _make(trt, "ITimingCache", serialize=lambda: content + b"+"),
            set_timing_cache=lambda self, cache, ignore: not cache.serialize().startswith(b"foreign"),
            can_run_on_DLA=lambda self, layer: layer.name != "shuffle",
        ),
        "IOptimizationProfile": dict(set_shape=lambda self, *shapes: _keep(self, "shape", shapes)),
        "OnnxParser": dict(
            parse=lambda self, data: trt.parsed.append(data) or not trt.parse_errors,
            num_errors=property(lambda self: len(trt.parse_errors)),
            get_error=lambda self, index: trt.parse_errors[index],
        ),
    }


def _runtime(trt):
    """What the classes of the runtime do: one engine, with IO and one profile."""
    names = list(IO)
    return {
        "Runtime": dict(
            deserialize_cuda_engine=lambda s, plan: _make(trt, "ICudaEngine") if plan == trt.plan else None
        ),
        "ICudaEngine": dict(
            num_io_tensors=len(IO),
            num_optimization_profiles=1,
            device_memory_size=64,
            device_memory_size_v2=64,
            get_tensor_name=lambda self, index: names[index],
            get_tensor_dtype=lambda self, name: trt.DataType.FLOAT,
            get_tensor_mode=lambda self, name: trt.TensorIOMode.INPUT if name == "lr" else None,
            get_tensor_shape=lambda self, name: IO[name],
            get_tensor_profile_shape=lambda self, name, index: [(1, 3, 16, 16), (8, 3, 16, 16), (64, 3, 16, 16)],
            create_engine_inspector=lambda self: _make(trt, "EngineInspector"),
            create_execution_context=lambda self, *strategy: _make(trt, "IExecutionContext"),
            create_execution_context_without_device_memory=lambda self: _make(trt, "IExecutionContext"),
        ),
        "IExecutionContext": dict(
            set_input_shape=lambda self, *shape: _keep(self, "shape", shape),
            set_tensor_address=lambda self, *address: _keep(self, "address", address),
            set_optimization_profile_async=lambda self, *where: _keep(self, "profile", where),
            set_device_memory=lambda self, *memory: _keep(self, "memory", memory),
            execute_async_v3=lambda self, stream: trt.runs,
            get_tensor_shape=lambda self, name: IO[name],
        ),
        "EngineInspector": dict(
            get_engine_information=lambda self, kind: f"{kind.name} {self.execution_context._kept}"
        ),
    }


class _Strict:
    """Base of the classes: sets nothing that the release does not name."""

    def __init__(self, *arguments):
        object.__setattr__(self, "_kept", [])

    def __setattr__(self, name, value):
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no {name} in this release")
        object.__setattr__(self, name, value)


def fake_module(version):
    """A module with the names of a release, and no others."""
    trt = types.SimpleNamespace(__version__=version, built=[], parsed=[], parse_errors=[], plan=b"plan", runs=True)
    trt.loggers = []
    behaviours = {**_builder(trt), **_runtime(trt)}
    for number, (name, names) in enumerate(NAMES[version].items()):
        if name in ENUMERATIONS:
            numbered = {member: (7 * index + number) % 23 for index, member in enumerate(names)}
            setattr(trt, name, enum.IntEnum(name, numbered))
        else:
            does = behaviours.get(name, {})
            base = object if name in ("ILogger", "IProgressMonitor") else _Strict  # those two are for us to extend
            setattr(trt, name, type(name, (base,), {one: does.get(one) for one in names}))
    for number, name in enumerate(("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")):
        setattr(trt.ILogger, name, number)
    trt.ILogger.__init__ = lambda logger: trt.loggers.append(logger)
    trt.say = lambda text, severity="ERROR": trt.loggers[-1].log(getattr(trt.ILogger, severity), text)
    return trt


def open_fake(version, monkeypatch, *, gpus=1):
    """A TensorRT of that release on a machine with such GPUs."""
    found = tuple(gpu.Gpu(index, "Fake", "sm_87", 8192) for index in range(gpus))
    monkeypatch.setattr(gpu, "probe", lambda: gpu.Probe("580.1", "13.0", found, "" if found else "no NVIDIA driver"))
    return TensorRT("tensorrt", fake_module(version))


if __name__ == "__main__":
    TABLE.write_text(json.dumps(extract(json.loads(Path(sys.argv[1]).read_text())), indent=0) + "\n")
