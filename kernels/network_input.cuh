// The layouts of a network's input: how crop_norm.cu and enlarge.cu write one pixel of one face.
#pragma once
#include "frame.cuh"

// put(): channel k of a pixel is colour[k] . (v, 1); `area` pixels a face, `channels` 1 or 3.

struct FloatPlanes {  // [N, channels, area] fp32
    static __device__ __forceinline__ void put(void* out, const float (&colour)[3][4], int channels, int64_t area,
                                               int64_t face, int pixel, const float (&v)[3]) {
        float* first = static_cast<float*>(out) + face * channels * area + pixel;
#pragma unroll
        for (int k = 0; k < 3; k++)
            if (k < channels) first[k * area] = mixed(colour[k], v);
    }
};

struct HalfPlanes {  // [N, channels, area] fp16
    static __device__ __forceinline__ void put(void* out, const float (&colour)[3][4], int channels, int64_t area,
                                               int64_t face, int pixel, const float (&v)[3]) {
        __half* first = static_cast<__half*>(out) + face * channels * area + pixel;
#pragma unroll
        for (int k = 0; k < 3; k++)
            if (k < channels) first[k * area] = __float2half_rn(mixed(colour[k], v));
    }
};

struct HalfPixels {  // [N, area, 8] fp16, channels past `channels` 0; one 16-byte store a pixel
    static __device__ __forceinline__ void put(void* out, const float (&colour)[3][4], int channels, int64_t area,
                                               int64_t face, int pixel, const float (&v)[3]) {
        uint32_t half[3];
#pragma unroll
        for (int k = 0; k < 3; k++)
            half[k] = k < channels ? __half_as_ushort(__float2half_rn(mixed(colour[k], v))) : 0u;
        static_cast<uint4*>(out)[face * area + pixel] = make_uint4(half[0] | half[1] << 16, half[2], 0u, 0u);
    }
};
