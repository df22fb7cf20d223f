// What every kernel starts with: CUDA's headers for nvcc, NVRTC or (-DCUHOST) a host compiler, the form of an entry
// point, and warp reductions that need no particular GPU.
#pragma once
#if defined(CUHOST)
#include "host/cuda_host.hpp"
#elif defined(__CUDACC_RTC__)  // NVRTC knows no system headers
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#include <cuda_fp16.h>
#else
#include <cuda_fp16.h>
#include <stdint.h>
#endif

constexpr uint32_t ALL_LANES = 0xffffffffu;
#if defined(__CUDA_ARCH__)
constexpr int ARCHITECTURE = __CUDA_ARCH__;  // 870 for sm_87
#else
constexpr int ARCHITECTURE = 9999;  // the host
#endif

// KERNEL(name, Args, threads) { body }: an entry point with one argument struct `args`, at most `threads` a block; a
// fourth argument is the number of blocks a multiprocessor must have room for.
// The host build adds launch_<name>, which tests/kernel_host.py calls; it checks that both sides agree on the struct.
#if defined(CUHOST)
#define KERNEL(NAME, ARGS, THREADS, ...)                                                                        \
    extern "C" void NAME(const ARGS args);                                                                      \
    extern "C" CUDA_HOST_EXPORT int launch_##NAME(const void* args, size_t bytes, const unsigned* grid,         \
                                 const unsigned* block, unsigned schedule) {                                    \
        if (bytes != sizeof(ARGS)) return 2;                                                                    \
        return cuda_host::launch([](const void* p) { NAME(*static_cast<const ARGS*>(p)); }, args, grid, block,  \
                                 schedule, THREADS);                                                            \
    }                                                                                                           \
    extern "C" void NAME(const ARGS args)
#else
#define KERNEL(NAME, ARGS, THREADS, ...) \
    extern "C" __global__ void __launch_bounds__(THREADS, ##__VA_ARGS__) NAME(const ARGS args)
#endif

// Largest and smallest over the 32 lanes, in all of them: one instruction (REDUX) from sm_80 on, five shuffles before.
__device__ __forceinline__ uint32_t warp_max(uint32_t v) {
#if (defined(CUHOST) && !defined(WITHOUT_REDUX)) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
    return __reduce_max_sync(ALL_LANES, v);
#else
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) v = max(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
#endif
}

__device__ __forceinline__ uint32_t warp_min(uint32_t v) {
#if (defined(CUHOST) && !defined(WITHOUT_REDUX)) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
    return __reduce_min_sync(ALL_LANES, v);
#else
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) v = min(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
#endif
}

// Sum over the 32 lanes, in all of them, always in the same order.
template <class T> __device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}
