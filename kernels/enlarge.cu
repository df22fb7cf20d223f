// Faces enlarged before the network, for networks that take a picture of the output's size (ModelSpec.input_upscaled).
//
//     out[face, k, y, x] = colour[k] . (sum of wy(r) wx(c) lr[face, :, r, c], 1)
//     wy, wx: bicubic a = -0.5 round ((x + 0.5) / scale), taps outside the face dropped, the rest normalised. Not
//     clipped: the bicubic overshoots, and the network was trained on that.
// `lr` is what crop_norm writes as f32_nchw with an identity for `colour`: fp32 planes in 0..255; `colour` moves here.
//
// Entry points  enlarge_<f16_nchw|f32_nchw|f16_hwc8>
// Grid          (ceil((size scale)^2 / 256), capacity), block 256: a pixel a thread, 4 x 4 taps a channel. A face's
//               3 KB (16 x 16) stay in L1, so that shared memory would save nothing; 256 threads, since there is
//               nothing to share and the grid then stays small.
// Reference     sdk/image/pixels.py to_network(), sdk/image/resample.py resize()
// Test          tests/test_kernels_enlarge.py
// Compile       nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings enlarge.cu
#include "enlarge.cuh"
#include "network_input.cuh"

struct EnlargeArgs {
    const float* lr;       // [capacity, 3, size, size] 0..255
    const int32_t* count;  // faces; null: capacity
    void* out;             // [capacity, channels, S, S], hwc8: [capacity, S, S, 8], 16-byte aligned; S = size * scale
    float colour[3][4];    // output channel k = colour[k] . (the 3 channels, 1)
    int32_t size, scale;   // side of `lr`; enlargement, at least 1
    int32_t channels;      // of the output: 1 or 3
    int32_t capacity;
};
static_assert(sizeof(EnlargeArgs) == 88, "launchers and tests mirror it");

constexpr int THREADS = 256, BLOCKS = 4;  // of a multiprocessor: 64 registers a thread; left alone, sm_100 spills

template <class Out> __device__ __forceinline__ void enlarge(const EnlargeArgs& a) {
    const int face = blockIdx.y, side = a.size * a.scale, pixel = int(blockIdx.x) * THREADS + int(threadIdx.x);
    if (face >= face_count(a.count, a.capacity) || pixel >= side * side) return;
    float v[3];
    enlarged(a.lr + int64_t(face) * 3 * a.size * a.size, a.size, float(a.scale), pixel % side, pixel / side, v);
    Out::put(a.out, a.colour, a.channels, int64_t(side) * side, face, pixel, v);
}

KERNEL(enlarge_f16_nchw, EnlargeArgs, THREADS, BLOCKS) { enlarge<HalfPlanes>(args); }
KERNEL(enlarge_f32_nchw, EnlargeArgs, THREADS, BLOCKS) { enlarge<FloatPlanes>(args); }
KERNEL(enlarge_f16_hwc8, EnlargeArgs, THREADS, BLOCKS) { enlarge<HalfPixels>(args); }
