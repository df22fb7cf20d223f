"""One path through every TensorRT: each release has just the names of its real bindings (trt_by_version)."""

import json
import sys

import numpy as np
import pytest
import trt_by_version
from trt_by_version import NAMES, ROOT, VERSIONS, extract, open_fake

from sdk.errors import BackendError, BuildError, EngineError, MissingPackageError
from sdk.runtime import trt_api, trt_context
from sdk.runtime.trt_api import FEATURES, IoTensor, TensorRT

FULL_TABLE = ROOT.parent / "shared" / "prototypes" / "api_names.json"
FIRST = {  # first release in the tables that has a feature;
    "typed": "10.3.0",
    "fp8": "10.3.0",
    "optimization_level": "8.6.0",
    "hardware_compatible": "8.6.0",
    "same_capability": "10.13.3.9",
    "version_compatible": "8.6.0",
    "refit": "8.5.3.1",
    "strip": "10.3.0",
    "progress": "10.3.0",
    "dla": "8.5.3.1",
    "timing_cache": "8.5.3.1",
    "tactic_sources": "8.5.3.1",
    "parser_names": "10.3.0",
    "host_code": "8.6.0",
}
GONE_IN_11 = ("explicit_batch", "fp16_flag", "int8_flag", "obey", "tactic_cublas", "tactic_cublas_lt", "tactic_cudnn")
RTX_ONLY = ("portable", "validity")
each_version = pytest.mark.parametrize("version", VERSIONS)


def test_the_committed_names_are_those_of_the_real_bindings():
    if not FULL_TABLE.is_file():
        pytest.skip(f"the full tables of names are not at {FULL_TABLE}")
    assert extract(json.loads(FULL_TABLE.read_text())) == NAMES, f"run: python {trt_by_version.__file__} {FULL_TABLE}"


def test_releases_and_features_are_all_looked_at():
    assert [".".join(one.split(".")[:2]) for one in VERSIONS] == [
        "8.5",
        "8.6",
        "10.3",
        "10.13",
        "10.16",
        "11.0",
        "11.4",
    ]
    assert set(FIRST) | set(GONE_IN_11) | set(RTX_ONLY) == set(FEATURES)


@each_version
def test_features_are_found_where_the_remedies_say(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    for feature, first in FIRST.items():
        assert trt.has(feature) == (VERSIONS.index(version) >= VERSIONS.index(first)), feature
        since = ".".join(first.split(".")[:2])
        assert FEATURES[feature].where == f"TensorRT {since} or newer"
    for feature in GONE_IN_11:
        assert trt.has(feature) == (not version.startswith("11")), feature
    assert not any(trt.has(feature) for feature in RTX_ONLY)
    assert trt.title == f"TensorRT {version}" and trt.targets() == []


def test_a_missing_feature_is_named_with_the_version(monkeypatch):
    trt = open_fake("8.5.3.1", monkeypatch)
    with pytest.raises(BuildError, match="builder optimisation level.*8.5.3.1, which has none.*TensorRT 8.6 or newer"):
        trt.need("optimization_level")
    trt.need("dla")


@each_version
def test_an_engine_is_described_and_run_with_the_names_of_every_release(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    engine = trt.open_engine(b"plan")
    f32 = np.dtype(np.float32)
    assert trt.io_tensors(engine) == [
        IoTensor("lr", True, f32, (-1, 3, 16, 16)),
        IoTensor("sr", False, f32, (-1, 3, 128, 128)),
    ]
    assert trt.profiles(engine) == [{"lr": ((1, 3, 16, 16), (8, 3, 16, 16), (64, 3, 16, 16))}]
    context = trt.new_context(engine)
    trt.select_profile(context, 1, 77)
    trt.set_shape(context, "lr", (2, 3, 16, 16))
    trt.set_address(context, "lr", 4096)
    trt.enqueue(context, 77)
    done = [("profile", (1, 77)), ("shape", ("lr", (2, 3, 16, 16))), ("address", ("lr", 4096))]
    assert context._kept == done
    assert trt.layer_information(engine) == "JSON [('shape', ('lr', (8, 3, 16, 16)))]"


@each_version
def test_contexts_on_shared_scratch_memory_use_the_names_of_every_release(version, monkeypatch):
    trt = open_fake(version, monkeypatch)
    engine = trt.open_engine(b"plan")
    assert trt_context.scratch_bytes(engine) == 64
    context = trt_context.new_context(trt, engine, scratch=4096, size_bytes=64)
    newer = trt.typed
    assert (context._kept == [("memory", (4096, 64))]) == newer
    assert newer or context.device_memory == 4096


@each_version
def test_only_version_compatible_engines_may_bring_code_for_the_processor(version, monkeypatch):
    trt, seen = open_fake(version, monkeypatch), []
    look = trt.module.Runtime.deserialize_cuda_engine
    keep = lambda runtime, plan: seen.append(vars(runtime).get("engine_host_code_allowed")) or look(runtime, plan)  # noqa: E731
    monkeypatch.setattr(trt.module.Runtime, "deserialize_cuda_engine", keep)
    trt.open_engine(b"plan")
    trt.open_engine(b"plan", host_code=True)
    assert seen == [None, True if trt.has("host_code") else None]


def test_what_fails_quotes_the_log(monkeypatch):
    trt = open_fake("10.3.0", monkeypatch)
    heard = []
    engine = trt.open_engine(b"plan", lambda severity, text: heard.append((severity, text)))
    context = trt.new_context(engine)
    trt.module.say("quiet", "INFO")
    trt.module.say("no memory left")
    trt.module.runs = False
    with pytest.raises(BackendError, match="an inference to be enqueued; got TensorRT 10.3.0: no memory left"):
        trt.enqueue(context, 1)
    assert heard == [], "the sink hears only while the engine is opened"
    with pytest.raises(EngineError, match="that TensorRT 10.3.0 loads on this GPU; got no reason in its log"):
        trt.open_engine(b"another plan")


def test_a_type_that_numpy_lacks_is_refused(monkeypatch):
    trt = open_fake("11.4.0.106", monkeypatch)
    engine = trt.open_engine(b"plan")
    engine.get_tensor_dtype = lambda name: trt.module.DataType.FP8
    with pytest.raises(EngineError, match="lr of a type that NumPy has"):
        trt.io_tensors(engine)


def test_without_a_gpu_tensorrt_is_not_touched(monkeypatch):
    trt = open_fake("10.3.0", monkeypatch, gpus=0)
    monkeypatch.setattr(trt.module, "Runtime", None)
    with pytest.raises(EngineError, match="a GPU to load an engine.*no NVIDIA driver"):
        trt.open_engine(b"plan")


def test_the_log_reaches_each_listener_while_it_listens(monkeypatch):
    trt, first, second = open_fake("10.3.0", monkeypatch), [], []
    with trt.listening(lambda *message: first.append(message)):
        with trt.listening(lambda *message: second.append(message)):
            trt.module.say("one", "WARNING")
        trt.module.say("two")
    trt.module.say("three")
    assert first == [("WARNING", "one"), ("ERROR", "two")] and second == [("WARNING", "one")]
    assert trt.last_errors() == "two; three"


@pytest.mark.parametrize("body", ["raise RuntimeError('no libnvinfer')", "__version__ = '7.1.3'", None])
def test_one_that_cannot_be_used_is_passed_over(body, tmp_path, monkeypatch):
    """Broken, older than 8.5, or a folder of that name in the current one: no reason not to look for the next."""
    (tmp_path / "tensorrt").mkdir()
    if body is not None:
        (tmp_path / "tensorrt" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.delenv(trt_api.ENVIRONMENT, raising=False)
    monkeypatch.setattr(trt_api, "_loaded", trt_api._loaded.__wrapped__)
    with pytest.raises(MissingPackageError, match=r"got tensorrt: .*(libnvinfer|has no attribute).*facetrt\[tensorrt"):
        trt_api.load("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingPackageError, match="tensorrt: .*; tensorrt_rtx: "):
        trt_api.load()
    sys.modules.pop("tensorrt", None)


def test_loading_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(trt_api, "_loaded", lambda name: __import__(f"no_{name}"))
    monkeypatch.delenv("FACETRT_TENSORRT", raising=False)
    with pytest.raises(MissingPackageError, match=r"tensorrt: No module.*tensorrt_rtx: No module.*facetrt\[tensorrt\]"):
        trt_api.load()
    with pytest.raises(MissingPackageError, match=r"package tensorrt_rtx.*facetrt\[rtx\]"):
        trt_api.load("tensorrt_rtx")
    with pytest.raises(BackendError, match="a TensorRT among.*'trt'"):
        trt_api.load("trt")
    monkeypatch.setenv("FACETRT_TENSORRT", "tensorrt_rtx")
    with pytest.raises(MissingPackageError, match="package tensorrt_rtx"):
        trt_api.load()


def test_a_library_without_its_shared_objects_is_missing_too(monkeypatch):
    def broken(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(trt_api, "_loaded", broken)
    with pytest.raises(MissingPackageError, match="libnvinfer.so.10"):
        trt_api.load("tensorrt")


def test_the_real_rtx_is_told_apart():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    trt = trt_api.load("tensorrt_rtx")
    assert trt is trt_api.load("tensorrt_rtx") and isinstance(trt, TensorRT)
    assert trt.typed and trt.portable and trt.has("progress") and trt.has("validity")
    assert not any(trt.has(feature) for feature in ("dla", "strip", "hardware_compatible", *GONE_IN_11))
    assert {"sm_75", "sm_86", "sm_89", "sm_120"} <= set(trt.targets()) and not {"sm_87", "sm_90"} & set(trt.targets())
    assert "tensorrt_rtx" in sys.modules
