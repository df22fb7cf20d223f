// pixel_shuffle: depth to space for any tensor, one launch.
//
//   out[n, c, y r + i, x r + j] = in[n, (c r + i) r + j, y, x]     torch's channel order, ONNX mode CRD
//
// Layout      NCHW, contiguous; elements are moved, never read as numbers: b8 (int8, uint8), b16 (fp16, bf16), b32
//             (fp32, int32). _r2, _r4: that factor, in 16-byte pieces; without: any factor, element by element
// Grid, block _r2, _r4: grid (ceil(rows * ceil(columns / cells of a piece) * r / 256), min(batch * channels, 65535)),
//             256 threads. A thread takes 16 bytes, so many cells of a row, of each of the r channels that make an
//             output row, and writes their r * 16 bytes there, r stores of 16 bytes in a row. Loads and stores are both
//             whole sectors; a pass through shared memory would add a barrier and save nothing. Rows that do not start
//             at multiples of 16 bytes are moved element by element.
//             any factor: grid (ceil(rows * columns * r * r / 256), min(batch * channels, 65535)), a thread an output
//             element. More planes than 65535 are taken in turn.
// Reference   sdk/image/pixels.py: pixel_shuffle
// Tests       tests/test_kernels_pixel_shuffle.py
// Compile     nvcc -std=c++17 -arch=sm_87 -cubin pixel_shuffle.cu
#include "pixel_shuffle.cuh"

namespace {

constexpr int THREADS = 256;

// R rows of 16 bytes, one a channel, as R * 16 bytes of an output row: element k of row j goes to k * R + j.
template <class T, int R> __device__ __forceinline__ void interleave(const uint4 (&in)[R], uint4 (&out)[R]) {
    constexpr int PER_WORD = 4 / int(sizeof(T)), BITS = 8 * int(sizeof(T));
    const uint32_t* from = reinterpret_cast<const uint32_t*>(in);
    uint32_t* to = reinterpret_cast<uint32_t*>(out);
#pragma unroll
    for (int w = 0; w < 4 * R; w++) {
        uint32_t word = 0u;
#pragma unroll
        for (int b = 0; b < PER_WORD; b++) {
            const int at = w * PER_WORD + b, j = at % R, k = at / R;  // element `at` of the output piece
            const uint32_t source = from[j * 4 + k / PER_WORD] >> k % PER_WORD * BITS;
            word |= (BITS == 32 ? source : source & ((1u << BITS % 32) - 1u)) << b * BITS % 32;
        }
        to[w] = word;
    }
}

template <class T, int R> __device__ __forceinline__ void shuffle_pieces(const PixelShuffleArgs& args) {
    constexpr int CELLS = 16 / int(sizeof(T));  // of a piece
    const int rows = args.rows, columns = args.columns, pieces = (columns + CELLS - 1) / CELLS;
    const int item = blockIdx.x * THREADS + threadIdx.x;
    const int piece = item % pieces, i = item / pieces % R, y = item / pieces / R, x = piece * CELLS;
    if (y >= rows) return;
    const bool aligned = columns % CELLS == 0 && (reinterpret_cast<uint64_t>(args.in) & 15u) == 0u &&
                         (reinterpret_cast<uint64_t>(args.out) & 15u) == 0u;
    for (int64_t plane = blockIdx.y; plane < args.batch * args.channels; plane += gridDim.y) {
        const T* in = static_cast<const T*>(args.in) + ((plane * R + i) * R * rows + y) * columns + x;
        T* out = static_cast<T*>(args.out) + ((plane * rows + y) * R + i) * columns * R + x * R;
        const int64_t step = int64_t(rows) * columns;  // from one channel to the next
        if (aligned) {
            uint4 got[R], put[R];
#pragma unroll
            for (int j = 0; j < R; j++) got[j] = __ldg(reinterpret_cast<const uint4*>(in + j * step));
            interleave<T, R>(got, put);
#pragma unroll
            for (int j = 0; j < R; j++) reinterpret_cast<uint4*>(out)[j] = put[j];
        } else {
#pragma unroll 1
            for (int k = 0; k < R * min(CELLS, columns - x); k++) out[k] = in[k % R * step + k / R];
        }
    }
}

template <class T> __device__ __forceinline__ void shuffle_any(const PixelShuffleArgs& args) {
    const int r = args.r, cells = args.rows * args.columns, at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= cells * r * r) return;
    const Source source = source_of(at, args.columns, r);
    for (int64_t plane = blockIdx.y; plane < args.batch * args.channels; plane += gridDim.y)
        static_cast<T*>(args.out)[plane * cells * r * r + at] =
            __ldg(static_cast<const T*>(args.in) + (plane * r * r + source.part) * cells + source.cell);
}

}  // namespace

KERNEL(pixel_shuffle_b8, PixelShuffleArgs, THREADS) { shuffle_any<uint8_t>(args); }
KERNEL(pixel_shuffle_b16, PixelShuffleArgs, THREADS) { shuffle_any<uint16_t>(args); }
KERNEL(pixel_shuffle_b32, PixelShuffleArgs, THREADS) { shuffle_any<uint32_t>(args); }
KERNEL(pixel_shuffle_b8_r2, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint8_t, 2>(args); }
KERNEL(pixel_shuffle_b16_r2, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint16_t, 2>(args); }
KERNEL(pixel_shuffle_b32_r2, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint32_t, 2>(args); }
KERNEL(pixel_shuffle_b8_r4, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint8_t, 4>(args); }
KERNEL(pixel_shuffle_b16_r4, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint16_t, 4>(args); }
KERNEL(pixel_shuffle_b32_r4, PixelShuffleArgs, THREADS, 4) { shuffle_pieces<uint32_t, 4>(args); }
