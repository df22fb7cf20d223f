// image_tail: the network's last tensor to an 8-bit picture, one launch.
//
//   value    shuffle(act(features + bias)) + bicubic(lr)     bicubic: a = -0.5, replicated edges, 5 x 5 cells
//   out      value * gain + shift, clipped to 0..255, rounded half up; NaN gives 0; RGB or BGR, [N, H, W, 3]
//   sums     of the levels and of their squares, by picture and channel: integers, the same in any order
//   status   bit 0 of a picture with a value that is NaN or infinite: a network that is broken, which the levels hide.
//            An atomicOr by those who saw one, so nothing in sound pictures; read with the results
//
// Layouts     _nchw_r2, r4, r8   [N, 3 r r, h, w], channels in torch's order (c, i, j)
//             _hwc8_r2, r4, r8   [N, h, w, C] fp16, channels (i, j, c) as an export permutes them, C >= 3 r r
//             _nchw_r1           the picture itself, [N, 3, H, W]: no residual, bias or slope
// Grid, block grid (ceil(h w r / 128), capacity), 128 threads; 128 / r cells a block. A thread makes the r pixels of an
//             output row that one cell gives; lanes are neighbouring cells, so their stores touch. Channels one after
//             the other, the last first: each goes before the others in the packed words.
//             nchw: the cells of a plane lie together, so the block loads planes in 16-byte pieces into shared memory,
//             all of a thread's before the first use, and picks from there.
//             hwc8: the r pixels of a thread lie together, 48 bytes, or 24 or 12 inside 32, straight into registers.
//             r1: grid (ceil(H W / 1024), capacity), 8 pixels a thread, 24 bytes to store.
//             Planes that do not start at multiples of 16 bytes are read value by value.
// Shared      1 KB of bicubic taps; nchw: and the features of 128 / r cells, 0.75 r KB in fp16, 1.5 r KB in fp32 (with
//             the taps 13 KB for r 8), since 16 bytes of a plane are not what one thread needs. 7 blocks of that fit
//             where 7 blocks of 72 registers do, sm_75 excepted.
// Reference   sdk/image/pixels.py: pixel_shuffle, from_network; training/models/picoface.py: BicubicEnlarge
// Tests       tests/test_kernels_image_tail.py, tests/test_kernels_faults.py
// Compile     nvcc -std=c++17 -arch=sm_87 -cubin image_tail.cu
#include "image_tail.cuh"

namespace {

constexpr int THREADS = 128, BLOCKS = 7;  // 7 blocks a multiprocessor: 72 registers a thread

struct alignas(16) Taps {
    float weight[MAX_LR_SCALE][8];  // [phase][tap], 5 used
};

__device__ __forceinline__ int picture_count(const ImageTailArgs& args) {
    return args.count == nullptr ? args.capacity : min(*args.count, args.capacity);
}

// The cells of a block, plane by plane: loads of 16 bytes where every plane starts at a multiple of them.
template <class T, int PLANES, int CELLS>
__device__ __forceinline__ void stage_planes(const T* planes, int first, int cells, T* stage) {
    constexpr int PER_PIECE = 16 / int(sizeof(T)), PIECES = CELLS / PER_PIECE;  // of a plane
    constexpr int LOADS = (PLANES * PIECES + THREADS - 1) / THREADS;
    const int thread = threadIdx.x;
    if (cells % PER_PIECE == 0 && (reinterpret_cast<uint64_t>(planes) & 15u) == 0u) {
        uint4 got[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++) {
            const int piece = thread + k * THREADS, cell = first + piece % PIECES * PER_PIECE;
            if (piece < PLANES * PIECES && cell < cells)
                got[k] = __ldg(reinterpret_cast<const uint4*>(planes + int64_t(piece / PIECES) * cells + cell));
        }
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            if (thread + k * THREADS < PLANES * PIECES) reinterpret_cast<uint4*>(stage)[thread + k * THREADS] = got[k];
        return;
    }
    for (int k = thread; k < PLANES * CELLS; k += THREADS)
        if (first + k % CELLS < cells) stage[k] = planes[int64_t(k / CELLS) * cells + first + k % CELLS];
}

// Where a run of output pixels stands in the LR picture: the cells round it, and how far between their rows.
struct Place {
    int rows, columns;      // of the LR picture
    int row, column[5];     // the first of 4 rows, not clamped; 5 columns, edges repeated
    const float* down;      // weights of the rows
    const float (*across)[8];  // weights of the columns, for each of the pixels
};

__device__ __forceinline__ Place place_of(const ImageTailArgs& args, const Taps& taps, int r, int X, int Y) {
    const int scale = args.lr_scale, phase = Y % scale;
    const int lower = 2 * phase >= scale ? 1 : 0;  // one of the 5 taps is 0: the last, or in the lower half the first
    Place place;
    place.rows = args.rows * r / scale;
    place.columns = args.columns * r / scale;
    place.row = Y / scale - 2 + lower;
    place.down = taps.weight[phase] + lower;
    place.across = taps.weight + X % scale;
#pragma unroll
    for (int q = 0; q < 5; q++) place.column[q] = min(max(X / scale - 2 + q, 0), place.columns - 1);
    return place;
}

// The bicubic enlargement of one plane at R pixels of an output row.
template <class T, int R>
__device__ __forceinline__ void enlarge(const T* plane, const Place& place, float (&value)[R]) {
    float column[5] = {};
#pragma unroll 1
    for (int k = 0; k < 4; k++) {  // not unrolled: 20 addresses would be kept in registers
        const T* line = plane + min(max(place.row + k, 0), place.rows - 1) * place.columns;
#pragma unroll
        for (int q = 0; q < 5; q++) column[q] += place.down[k] * number(__ldg(line + place.column[q]));
    }
#pragma unroll
    for (int j = 0; j < R; j++) {
        value[j] = 0.0f;
#pragma unroll
        for (int q = 0; q < 5; q++) value[j] += place.across[j][q] * column[q];
    }
}

// Adds a thread's levels of one channel to the picture's. All lanes of the warp must come.
__device__ __forceinline__ void add_sums(uint64_t* sums, int channel, uint32_t sum, uint32_t square) {
    const uint32_t levels = warp_sum(sum), squares = warp_sum(square);
    if ((threadIdx.x & 31) != 0) return;
    atomicAdd(reinterpret_cast<unsigned long long*>(sums + channel), static_cast<unsigned long long>(levels));
    atomicAdd(reinterpret_cast<unsigned long long*>(sums + 3 + channel), static_cast<unsigned long long>(squares));
}

// Says that a picture holds NaN or infinity.
__device__ __forceinline__ void tell_not_finite(const ImageTailArgs& args, int picture) {
    if (args.status != nullptr) atomicOr(args.status + picture, NOT_FINITE_BIT);
}

// 3 N bytes in three stores.
template <int N> __device__ __forceinline__ void store(uint8_t* out, const uint32_t (&words)[(3 * N + 3) / 4]) {
#pragma unroll
    for (int k = 0; k < 3; k++) {
        if (N == 8) reinterpret_cast<uint2*>(out)[k] = make_uint2(words[2 * k % 6], words[(2 * k + 1) % 6]);
        if (N == 4) reinterpret_cast<uint32_t*>(out)[k] = words[k];
        if (N == 2) reinterpret_cast<uint16_t*>(out)[k] = uint16_t(words[k / 2] >> k % 2 * 16);
    }
}

template <class T, int R, bool HWC> __device__ __forceinline__ void shuffle_tail(const ImageTailArgs& args) {
    constexpr int PLANES = 3 * R * R, CELLS = THREADS / R;
    constexpr int WORDS = 3 * R * int(sizeof(T)) / 4, PIECES = R == 8 ? 3 : 2;  // hwc8: of a thread, and round them
    __shared__ Taps taps;
    __shared__ uint4 stage[HWC ? 1 : PLANES * CELLS * int(sizeof(T)) / 16];
    const int thread = threadIdx.x, picture = blockIdx.y, first = blockIdx.x * CELLS, cells = args.rows * args.columns;
    if (picture >= picture_count(args)) return;
    const int64_t size = int64_t(cells) * (HWC ? args.channels : PLANES);
    const T* features = static_cast<const T*>(args.features) + picture * size;
    if (args.lr != nullptr)
        for (int k = thread; k < args.lr_scale * 5; k += THREADS)
            taps.weight[k / 5][k % 5] = bicubic_tap(k / 5, args.lr_scale, k % 5);
    if (!HWC) stage_planes<T, PLANES, CELLS>(features, first, cells, reinterpret_cast<T*>(stage));
    __syncthreads();

    const int cell = first + thread % CELLS, i = thread / CELLS;
    const int X = cell % args.columns * R, Y = cell / args.columns * R + i;  // of the first pixel
    const bool mine = cell < cells;
    uint32_t near[WORDS] = {};  // hwc8: this thread's pixels
    if (HWC && mine) {
        const uint4* from = reinterpret_cast<const uint4*>(features + int64_t(cell) * args.channels) + i * WORDS / 4;
        uint4 pieces[PIECES];
#pragma unroll
        for (int k = 0; k < PIECES; k++) pieces[k] = __ldg(from + k);
        const uint32_t* words = reinterpret_cast<const uint32_t*>(pieces);
#pragma unroll
        for (int k = 0; k < WORDS; k++)
            near[k] = i * WORDS % 4 == 0 ? words[k] : words[(k + WORDS % 4) % (4 * PIECES)];
    }
    Place place;
    if (args.lr != nullptr && mine) place = place_of(args, taps, R, X, Y);
    uint32_t words[(3 * R + 3) / 4] = {};
#pragma unroll 1
    for (int c = 2; c >= 0; c--) {
        uint2 sums = make_uint2(0u, 0u);
        if (mine) {
            float value[R] = {};
            if (args.lr != nullptr) {
                const int plane = place.rows * place.columns;
                enlarge<T, R>(static_cast<const T*>(args.lr) + (int64_t(picture) * 3 + c) * plane, place, value);
            }
#pragma unroll
            for (int j = 0; j < R; j++) {
                const T* plane = reinterpret_cast<const T*>(stage) + channel_of<R, false>(c, i, j) * CELLS;
                const T raw = HWC ? reinterpret_cast<const T*>(near)[3 * j + 2] : plane[cell - first];
                const float bias = args.bias == nullptr ? 0.0f : __ldg(args.bias + channel_of<R, HWC>(c, i, j));
                const float v = number(raw) + bias;
                value[j] += v < 0.0f ? v * args.slope : v;
            }
            if (!all_finite(value)) tell_not_finite(args, picture);
            sums = pack<R>(args, value, words);
#pragma unroll
            for (int k = WORDS - 1; HWC && k > 0; k--) near[k] = near[k] << 16 | near[k - 1] >> 16;  // next colour
            near[0] <<= 16;
        }
        if (args.sums != nullptr) add_sums(args.sums + picture * 6, args.bgr != 0 ? 2 - c : c, sums.x, sums.y);
    }
    const int64_t at = (int64_t(picture) * args.rows * R + Y) * args.columns * R + X;
    if (args.bgr != 0) swap_ends<R>(words);
    if (mine) store<R>(args.out + at * 3, words);
}

template <class T> __device__ __forceinline__ void image_tail(const ImageTailArgs& args) {
    constexpr int PER_PIECE = 16 / int(sizeof(T)), PIXELS = 8;
    const int picture = blockIdx.y, pixels = args.rows * args.columns;
    const int first = (blockIdx.x * THREADS + threadIdx.x) * PIXELS;
    if (picture >= picture_count(args)) return;
    const bool whole = pixels % PIXELS == 0;
    uint8_t* out = args.out + (int64_t(picture) * pixels + first) * 3;
    uint32_t words[6] = {};
#pragma unroll
    for (int c = 2; c >= 0; c--) {
        const T* plane = static_cast<const T*>(args.features) + (int64_t(picture) * 3 + c) * pixels;
        float value[PIXELS];
        if (whole && first < pixels) {
            uint4 got[PIXELS / PER_PIECE];
#pragma unroll
            for (int k = 0; k < PIXELS / PER_PIECE; k++)
                got[k] = __ldg(reinterpret_cast<const uint4*>(plane + first) + k);
#pragma unroll
            for (int j = 0; j < PIXELS; j++) value[j] = number(reinterpret_cast<const T*>(got)[j]);
            if (!all_finite(value)) tell_not_finite(args, picture);
        } else {
#pragma unroll
            for (int j = 0; j < PIXELS; j++) {
                const bool inside = first + j < pixels;
                value[j] = inside ? number(plane[first + j]) : __uint_as_float(NAN_BITS);
                if (inside && !(fabsf(value[j]) <= 3.4028235e38f)) tell_not_finite(args, picture);
            }
        }
        const uint2 sums = pack<PIXELS>(args, value, words);
        if (args.sums != nullptr) add_sums(args.sums + picture * 6, args.bgr != 0 ? 2 - c : c, sums.x, sums.y);
    }
    if (args.bgr != 0) swap_ends<PIXELS>(words);
    if (whole && first < pixels) store<PIXELS>(out, words);
    if (whole) return;
#pragma unroll
    for (int k = 0; k < 3 * PIXELS; k++)
        if (first + k / 3 < pixels) out[k] = uint8_t(words[k / 4] >> k % 4 * 8);
}

}  // namespace

KERNEL(image_tail_f16_nchw_r1, ImageTailArgs, THREADS) { image_tail<__half>(args); }
KERNEL(image_tail_f16_nchw_r2, ImageTailArgs, THREADS) { shuffle_tail<__half, 2, false>(args); }
KERNEL(image_tail_f16_nchw_r4, ImageTailArgs, THREADS) { shuffle_tail<__half, 4, false>(args); }
KERNEL(image_tail_f16_nchw_r8, ImageTailArgs, THREADS) { shuffle_tail<__half, 8, false>(args); }
KERNEL(image_tail_f32_nchw_r1, ImageTailArgs, THREADS) { image_tail<float>(args); }
KERNEL(image_tail_f32_nchw_r2, ImageTailArgs, THREADS) { shuffle_tail<float, 2, false>(args); }
KERNEL(image_tail_f32_nchw_r4, ImageTailArgs, THREADS) { shuffle_tail<float, 4, false>(args); }
KERNEL(image_tail_f32_nchw_r8, ImageTailArgs, THREADS, BLOCKS) { shuffle_tail<float, 8, false>(args); }
KERNEL(image_tail_f16_hwc8_r2, ImageTailArgs, THREADS) { shuffle_tail<__half, 2, true>(args); }
KERNEL(image_tail_f16_hwc8_r4, ImageTailArgs, THREADS) { shuffle_tail<__half, 4, true>(args); }
KERNEL(image_tail_f16_hwc8_r8, ImageTailArgs, THREADS) { shuffle_tail<__half, 8, true>(args); }
