// CUDA C++ for the CPU: compiled with -DCUHOST by a host compiler, a kernel of this folder runs under fibers.hpp.
// What CUDA offers and this file lacks is a compile error, not a surprise; missing on purpose: __activemask (its answer
// is the hardware's), dynamic shared memory, textures, cp.async, inline PTX, anything between blocks but atomics.
// Used by tests/kernel_host.py:
//     g++ -std=c++17 -O2 -ffp-contract=off -fno-strict-aliasing -fvisibility=hidden -DCUHOST -fPIC -shared -x c++ X.cu
// -fno-strict-aliasing: kernels read 16 bytes as a uint4, which nvcc defines and g++ otherwise breaks.
// -fvisibility=hidden: libraries of several kernels in one process must not share the state and shared memory of one.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "launch.hpp"

#include <cuda_fp16.h>  // CUDA's own: half arithmetic and, through vector_types.h, uint4 and its like
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ CUDA_HOST_SHARED

#define threadIdx (cuda_host::block.self->thread)
#define blockIdx (cuda_host::block.index)
#define blockDim (cuda_host::block.size)
#define gridDim (cuda_host::block.grid)
constexpr int warpSize = cuda_host::WARP;

// A default argument stands in the caller's line: every call knows where it is.
#define CUDA_HOST_HERE const char* file = __builtin_FILE(), int line = __builtin_LINE()

// ---- block
inline void __syncthreads(CUDA_HOST_HERE) { cuda_host::meet_block(0, {"__syncthreads", file, line}); }
inline int __syncthreads_count(int p, CUDA_HOST_HERE) {
    return cuda_host::meet_block(p, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int p, CUDA_HOST_HERE) {
    return cuda_host::meet_block(p, {"__syncthreads_or", file, line}) > 0;
}
inline int __syncthreads_and(int p, CUDA_HOST_HERE) {
    return cuda_host::meet_block(p, {"__syncthreads_and", file, line}) == int(cuda_host::block.fibers.size());
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- warp
inline void __syncwarp(uint32_t mask = 0xffffffffu, CUDA_HOST_HERE) {
    cuda_host::meet_warp(mask, 0, {"__syncwarp", file, line});
}

namespace cuda_host {
template <class T> uint64_t bits(T value) {
    static_assert(sizeof(T) <= 8, "warp operations move at most 8 bytes");
    uint64_t out = 0;
    memcpy(&out, &value, sizeof value);
    return out;
}
template <class T> T unbits(uint64_t raw) {
    T out;
    memcpy(&out, &raw, sizeof out);
    return out;
}
template <class T> T shuffle(uint32_t mask, T value, int source, int width, Site site) {
    if (width < 1 || width > WARP || (width & (width - 1)))
        fault("width " + std::to_string(width) + ": " + site.text());
    const int base = lane() & ~(width - 1);
    const bool outside = source < base || source >= base + width;  // CUDA: the lane keeps its own value
    const int from = outside ? lane() : source;
    const uint64_t* all = meet_warp(mask, bits(value), site);
    if (!(mask >> from & 1u)) fault(name(*block.self) + " reads a lane outside the mask: " + site.text());
    return unbits<T>(all[from]);
}
template <class T, class F> T reduce(uint32_t mask, T value, Site site, F join) {
    static_assert(sizeof(T) == 4, "__reduce_*_sync takes 32-bit integers");
    const uint64_t* all = meet_warp(mask, bits(value), site);
    T out = value;
    for (int k = 0; k < WARP; k++)
        if (k != lane() && (mask >> k & 1u)) out = join(out, unbits<T>(all[k]));
    return out;
}
}  // namespace cuda_host

template <class T>
T __shfl_sync(uint32_t mask, T v, int source, int width = 32, CUDA_HOST_HERE) {
    const int from = (cuda_host::lane() & ~(width - 1)) + (source & (width - 1));
    return cuda_host::shuffle(mask, v, from, width, {"__shfl_sync", file, line});
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T v, int flip, int width = 32, CUDA_HOST_HERE) {
    return cuda_host::shuffle(mask, v, cuda_host::lane() ^ flip, width, {"__shfl_xor_sync", file, line});
}
template <class T>
T __shfl_down_sync(uint32_t mask, T v, unsigned by, int width = 32, CUDA_HOST_HERE) {
    return cuda_host::shuffle(mask, v, cuda_host::lane() + int(by), width, {"__shfl_down_sync", file, line});
}
template <class T>
T __shfl_up_sync(uint32_t mask, T v, unsigned by, int width = 32, CUDA_HOST_HERE) {
    return cuda_host::shuffle(mask, v, cuda_host::lane() - int(by), width, {"__shfl_up_sync", file, line});
}
inline uint32_t __ballot_sync(uint32_t mask, int vote, CUDA_HOST_HERE) {
    const uint64_t* all = cuda_host::meet_warp(mask, vote != 0, {"__ballot_sync", file, line});
    uint32_t out = 0;
    for (int k = 0; k < cuda_host::WARP; k++) out |= uint32_t(all[k] & 1u) << k;
    return out & mask;
}
inline int __any_sync(uint32_t mask, int vote, CUDA_HOST_HERE) {
    return __ballot_sync(mask, vote, file, line) != 0;
}
inline int __all_sync(uint32_t mask, int vote, CUDA_HOST_HERE) {
    return __ballot_sync(mask, vote, file, line) == mask;
}
template <class T> T __reduce_max_sync(uint32_t mask, T v, CUDA_HOST_HERE) {
    return cuda_host::reduce(mask, v, {"__reduce_max_sync", file, line}, [](T a, T b) { return a > b ? a : b; });
}
template <class T> T __reduce_min_sync(uint32_t mask, T v, CUDA_HOST_HERE) {
    return cuda_host::reduce(mask, v, {"__reduce_min_sync", file, line}, [](T a, T b) { return a < b ? a : b; });
}
template <class T> T __reduce_add_sync(uint32_t mask, T v, CUDA_HOST_HERE) {
    const cuda_host::Site site{"__reduce_add_sync", file, line};
    return T(cuda_host::reduce(mask, uint32_t(v), site, [](uint32_t a, uint32_t b) { return a + b; }));
}
inline uint32_t __reduce_or_sync(uint32_t mask, uint32_t v, CUDA_HOST_HERE) {
    return cuda_host::reduce(mask, v, {"__reduce_or_sync", file, line}, [](uint32_t a, uint32_t b) { return a | b; });
}
inline uint32_t __reduce_and_sync(uint32_t mask, uint32_t v, CUDA_HOST_HERE) {
    return cuda_host::reduce(mask, v, {"__reduce_and_sync", file, line}, [](uint32_t a, uint32_t b) { return a & b; });
}

// ---- atomics: only one fiber runs at a time, so a plain step is one
template <class T, class F> T cuda_host_atomic(T* p, F change) {
    const T old = *p;
    *p = change(old);
    return old;
}
template <class T> struct cuda_host_same { using type = T; };  // the value takes the pointer's type, as with CUDA's
template <class T> using cuda_host_value = typename cuda_host_same<T>::type;
template <class T> T atomicAdd(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return T(o + v); });
}
template <class T> T atomicSub(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return T(o - v); });
}
template <class T> T atomicMax(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return o < v ? v : o; });
}
template <class T> T atomicMin(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return v < o ? v : o; });
}
template <class T> T atomicOr(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return T(o | v); });
}
template <class T> T atomicAnd(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T o) { return T(o & v); });
}
template <class T> T atomicExch(T* p, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [v](T) { return v; });
}
template <class T> T atomicCAS(T* p, cuda_host_value<T> expected, cuda_host_value<T> v) {
    return cuda_host_atomic(p, [=](T o) { return o == expected ? v : o; });
}

// ---- arithmetic
template <class T> T __ldg(const T* p) { return *p; }
inline uint32_t __float_as_uint(float f) { return cuda_host::unbits<uint32_t>(cuda_host::bits(f)); }
inline int __float_as_int(float f) { return cuda_host::unbits<int>(cuda_host::bits(f)); }
inline float __uint_as_float(uint32_t u) { return cuda_host::unbits<float>(u); }
inline float __int_as_float(int i) { return cuda_host::unbits<float>(cuda_host::bits(i)); }
inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline uint32_t max(uint32_t a, uint32_t b) { return a > b ? a : b; }
inline uint32_t min(uint32_t a, uint32_t b) { return a < b ? a : b; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(uint32_t(v)); }
inline int __popc(uint32_t v) { return __builtin_popcount(v); }
inline float __saturatef(float v) { return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; }  // NaN gives 0
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline int __float2int_rd(float v) { return int(floorf(v)); }
inline int __float2int_rn(float v) { return int(rintf(v)); }
