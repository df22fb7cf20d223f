// Between heatmap_decode and paste: which faces go into the frame, decided where the scores are, so that no host has to
// look at them in the middle of a CUDA graph.
//
//     confidence = mean of the landmarks' scores
//     strength   = amount where confidence >= least, else 0; without landmarks amount
//                  0 for all when any picture of the batch holds NaN: then the host raises, and the frame stays as it is
//     points     = x, y of the landmarks, as paste takes them
//
// Entry point  paste_gate
// Grid         (capacity), block 32: a warp a face; 68 landmarks are three loads of 16 bytes a lane, and sums of 32 lanes
//              always come in the same order.
// Reference    sdk/pipeline.py results_of(); sdk/enhancer.py PAINTED
// Test         tests/test_kernels_paste_gate.py
// Compile      nvcc -std=c++17 -arch=sm_87 -cubin -Werror all-warnings paste_gate.cu
#include "paste_gate.cuh"

constexpr int THREADS = 32;

KERNEL(paste_gate, PasteGateArgs, THREADS) {
    const int face = blockIdx.x, lane = threadIdx.x, faces = face_count(args.count, args.capacity);
    if (face >= faces) return;
    bool broken = false;
    for (int i = lane; i < faces && args.status != nullptr; i += THREADS) broken = broken || args.status[i] != 0u;
    float sum = 0.0f;
    const float4* marks = reinterpret_cast<const float4*>(args.marks) + int64_t(face) * args.landmarks;
    float2* points = reinterpret_cast<float2*>(args.points) + int64_t(face) * args.landmarks;
    for (int k = lane; k < args.landmarks && args.marks != nullptr; k += THREADS) {
        const float4 mark = __ldg(marks + k);
        points[k] = make_float2(mark.x, mark.y);
        sum += mark.z;
    }
    const float confidence = warp_sum(sum) / float(args.landmarks);  // 0 / 0, NaN, without landmarks
    const bool sound = __ballot_sync(ALL_LANES, broken) == 0u;
    const bool sure = args.marks == nullptr || confidence >= args.least;  // NaN is not
    if (lane != 0) return;
    args.strength[face] = sound && sure ? args.amount : 0.0f;
    args.confidence[face] = confidence;
}
