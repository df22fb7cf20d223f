// Before paste.cu: where each face goes, its mask's hull, and the colours it takes over from the frame under it.
//
//     gain  = clip(std of the frame / std of the face, 0.8, 1.25), 1 where either is flat
//     shift = mean of the frame - gain mean of the face              by channel, weighted by the mask
//     from sums of whole numbers (mask in 1/1024, levels in 1/16): exact, so that no order of summation shows
//
// Entry points  paste_match_bgr (any 3 interleaved bytes), paste_match_nv12: fill `placed` and `status`
// A face whose map, landmarks or strength are not finite, or without size, gets an empty region; one past the count
// nothing.
//
// Grid          (capacity), block 256: a face a block. The region by one thread in float64, the hull from the largest
//               projections of the 78 points of the outline: a warp a direction, lanes over the points. Colours from
//               about 48 x 48 samples however large the region, so that one block is enough: 10 samples a thread, then
//               shuffles, then one thread a sum. Shared memory 2.4 KB.
// A launch of its own, since every face is matched to the frame as it was before the first face is pasted.
// Reference     sdk/image/paste.py match_colors(), sdk/image/placement.py, sdk/image/nv12_paste.py
// Test          tests/test_kernels_paste.py
// Compile       nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings paste_match.cu
#include "paste_place.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int BLOCKS = 3;  // a multiprocessor; left to itself ptxas spills to fit in a fourth

// What the colour match looks at: the frame at pixel (x, y) of it, in the face's channels.
template <bool NV12> __device__ __forceinline__ void seen_at(const PasteArgs& a, int x, int y, float (&out)[3]) {
    if (!NV12) {
        const uint8_t* pixel = a.frame + y * a.pitch + int64_t(x) * 3;
#pragma unroll
        for (int k = 0; k < 3; k++) out[k] = float(pixel[k]);
        return;
    }
    const float across = 0.5f * float(x) - 0.25f + a.siting_x, down = 0.5f * float(y) - 0.25f;  // chroma centres
    const int i = int(floorf(across)), j = int(floorf(down));
    const float fx = across - float(i), fy = down - float(j);
    const int last_x = (a.width + 1) / 2 - 1, last_y = (a.height + 1) / 2 - 1;
    const uint8_t* upper = a.uv + min(max(j, 0), last_y) * a.uv_pitch;
    const uint8_t* lower = a.uv + min(max(j + 1, 0), last_y) * a.uv_pitch;
    const int left = min(max(i, 0), last_x) * 2, right = min(max(i + 1, 0), last_x) * 2;
    float yuv[3] = {float(a.frame[y * a.pitch + x]), 0.0f, 0.0f};
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const float west = float(upper[left + k]) * (1.0f - fy) + float(lower[left + k]) * fy;
        const float east = float(upper[right + k]) * (1.0f - fy) + float(lower[right + k]) * fy;
        yuv[1 + k] = west * (1.0f - fx) + east * fx;
    }
#pragma unroll
    for (int k = 0; k < 3; k++) out[k] = to_level(mixed(a.to_rgb[k], yuv));
}

__device__ __forceinline__ uint32_t in_steps(float level) { return uint32_t(floorf(level * LEVEL_STEPS + 0.5f)); }

// The largest projections of the outline, by warps in turn. False in all threads when a landmark is not finite.
__device__ __forceinline__ bool find_extremes(const float* landmarks, double (*points)[2] /* [OUTLINE] shared */,
                                              double* extremes /* [EXTREMES] shared */) {
    bool finite = true;
    for (int i = threadIdx.x; i < POINTS * 2; i += THREADS) finite = finite && fabsf(landmarks[i]) < 1e30f;
    if (threadIdx.x < OUTLINE) outline_point(landmarks, threadIdx.x, points[threadIdx.x]);
    if (__syncthreads_or(!finite)) return false;
#pragma unroll 1
    for (int k = threadIdx.x / 32; k < EXTREMES; k += WARPS) {
        double most = -1e300;
        for (int i = threadIdx.x % 32; i < OUTLINE; i += 32) most = fmax(most, projection(points[i], k));
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) most = fmax(most, __shfl_xor_sync(ALL_LANES, most, step));
        if (threadIdx.x % 32 == 0) extremes[k] = most;
    }
    return true;
}

// This thread's samples of the region.
template <bool NV12>
__device__ __forceinline__ void add_samples(const PasteArgs& a, const PasteFace& f, const uint8_t* face,
                                            ColourSums& s) {
    const int step = sample_step(f.y1 - f.y0, f.x1 - f.x0);
    const int columns = (f.x1 - f.x0 + step - 1) / step, rows = (f.y1 - f.y0 + step - 1) / step;
#pragma unroll 1
    for (int i = threadIdx.x; i < columns * rows; i += THREADS) {
        const int x = i % columns * step, y = i / columns * step;
        float u, v, over[3], under[3];
        look(f, x, y, u, v);
        const uint32_t w = uint32_t(floorf(mask_at(f, x, y, u, v, a.size) * WEIGHT_STEPS + 0.5f));
        if (w == 0) continue;
        warp_at<1>(f, face, a.size, u, v, over);
        seen_at<NV12>(a, f.x0 + x, f.y0 + y, under);
        s.weight += w;
#pragma unroll
        for (int k = 0; k < 3; k++) {
            const uint32_t p = in_steps(over[k]), q = in_steps(under[k]);  // up to 4080; w p p below 2^35
            s.face[k] += w * p;
            s.face_square[k] += uint64_t(w * p) * p;
            s.under[k] += w * q;
            s.under_square[k] += uint64_t(w * q) * q;
        }
    }
}

// Adds up the threads' sums; the region's stand in `sums[0]` after the next barrier.
__device__ __forceinline__ void add_up(const ColourSums& s, uint64_t (*sums)[SUMS] /* [WARPS] shared */) {
    const uint64_t own[SUMS] = {s.weight,         s.face[0],         s.face[1],  s.face[2],  s.face_square[0],
                                s.face_square[1], s.face_square[2],  s.under[0], s.under[1], s.under[2],
                                s.under_square[0], s.under_square[1], s.under_square[2]};
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
        const uint64_t warp = warp_sum(own[k]);
        if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32][k] = warp;
    }
    __syncthreads();
    if (threadIdx.x < SUMS)
        for (int w = 1; w < WARPS; w++) sums[0][threadIdx.x] += sums[w][threadIdx.x];
}

template <bool NV12> __device__ __forceinline__ void paste_match(const PasteArgs& a) {
    __shared__ double points[OUTLINE][2];
    __shared__ double extremes[EXTREMES];
    __shared__ uint64_t sums[WARPS][SUMS];
    __shared__ PasteFace f;
    const int index = blockIdx.x, k = threadIdx.x;
    if (index >= face_count(a.count, a.capacity)) return;
    const bool finite = !a.landmarks || find_extremes(a.landmarks + int64_t(index) * POINTS * 2, points, extremes);
    __syncthreads();
    if (k == 0) {
        const float strength = a.strength ? a.strength[index] : a.amount;
        const double* hull = a.landmarks && finite ? extremes : nullptr;
        const int32_t status = place(f, a, a.maps + int64_t(index) * 6, hull, strength);
        if (!finite || !(strength > 0.0f)) f.x1 = f.x0;
        if (a.status) a.status[index] = finite ? status : FACE_BAD;
    }
    __syncthreads();
    const bool empty = f.x0 >= f.x1;
    if (a.landmarks && !empty && k < DIRECTIONS) f.hull[k] = hull_side(f, extremes[k], k);
    __syncthreads();
    if (a.color_match && !empty) {  // the same for all threads
        ColourSums s = {};
        add_samples<NV12>(a, f, a.faces + int64_t(index) * a.size * a.size * 3, s);
        add_up(s, sums);
    } else if (k < SUMS) {
        sums[0][k] = 0;
    }
    __syncthreads();
    if (k < 3) match(sums[0], k, f.gain[k], f.shift[k]);
    __syncthreads();
    constexpr int WORDS = sizeof(PasteFace) / 4;
    if (k < WORDS) reinterpret_cast<uint32_t*>(a.placed + index)[k] = reinterpret_cast<const uint32_t*>(&f)[k];
}

KERNEL(paste_match_bgr, PasteArgs, THREADS, BLOCKS) { paste_match<false>(args); }
KERNEL(paste_match_nv12, PasteArgs, THREADS, BLOCKS) { paste_match<true>(args); }
