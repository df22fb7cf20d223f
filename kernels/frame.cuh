// What the kernels on either side of the network, crop_norm and paste, share: face lists and colours.
#pragma once
#include "common.cuh"

// What a kernel wrote to status[face].
constexpr int32_t FACE_DONE = 0;
constexpr int32_t FACE_BAD = 1;      // its box, map or landmarks are not finite, have no size or an absurd one
constexpr int32_t FACE_OUTSIDE = 2;  // paste: no pixel of the frame lies under it

constexpr float MAX_WINDOW_FRAMES = 64.0f;  // sdk.image.crop: a side beyond this many frame sides is a mistake
constexpr float FAR = 1e9f;                 // pixels: further out every tap is the frame's edge, and int32 still holds

// Faces in this launch: the number in device memory, kept within the buffers.
__device__ __forceinline__ int face_count(const int32_t* count, int capacity) {
    return count ? min(max(*count, 0), capacity) : capacity;
}

__host__ __device__ __forceinline__ float to_level(float v) { return fminf(fmaxf(v, 0.0f), 255.0f); }

// Row `row` of a colour matrix [3][4] applied to (v, 1).
__host__ __device__ __forceinline__ float mixed(const float (&row)[4], const float (&v)[3]) {
    return row[0] * v[0] + row[1] * v[1] + row[2] * v[2] + row[3];
}
