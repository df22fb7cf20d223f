// Arithmetic of crop_norm.cu: where an output pixel looks in a plane, and with which weights. See there.
#pragma once
#include "frame.cuh"

struct CropNormArgs {
    const uint8_t* frame;   // [height] rows of `pitch` bytes: 3 interleaved channels a pixel; NV12: the Y plane
    const uint8_t* uv;      // NV12: [ceil(height / 2)] rows of `uv_pitch` bytes, Cb and Cr interleaved; else null
    const float* boxes;     // [capacity, 4] windows, edge coordinates; crop_affine: [capacity, 2, 3], centre ones
    const int32_t* count;   // faces; null: capacity
    void* out;              // [capacity, channels, size, size], hwc8: [capacity, size, size, 8], 16-byte aligned
    int32_t* status;        // [capacity] FACE_DONE or FACE_BAD; null: not wanted
    int64_t pitch, uv_pitch;
    float colour[3][4];     // output channel k = colour[k] . (the frame's 3 channels in 0..255, NV12: RGB; 1)
    float to_rgb[3][4];     // NV12: R, G, B from (Y, Cb, Cr, 1) as stored
    float siting_x;         // NV12: 0.25 chroma over the even columns ("left"), 0 between columns ("center")
    int32_t width, height;  // of the frame, pixels
    int32_t size, channels; // of the output; channels 1 or 3
    int32_t capacity;
};
static_assert(sizeof(CropNormArgs) == 184, "launchers and tests mirror it");

// One axis of a face's window in one plane of n samples: output i looks at edge coordinate
// base + start + (i + 0.5) step. `base` is whole and the rest small: float32 keeps its digits in frames of any size.
struct Axis {
    int base, n;
    float start, step;
};

// The taps of one sample along one axis: pixels first..last, most of them under the kernel.
struct Taps {
    int first, last, base, n;
    float centre, shrink;  // relative to base; 1 / widening
    float low, high;       // weight of the taps before pixel 0 and after n - 1, which the edge pixels take over
};

struct Bicubic {  // Keys, a = -0.5
    static constexpr float RADIUS = 2.0f;
    static __host__ __device__ __forceinline__ float at(float t) {
        const float d = fabsf(t);
        const float near = (1.5f * d - 2.5f) * d * d + 1.0f;
        const float far = ((-0.5f * d + 2.5f) * d - 4.0f) * d + 2.0f;
        return d < 1.0f ? near : d < 2.0f ? far : 0.0f;
    }
};

struct Triangle {
    static constexpr float RADIUS = 1.0f;
    static __host__ __device__ __forceinline__ float at(float t) { return fmaxf(0.0f, 1.0f - fabsf(t)); }
};

__host__ __device__ __forceinline__ Axis axis_from(float origin, float extra, float step, int n) {
    const float held = fminf(fmaxf(origin, -FAR), FAR), whole = floorf(held);
    return {int(whole), n, held - whole + extra, step};
}

// The same axis in the chroma plane, whose samples lie two pixels apart.
__host__ __device__ __forceinline__ Axis halved(Axis a, float siting) {
    return {a.base >> 1, (a.n + 1) >> 1, 0.5f * (float(a.base & 1) + a.start) + siting, 0.5f * a.step};
}

// Taps of the sample at `centre` (relative to the axis's base) for a kernel widened to `scale` pixels a sample.
template <class Kernel> __host__ __device__ __forceinline__ Taps taps_at(Axis a, float centre, float scale) {
    const float widen = fmaxf(1.0f, scale), radius = Kernel::RADIUS * widen;
    const int first = a.base + int(floorf(centre - radius + 0.5f));
    return {first, first + int(ceilf(2.0f * radius)), a.base, a.n, centre, 1.0f / widen, 0.0f, 0.0f};
}

template <class Kernel> __host__ __device__ __forceinline__ float kernel_at(const Taps& t, int pixel) {
    return Kernel::at((float(pixel - t.base) + 0.5f - t.centre) * t.shrink);
}

// Share of lane `lane` of `lanes` in low and high; the caller adds the lanes up.
template <class Kernel>
__host__ __device__ __forceinline__ void add_outside(const Taps& t, int lane, int lanes, float& low, float& high) {
#pragma unroll 1
    for (int i = t.first + lane; i <= min(t.last, -1); i += lanes) low += kernel_at<Kernel>(t, i);
#pragma unroll 1
    for (int i = max(t.first, t.n) + lane; i <= t.last; i += lanes) high += kernel_at<Kernel>(t, i);
}

// Pixels of the plane that the taps read, replicated edges included.
__host__ __device__ __forceinline__ int begin(const Taps& t) { return min(max(t.first, 0), t.n - 1); }
__host__ __device__ __forceinline__ int end(const Taps& t) { return min(max(t.last, 0), t.n - 1) + 1; }

// Weight of a pixel in begin..end, with what the edge pixels take over; not normalised.
template <class Kernel> __host__ __device__ __forceinline__ float weight(const Taps& t, int pixel) {
    float w = pixel >= t.first && pixel <= t.last ? kernel_at<Kernel>(t, pixel) : 0.0f;
    if (pixel == 0) w += t.low;
    if (pixel == t.n - 1) w += t.high;
    return w;
}

// A window that sdk.image.crop would take, of a frame whose larger side is `limit / MAX_WINDOW_FRAMES`. NaN fails.
__host__ __device__ __forceinline__ bool good_window(const float* w, float limit) {
    const float across = w[2] - w[0], down = w[3] - w[1];
    return across > 0.0f && down > 0.0f && across <= limit && down <= limit;
}

// The same for a map [2, 3]; `scale` becomes its frame pixels per crop pixel. A similarity's extent is at most 2.83
// scale; the bound on it refuses what is far from one.
__host__ __device__ __forceinline__ bool good_map(const float* m, int size, float limit, float& scale) {
    scale = sqrtf(fabsf(m[0] * m[4] - m[1] * m[3]));
    const float extent = fabsf(m[0]) + fabsf(m[1]) + fabsf(m[3]) + fabsf(m[4]);
    const bool placed = fabsf(m[2]) < 1e30f && fabsf(m[5]) < 1e30f;
    return placed && scale > 0.0f && scale * float(size) <= limit && extent * float(size) <= 8.0f * limit;
}
