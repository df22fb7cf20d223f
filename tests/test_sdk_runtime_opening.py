"""sdk.runtime.opening: which library runs a model on which machine, and what is said about it. GPUs are made up."""

import dataclasses
import json
import types

import fake_builder
import pytest
from tiny_onnx import save_tiny

from sdk import zoo
from sdk.errors import BackendError, BuildError, EngineError, InputError, MissingPackageError, ModelError
from sdk.runtime import gpu, machine, opening, trt_api, trt_backend
from sdk.runtime.backend import open_backend
from sdk.runtime.manifest import manifest_path, read_engine, read_manifest
from sdk.runtime.onnx_file import read_onnx
from sdk.runtime.opening import open_network
from sdk.runtime.ort_backend import OrtBackend

NO_DRIVER = gpu.Probe(None, None, (), "no NVIDIA driver: libcuda.so.1 not found")
L4 = gpu.Gpu(0, "NVIDIA L4", "sm_89", 22_000)
T4 = gpu.Gpu(1, "Tesla T4", "sm_75", 15_000)


class FakeTrtBackend:
    """Reads the engine as the real one does, and runs nothing."""

    refuses = ""  # an engine with these bytes in it is refused

    def __init__(self, path, *, device=None):
        plan, about = read_engine(path)
        if self.refuses and self.refuses.encode() in plan:
            raise EngineError("an engine that TensorRT loads", "magic tag does not match", "build it again")
        self.spec, self.device = about.model_spec, device or "cuda:0"

    def run(self, batch):
        return {}

    def close(self):
        pass


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.delenv("FACETRT_BACKEND")
    fake_builder.install(monkeypatch, tmp_path, machine.Machine("tensorrt", "10.3.0", None, None, "", "", None, ""))
    monkeypatch.setattr(gpu, "probe", lambda: NO_DRIVER)
    monkeypatch.setattr(trt_backend, "TrtBackend", FakeTrtBackend)
    return save_tiny(tmp_path / "tiny.onnx")


@pytest.fixture
def with_gpu(monkeypatch):
    """A machine with two GPUs, TensorRT and cuda-python."""

    def make(*gpus, flavour="tensorrt"):
        monkeypatch.setattr(gpu, "probe", lambda: gpu.Probe("580.65", "13.0", gpus or (L4, T4), ""))
        library = types.SimpleNamespace(flavour=flavour, version="10.3.0")
        monkeypatch.setattr(trt_api, "load", lambda flavour=None: library)
        monkeypatch.setattr(gpu, "driver", lambda: None)
        here = machine.this_machine()
        monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(here)))
        return here

    return make


def test_auto_without_a_driver(model):
    opened = open_network(model)
    assert isinstance(opened.network, OrtBackend)
    assert opened.line() == f"tiny_x8: onnxruntime, fp32 on cpu, {model} ({NO_DRIVER.reason})"


def test_auto_with_a_gpu_builds_fp16_and_says_so(model, with_gpu, tmp_path):
    with_gpu()
    opened = open_network(model)
    assert opened.path is not None and read_manifest(opened.path).precision == "fp16"
    assert opened.line() == f"tiny_x8: TensorRT 10.3.0, fp16 on cuda:0, {opened.path} (found NVIDIA L4)"
    assert open_network(model, "tensorrt").path == opened.path and len(fake_builder.runs_of(tmp_path)) == 1
    assert 'backend="tensorrt" was asked for' in open_network(model, "tensorrt").line()
    assert open_network(model, precision="int8").precision == "int8"
    assert open_network(model, device="cpu").line().endswith('(device="cpu" was asked for)')
    assert 'backend="onnxruntime" was asked for' in open_network(model, "onnxruntime").line()
    assert isinstance(open_backend(model, precision="fp16"), FakeTrtBackend)


def test_the_variable_takes_the_place_of_auto(model, with_gpu, monkeypatch):
    with_gpu()
    monkeypatch.setenv("FACETRT_BACKEND", "onnxruntime")
    assert open_network(model).line().endswith("($FACETRT_BACKEND is onnxruntime)")
    assert open_network(model, "tensorrt").runtime == "TensorRT 10.3.0"
    monkeypatch.setenv("FACETRT_BACKEND", "typo")
    with pytest.raises(BackendError, match="backend among .*'typo'"):
        open_network(model)


def test_the_device_chooses_the_gpu(model, with_gpu, monkeypatch, caplog):
    here = with_gpu()
    other = dataclasses.replace(here, gpu=T4.name, sm=T4.sm)
    monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(other)))
    caplog.set_level("INFO", "facetrt")
    opened = open_network(model, "tensorrt", device="cuda:1")
    assert opened.device == "cuda:1" and "sm_75-tesla_t4" in opened.path.name and "--device 1" in caplog.text
    with pytest.raises(BackendError, match=r"cuda:0 \(NVIDIA L4\), cuda:1 \(Tesla T4\); got cuda:2"):
        open_network(model, "tensorrt", device="cuda:2")
    with pytest.raises(BackendError, match="a device like"):
        open_network(model, "tensorrt", device="cpu")


def test_auto_falls_back_when_building_fails(model, with_gpu, monkeypatch, caplog):
    with_gpu()
    monkeypatch.setenv("FAKE_MODE", "fail")
    opened = open_network(model)
    assert opened.runtime == "onnxruntime" and "TensorRT cannot be used: expected an engine; got node /conv_7" in (
        opened.reason
    )
    assert opened.reason in caplog.text
    with pytest.raises(BuildError, match="node /conv_7"):
        open_network(model, "tensorrt")
    with pytest.raises(BackendError, match=r"fp32 or int8 with onnxruntime; got precision='fp16' \(.*node /conv_7"):
        open_network(model, precision="fp16")  # never silently another precision


def test_auto_without_tensorrt_or_cuda_python(model, with_gpu, monkeypatch):
    with_gpu()

    def missing(*arguments):
        raise MissingPackageError("running engines", "cuda-python", "pip install 'facetrt[cuda]'", got="no module")

    for module, name in ((gpu, "driver"), (trt_api, "load")):
        monkeypatch.setattr(module, name, missing)
        opened = open_network(model)
        assert opened.reason == "no cuda-python (no module); install it: pip install 'facetrt[cuda]'"
        with pytest.raises(MissingPackageError):
            open_network(model, "tensorrt")


def test_tensorrt_rtx_runs_on_desktop_gpus_only(model, with_gpu):
    with_gpu(dataclasses.replace(L4, name="Orin", sm="sm_87"), flavour="tensorrt_rtx")
    assert "Orin (sm_87), while TensorRT-RTX runs on sm_75" in open_network(model).reason
    with pytest.raises(BackendError, match="TensorRT-RTX runs on"):
        open_network(model, "tensorrt")
    with_gpu(flavour="tensorrt_rtx")
    assert open_network(model).path.name == "tensorrt_rtx-10.3.0-sm_89-fp16.engine"


@pytest.mark.parametrize("harm", ["a flipped bit", "TensorRT refuses"])
def test_an_engine_of_the_cache_that_does_not_load_is_built_again(model, with_gpu, monkeypatch, tmp_path, caplog, harm):
    with_gpu()
    path = open_network(model).path
    if harm == "a flipped bit":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    else:
        monkeypatch.setattr(FakeTrtBackend, "refuses", str(fake_builder.runs_of(tmp_path)[0]))
    assert open_network(model).path == path and len(fake_builder.runs_of(tmp_path)) == 2
    assert ("SHA-256" if harm == "a flipped bit" else "magic tag") in caplog.messages[-1]


def test_an_engine_opens_as_it_is(model, with_gpu, monkeypatch, tmp_path):
    here, path = with_gpu(), tmp_path / "mine.engine"
    fake_builder.write_engine(path, read_onnx(model), "int8", vars(here))
    for backend in ("auto", "tensorrt"):
        assert open_network(path, backend).line().startswith("tiny_x8: TensorRT 10.3.0, int8 on cuda:0")
    monkeypatch.setenv("FACETRT_BACKEND", "onnxruntime")  # chooses for .onnx files
    assert open_network(path).device == "cuda:0"
    with pytest.raises(EngineError, match="in fp16: mine.engine; got one built as int8; leave precision out"):
        open_network(path, precision="fp16")
    with pytest.raises(BackendError, match="an .onnx file for onnxruntime; got mine.engine"):
        open_network(path, "onnxruntime")
    manifest_path(path).unlink()
    with pytest.raises(EngineError, match=r"mine\.engine\.json beside the engine; got no such file; .*trt-build MODEL"):
        open_network(path)


def test_int8_on_the_cpu_is_another_file(model, monkeypatch, tmp_path):
    cpu = machine.Machine("onnxruntime", "", None, None, None, None, None, "x86_64")
    monkeypatch.setenv("FAKE_MACHINE", json.dumps(vars(cpu)))
    monkeypatch.setenv("FAKE_MODE", "cpu")
    made = open_network(model, precision="int8")
    assert made.path.name == "cpu-int8.onnx" and made.precision == "int8" and made.network.spec.name == "tiny_x8"
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    monkeypatch.setitem(zoo.SHIPPED, "tiny", "tiny.onnx")
    shipped = save_tiny(tmp_path / "tiny.int8.onnx")
    assert open_network(model, "onnxruntime", precision="int8").path == shipped
    assert open_network(shipped).precision == "int8"  # the file of the caller's choice
    with pytest.raises(BackendError, match="fp32 with onnxruntime; got precision='int8'"):
        open_network(model, "onnxruntime", device="cuda:0", precision="int8")


def test_wrong_precisions_and_files(model, tmp_path):
    for precision in ("int4", "FP16", 16):
        with pytest.raises(InputError, match="a precision among"):
            open_network(model, precision=precision)
    with pytest.raises(BackendError, match=r"fp32 or int8 with onnxruntime; got precision='fp16' \(no NVIDIA driver"):
        open_network(model, precision="fp16")
    with pytest.raises(BackendError, match="a GPU for TensorRT; got no NVIDIA driver: libcuda"):
        open_network(model, "tensorrt")
    (tmp_path / "a.plan").touch()
    with pytest.raises(ModelError, match=r"\.onnx or \.engine; got a\.plan"):
        open_network(tmp_path / "a.plan")
    assert opening.NETWORK_PRECISIONS[0] is None
