// The end of a super-resolution network, the arithmetic: where a feature stands, bicubic taps, grey levels.
// The definitions are pixel_shuffle and from_network in sdk/image/pixels.py; the kernels are in image_tail.cu.
#pragma once
#include "common.cuh"

struct ImageTailArgs {
    const void* features;  // before the shuffle, of the instance's type and layout, at a multiple of 16 bytes
    const void* lr;        // [capacity, 3, rows * r / lr_scale, columns * r / lr_scale], same type; null: no residual
    const float* bias;     // [3 * r * r] in the features' order of channels; null: none
    const int32_t* count;  // pictures to make; null: `capacity`
    uint8_t* out;          // [capacity, rows * r, columns * r, 3], at a multiple of 8 bytes
    uint64_t* sums;        // [capacity, 6] levels, then their squares, summed by channel of `out`; added to; or null
    uint32_t* status;      // [capacity], bit 0 of a picture with NaN or infinity is set, none cleared; or null
    float gain, shift;     // level = gain * value + shift: 255 and 0 for values in [0, 1]
    float slope;           // of feature + bias below 0: 1 leaves it, 0 is ReLU
    int32_t capacity;      // pictures the buffers hold
    int32_t rows, columns; // of the features
    int32_t channels;      // hwc8: from one cell to the next, a multiple of 8, at least 3 * r * r
    int32_t lr_scale;      // output pixels per pixel of `lr`, a multiple of r, at most 32
    int32_t bgr;           // 1: channels of `out` in the order 2, 1, 0
};
static_assert(sizeof(ImageTailArgs) == 96, "mirrored in Python");

constexpr int MAX_LR_SCALE = 32;
constexpr uint32_t NAN_BITS = 0x7fc00000u;
constexpr uint32_t NOT_FINITE_BIT = 1u;

__host__ __device__ __forceinline__ float number(__half v) { return __half2float(v); }
__host__ __device__ __forceinline__ float number(float v) { return v; }

// Keys' cubic with a = -1/2.
__host__ __device__ __forceinline__ float keys(float distance) {
    const float d = fabsf(distance);
    const float near = (1.5f * d - 2.5f) * d * d + 1.0f, far = ((2.5f - 0.5f * d) * d - 4.0f) * d + 2.0f;
    return d < 1.0f ? near : d < 2.0f ? far : 0.0f;
}

// Weight of the pixel `tap` - 2 cells away for output pixel `phase` of `scale` in a cell.
__host__ __device__ __forceinline__ float bicubic_tap(int phase, int scale, int tap) {
    return keys((float(phase) + 0.5f) / float(scale) - 0.5f - float(tap - 2));
}

// Are all of them numbers, none of them infinite?
template <int N> __host__ __device__ __forceinline__ bool all_finite(const float (&value)[N]) {
    bool finite = true;
#pragma unroll
    for (int j = 0; j < N; j++) finite = finite && fabsf(value[j]) <= 3.4028235e38f;  // NaN is not
    return finite;
}

// Clip and round half up; NaN gives 0.
__host__ __device__ __forceinline__ uint32_t level_of(float value, float gain, float shift) {
    return uint32_t(int(fminf(fmaxf(value * gain + shift, 0.0f), 255.0f) + 0.5f));
}

// Channel of output pixel (i, j), colour c of a cell: torch's order in NCHW, pixels side by side in HWC.
template <int R, bool HWC> __host__ __device__ __forceinline__ constexpr int channel_of(int c, int i, int j) {
    return HWC ? (i * R + j) * 3 + c : (c * R + i) * R + j;
}

// Levels of one channel of N pixels go before those packed so far (so the last channel comes first); their sums.
template <int N>
__host__ __device__ __forceinline__ uint2 pack(const ImageTailArgs& args, const float (&value)[N],
                                      uint32_t (&words)[(3 * N + 3) / 4]) {
    uint2 sums = make_uint2(0u, 0u);
#pragma unroll
    for (int k = (3 * N + 3) / 4 - 1; k > 0; k--) words[k] = words[k] << 8 | words[k - 1] >> 24;
    words[0] <<= 8;
#pragma unroll
    for (int j = 0; j < N; j++) {
        const uint32_t level = level_of(value[j], args.gain, args.shift);
        words[3 * j / 4] |= level << 3 * j % 4 * 8;
        sums.x += level;
        sums.y += level * level;
    }
    return sums;
}

// The first and the third byte of each pixel change places.
template <int N> __host__ __device__ __forceinline__ void swap_ends(uint32_t (&words)[(3 * N + 3) / 4]) {
    uint32_t swapped[(3 * N + 3) / 4] = {};
#pragma unroll
    for (int k = 0; k < 3 * N; k++) {
        const int from = k / 3 * 3 + 2 - k % 3;
        swapped[k / 4] |= (words[from / 4] >> from % 4 * 8 & 255u) << k % 4 * 8;
    }
#pragma unroll
    for (int k = 0; k < (3 * N + 3) / 4; k++) words[k] = swapped[k];
}
