// Heatmap decoding, the arithmetic: what a cell is worth, which one wins, how its neighbours refine it.
// The definition is sdk/image/heatmap.py; the kernels are in heatmap_decode.cu.
#pragma once
#include "common.cuh"

struct HeatmapDecodeArgs {
    const void* maps;         // of the instance's type and layout; HWC8, CHW32: at a multiple of 16 bytes
    const float* matrices;    // [capacity, 2, 3] cell -> picture coordinates; null: cell coordinates stay
    const int32_t* count;     // faces to decode; null: `capacity`
    float* out;               // [capacity, landmarks, 4]: x, y, score, spread in cells
    uint32_t* status;         // [capacity], bit 0 of a face with a map of nothing but NaN is set, none cleared; or null
    float scale;              // value of one step of an int8 map, > 0; other types ignore it
    int32_t capacity;         // faces the buffers hold
    int32_t landmarks;        // maps a face
    int32_t rows, columns;    // of a map, 1 to 256 each
    int32_t channels;         // HWC8, CHW32: landmarks rounded up to 8, 32
    int32_t mode;             // DecodeMode
    int32_t blur;             // taps of "dark", odd, 1 to 11
};
static_assert(sizeof(HeatmapDecodeArgs) == 72, "mirrored in Python");

enum DecodeMode : int32_t { ARGMAX = 0, QUARTER = 1, CENTROID = 2, DARK = 3 };

constexpr int SPREAD_REACH = 4, CENTROID_REACH = 4, DERIVATIVE_REACH = 2;  // cells
constexpr int QUARTER_MARGIN = 1, DARK_MARGIN = 2;    // cells between peak and border that the refinement needs
constexpr int MAX_BLUR = 11, MAX_SIDE = 2 * (DERIVATIVE_REACH + MAX_BLUR / 2) + 1;
constexpr float FLOOR_VALUE = 1e-6f, TINY = 2.2e-16f;  // smaller values count as TINY in centroid and spread
constexpr float LOG_FLOOR = 1e-10f, MAX_STEP = 2.0f, MIN_CURVATURE = 1e-3f;
constexpr uint32_t ALL_NAN_BIT = 1u;

__host__ __device__ __forceinline__ float value_of(__half v, float) { return __half2float(v); }
__host__ __device__ __forceinline__ float value_of(float v, float) { return v; }
__host__ __device__ __forceinline__ float value_of(int8_t v, float scale) { return float(v) * scale; }

// Larger value, larger key; -0 is +0; NaN has key 0, below everything.
__device__ __forceinline__ uint32_t key_of(float v) {
    const uint32_t bits = __float_as_uint(v + 0.0f);
    return v != v ? 0u : bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ uint32_t key_of(__half v) { return key_of(__half2float(v)); }
__device__ __forceinline__ uint32_t key_of(int8_t v) { return uint32_t(int(v) + 129); }

// Key of the largest of 16 bytes' values: one comparison a piece where one a cell would be needed.
__device__ __forceinline__ uint32_t piece_key(const uint4& q, const __half*) {
    const __half2* h = reinterpret_cast<const __half2*>(&q);
    const __half2 m = __hmax2(__hmax2(h[0], h[1]), __hmax2(h[2], h[3]));  // a number beats NaN
    return key_of(__hmax(__low2half(m), __high2half(m)));
}
__device__ __forceinline__ uint32_t piece_key(const uint4& q, const float*) {
    return key_of(fmaxf(fmaxf(__uint_as_float(q.x), __uint_as_float(q.y)),
                        fmaxf(__uint_as_float(q.z), __uint_as_float(q.w))));
}
__device__ __forceinline__ uint32_t piece_key(const uint4& q, const int8_t*) {
    const uint32_t words[4] = {q.x, q.y, q.z, q.w};
    int m = -128;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int b = 0; b < 4; b++) m = max(m, int(int8_t(words[i] >> 8 * b)));
    }
    return key_of(int8_t(m));
}
// A piece of one cell, for maps whose rows of bytes do not start at multiples of 16.
template <class T> __device__ __forceinline__ uint32_t piece_key(const T& v, const T*) { return key_of(v); }

// Value and cell in one word: the larger value wins, of equal ones the lower cell; 0 is NaN.
__device__ __forceinline__ uint32_t ranked(__half v, uint32_t cell) {
    const uint32_t bits = __half_as_ushort(__hadd(v, __ushort_as_half(0)));  // -0 + 0 is +0
    const uint32_t ordered = bits & 0x8000u ? ~bits & 0xffffu : bits | 0x8000u;
    return (bits & 0x7fffu) > 0x7c00u ? 0u : ordered << 16 | (0xffffu - cell);
}
__device__ __forceinline__ uint32_t ranked(int8_t v, uint32_t cell) {
    return uint32_t(int(v) + 129) << 16 | (0xffffu - cell);
}
__host__ __device__ __forceinline__ uint32_t ranked_cell(uint32_t rank) {
    return rank == 0u ? 0u : 0xffffu - (rank & 0xffffu);
}

// How far from its peak a refinement looks.
__host__ __device__ __forceinline__ int window_reach(int mode, int blur) {
    const int dark = DERIVATIVE_REACH + blur / 2;
    return mode == DARK && dark > SPREAD_REACH ? dark : SPREAD_REACH;
}

__host__ __device__ __forceinline__ bool inside_margin(int x, int y, int columns, int rows, int margin) {
    return x >= margin && x < columns - margin && y >= margin && y < rows - margin;
}

// OpenCV's standard deviation for a Gaussian given by its number of taps.
__host__ __device__ __forceinline__ float blur_sigma(int blur) { return 0.3f * (0.5f * float(blur - 1) - 1.0f) + 0.8f; }

__host__ __device__ __forceinline__ float quarter_of(float difference) {
    return difference > 0.0f ? 0.25f : difference < 0.0f ? -0.25f : 0.0f;
}

// Newton step to the maximum of the second-order surface through the logarithms; 0 where it is useless.
// Each is the logarithm's difference from the peak's: e and w beside it, n and s above and below, ee two cells away ...
__host__ __device__ __forceinline__ float2 newton_step(float w, float e, float n, float s, float ww, float ee, float nn,
                                                       float ss, float nw, float ne, float sw, float se) {
    const float dx = 0.5f * (e - w), dy = 0.5f * (s - n);
    const float dxx = 0.25f * (ee + ww), dyy = 0.25f * (ss + nn), dxy = 0.25f * (se - ne - sw + nw);
    const float determinant = dxx * dyy - dxy * dxy;
    const float x = (dxy * dy - dyy * dx) / determinant, y = (dxy * dx - dxx * dy) / determinant;
    const bool curved = fabsf(determinant) > MIN_CURVATURE * (fabsf(dxx) + fabsf(dyy));  // no plateau, no ridge
    const bool useful = curved && fabsf(x) <= MAX_STEP && fabsf(y) <= MAX_STEP;          // NaN is not
    return useful ? make_float2(x, y) : make_float2(0.0f, 0.0f);
}
