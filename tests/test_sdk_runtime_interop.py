"""Arrays of other libraries on the GPU, as stand-ins on the fake device's memory."""

import ctypes
import gc
import types
import weakref

import fake_cuda
import numpy as np
import pytest

from sdk.errors import InputError
from sdk.runtime.device import LEGACY_STREAM, Device, Stream
from sdk.runtime.interop import DeviceArray, from_device, stream_handle


@pytest.fixture
def host(monkeypatch):
    """.cuda: the fake; .device, .stream: ours, with the device current."""
    cuda = fake_cuda.install(monkeypatch, fake_cuda.FakeCuda(gpus=2))
    device = Device(0)
    with device.current():
        yield types.SimpleNamespace(cuda=cuda, device=device, stream=Stream(device))
    assert cuda.problems == []


BATCH = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)


class Cai:
    """cupy, pycuda and numba: __cuda_array_interface__. None of them is needed here."""

    def __init__(self, host, array=BATCH, *, gpu=0, context=fake_cuda.PRIMARY, **changes):
        pointer = host.cuda.foreign(array, gpu, context)
        interface = dict(shape=array.shape, typestr=array.dtype.str, data=(pointer, False), version=3)
        interface.update(changes)
        self.__cuda_array_interface__ = {name: value for name, value in interface.items() if value is not ...}


class Torch:
    """torch: version 2 of the interface, and DLPack with the handshake of streams."""

    def __init__(self, host, array=BATCH, *, device=(2, 0), refuse=None):
        pointer = host.cuda.foreign(array)
        memory = (ctypes.c_char * array.nbytes).from_address(pointer)
        self.lent = np.frombuffer(memory, array.dtype).reshape(array.shape)  # lends a capsule of the GPU's memory
        self.device, self.refuse, self.asked = device, refuse, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream):
        self.asked.append(stream)
        if self.refuse:
            raise self.refuse
        return self.lent.__dlpack__()


def borrow(host, array, **options):
    return from_device(array, host.device, stream=host.stream, **options)


def test_an_interface_is_read_as_it_is(host):
    lender = Cai(host, strides=None, stream=None)
    found = borrow(host, lender)
    assert found.pointer == lender.__cuda_array_interface__["data"][0]
    assert (found.shape, found.dtype, found.stream, found.readonly) == (BATCH.shape, np.float32, None, False)
    np.testing.assert_array_equal(found.copy_to_host(), BATCH)


def test_the_lender_lives_as_long_as_what_was_borrowed(host):
    lender = Cai(host)
    alive = weakref.ref(lender)
    found = borrow(host, lender)
    del lender
    gc.collect()
    assert alive() is not None
    del found
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("shape", "strides", "dense"),
    [
        ((2, 3, 4, 4), (192, 64, 16, 4), True),
        ((1, 3, 4, 4), (999, 64, 16, 4), True),
        ((2, 3, 4, 4), (192, 4, 48, 12), False),
        ((2, 3, 4, 2), (192, 64, 16, 8), False),
        ((2, 3, 4, 4), (192, 64, -16, 4), False),
        ((0, 3, 4, 4), (1, 1, 1, 1), True),
    ],
    ids=["dense", "one face", "channels last", "every other", "backwards", "empty"],
)
def test_only_c_order_without_gaps(host, shape, strides, dense):
    lender = Cai(host, shape=shape, strides=strides)
    if dense:
        assert borrow(host, lender).shape == shape
    else:
        with pytest.raises(InputError, match=r"C-contiguous.*contiguous\(\)"):
            borrow(host, lender)


@pytest.mark.parametrize(("version", "named", "waits"), [(3, None, 0), (3, ..., 0), (3, 2, 1), (2, ..., 1)])
def test_our_stream_waits_for_the_stream_in_the_interface(host, version, named, waits):
    if named == 2:
        host.cuda.streams[2] = type(host.cuda.streams[1])()
    borrow(host, Cai(host, version=version, stream=named))
    assert host.cuda.calls["cuStreamWaitEvent"] == waits
    assert host.cuda.calls["cuStreamSynchronize"] == 0 and host.cuda.live.get("events", 0) == 0


def test_work_pending_on_the_lenders_stream_is_seen(host):
    pending = Stream(host.device)
    lender = Cai(host, stream=pending.handle)
    pointer = lender.__cuda_array_interface__["data"][0]
    host.device.fill_zero(pointer, BATCH.nbytes, pending)
    found = borrow(host, lender)
    target = DeviceArray.empty(host.device, BATCH.shape, BATCH.dtype, stream=host.stream)
    host.device.copy(target.pointer, found.pointer, BATCH.nbytes, host.stream)
    np.testing.assert_array_equal(target.copy_to_host(), np.zeros_like(BATCH))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(mask=object()), "without a mask"),
        (dict(version=1), "version 2 or 3"),
        (dict(shape=...), "shape, typestr and data"),
        (dict(typestr="nonsense"), "shape, typestr and data"),
        (dict(data=(4096, False)), "memory of a GPU.*0x1000.*CUDA_ERROR_INVALID_VALUE"),
        (dict(stream=0), "a stream handle or None"),
        (dict(stream="1"), "a stream handle or None"),
        (dict(gpu=1, context=8), "on cuda:0; got one on cuda:1"),
        (dict(context=99), "primary context.*autoinit"),
    ],
)
def test_interfaces_that_cannot_be_used(host, changes, words):
    with pytest.raises(InputError, match=words):
        borrow(host, Cai(host, **changes))


def test_memory_of_a_pool_belongs_to_no_context(host):
    assert borrow(host, Cai(host, context=0)).shape == BATCH.shape


def test_read_only_arrays_are_read_but_not_written(host):
    lender = Cai(host)
    lender.__cuda_array_interface__["data"] = (lender.__cuda_array_interface__["data"][0], True)
    assert borrow(host, lender).readonly
    with pytest.raises(InputError, match="read-only"):
        borrow(host, lender, writable=True)
    with pytest.raises(BufferError, match="written to"):
        borrow(host, lender).__dlpack__()


@pytest.mark.parametrize("thing", [BATCH, [1, 2], None, "text", types.SimpleNamespace(__cuda_array_interface__=3)])
def test_arrays_of_the_host_and_other_things(host, thing):
    with pytest.raises(InputError, match=r"GPU.*run\(\)|a dict as"):
        borrow(host, thing)


def test_tensors_that_record_gradients(host):
    class Grad:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    with pytest.raises(InputError, match=r"requires grad.*detach\(\)"):
        borrow(host, Grad())
    for error in (BufferError("requires gradient"), RuntimeError("no"), TypeError("no stream")):
        with pytest.raises(InputError, match=r"detach\(\)"):
            borrow(host, Torch(host, refuse=error))


def test_dlpack_is_told_our_stream(host):
    lender = Torch(host)
    found = borrow(host, lender)
    assert lender.asked == [host.stream.handle]
    assert (found.pointer, found.shape, found.dtype) == (lender.lent.ctypes.data, BATCH.shape, np.float32)
    assert found.stream is None


def test_dlpack_is_preferred_to_an_interface_that_says_nothing_of_streams(host):
    lender = Torch(host)
    lender.__cuda_array_interface__ = Cai(host, version=2).__cuda_array_interface__
    borrow(host, lender)
    assert lender.asked and host.cuda.calls["cuStreamWaitEvent"] == 0


@pytest.mark.parametrize(
    ("device", "words"), [((1, 0), r"device type 1.*run\(\)"), ((2, 1), "one on cuda:1"), ((10, 0), "type 10")]
)
def test_dlpack_from_elsewhere(host, device, words):
    with pytest.raises(InputError, match=words):
        borrow(host, Torch(host, device=device))


def test_our_arrays_speak_both_protocols(host):
    array = DeviceArray.empty(host.device, (2, 5), np.float16, stream=host.stream)
    interface = array.__cuda_array_interface__
    assert interface == {
        "shape": (2, 5), "typestr": "<f2", "data": (array.pointer, False), "version": 3, "strides": None,
        "stream": host.stream.handle,
    }  # fmt: skip
    assert array.__dlpack_device__() == (2, 0) and array.size_bytes == 20
    again = borrow(host, types.SimpleNamespace(__cuda_array_interface__=interface))
    assert (again.pointer, again.shape, again.dtype) == (array.pointer, (2, 5), np.float16)


@pytest.mark.parametrize(("reader", "waits"), [(None, 1), (LEGACY_STREAM, 1), (-1, 0)])
def test_a_reader_of_our_capsule_waits_for_us(host, reader, waits):
    array = DeviceArray.empty(host.device, (2, 5), np.float32, stream=host.stream)
    array.__dlpack__(stream=reader, max_version=(1, 0))
    assert host.cuda.calls["cuStreamWaitEvent"] == waits
    assert host.cuda.calls["cuStreamSynchronize"] == 0


def test_our_capsules_are_not_copied(host):
    array = DeviceArray.empty(host.device, (2, 5), np.float32, stream=host.stream)
    for options in (dict(copy=True), dict(dl_device=(1, 0)), dict(dl_device=(2, 1))):
        with pytest.raises(BufferError, match="lent as it is"):
            array.__dlpack__(**options)
    assert array.__dlpack__(dl_device=(2, 0), copy=False) is not None


def test_streams_of_every_library():
    torch, cupy, pycuda = ({"cuda_stream": 11}, {"ptr": 12}, {"handle": 13})
    assert [stream_handle(types.SimpleNamespace(**one)) for one in (torch, cupy, pycuda)] == [11, 12, 13]
    assert stream_handle(types.SimpleNamespace(__cuda_stream__=lambda: (0, 14))) == 14
    assert stream_handle(types.SimpleNamespace(__cuda_stream__=(0, 15))) == 15
    assert (stream_handle(16), stream_handle(0), stream_handle(2)) == (16, LEGACY_STREAM, 2)
    for wrong in ("1", -5, True, 1.0, object(), None):
        with pytest.raises(InputError, match="a CUDA stream"):
            stream_handle(wrong)
