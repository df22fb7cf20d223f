// What paste_gate.cu takes. See there.
#pragma once
#include "frame.cuh"

struct PasteGateArgs {
    const float* marks;      // [capacity, landmarks, 4] of heatmap_decode: x, y, score, spread; null: none
    const uint32_t* status;  // [capacity] of image_tail or luma_tail: 0 is a sound picture; null: all are
    const int32_t* count;    // faces; null: capacity
    float* points;           // [capacity, landmarks, 2]; null without landmarks
    float* strength;         // [capacity]
    float* confidence;       // [capacity]; NaN without landmarks
    float amount, least;
    int32_t landmarks, capacity;
};
static_assert(sizeof(PasteGateArgs) == 64, "launchers and tests mirror it");
