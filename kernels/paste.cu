// Enhanced faces back into their 8-bit frame, in place, in list order, any number in one launch. After paste_match.cu.
//
//     frame = round(frame + mask strength (gain face + shift - frame))      by face and channel, half up
//     face  triangle kernel along the face's axes, one region pixel wide, at least bilinear (sdk/image/warp.py)
//     mask  smoothstep over the window's edge; with landmarks times that over the edge of their hull, 16 half planes
//     NV12  matched in RGB, then blended in Y, Cb and Cr; a chroma sample with the mean of the pixels it stands for
//
// Entry points  paste_bgr (any 3 interleaved bytes), paste_nv12; the arguments that paste_match had
// Grid          (tiles, capacity), block 256. `tiles` blocks share the tiles of a face's region; any number does, and 3
//               blocks a multiprocessor over all faces are enough. A tile: 32 x 8 pixels, or 32 x 8 blocks of 2 x 2; a
//               warp works on a row, and 256 other faces are looked through at once.
// Overlaps      A pixel under several faces belongs to the first of them, whose thread blends all of them in list order
//               in registers: no order of blocks can change the result. Ballots find the faces that touch a tile.
// Work          A pixel costs (2 step)^2 taps where a face shrinks by `step`, but there are step^2 fewer pixels: at
//               most 4 size^2 taps a face, plus its border; a thread's share is bounded by the face's own (2 size)^2.
// Reference     sdk/image/paste.py, sdk/image/nv12_paste.py
// Test          tests/test_kernels_paste.py
// Compile       nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings paste.cu
#include "paste.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int BLOCKS = 3;  // a multiprocessor; left to itself ptxas spills to fit in a fourth
constexpr int TILE_W = 32, TILE_H = 8;  // work items: pixels, or 2 x 2 blocks of NV12; a warp reads one row

// The matched face and the mask with its strength at pixel (x, y) of the region; false where there is none.
template <int AT_ONCE>
__device__ __forceinline__ bool face_at(const PasteArgs& a, const PasteFace& f, const uint8_t* face, int x, int y,
                                        float (&over)[3], float& mask) {
    float u, v;
    look(f, x, y, u, v);
    mask = mask_at(f, x, y, u, v, a.size) * f.strength;
    if (!(mask > 0.0f)) return false;
    warp_at<AT_ONCE>(f, face, a.size, u, v, over);
#pragma unroll
    for (int k = 0; k < 3; k++) over[k] = over[k] * f.gain[k] + f.shift[k];
    return true;
}

// One pixel of 3 channels, in the low bytes of a word.
struct Pixel {
    static constexpr int SIDE = 1;
    uint32_t levels = 0;
    __device__ __forceinline__ void load(const PasteArgs& a, int x, int y) {
        const uint8_t* p = a.frame + y * a.pitch + int64_t(x) * 3;
        levels = p[0] | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16;
    }
    __device__ __forceinline__ void store(const PasteArgs& a, int x, int y) const {
        uint8_t* p = a.frame + y * a.pitch + int64_t(x) * 3;
#pragma unroll
        for (int k = 0; k < 3; k++) p[k] = uint8_t(levels >> 8 * k);
    }
    __device__ __forceinline__ bool blend(const PasteArgs& a, const PasteFace& f, const uint8_t* face, int x, int y) {
        float over[3], mask;
        if (!face_at<2>(a, f, face, x - f.x0, y - f.y0, over, mask)) return false;
        uint32_t next = 0;
#pragma unroll
        for (int k = 0; k < 3; k++) next |= blended(float(levels >> 8 * k & 255u), over[k], mask) << 8 * k;
        levels = next;
        return true;
    }
};

// 2 x 2 pixels of NV12 and their chroma sample; pixels past the end of an odd frame do not exist.
struct Block {
    static constexpr int SIDE = 2;
    uint32_t luma = 0, chroma = 0;  // bytes by row, then column; Cb, Cr
    static __device__ __forceinline__ bool exists(const PasteArgs& a, int x, int y, int k) {
        return x + (k & 1) < a.width && y + (k >> 1) < a.height;
    }
    __device__ __forceinline__ void load(const PasteArgs& a, int x, int y) {
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (exists(a, x, y, k)) luma |= uint32_t(a.frame[(y + (k >> 1)) * a.pitch + x + (k & 1)]) << 8 * k;
        const uint8_t* p = a.uv + (y >> 1) * a.uv_pitch + x;
        chroma = p[0] | uint32_t(p[1]) << 8;
    }
    __device__ __forceinline__ void store(const PasteArgs& a, int x, int y) const {
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (exists(a, x, y, k)) a.frame[(y + (k >> 1)) * a.pitch + x + (k & 1)] = uint8_t(luma >> 8 * k);
        uint8_t* p = a.uv + (y >> 1) * a.uv_pitch + x;
        p[0] = uint8_t(chroma);
        p[1] = uint8_t(chroma >> 8);
    }
    __device__ __forceinline__ bool blend(const PasteArgs& a, const PasteFace& f, const uint8_t* face, int x, int y) {
        float cover = 0.0f, colour[2] = {0.0f, 0.0f};
        const int from = a.siting_x > 0.0f ? -1 : 0;  // chroma over the even column takes in a column on either side
#pragma unroll 1
        for (int i = 0; i < 6; i++) {
            const int row = i / 3, column = i % 3 - 1;
            if (column < from) continue;
            const int px = min(max(x + column, 0), a.width - 1), py = min(y + row, a.height - 1);
            float over[3], mask;
            if (!face_at<1>(a, f, face, px - f.x0, py - f.y0, over, mask)) continue;
#pragma unroll
            for (int k = 0; k < 3; k++) over[k] = to_level(over[k]);
            const float share = 0.5f * mask * (column < 0 ? a.siting_x : column > 0 ? 0.5f - a.siting_x : 0.5f);
            cover += share;
            colour[0] += share * mixed(a.to_yuv[1], over);
            colour[1] += share * mixed(a.to_yuv[2], over);
            if (column < 0) continue;
            const int at = 8 * (row * 2 + column);
            luma = (luma & ~(255u << at)) | blended(float(luma >> at & 255u), mixed(a.to_yuv[0], over), mask) << at;
        }
        if (!(cover > 0.0f)) return false;
        const float cb = float(chroma & 255u) * (1.0f - cover) + colour[0];
        const float cr = float(chroma >> 8) * (1.0f - cover) + colour[1];
        chroma = uint32_t(to_level(cb + 0.5f)) | uint32_t(to_level(cr + 0.5f)) << 8;
        return true;
    }
};

template <class Item> __device__ __forceinline__ void paste_tiles(const PasteArgs& a) {
    __shared__ uint32_t near[WARPS];  // bit b of word w: face base + 32 w + b touches the tile
    const int own = blockIdx.y, faces = face_count(a.count, a.capacity), warp = threadIdx.x / 32;
    if (own >= faces) return;
    const int x0 = a.placed[own].x0, y0 = a.placed[own].y0, x1 = a.placed[own].x1, y1 = a.placed[own].y1;
    constexpr int W = TILE_W * Item::SIDE, H = TILE_H * Item::SIDE;
    const int across = (x1 - x0 + W - 1) / W, tiles = across * ((y1 - y0 + H - 1) / H);
#pragma unroll 1
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int left = x0 + tile % across * W, top = y0 + tile / across * H;
        const int x = left + int(threadIdx.x) % TILE_W * Item::SIDE, y = top + int(threadIdx.x) / TILE_W * Item::SIDE;
        bool ours = x < x1 && y < y1, changed = false;
        Item item;
        if (ours) item.load(a, x, y);
#pragma unroll 1
        for (int base = 0; base < faces; base += THREADS) {
            const int candidate = base + int(threadIdx.x);
            bool touches = candidate < faces;
            if (touches) {
                const PasteFace& f = a.placed[candidate];
                touches = f.x0 < min(left + W, x1) && f.x1 > left && f.y0 < min(top + H, y1) && f.y1 > top;
            }
            const uint32_t votes = __ballot_sync(ALL_LANES, touches);
            if (threadIdx.x % 32 == 0) near[warp] = votes;
            __syncthreads();
#pragma unroll 1
            for (int w = 0; w < WARPS; w++)
#pragma unroll 1
                for (uint32_t bits = near[w]; bits; bits &= bits - 1) {
                    const int index = base + w * 32 + __ffs(int(bits)) - 1;
                    const PasteFace& f = a.placed[index];
                    if (!ours || !covers(f, x, y)) continue;
                    if (index < own) ours = false;
                    else changed |= item.blend(a, f, a.faces + int64_t(index) * a.size * a.size * 3, x, y);
                }
            __syncthreads();  // before the next faces, or the next tile, overwrite `near`
        }
        if (ours && changed) item.store(a, x, y);
    }
}

KERNEL(paste_bgr, PasteArgs, THREADS, BLOCKS) { paste_tiles<Pixel>(args); }
KERNEL(paste_nv12, PasteArgs, THREADS, BLOCKS) { paste_tiles<Block>(args); }
