"""DLPack capsules, held against NumPy's and torch's own."""

import gc
import weakref

import numpy as np
import pytest

from sdk.errors import InputError
from sdk.runtime.dlpack import make_capsule, take_capsule

CPU = 1


class Owner:
    """Memory that is freed with its last reference."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return CPU, 0

    def __dlpack__(self, **_):
        array = self.array
        return make_capsule(self, array.ctypes.data, array.shape, array.dtype, device=0, kind=CPU)


ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(6, dtype=np.float16).reshape(6, 1),
    np.array(7, np.int64),
    np.zeros((0, 5), np.uint8),
    np.array([True, False]),
]
each_array = pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")


@each_array
def test_numpy_reads_our_capsules(array):
    found = np.from_dlpack(Owner(array))
    assert found.dtype == array.dtype and found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@each_array
def test_torch_reads_our_capsules(array):
    torch = pytest.importorskip("torch")
    found = torch.from_dlpack(Owner(array)).numpy()
    assert found.dtype == array.dtype and found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@each_array
def test_we_read_numpys_capsules(array):
    taken = take_capsule(array.__dlpack__())
    assert (taken.shape, taken.dtype) == (array.shape, array.dtype)
    assert taken.pointer == array.ctypes.data or array.size == 0


def test_we_read_the_steps_and_offsets_of_torch():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    taken = take_capsule(tensor[1:, ::2].__dlpack__())
    assert taken.pointer == tensor.data_ptr() + 6 * 4
    assert taken.shape == (3, 3) and taken.strides_bytes == (24, 8)


def test_the_reader_keeps_our_memory_alive():
    owner = Owner(np.arange(5.0))
    alive = weakref.ref(owner)
    found = np.from_dlpack(owner)
    del owner
    gc.collect()
    assert alive() is not None and found[4] == 4
    del found
    gc.collect()
    assert alive() is None


def test_a_capsule_that_nobody_takes_lets_go():
    owner = Owner(np.arange(5.0))
    alive = weakref.ref(owner)
    capsule = owner.__dlpack__()
    del owner
    gc.collect()
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_taking_a_capsule_keeps_the_lenders_memory_until_we_let_go():
    owner = Owner(np.arange(5.0))
    alive = weakref.ref(owner)
    taken = take_capsule(owner.__dlpack__())
    del owner
    gc.collect()
    assert alive() is not None
    del taken
    gc.collect()
    assert alive() is None


def test_a_capsule_is_taken_once():
    capsule = np.arange(3.0).__dlpack__()
    take_capsule(capsule)
    with pytest.raises(InputError, match="nobody took yet"):
        take_capsule(capsule)


@pytest.mark.parametrize("thing", [None, 5, np.arange(3), object()])
def test_what_is_no_capsule(thing):
    with pytest.raises(InputError, match="a DLPack capsule"):
        take_capsule(thing)


def test_types_that_are_no_plain_numbers_are_refused_and_let_go():
    torch = pytest.importorskip("torch")
    for kind in (torch.bfloat16, torch.complex64):
        with pytest.raises(InputError, match="plain numbers.*DLPack type code"):
            take_capsule(torch.zeros(3, dtype=kind).__dlpack__())


def test_ten_thousand_capsules_leave_nothing():
    from sdk.runtime import dlpack

    owner = Owner(np.arange(5.0))
    for number in range(10_000):
        taken = take_capsule(owner.__dlpack__()) if number % 2 else owner.__dlpack__()
    del taken
    gc.collect()
    assert dlpack._lent == {}
