"""Loading and launching on the fake GPU: modules, refusals of the driver, failures that stay where they are."""

import ctypes

import fake_gpu
import kernel_host
import numpy as np
import pytest

from sdk.errors import BackendError
from sdk.runtime import gpu as gpu_module
from sdk.runtime import kernel_shuffle
from sdk.runtime.device import Graph
from sdk.runtime.kernel_args import STRUCTS, PixelShuffleArgs
from sdk.runtime.kernel_files import kernel_folder, read_index

pytestmark = kernel_host.needs_compiler

PLANES = np.arange(2 * 4 * 3 * 8, dtype=np.float16).reshape(2, 4, 3, 8)


@pytest.fixture
def gpu(monkeypatch):
    with fake_gpu.running(monkeypatch) as found:
        yield found


def shuffle(gpu):
    out = gpu.room((2, 1, 6, 16), np.float16)
    kernel_shuffle.pixel_shuffle(gpu.kernels, gpu.put(PLANES), 2, out=out, stream=gpu.stream)
    return out


def test_a_module_is_loaded_once_and_unloaded(gpu):
    shuffle(gpu)
    shuffle(gpu)
    assert gpu.cuda.calls["cuModuleLoadData"] == gpu.cuda.calls["cuModuleGetFunction"] == 1
    assert gpu.kernels.origin("pixel_shuffle") == "cubin sm_86"
    gpu.stream.synchronize()
    gpu.kernels.close()
    gpu.kernels.close()
    with pytest.raises(BackendError, match="pixel_shuffle after close"):
        shuffle(gpu)


def test_nothing_runs_before_the_stream_does(gpu):
    out = shuffle(gpu)
    assert gpu.cuda.launches == [] and gpu.cuda.calls["cuStreamSynchronize"] == 0
    gpu.get(out)
    assert [kernel for kernel, *_ in gpu.cuda.launches] == ["pixel_shuffle_b16_r2"]


def test_launches_are_captured_into_graphs(gpu):
    gpu.get(shuffle(gpu))  # loads the kernel
    planes, out = gpu.put(PLANES), gpu.room((2, 1, 6, 16), np.float16)
    graph = Graph(
        gpu.stream,
        lambda: kernel_shuffle.pixel_shuffle(gpu.kernels, planes, 2, out=out, stream=gpu.stream),
    )
    for _ in range(3):
        graph.launch()
    gpu.stream.synchronize()
    assert len(gpu.cuda.launches) == 4
    graph.close()


def test_a_binary_that_the_driver_refuses_is_compiled_anew(gpu, monkeypatch, caplog):
    answers = iter(["CUDA_ERROR_UNSUPPORTED_PTX_VERSION", None])
    gpu.cuda.faults["cuModuleLoadData"] = lambda: next(answers)
    compiled = []
    monkeypatch.setattr(gpu_module, "compile_cuda", lambda source, sm: compiled.append((source.name, sm)) or b"\x7fELF")
    gpu.kernels.prepare("pixel_shuffle")
    assert compiled == [("pixel_shuffle.cu", "sm_86")]
    assert "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" in caplog.text and "NVRTC" in gpu.kernels.origin("pixel_shuffle")


def test_other_failures_of_loading_are_told_as_they_are(gpu):
    gpu.cuda.faults["cuModuleLoadData"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(BackendError, match="kernels of pixel_shuffle; got CUDA_ERROR_OUT_OF_MEMORY"):
        gpu.kernels.prepare("pixel_shuffle")
    gpu.cuda.faults.clear()
    gpu.get(shuffle(gpu))


def test_a_kernel_that_is_not_there(gpu):
    with pytest.raises(BackendError, match="pixel_shuffle_b64 of pixel_shuffle; got CUDA_ERROR_NOT_FOUND"):
        gpu.kernels.launch(
            "pixel_shuffle", "pixel_shuffle_b64", PixelShuffleArgs(), grid=(1, 1, 1), block=(32, 1, 1),
            stream=gpu.stream.handle,
        )  # fmt: skip


def test_structs_are_as_large_as_the_shipped_binaries_say():
    files = read_index(kernel_folder())["files"]
    for name, file in files.items():
        for kernel, about in file["kernels"].items():
            assert about["args_bytes"] == ctypes.sizeof(STRUCTS[name]), kernel
