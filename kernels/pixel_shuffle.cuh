// Depth to space, the arithmetic. The definition is pixel_shuffle in sdk/image/pixels.py; kernels: pixel_shuffle.cu.
#pragma once
#include "common.cuh"

struct PixelShuffleArgs {
    const void* in;         // [batch, channels * r * r, rows, columns], elements of the instance's size
    void* out;              // [batch, channels, rows * r, columns * r]
    int64_t batch;          // pictures; together with the channels fewer than 2^31
    int32_t channels;       // of `out`
    int32_t rows, columns;  // of `in`
    int32_t r;              // factor, >= 1; the instance's where it has one
};
static_assert(sizeof(PixelShuffleArgs) == 40, "mirrored in Python");

// Where element `at` of an output plane comes from: its channel among the r * r of the plane, and its cell.
struct Source { int32_t part, cell; };

__host__ __device__ __forceinline__ Source source_of(int32_t at, int32_t columns, int32_t r) {
    const int32_t Y = at / (columns * r), X = at % (columns * r);
    return {Y % r * r + X % r, Y / r * columns + X / r};
}
