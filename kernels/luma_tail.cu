// The picture of a network of luminance: its one channel in the colours of the face that went in, enlarged.
//
//     out[face, y, x, k] = colour[k] . (sum of wy(r) wx(c) lr[face, :, r, c], 1) + luma[k] sr[face, 0, y, x]
//     wy, wx: those of enlarge.cu. `colour` and `luma` hold RGB -> Cb, Cr -> RGB, gain, shift and the order of the
//     channels (sdk.runtime.kernel_luma). Clipped to 0..255, rounded half up; NaN gives 0.
//     status: bit 0 of a picture with a value of `sr` that is NaN or infinite, by those who saw one; none is cleared
//
// Entry points  luma_tail_<f16|f32>, the type of `sr`
// Grid          (ceil(S S / 256), capacity), block 256: a pixel a thread. The face's 3 to 12 KB stay in L1; a warp's 32
//               pixels are 96 bytes in a row, whose sectors the L2 puts together, so that wider stores save nothing.
// Reference     sdk/image/pixels.py from_network()
// Test          tests/test_kernels_luma_tail.py
// Compile       nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings luma_tail.cu
#include "luma_tail.cuh"

constexpr int THREADS = 256;
constexpr uint32_t NOT_FINITE_BIT = 1u;

__device__ __forceinline__ float number(__half v) { return __half2float(v); }
__device__ __forceinline__ float number(float v) { return v; }

template <class T> __device__ __forceinline__ void luma_tail(const LumaTailArgs& a) {
    const int face = blockIdx.y, side = a.size * a.scale, pixel = int(blockIdx.x) * THREADS + int(threadIdx.x);
    if (face >= face_count(a.count, a.capacity) || pixel >= side * side) return;
    const int64_t at = int64_t(face) * side * side + pixel;
    const float sr = number(static_cast<const T*>(a.sr)[at]);
    if (!(fabsf(sr) <= 3.4028235e38f) && a.status != nullptr) atomicOr(a.status + face, NOT_FINITE_BIT);
    float v[3];
    enlarged(a.lr + int64_t(face) * 3 * a.size * a.size, a.size, float(a.scale), pixel % side, pixel / side, v);
#pragma unroll
    for (int k = 0; k < 3; k++)
        a.out[at * 3 + k] = uint8_t(to_level(mixed(a.colour[k], v) + a.luma[k] * sr) + 0.5f);
}

KERNEL(luma_tail_f16, LumaTailArgs, THREADS) { luma_tail<__half>(args); }
KERNEL(luma_tail_f32, LumaTailArgs, THREADS) { luma_tail<float>(args); }
