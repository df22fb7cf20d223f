// A grid of blocks, one after another, and their shared memory; see fibers.hpp for the threads of one block.
#pragma once
#include "fibers.hpp"

#include <link.h>
#include <sys/mman.h>

#include <mutex>
#include <numeric>
#define CUDA_HOST_EXPORT __attribute__((used, visibility("default")))
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define CUDA_HOST_SHARED static  // address sanitizer puts guards round plain statics, not round thread_local ones
#else
#define CUDA_HOST_SHARED static thread_local  // one segment of its own: poison_shared() finds and overwrites it
#endif

namespace cuda_host {

// Overwrites the shared memory of every kernel of this library: bytes that make NaN, zeros, or random ones.
__attribute__((no_sanitize("address"))) inline int poison_segment(dl_phdr_info* info, size_t, void* inside) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_TLS || !info->dlpi_tls_data) continue;
        auto* bytes = static_cast<unsigned char*>(info->dlpi_tls_data);
        const size_t size = info->dlpi_phdr[i].p_memsz;
        if (inside < bytes || inside >= bytes + size) continue;
        for (size_t k = 0; k < size; k++)
            bytes[k] = block.schedule == 0 ? 0xff : block.schedule == 1 ? 0 : (unsigned char)block.random();
        return 1;
    }
    return 0;
}

inline void poison_shared() {
    CUDA_HOST_SHARED unsigned char mark;
    dl_iterate_phdr(poison_segment, &mark);
}

struct Stacks {  // of all fibers; a guard page below each
    char* base = nullptr;
    Stacks() {
        void* got = mmap(nullptr, MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) return;
        base = static_cast<char*>(got);
        for (int i = 0; i < MAX_THREADS; i++) mprotect(base + i * STACK_BYTES, PAGE, PROT_NONE);
    }
};

inline std::mutex one_caller;
inline std::string last_fault;

inline void run_grid(const unsigned grid[3]) {
    std::vector<size_t> blocks(size_t(grid[0]) * grid[1] * grid[2]);
    std::iota(blocks.begin(), blocks.end(), size_t(0));
    order(blocks);
    for (size_t i : blocks) {
        block.index = {unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]), unsigned(i / grid[0] / grid[1])};
        poison_shared();
        run_block();
        if (!block.fault.empty()) return;
    }
}

// 0, or 1 with the reason in cuda_host_fault().
inline int launch(void (*run)(const void*), const void* args, const unsigned grid[3], const unsigned size[3],
                  unsigned schedule, unsigned bound) {
    std::lock_guard<std::mutex> alone(one_caller);
    static Stacks stacks;
    const size_t threads = size_t(size[0]) * size[1] * size[2];
    block = Block();
    if (!stacks.base) fault("no memory for the stacks");
    if (threads < 1 || threads > bound)
        fault(std::to_string(threads) + " threads a block; the kernel allows 1 to " + std::to_string(bound));
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535)
        fault("a grid that CUDA refuses");
#if defined(__SANITIZE_ADDRESS__)
    for (int i = 0; i < MAX_THREADS && stacks.base; i++)
        __asan_unpoison_memory_region(stacks.base + i * STACK_BYTES + PAGE, STACK_BYTES - PAGE);
#endif
    if (block.fault.empty()) {
        block.fibers.resize(threads);
        block.size = {size[0], size[1], size[2]};
        block.grid = {grid[0], grid[1], grid[2]};
        block.run = run;
        block.args = args;
        block.schedule = schedule;
        block.random.seed(schedule);
        for (size_t i = 0; i < threads; i++) {
            Fiber& f = block.fibers[i];
            f.thread = {unsigned(i % size[0]), unsigned(i / size[0] % size[1]), unsigned(i / size[0] / size[1])};
            prepare(f, stacks.base + (i + 1) * STACK_BYTES);
        }
        run_grid(grid);
    }
    last_fault = block.fault;
    return last_fault.empty() ? 0 : 1;
}
}  // namespace cuda_host

extern "C" inline CUDA_HOST_EXPORT const char* cuda_host_fault() { return cuda_host::last_fault.c_str(); }
extern "C" inline CUDA_HOST_EXPORT void cuda_host_counts(uint64_t out[2]) {
    out[0] = cuda_host::block.barriers;
    out[1] = cuda_host::block.warp_operations;
}
