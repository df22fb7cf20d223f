// What luma_tail.cu takes. See there.
#pragma once
#include "enlarge.cuh"

struct LumaTailArgs {
    const void* sr;        // [capacity, 1, S, S] of the instance's type; S = size * scale
    const float* lr;       // [capacity, 3, size, size] R, G, B in 0..255, as crop_norm writes them
    const int32_t* count;  // faces; null: capacity
    uint8_t* out;          // [capacity, S, S, 3]
    uint32_t* status;      // [capacity]; null: not wanted
    float colour[3][4];    // of channel k of `out`, on R, G, B and 1
    float luma[3];         // of channel k of `out`, on `sr`
    int32_t size, scale;   // side of `lr`; enlargement, at least 1
    int32_t capacity;
};
static_assert(sizeof(LumaTailArgs) == 112, "launchers and tests mirror it");
