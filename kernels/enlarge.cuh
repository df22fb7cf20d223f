// The bicubic of enlarge.cu and luma_tail.cu: a small face read at the pixels of its enlargement.
#pragma once
#include "crop_norm.cuh"

constexpr int TAPS = 4;

// First tap of output position i, and the weights; those of taps outside the face are 0.
__host__ __device__ __forceinline__ int taps_of(int i, int size, float scale, float (&weight)[TAPS]) {
    const float centre = (float(i) + 0.5f) / scale;
    const int first = int(floorf(centre - 1.5f));
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < TAPS; k++) {
        const bool inside = first + k >= 0 && first + k < size;
        weight[k] = inside ? Bicubic::at(float(first + k) + 0.5f - centre) : 0.0f;
        total += weight[k];
    }
#pragma unroll
    for (int k = 0; k < TAPS; k++) weight[k] /= total;
    return first;
}

// The three planes of a face at output pixel (x, y); not clipped.
__device__ __forceinline__ void enlarged(const float* lr /* [3, size, size] */, int size, float scale, int x, int y,
                                         float (&v)[3]) {
    float wx[TAPS], wy[TAPS];
    const int left = taps_of(x, size, scale, wx), top = taps_of(y, size, scale, wy);
#pragma unroll
    for (int k = 0; k < 3; k++) v[k] = 0.0f;
#pragma unroll
    for (int j = 0; j < TAPS; j++) {
        const int row = min(max(top + j, 0), size - 1) * size;  // held inside; its weight is 0
#pragma unroll
        for (int i = 0; i < TAPS; i++) {
            const float w = wy[j] * wx[i];
            const int at = row + min(max(left + i, 0), size - 1);
#pragma unroll
            for (int k = 0; k < 3; k++) v[k] += w * __ldg(lr + k * size * size + at);
        }
    }
}
