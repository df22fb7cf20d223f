"""A fake GPU with our kernels on it, for tests of launchers: arrays go there and back, kernels run through g++."""

import contextlib

import fake_cuda
import numpy as np

from sdk.runtime.device import Device, Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_module import KernelSet


class Gpu:
    """Kernels and a stream, with the device current."""

    def __init__(self, cuda):
        self.cuda = cuda
        self.device = Device(0)
        self.kernels = KernelSet(self.device)
        self.stream = Stream(self.device)

    def put(self, values, dtype=None):
        """A copy on the GPU."""
        array = np.ascontiguousarray(values, dtype)
        return DeviceArray(self.device, self.cuda.foreign(array), array.shape, array.dtype, owner=array)

    def room(self, shape, dtype):
        """Poisoned memory."""
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 0xA5
        return self.put(array)

    def get(self, array):
        self.stream.synchronize()
        return array.copy_to_host()


@contextlib.contextmanager
def running(monkeypatch, **options):
    """A fake GPU; afterwards nothing may be left on it, and nothing may have gone wrong."""
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda(**options))
    gpu = Gpu(cuda)
    with gpu.device.current():
        yield gpu
        gpu.stream.synchronize()
        gpu.kernels.close()
        gpu.stream.close()
    assert not cuda.problems, cuda.problems
    assert not cuda.modules and len(cuda.streams) == 1, cuda.live
