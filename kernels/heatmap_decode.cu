// heatmap_decode: heatmaps to landmarks, one launch, one read of the maps.
//
//   peak     largest value; of equal ones the lowest y * W + x; -0 equals +0; NaN never wins
//   x, y     matrix . (peak + refinement, 1), refinement by mode: 0 argmax, 1 quarter, 2 centroid (radius 4), 3 dark
//   score    value of the peak cell (int8: times `scale`); spread: standard deviation by axis of the positive mass
//            within 4 cells of the peak, in cells
//   A map of nothing but NaN gives cell 0, score NaN, and sets bit 0 of its face's status.
//
// Layouts     _nchw   [N, K, H, W], contiguous. TensorRT's LINEAR
//             _hwc8   [N, H, W, C] fp16, C = K rounded up to 8
//             _chw32  [N, C / 32, H, W, 32] int8, C = K rounded up to 32
// Result      [N, K, 4] float32, one 16-byte store a landmark
// Grid, block nchw: grid (K, capacity), a block a map. Threads: a power of two from 32 to 256, about a quarter of the
//             map's 16-byte pieces, so that a thread has its 4 loads in the air before it uses one: 8 KiB a block at
//             64 x 64 fp16. Pieces are compared by their maxima, cells only inside the winning piece. Maps whose bytes
//             are no multiple of 16, or that start at another address, are read cell by cell (same code, T for uint4).
//             hwc8: grid (ceil(C / 16), capacity); chw32: grid (C / 32, capacity); 256 threads. A pair of threads takes
//             32 bytes, a whole sector, of a cell; value and cell number share a word, so that one integer maximum
//             keeps value, position and tie rule. Then a warp refines a landmark.
// Shared      944 bytes a refining warp: nchw has one (1.0 KB), the others 8 (8.6 KB, more than most kernels here: one
//             warp would refine 16 or 32 landmarks in turn, each a trip to memory).
// Reference   sdk/image/heatmap.py, decode()
// Tests       tests/test_kernels_heatmap_decode.py, tests/test_kernels_faults.py
// Compile     nvcc -std=c++17 -arch=sm_87 -cubin heatmap_decode.cu
#include "heatmap_decode.cuh"

namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32, DEPTH = 4;  // DEPTH: loads a thread has in the air

template <class T> struct Map {  // one landmark's map in any layout
    const T* cells;
    int stride;
    float scale;
    __device__ __forceinline__ float at(int cell) const { return value_of(cells[cell * stride], scale); }
};

struct Best { uint32_t key, piece; };

struct Window {  // of one warp
    float cells[MAX_SIDE * MAX_SIDE];
    float taps[MAX_BLUR];
};

__device__ __forceinline__ int face_count(const HeatmapDecodeArgs& args) {
    return args.count == nullptr ? args.capacity : min(*args.count, args.capacity);
}

// Cells round the peak, zero outside the map. Returns the largest square radius with only finite values, -1 for none.
template <class T>
__device__ __forceinline__ int load_window(const HeatmapDecodeArgs& args, const Map<T>& map, int px, int py, int reach,
                                           Window& window) {
    const int lane = threadIdx.x & 31, side = 2 * reach + 1;
    int clean = reach;
#pragma unroll 1
    for (int k = lane; k < side * side; k += 32) {
        const int dx = k % side - reach, dy = k / side - reach, x = px + dx, y = py + dy;
        const bool inside = x >= 0 && x < args.columns && y >= 0 && y < args.rows;
        const float v = inside ? map.at(y * args.columns + x) : 0.0f;
        window.cells[k] = v;
        if (!(fabsf(v) <= 3.4028235e38f)) clean = min(clean, max(abs(dx), abs(dy)) - 1);
    }
    __syncwarp();
    return int(warp_min(uint32_t(clean + 1))) - 1;
}

// Centre of mass (offset from the peak) and standard deviation within 4 cells; all cells count alike when one of
// them is not finite.
__device__ __forceinline__ float3 moments(const Window& window, int reach, bool finite) {
    constexpr int SIDE = 2 * SPREAD_REACH + 1;
    float mass = 0.0f, sum_x = 0.0f, sum_y = 0.0f, sum_r = 0.0f;
#pragma unroll 1
    for (int k = threadIdx.x & 31; k < SIDE * SIDE; k += 32) {
        const int dx = k % SIDE - SPREAD_REACH, dy = k / SIDE - SPREAD_REACH;
        const float v = window.cells[(dy + reach) * (2 * reach + 1) + dx + reach];
        const float weight = finite && v > FLOOR_VALUE ? v : TINY;
        mass += weight;
        sum_x += weight * float(dx);
        sum_y += weight * float(dy);
        sum_r += weight * float(dx * dx + dy * dy);
    }
    mass = warp_sum(mass);
    const float x = warp_sum(sum_x) / mass, y = warp_sum(sum_y) / mass;
    const float variance = 0.5f * (warp_sum(sum_r) / mass - x * x - y * y);
    return make_float3(finite ? x : 0.0f, finite ? y : 0.0f, sqrtf(fmaxf(variance, 0.0f)));
}

// Step of "dark": 25 lanes blur the cells that the derivatives need, each divides by the peak's value before the
// logarithm (a constant drops out of derivatives, and small logarithms are exact ones).
__device__ __forceinline__ float2 dark_step(Window& window, int reach, int blur) {
    const int lane = threadIdx.x & 31, side = 2 * reach + 1, inset = reach - DERIVATIVE_REACH - blur / 2;
    const float offset = float(lane - blur / 2) / blur_sigma(blur);
    const float tap = lane < blur ? expf(-0.5f * offset * offset) : 0.0f;
    const float total = warp_sum(tap);
    if (lane < blur) window.taps[lane] = tap / total;
    __syncwarp();
    float blurred = 0.0f;
    if (lane < 25) {
        const float* corner = window.cells + (lane / 5 + inset) * side + lane % 5 + inset;
#pragma unroll 1
        for (int i = 0; i < blur; i++) {
            float line = 0.0f;
#pragma unroll 1
            for (int j = 0; j < blur; j++) line += window.taps[j] * corner[i * side + j];
            blurred += window.taps[i] * line;
        }
    }
    blurred = fmaxf(blurred, LOG_FLOOR);
    const float log = logf(blurred / __shfl_sync(ALL_LANES, blurred, 12));
    const auto at = [log](int dy, int dx) { return __shfl_sync(ALL_LANES, log, 12 + 5 * dy + dx); };
    const float w = at(0, -1), e = at(0, 1), n = at(-1, 0), s = at(1, 0);
    const float ww = at(0, -2), ee = at(0, 2), nn = at(-2, 0), ss = at(2, 0);
    const float nw = at(-1, -1), ne = at(-1, 1), sw = at(1, -1), se = at(1, 1);
    return newton_step(w, e, n, s, ww, ee, nn, ss, nw, ne, sw, se);
}

// One warp: refine the peak, write the landmark.
template <class T>
__device__ __forceinline__ void finish(const HeatmapDecodeArgs& args, const Map<T>& map, int face, int landmark,
                                       int peak, bool all_nan, Window& window) {
    const int px = peak % args.columns, py = peak / args.columns, reach = window_reach(args.mode, args.blur);
    const int clean = load_window(args, map, px, py, reach, window);
    const float3 mass = moments(window, reach, clean >= SPREAD_REACH);
    float2 step = make_float2(0.0f, 0.0f);
    if (args.mode == CENTROID) step = make_float2(mass.x, mass.y);
    if (args.mode == QUARTER && clean >= 1 && inside_margin(px, py, args.columns, args.rows, QUARTER_MARGIN)) {
        const int side = 2 * reach + 1;
        const float* centre = window.cells + reach * side + reach;
        step = make_float2(quarter_of(centre[1] - centre[-1]), quarter_of(centre[side] - centre[-side]));
    }
    if (args.mode == DARK && clean >= DERIVATIVE_REACH + args.blur / 2 &&
        inside_margin(px, py, args.columns, args.rows, DARK_MARGIN))
        step = dark_step(window, reach, args.blur);
    if ((threadIdx.x & 31) != 0) return;
    float x = float(px) + step.x, y = float(py) + step.y;
    if (args.matrices != nullptr) {
        const float* m = args.matrices + face * 6;
        const float across = m[0] * x + m[1] * y + m[2];
        y = m[3] * x + m[4] * y + m[5];
        x = across;
    }
    reinterpret_cast<float4*>(args.out)[int64_t(face) * args.landmarks + landmark] =
        make_float4(x, y, map.at(peak), mass.z);
    if (all_nan && args.status != nullptr) atomicOr(args.status + face, ALL_NAN_BIT);
}

// The block's best piece, in warp 0; the lowest of equal ones; piece ~0u when all is NaN.
template <class Piece, class T>
__device__ __forceinline__ Best best_piece(const Piece* pieces, int n, const T* kind, Best* exchange) {
    const int thread = threadIdx.x, threads = blockDim.x;
    Best best = {0u, ~0u};
    for (int first = thread; first < n; first += DEPTH * threads) {
        Piece got[DEPTH];
#pragma unroll
        for (int j = 0; j < DEPTH; j++)
            if (first + j * threads < n) got[j] = __ldg(pieces + first + j * threads);
#pragma unroll
        for (int j = 0; j < DEPTH; j++) {
            const uint32_t key = first + j * threads < n ? piece_key(got[j], kind) : 0u;
            if (key > best.key) best = {key, uint32_t(first + j * threads)};
        }
    }
    const uint32_t key = warp_max(best.key);
    best = {key, warp_min(best.key == key ? best.piece : ~0u)};
    if (threads == 32) return best;
    if ((thread & 31) == 0) exchange[thread >> 5] = best;
    __syncthreads();
    if (thread >= 32) return best;
    best = thread < threads >> 5 ? exchange[thread] : Best{0u, ~0u};
    const uint32_t top = warp_max(best.key);
    return {top, warp_min(best.key == top ? best.piece : ~0u)};
}

template <class T> __device__ __forceinline__ void decode_nchw(const HeatmapDecodeArgs& args) {
    __shared__ Best exchange[WARPS];
    __shared__ Window window;
    constexpr int PER_PIECE = 16 / int(sizeof(T));
    const int landmark = blockIdx.x, face = blockIdx.y, lane = threadIdx.x & 31;
    if (face >= face_count(args)) return;
    const int cells = args.rows * args.columns;
    const T* map = static_cast<const T*>(args.maps) + (int64_t(face) * args.landmarks + landmark) * cells;
    const bool aligned = (reinterpret_cast<uint64_t>(map) & 15u) == 0u && cells % PER_PIECE == 0;
    const Best best = aligned ? best_piece(reinterpret_cast<const uint4*>(map), cells / PER_PIECE, map, exchange)
                              : best_piece(map, cells, map, exchange);
    if (threadIdx.x >= 32) return;  // one warp is left
    int peak = best.piece == ~0u ? 0 : int(best.piece);
    if (aligned) {
        peak *= PER_PIECE;
        const bool wins = lane < PER_PIECE && key_of(map[peak + lane % PER_PIECE]) == best.key;
        const uint32_t hits = __ballot_sync(ALL_LANES, wins);
        if (best.piece != ~0u) peak += __ffs(int(hits)) - 1;
    }
    finish(args, Map<T>{map, 1, args.scale}, face, landmark, peak, best.piece == ~0u, window);
}

// GROUP channels of a face: PAIR threads take the 32 bytes of one cell.
template <class T, int GROUP> __device__ __forceinline__ void decode_interleaved(const HeatmapDecodeArgs& args) {
    constexpr int PER_PIECE = 16 / int(sizeof(T)), CELLS = THREADS / 2;
    constexpr int LOADS = ARCHITECTURE < 800 ? 16 / PER_PIECE : DEPTH;  // sm_75: four take more than 48 registers
    __shared__ uint32_t exchange[WARPS][GROUP];
    __shared__ Window windows[WARPS];
    const int thread = threadIdx.x, half = thread & 1, warp = thread >> 5, lane = thread & 31;
    const int face = blockIdx.y, first_channel = blockIdx.x * GROUP;
    if (face >= face_count(args)) return;
    const int cells = args.rows * args.columns;
    constexpr bool BLOCKED = GROUP == 32;  // CHW32: the channels of a group lie together
    const int stride = BLOCKED ? GROUP : args.channels;
    const T* base = static_cast<const T*>(args.maps) + int64_t(face) * cells * args.channels +
                    (BLOCKED ? first_channel * cells : first_channel);  // cell 0, channel 0 of this group
    const T* piece = base + half * PER_PIECE;
    uint32_t best[PER_PIECE] = {};
    const bool present = first_channel + half * PER_PIECE < args.channels;  // HWC8: the last group may be half
    for (int first = thread >> 1; present && first < cells; first += LOADS * CELLS) {
        uint4 got[LOADS];
#pragma unroll
        for (int j = 0; j < LOADS; j++)
            if (first + j * CELLS < cells)
                got[j] = __ldg(reinterpret_cast<const uint4*>(piece + (first + j * CELLS) * stride));
#pragma unroll
        for (int j = 0; j < LOADS; j++) {
            if (first + j * CELLS >= cells) break;
            const T* values = reinterpret_cast<const T*>(&got[j]);
#pragma unroll
            for (int c = 0; c < PER_PIECE; c++) best[c] = max(best[c], ranked(values[c], first + j * CELLS));
        }
    }
#pragma unroll
    for (int c = 0; c < PER_PIECE; c++) {
#pragma unroll
        for (int step = 16; step > 1; step >>= 1) best[c] = max(best[c], __shfl_xor_sync(ALL_LANES, best[c], step));
        if (lane < 2) exchange[warp][half * PER_PIECE + c] = best[c];
    }
    __syncthreads();
#pragma unroll 1
    for (int c = warp; c < GROUP && first_channel + c < args.landmarks; c += WARPS) {
        const uint32_t rank = warp_max(lane < WARPS ? exchange[lane][c] : 0u);
        finish(args, Map<T>{base + c, stride, args.scale}, face, first_channel + c, int(ranked_cell(rank)), rank == 0u,
               windows[warp]);
        __syncwarp();
    }
}

}  // namespace

KERNEL(heatmap_decode_f16_nchw, HeatmapDecodeArgs, THREADS) { decode_nchw<__half>(args); }
KERNEL(heatmap_decode_f32_nchw, HeatmapDecodeArgs, THREADS) { decode_nchw<float>(args); }
KERNEL(heatmap_decode_i8_nchw, HeatmapDecodeArgs, THREADS) { decode_nchw<int8_t>(args); }
KERNEL(heatmap_decode_f16_hwc8, HeatmapDecodeArgs, THREADS) { decode_interleaved<__half, 16>(args); }
KERNEL(heatmap_decode_i8_chw32, HeatmapDecodeArgs, THREADS) { decode_interleaved<int8_t, 32>(args); }
