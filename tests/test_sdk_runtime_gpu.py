"""probe() on machines of every kind, and the wrapper around cuda-python."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import fake_cuda
import pytest

from sdk.errors import BackendError, MissingPackageError
from sdk.runtime import gpu
from sdk.runtime.gpu import Driver, Gpu, probe


def test_probe_describes_every_gpu(monkeypatch, tmp_path):
    library = fake_cuda.FakeLibrary(2, name="Orin", capability=(8, 7), memory_mib=7620, cuda=12060)
    fake_cuda.install(monkeypatch, library=library)
    (tmp_path / "version").write_text("540.4.0\n")
    monkeypatch.setattr(gpu, "VERSION_FILES", (tmp_path / "none", tmp_path / "version"))
    found = probe()
    assert (found.driver, found.cuda, found.reason) == ("540.4.0", "12.6", "")
    assert found.gpus == tuple(Gpu(index, "Orin", "sm_87", 7620, multiprocessors=20) for index in range(2))


@pytest.mark.parametrize(
    ("status", "name", "hint"),
    [
        (100, "CUDA_ERROR_NO_DEVICE", "CUDA_VISIBLE_DEVICES"),
        (34, "CUDA_ERROR_STUB_LIBRARY", "LD_LIBRARY_PATH"),
        (3, "CUDA_ERROR_NOT_INITIALIZED", "forked"),
        (12345, "an unknown error", "12345"),
    ],
)
def test_probe_says_why_a_driver_has_no_gpu(monkeypatch, status, name, hint):
    fake_cuda.install(monkeypatch, library=fake_cuda.FakeLibrary(init=status))
    found = probe()
    assert found.gpus == () and found.cuda == "13.0"
    assert name in found.reason and hint in found.reason and "\n" not in found.reason


def test_probe_says_that_no_gpu_is_counted(monkeypatch):
    fake_cuda.install(monkeypatch, library=fake_cuda.FakeLibrary(0))
    assert "no GPU" in probe().reason


def test_probe_without_a_driver(monkeypatch):
    def missing():
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(gpu, "_open_library", missing)
    assert probe().gpus == () and "no NVIDIA driver: libcuda.so.1" in probe().reason


def test_probe_takes_any_library_of_that_name(monkeypatch):
    """A real shared library without CUDA's functions: no crash, a reason."""
    monkeypatch.setattr(gpu, "_open_library", lambda: ctypes.CDLL(None))
    assert "no function cuDriverGetVersion" in probe().reason


def test_probe_survives_a_driver_too_old_to_name_its_errors(monkeypatch):
    class Old(fake_cuda.FakeLibrary):
        @property
        def cuGetErrorName(self):  # noqa: N802
            raise AttributeError

    fake_cuda.install(monkeypatch, library=Old(init=100))
    assert "an unknown error (100)" in probe().reason


def test_probe_on_this_machine_ends_quickly_and_imports_nothing():
    program = """
import sys
from sdk.runtime.gpu import probe
found = probe()
assert bool(found.gpus) != bool(found.reason), found
assert not any(name.split(".")[0] in ("cuda", "tensorrt", "torch") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("580.65.06\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n", "540.4.0"),
        ("", None),
    ],
)
def test_driver_release(monkeypatch, tmp_path, text, release):
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(gpu, "VERSION_FILES", (tmp_path / "version",))
    assert gpu._driver_release() == release


def test_driver_unpacks_results(monkeypatch):
    driver = Driver(fake_cuda.FakeCuda(memory_bytes=1000))
    driver("cuCtxPushCurrent", 7)
    assert driver("cuMemGetInfo") == (1000, 1000)
    assert driver("cuMemFree", driver("cuMemAlloc", 10)) is None


def test_driver_names_the_status_and_what_it_was_for():
    driver = Driver(fake_cuda.FakeCuda(memory_bytes=1000))
    driver("cuCtxPushCurrent", 7)
    with pytest.raises(BackendError) as caught:
        driver("cuMemAlloc", 5000, what="5 kB for outputs")
    assert "5 kB for outputs" in caught.value.expected
    assert caught.value.got == "CUDA_ERROR_OUT_OF_MEMORY (2)"
    assert "smaller batches" in caught.value.remedy
    with pytest.raises(BackendError, match="CUDA_ERROR_INVALID_HANDLE.*dmesg"):
        driver("cuEventDestroy", 3)


def test_driver_without_a_gpu(monkeypatch):
    fake_cuda.install(monkeypatch, library=fake_cuda.FakeLibrary(init=100))
    with pytest.raises(BackendError, match="CUDA_ERROR_NO_DEVICE.*onnxruntime"):
        gpu.driver()


def test_driver_without_cuda_python(monkeypatch):
    fake_cuda.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", None)
    with pytest.raises(MissingPackageError, match=r"cuda-python.*facetrt\[cuda\]"):
        gpu.driver()


def test_driver_of_an_older_cuda_python(monkeypatch):
    cuda = fake_cuda.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", cuda)
    assert gpu.driver().module is cuda


def test_the_real_cuda_python_has_what_we_call():
    """Every name that device.py and interop.py use, in the installed bindings; nothing is called."""
    real = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is an optional package")

    sources = [Path(gpu.__file__).with_name(name) for name in ("gpu.py", "device.py", "interop.py")]
    text = "".join(path.read_text() for path in sources)
    names = set(re.findall(r"""driver\(\s*"(cu\w+)\"|module\.(cu\w+|CU\w+)|device, "(cu\w+)\"""", text))
    used = {name for found in names for name in found if name}
    assert len(used) > 20, used
    assert {name for name in used if not hasattr(real, name)} == set()
    assert hasattr(real.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
    assert {"CU_POINTER_ATTRIBUTE_CONTEXT", "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL"} <= set(dir(real.CUpointer_attribute))
    assert real.CUresult.CUDA_ERROR_OUT_OF_MEMORY.name in gpu.REMEDIES and int(real.CUresult.CUDA_SUCCESS) == 0
    assert int(real.CUstream(17)) == 17
