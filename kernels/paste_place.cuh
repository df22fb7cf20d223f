// Arithmetic of paste_match.cu on one face: its region, hull and colour match. In float64, once a face: rounding must
// not move a region's border, from which the sampling for colours counts.
#pragma once
#include "paste.cuh"

constexpr int CHIN = 8, BROWS = 17, BROW_COUNT = 10;  // sdk/image/points68.py
constexpr int OUTLINE = POINTS + BROW_COUNT;          // the landmarks and the brows lifted on to the forehead
constexpr double FOREHEAD = 0.25;
constexpr int EXTREMES = DIRECTIONS + 4;  // largest projections on the 16 directions, on +x, +y, -x and -y

// Point k of the outline: a landmark, or a brow lifted by a quarter of the way from the chin to the brows' mean.
__host__ __device__ __forceinline__ void outline_point(const float* landmarks /* [68, 2] */, int k, double (&p)[2]) {
    const int from = k < POINTS ? k : BROWS + k - POINTS;
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {
        p[axis] = double(landmarks[from * 2 + axis]);
        if (k < POINTS) continue;
        double mean = 0.0;
#pragma unroll
        for (int b = 0; b < BROW_COUNT; b++) mean += double(landmarks[(BROWS + b) * 2 + axis]);
        p[axis] += FOREHEAD * (mean / BROW_COUNT - double(landmarks[CHIN * 2 + axis]));
    }
}

__host__ __device__ __forceinline__ double projection(const double (&p)[2], int k) {
    if (k < DIRECTIONS) return p[0] * cosine(k) + p[1] * sine(k);
    const double along = k & 1 ? p[1] : p[0];  // 16, 18: x; 17, 19: y
    return k < DIRECTIONS + 2 ? along : -along;
}

__host__ __device__ __forceinline__ int whole(double v, int limit) { return int(fmin(fmax(v, 0.0), double(limit))); }

// The region along one axis: pixel centres in low..high, within the frame.
__host__ __device__ __forceinline__ void region_side(double low, double high, int limit, int32_t& from, int32_t& to) {
    from = whole(ceil(low), limit);
    to = whole(floor(high) + 1.0, limit);
}

// Largest projection k of the hull in the region's coordinates, as PasteFace keeps it.
__host__ __device__ __forceinline__ float hull_side(const PasteFace& f, double extreme, int k) {
    return float(extreme - (cosine(k) * f.x0 + sine(k) * f.y0)) * f.hull_edge + 0.5f;
}

// Fills in all of `f` but hull and colour match; `extremes` is null without landmarks. Returns the face's status.
__host__ __device__ __forceinline__ int32_t place(PasteFace& f, const PasteArgs& a, const float* map /* [2, 3] */,
                                                  const double* extremes /* [EXTREMES] */, float strength) {
    const double m[6] = {map[0], map[1], map[2], map[3], map[4], map[5]};
    const double det = m[0] * m[4] - m[1] * m[3], scale = sqrt(fabs(det)), S = a.size;
    f.x0 = f.y0 = f.x1 = f.y1 = 0;
    bool finite = true;
#pragma unroll
    for (int k = 0; k < 6; k++) finite = finite && fabsf(map[k]) < 1e30f;
    if (!finite || !(scale > 0.0) || !(strength >= 0.0f && strength <= 1.0f)) return FACE_BAD;
    double low[2], high[2];
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {  // of the window's corners, which lie half a pixel outside of its pixels
        const double ax = m[axis * 3] * S, ay = m[axis * 3 + 1] * S;
        const double corner = m[axis * 3 + 2] - 0.5 * (m[axis * 3] + m[axis * 3 + 1]);
        low[axis] = corner + fmin(ax, 0.0) + fmin(ay, 0.0);
        high[axis] = corner + fmax(ax, 0.0) + fmax(ay, 0.0);
        if (extremes) {
            const double reach = 0.5 * double(a.feather) * S * scale;
            low[axis] = fmax(low[axis], -extremes[DIRECTIONS + 2 + axis] - reach);
            high[axis] = fmin(high[axis], extremes[DIRECTIONS + axis] + reach);
        }
    }
    region_side(low[0], high[0], a.width, f.x0, f.x1);
    region_side(low[1], high[1], a.height, f.y0, f.y1);
    if (f.x0 >= f.x1 || f.y0 >= f.y1) f.x1 = f.x0;
    if (f.x0 >= f.x1) return FACE_OUTSIDE;
    if (a.uv) {  // whole 2 x 2 blocks, with all pixels of each chroma sample that the mask reaches
        f.x0 = max(0, f.x0 - 1) & ~1;
        f.y0 &= ~1;
        f.x1 = min(a.width, (f.x1 + 2) & ~1);
        f.y1 = min(a.height, (f.y1 + 1) & ~1);
    }
    const double x = m[2] - f.x0, y = m[5] - f.y0;  // the face's origin in the region
    const double part = 1.0 / det, inverse[2][2] = {{m[4] * part, -m[1] * part}, {-m[3] * part, m[0] * part}};
    const bool straight = map[1] == 0.0f && map[3] == 0.0f;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        f.inverse[row][0] = float(inverse[row][0]);
        f.inverse[row][1] = float(inverse[row][1]);
        f.inverse[row][2] = float(-(inverse[row][0] * x + inverse[row][1] * y));
        f.step[row] = float(straight ? fabs(inverse[row][row]) : 1.0 / scale);
    }
    const double width = double(a.feather) * S;  // of the mask's edge, face pixels
    f.edge = float(1.0 / width);
    f.hull_edge = extremes ? float(1.0 / (width * scale)) : 0.0f;
    f.strength = strength;
    return FACE_DONE;
}

// Sums over one thread's samples of a region; whole numbers, so that their order does not matter. Regions in frames of
// 16384 pixels a side have at most 5462 samples: 22 a thread, each with w up to 1024 and levels up to 4080 steps.
struct ColourSums {
    uint32_t weight, face[3], under[3];
    uint64_t face_square[3], under_square[3];
};
constexpr int SUMS = 13;  // weight, face, face_square, under, under_square

// Gain and shift of channel k.
__host__ __device__ __forceinline__ void match(const uint64_t* s /* [SUMS] of the region */, int k, float& gain,
                                               float& shift) {
    gain = 1.0f;
    shift = 0.0f;
    const double total = double(s[0]);
    if (total < double(MIN_MASK) * WEIGHT_STEPS) return;
    double mean[2], deviation[2];  // of the face, of the frame under it
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const double average = double(s[1 + 6 * i + k]) / total, square = double(s[4 + 6 * i + k]) / total;
        mean[i] = average / LEVEL_STEPS;
        deviation[i] = sqrt(fmax(square - average * average, 0.0)) / LEVEL_STEPS;
    }
    double g = fmin(fmax(deviation[1] / fmax(deviation[0], double(MIN_STD)), double(GAIN_LOW)), double(GAIN_HIGH));
    if (!(deviation[0] > MIN_STD && deviation[1] > MIN_STD)) g = 1.0;
    gain = float(g);
    shift = float(mean[1] - g * mean[0]);
}
