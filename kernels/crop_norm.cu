// Faces of one 8-bit frame to the network's input: K faces, one launch, only the pixels under them are read.
//
//     out[face, k, y, x] = colour[k] . (clip(sum of wy(r) wx(c) frame[r, c], 0, 255), 1)
//     wy, wx: bicubic a = -0.5 round the output pixel's centre, widened by the window's pixels per output pixel when
//     that is above 1, normalised; pixels outside the frame are the nearest one inside. `colour` holds the order of the
//     channels, the luminance of one-channel networks, gain and shift (sdk.image.pixels.to_network).
//     NV12: Y as above, Cb and Cr with a triangle at their own rate and site, then to_rgb, clip, colour.
//
// Entry points  crop_norm_<bgr|nv12>_<f16_nchw|f32_nchw|f16_hwc8>     windows (x0, y0, x1, y1), edge coordinates
//               crop_affine_<bgr|nv12>_<f16_nchw|f32_nchw|f16_hwc8>   similarity maps crop -> frame, centre coordinates
//               "bgr" is any 3 interleaved bytes. hwc8: [size, size, 8], channels past `channels` are 0.
// A face whose box is not finite, inverted or absurdly large writes nothing but status; faces past the count nothing.
//
// crop_norm    grid (size * ceil(size / 16), capacity), block 128. A block makes 16 neighbours of one output row in two
//              steps. First every thread sums whole columns of the source downwards, up to 128 columns at a time, into
//              1.5 KB of shared memory (consecutive threads read consecutive bytes of a row); then 8 lanes an output
//              sum along the row. Separable, since a 400 px window into 16 has 101 x 101 taps a pixel, and this order
//              reads 101 bytes a column. A thread's work is bounded by the frame whatever the box: (rows under the
//              kernel) x ceil(columns under 16 outputs / 42). 128 threads, since small faces have few columns.
// crop_affine  grid (ceil(size * size / 4), capacity), block 128. A turned row has no columns in common, so that each
//              pixel is summed by a warp of its own, 8 taps across times 4 down at once.
// Reference    sdk/image/crop.py crop(), crop_affine(); sdk/image/nv12.py; sdk/image/pixels.py to_network()
// Test         tests/test_kernels_crop_norm.py
// Compile      nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings crop_norm.cu
#include "crop_norm.cuh"
#include "network_input.cuh"

constexpr int THREADS = 128;
constexpr int LANES = 8;                  // that share one output pixel of crop_norm
constexpr int ACROSS = THREADS / LANES;   // output pixels of a block
constexpr int COLUMNS = 128;              // source columns in shared memory at a time
constexpr int WARPS = THREADS / 32;

__device__ __forceinline__ float sum_of_8(float v) {
#pragma unroll
    for (int step = 4; step > 0; step >>= 1) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}

// Fills in what the edge pixels take over; all lanes of a group of 8 hold the same taps.
template <class Kernel> __device__ __forceinline__ void add_edges(Taps& t) {
    float low = 0.0f, high = 0.0f;
    add_outside<Kernel>(t, threadIdx.x % LANES, LANES, low, high);
    t.low = sum_of_8(low);
    t.high = sum_of_8(high);
}

// Output pixels x0..x0 + 15 of row y in one plane of C interleaved channels; the value is in all 8 lanes of a pixel.
template <int C, class Kernel>
__device__ __forceinline__ void row_of_window(const uint8_t* plane, int64_t pitch, Axis ax, Axis ay, int y, int x0,
                                              int size, float* line /* [COLUMNS * C] shared */,
                                              float* value /* [C] */) {
    constexpr int EACH = COLUMNS * C / THREADS;
    const int lane = threadIdx.x % LANES, x = min(x0 + int(threadIdx.x) / LANES, size - 1);
    Taps down = taps_at<Kernel>(ay, ay.start + (float(y) + 0.5f) * ay.step, ay.step);
    Taps across = taps_at<Kernel>(ax, ax.start + (float(x) + 0.5f) * ax.step, ax.step);
    const int start = begin(taps_at<Kernel>(ax, ax.start + (float(x0) + 0.5f) * ax.step, ax.step));
    const int last = min(x0 + ACROSS, size) - 1;
    const int stop = end(taps_at<Kernel>(ax, ax.start + (float(last) + 0.5f) * ax.step, ax.step));
    add_edges<Kernel>(down);
    add_edges<Kernel>(across);
    float total = 0.0f;  // of the weights across
#pragma unroll
    for (int k = 0; k < C; k++) value[k] = 0.0f;
#pragma unroll 1
    for (int from = start; from < stop; from += COLUMNS) {
        const int columns = min(COLUMNS, stop - from), bytes = columns * C;
        float sum[EACH] = {};
        float rows = 0.0f;  // of the weights down
#pragma unroll 2
        for (int r = begin(down); r < end(down); r++) {
            const float w = weight<Kernel>(down, r);
            const uint8_t* source = plane + r * pitch + int64_t(from) * C;
            rows += w;
#pragma unroll
            for (int k = 0; k < EACH; k++) {
                const int i = int(threadIdx.x) + k * THREADS;
                if (i < bytes) sum[k] += w * float(__ldg(source + i));
            }
        }
        __syncthreads();  // the columns before have been read
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const int i = int(threadIdx.x) + k * THREADS;
            if (i < bytes) line[i] = sum[k] / rows;
        }
        __syncthreads();
#pragma unroll 1
        for (int c = max(begin(across), from) + lane; c < min(end(across), from + columns); c += LANES) {
            const float w = weight<Kernel>(across, c);
            total += w;
#pragma unroll
            for (int k = 0; k < C; k++) value[k] += w * line[(c - from) * C + k];
        }
    }
    total = sum_of_8(total);
#pragma unroll
    for (int k = 0; k < C; k++) value[k] = sum_of_8(value[k]) / total;
}

// One sample of one plane by a whole warp; the value is in every lane.
template <int C, class Kernel>
__device__ __forceinline__ void sample(const uint8_t* plane, int64_t pitch, Taps across, Taps down, float* value) {
    const int lane = threadIdx.x % LANES, line = threadIdx.x % 32 / LANES;
    add_edges<Kernel>(across);
    add_edges<Kernel>(down);
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < C; k++) value[k] = 0.0f;
    for (int r = begin(down) + line; r < end(down); r += 32 / LANES) {
        const float wy = weight<Kernel>(down, r);
        const uint8_t* source = plane + r * pitch;
        for (int c = begin(across) + lane; c < end(across); c += LANES) {
            const float w = wy * weight<Kernel>(across, c);
            total += w;
#pragma unroll
            for (int k = 0; k < C; k++) value[k] += w * float(__ldg(source + int64_t(c) * C + k));
        }
    }
    total = warp_sum(total);
#pragma unroll
    for (int k = 0; k < C; k++) value[k] = warp_sum(value[k]) / total;
}

template <bool NV12> __device__ __forceinline__ void to_source_colours(const CropNormArgs& a, float (&v)[3]) {
    if (NV12) {
        const float yuv[3] = {v[0], v[1], v[2]};
#pragma unroll
        for (int k = 0; k < 3; k++) v[k] = mixed(a.to_rgb[k], yuv);
    }
#pragma unroll
    for (int k = 0; k < 3; k++) v[k] = to_level(v[k]);
}

__device__ __forceinline__ float largest_window(const CropNormArgs& a) {
    return MAX_WINDOW_FRAMES * float(max(a.width, a.height));
}

__device__ __forceinline__ void report(const CropNormArgs& a, int face, bool good) {
    if (a.status && blockIdx.x == 0 && threadIdx.x == 0) a.status[face] = good ? FACE_DONE : FACE_BAD;
}

template <bool NV12, class Out> __device__ __forceinline__ void crop_window(const CropNormArgs& a) {
    __shared__ float line[COLUMNS * 3];
    const int face = blockIdx.y, tiles = (a.size + ACROSS - 1) / ACROSS;
    if (face >= face_count(a.count, a.capacity)) return;
    const float* w = a.boxes + int64_t(face) * 4;
    const bool good = good_window(w, largest_window(a));
    report(a, face, good);
    if (!good) return;
    const int y = blockIdx.x / tiles, x0 = int(blockIdx.x) % tiles * ACROSS;
    const Axis ax = axis_from(w[0], 0.0f, (w[2] - w[0]) / float(a.size), a.width);
    const Axis ay = axis_from(w[1], 0.0f, (w[3] - w[1]) / float(a.size), a.height);
    float v[3];
    if (NV12) {
        row_of_window<1, Bicubic>(a.frame, a.pitch, ax, ay, y, x0, a.size, line, v);
        row_of_window<2, Triangle>(a.uv, a.uv_pitch, halved(ax, a.siting_x), halved(ay, 0.0f), y, x0, a.size, line,
                                   v + 1);
    } else {
        row_of_window<3, Bicubic>(a.frame, a.pitch, ax, ay, y, x0, a.size, line, v);
    }
    const int x = x0 + int(threadIdx.x) / LANES;
    if (threadIdx.x % LANES != 0 || x >= a.size) return;
    to_source_colours<NV12>(a, v);
    Out::put(a.out, a.colour, a.channels, int64_t(a.size) * a.size, face, y * a.size + x, v);
}

template <bool NV12, class Out> __device__ __forceinline__ void crop_affine(const CropNormArgs& a) {
    const int face = blockIdx.y, pixel = int(blockIdx.x) * WARPS + int(threadIdx.x) / 32;
    if (face >= face_count(a.count, a.capacity)) return;
    const float* m = a.boxes + int64_t(face) * 6;
    float scale;
    const bool good = good_map(m, a.size, largest_window(a), scale);
    report(a, face, good);
    if (!good || pixel >= a.size * a.size) return;  // whole warps
    const float i = float(pixel % a.size), j = float(pixel / a.size);
    const Axis ax = axis_from(m[2], 0.5f + m[0] * i + m[1] * j, 0.0f, a.width);
    const Axis ay = axis_from(m[5], 0.5f + m[3] * i + m[4] * j, 0.0f, a.height);
    const Taps across = taps_at<Bicubic>(ax, ax.start, scale), down = taps_at<Bicubic>(ay, ay.start, scale);
    float v[3];
    if (NV12) {
        const Axis cx = halved(ax, a.siting_x), cy = halved(ay, 0.0f);
        sample<1, Bicubic>(a.frame, a.pitch, across, down, v);
        sample<2, Triangle>(a.uv, a.uv_pitch, taps_at<Triangle>(cx, cx.start, 0.5f * scale),
                            taps_at<Triangle>(cy, cy.start, 0.5f * scale), v + 1);
    } else {
        sample<3, Bicubic>(a.frame, a.pitch, across, down, v);
    }
    if (threadIdx.x % 32 != 0) return;
    to_source_colours<NV12>(a, v);
    Out::put(a.out, a.colour, a.channels, int64_t(a.size) * a.size, face, pixel, v);
}

KERNEL(crop_norm_bgr_f16_nchw, CropNormArgs, THREADS) { crop_window<false, HalfPlanes>(args); }
KERNEL(crop_norm_bgr_f32_nchw, CropNormArgs, THREADS) { crop_window<false, FloatPlanes>(args); }
KERNEL(crop_norm_bgr_f16_hwc8, CropNormArgs, THREADS) { crop_window<false, HalfPixels>(args); }
KERNEL(crop_norm_nv12_f16_nchw, CropNormArgs, THREADS) { crop_window<true, HalfPlanes>(args); }
KERNEL(crop_norm_nv12_f32_nchw, CropNormArgs, THREADS) { crop_window<true, FloatPlanes>(args); }
KERNEL(crop_norm_nv12_f16_hwc8, CropNormArgs, THREADS) { crop_window<true, HalfPixels>(args); }
KERNEL(crop_affine_bgr_f16_nchw, CropNormArgs, THREADS) { crop_affine<false, HalfPlanes>(args); }
KERNEL(crop_affine_bgr_f32_nchw, CropNormArgs, THREADS) { crop_affine<false, FloatPlanes>(args); }
KERNEL(crop_affine_bgr_f16_hwc8, CropNormArgs, THREADS) { crop_affine<false, HalfPixels>(args); }
KERNEL(crop_affine_nv12_f16_nchw, CropNormArgs, THREADS) { crop_affine<true, HalfPlanes>(args); }
KERNEL(crop_affine_nv12_f32_nchw, CropNormArgs, THREADS) { crop_affine<true, FloatPlanes>(args); }
KERNEL(crop_affine_nv12_f16_hwc8, CropNormArgs, THREADS) { crop_affine<true, HalfPixels>(args); }
