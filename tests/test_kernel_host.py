"""The CPU runner itself: right programs give what CUDA gives, wrong use is reported and never hangs."""

import ctypes
import shutil

import numpy as np
import pytest
from kernel_host import FOLDER, SCHEDULES, KernelFaultError, Kernels, Memory, agreed, needs_compiler

pytestmark = needs_compiler

PROGRAM = """
#include "common.cuh"
struct ProbeArgs { const int32_t* in; int32_t* out; int32_t n; int32_t what; };
KERNEL(probe, ProbeArgs, 128) {
    __shared__ int32_t tile[128];
    const int t = threadIdx.x, lane = t & 31, i = blockIdx.x * blockDim.x + t;
    const bool odd = (t & 1) != 0;
    int32_t v = i < args.n ? args.in[i] : 0;
    if (args.what == 0) {  // turn the block round, through shared memory
        tile[t] = v;
        __syncthreads();
        v = tile[blockDim.x - 1 - t];
    }
    if (args.what == 1) v = __shfl_xor_sync(ALL_LANES, v, 5);
    if (args.what == 2) v = __shfl_up_sync(ALL_LANES, v, 3, 16);
    if (args.what == 3) v = __shfl_down_sync(ALL_LANES, v, 30);
    if (args.what == 4) v = __shfl_sync(ALL_LANES, v, 9, 8);
    if (args.what == 5) v = int32_t(__ballot_sync(ALL_LANES, odd));
    if (args.what == 6) v = __syncthreads_count(odd);
    if (args.what == 7) v = __reduce_max_sync(ALL_LANES, v) - __reduce_min_sync(ALL_LANES, v);
    if (args.what == 8) v = warp_sum(v);
    if (args.what == 9 && odd) v = __reduce_add_sync(0xaaaaaaaau, v);
    if (args.what == 10) { atomicAdd(args.out, v); return; }
    if (args.what == 11) v = __any_sync(ALL_LANES, lane == 4) + 2 * __all_sync(ALL_LANES, lane == 4);
    if (args.what == 20 && t < 64) __syncthreads();
    if (args.what == 20) __syncthreads();
    if (args.what == 21 && t == 5) return;
    if (args.what == 21) __syncthreads();
    if (args.what == 22 && lane < 3) __syncwarp();
    if (args.what == 22) __syncthreads();
    if (args.what == 23) v = odd ? __shfl_xor_sync(ALL_LANES, v, 2) : int32_t(__ballot_sync(ALL_LANES, 1));
    if (args.what == 24 && odd) __syncwarp(0x55555555u);
    if (args.what == 25 && odd) v = __shfl_xor_sync(0xaaaaaaaau, v, 1);
    if (args.what == 26 && lane == 7) return;
    if (args.what == 26) __syncwarp();
    if (args.what == 27) v = __shfl_sync(ALL_LANES, v, 0, 12);
    if (args.what == 30) { tile[t] = v; v = tile[blockDim.x - 1 - t]; }
    if (args.what == 31) v = tile[t];
    if (args.what == 32) { tile[lane] = v; v = tile[31 - lane]; }
    if (args.what == 33) v = atomicAdd(args.out + args.n - 1, 1);
    if (i < args.n) args.out[i] = v;
    if (args.what == 34 && i == 0) args.out[args.n] = 1;
}
"""
N = 250  # the last block has threads without an element


class ProbeArgs(ctypes.Structure):
    _fields_ = [("in_", ctypes.c_void_p), ("out", ctypes.c_void_p), ("n", ctypes.c_int32), ("what", ctypes.c_int32)]


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "kernels"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("built", "*.cu", "*.md"))
    (folder / "probe.cu").write_text(PROGRAM)
    kernels = Kernels(folder / "probe.cu")

    def run(what, schedule=0, threads=128, blocks=2):
        with Memory() as memory:
            out = memory.poisoned((N,), np.int32)
            out.view()[0] = 0
            args = ProbeArgs(memory.put(np.arange(N, dtype=np.int32)), out.pointer, N, what)
            kernels.launch("probe", args, grid=(blocks, 1, 1), block=(threads, 1, 1), schedule=schedule)
            return out.get()

    return run


def expected(what):
    """What CUDA's manual says of each, for 2 blocks of 128 threads."""
    x = np.where(np.arange(256) < N, np.arange(256), 0)
    warps, lane = x.reshape(-1, 32), np.arange(256) % 32
    first = np.arange(256) - lane
    if what == 0:
        return x.reshape(2, 128)[:, ::-1].ravel()
    if what in (1, 2, 3, 4):
        source = {
            1: lane ^ 5,
            2: np.where(lane % 16 >= 3, lane - 3, lane),
            3: np.where(lane + 30 < 32, lane + 30, lane),
            4: lane // 8 * 8 + 1,
        }[what]
        return x[first + source]
    if what == 9:
        return np.where(lane % 2 == 1, np.repeat(warps[:, 1::2].sum(axis=1), 32), x)
    by_warp = {7: warps.max(axis=1) - warps.min(axis=1), 8: warps.sum(axis=1)}
    flat = {5: np.int64(0xAAAAAAAA) - 2**32, 6: 64, 11: 1}
    return np.repeat(by_warp[what], 32) if what in by_warp else np.full(256, flat[what])


@pytest.mark.parametrize("what", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
def test_operations_give_what_cuda_gives(probe, what):
    assert np.array_equal(agreed(lambda schedule: probe(what, schedule)), expected(what)[:N])


def test_atomics_add_up(probe):
    assert agreed(lambda schedule: probe(10, schedule))[0] == sum(range(N))


WRONG = {
    20: "threads wait at different barriers",
    21: r"__syncthreads at .*probe.cu:\d+; thread 5,0,0 of block \d,0,0 has ended",
    22: "deadlock: .*__syncwarp",
    23: "lanes of one warp meet at different operations",
    24: "is not named in its own mask",
    25: "reads a lane outside the mask",
    26: "names lane 7, which is absent or has ended",
    27: "width 12",
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_reported(probe, what, schedule):
    with pytest.raises(KernelFaultError, match=WRONG[what]):
        probe(what, schedule)
    assert np.array_equal(probe(1, schedule), expected(1)[:N])  # and leaves nothing behind


@pytest.mark.parametrize("what", [30, 31, 32, 33])
def test_what_hangs_on_the_schedule_shows(probe, what):
    """A missing barrier, shared memory never written, a missing warp barrier, the order of atomics."""
    with pytest.raises(AssertionError, match="gives other bits"):
        agreed(lambda schedule: probe(what, schedule))


def test_a_write_beside_an_array_shows(probe):
    with pytest.raises(AssertionError, match="wrote outside its array"):
        probe(34)


@pytest.mark.parametrize(("threads", "blocks"), [(0, 1), (129, 1), (32, 0)])
def test_launches_that_cuda_refuses(probe, threads, blocks):
    with pytest.raises(KernelFaultError, match="threads a block|a grid that CUDA refuses"):
        probe(0, threads=threads, blocks=blocks)


def test_a_block_of_half_a_warp_has_absent_lanes(probe):
    with pytest.raises(KernelFaultError, match="absent"):
        probe(1, threads=16)
