// Arithmetic of paste.cu on one pixel: mask, warp, blend. See there. Placing a face: paste_place.cuh.
#pragma once
#include "frame.cuh"

constexpr int POINTS = 68, DIRECTIONS = 16;
constexpr float GAIN_LOW = 0.8f, GAIN_HIGH = 1.25f, MIN_STD = 1.0f, MIN_MASK = 4.0f;  // sdk/image/paste.py
constexpr int SAMPLE_SIDE = 48, WEIGHT_STEPS = 1024, LEVEL_STEPS = 16;

// One face as paste_match leaves it for paste. Region coordinates: pixel centres, 0 at (x0, y0).
struct PasteFace {
    int32_t x0, y0, x1, y1;   // of the frame; x0 >= x1: nothing to do
    float inverse[2][3];      // region -> face, centre coordinates
    float step[2];            // face pixels per region pixel, along the face's x and y
    float edge;               // 1 / width of the window's edge, 1 / face pixels
    float hull_edge;          // 1 / width of the hull's edge, 1 / frame pixels; 0 without landmarks
    float hull[DIRECTIONS];   // largest projection of the landmarks times hull_edge, plus a half
    float strength;
    float gain[3], shift[3];  // colour match
};
static_assert(sizeof(PasteFace) == 148, "launchers and tests mirror it");

struct PasteArgs {
    uint8_t* frame;           // [height] rows of `pitch` bytes, 3 channels a pixel; NV12: the Y plane; written
    uint8_t* uv;              // NV12: [ceil(height / 2)] rows of `uv_pitch` bytes, Cb and Cr; written; else null
    const uint8_t* faces;     // [capacity, size, size, 3] in the frame's order of channels; NV12: RGB
    const float* maps;        // [capacity, 2, 3] face -> frame, centre coordinates
    const float* landmarks;   // [capacity, 68, 2] frame pixels; null: the mask is the window
    const float* strength;    // [capacity] 0..1; null: `amount` for all
    const int32_t* count;     // faces; null: capacity
    PasteFace* placed;        // [capacity] from paste_match to paste
    int32_t* status;          // [capacity] FACE_DONE, FACE_BAD or FACE_OUTSIDE; null: not wanted
    int64_t pitch, uv_pitch;
    float to_rgb[3][4], to_yuv[3][4];  // NV12: colours as stored from and to R, G, B in 0..255
    float siting_x;           // NV12: 0.25 chroma over the even columns ("left"), 0 between columns ("center")
    float feather, amount;    // width of the mask's edge per window side; 0..1
    int32_t width, height;    // of the frame, pixels
    int32_t size;             // of the faces
    int32_t capacity, color_match;
};
static_assert(sizeof(PasteArgs) == 216, "launchers and tests mirror it");

__host__ __device__ __forceinline__ bool covers(const PasteFace& f, int x, int y) {
    return x >= f.x0 && x < f.x1 && y >= f.y0 && y < f.y1;
}

// Direction k of 16: unit vectors every 22.5 degrees. With k known to the compiler, a constant.
__host__ __device__ __forceinline__ double cosine(int k) {
    const int turn = k & 15, half = turn > 8 ? 16 - turn : turn, n = half > 4 ? 8 - half : half;
    const double c = n == 0 ? 1.0 : n == 1 ? 0.92387953251128674 : n == 2 ? 0.70710678118654752
                                  : n == 3 ? 0.38268343236508977 : 0.0;
    return half > 4 ? -c : c;
}
__host__ __device__ __forceinline__ double sine(int k) { return cosine(k + 12); }

// 0 below 0, 1 above 1, smooth between.
__host__ __device__ __forceinline__ float smooth(float ramp) {
    const float r = fminf(fmaxf(ramp, 0.0f), 1.0f);
    return r * r * (3.0f - 2.0f * r);
}

// Where pixel (x, y) of the region looks in the face.
__host__ __device__ __forceinline__ void look(const PasteFace& f, int x, int y, float& u, float& v) {
    u = f.inverse[0][0] * float(x) + f.inverse[0][1] * float(y) + f.inverse[0][2];
    v = f.inverse[1][0] * float(x) + f.inverse[1][1] * float(y) + f.inverse[1][2];
}

// Mask at pixel (x, y) of the region, which looks at (u, v) of a face of `size`.
__host__ __device__ __forceinline__ float mask_at(const PasteFace& f, int x, int y, float u, float v, int size) {
    const float last = float(size) - 0.5f;
    const float window = smooth(fminf(v + 0.5f, last - v) * f.edge) * smooth(fminf(u + 0.5f, last - u) * f.edge);
    if (window <= 0.0f || f.hull_edge <= 0.0f) return window;
    const float px = float(x) * f.hull_edge, py = float(y) * f.hull_edge;
    float ramp = 1.0f;
#pragma unroll
    for (int k = 0; k < DIRECTIONS; k++)
        ramp = fminf(ramp, f.hull[k] - (px * float(cosine(k)) + py * float(sine(k))));
    return window * smooth(ramp);
}

// The face [size, size, 3] at (u, v): triangles as wide as a region pixel, at least bilinear; ends replicated.
// AT_ONCE taps are loaded together, as many as leave the kernel without spills.
template <int AT_ONCE>
__host__ __device__ __forceinline__ void warp_at(const PasteFace& f, const uint8_t* face, int size, float u, float v,
                                                 float (&out)[3]) {
    const float wide = fminf(fmaxf(1.0f, f.step[0]), float(size)), high = fminf(fmaxf(1.0f, f.step[1]), float(size));
    const int left = int(ceilf(u - wide)), right = left + int(ceilf(2.0f * wide));
    const int top = int(ceilf(v - high)), bottom = top + int(ceilf(2.0f * high));
    const float across = 1.0f / wide, down = 1.0f / high;
    float total = 0.0f, sum[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int j = top; j < bottom; j++) {
        const float wy = fmaxf(0.0f, 1.0f - fabsf(float(j) - v) * down);
        const uint8_t* row = face + int64_t(min(max(j, 0), size - 1)) * size * 3;
#pragma unroll AT_ONCE
        for (int i = left; i < right; i++) {
            const float w = wy * fmaxf(0.0f, 1.0f - fabsf(float(i) - u) * across);
            const uint8_t* pixel = row + min(max(i, 0), size - 1) * 3;
            total += w;
#pragma unroll
            for (int k = 0; k < 3; k++) sum[k] += w * float(__ldg(pixel + k));
        }
    }
#pragma unroll
    for (int k = 0; k < 3; k++) out[k] = sum[k] / total;
}

// `under` blended with `over` by mask m: whole levels, rounded half up.
__host__ __device__ __forceinline__ uint32_t blended(float under, float over, float m) {
    return uint32_t(to_level((over - under) * m + under + 0.5f));
}

// Every how many rows and columns of a region are looked at for its colours: 1 + isqrt(h w) / 48.
__host__ __device__ __forceinline__ int sample_step(int h, int w) {
    const int area = h * w;
    int root = int(sqrtf(float(area)));
    while (int64_t(root) * root > area) root--;
    while (int64_t(root + 1) * (root + 1) <= area) root++;
    return 1 + root / SAMPLE_SIDE;
}
