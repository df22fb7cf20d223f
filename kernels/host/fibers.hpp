// One block of CUDA threads on one OS thread of the CPU: every CUDA thread is a fiber, a warp is 32 of them.
//
// A fiber runs until it meets its partners (block barrier, warp operation) or ends. The schedule decides which warp
// runs next and in which order its lanes run, so that code which misses a barrier gives other bits under another one:
//     0   ascending: warp 0 runs as far as it can, then warp 1 ...; lanes and blocks in order
//     1   descending: the last warp, lane and block first
//     n   everything at random, n is the seed
// Shared memory is overwritten before every block. Wrong use (partners that never come, an exited lane named in a
// mask, two different operations at one meeting) ends the launch with a message; nothing hangs, except a kernel that
// spins on memory, which no schedule can preempt. Not modelled: the memory model between warps and blocks, timing.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

// cuda_host_switch(from, to): saves what a call must keep, leaves the stack pointer in *from and goes on at `to`.
// libc's swapcontext makes two system calls, and its longjmp is replaced by the sanitizer with one that forgets stacks.
extern "C" __attribute__((visibility("hidden"))) void cuda_host_switch(void** from, void* to);
#if defined(__x86_64__)
asm(".text\n.globl cuda_host_switch\n.hidden cuda_host_switch\n.type cuda_host_switch, @function\ncuda_host_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
#elif defined(__aarch64__)
asm(".text\n.globl cuda_host_switch\n.hidden cuda_host_switch\n.type cuda_host_switch, %function\ncuda_host_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
    "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\n"
    "stp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\nmov x2, sp\nstr x2, [x0]\n"
    "mov sp, x1\nldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
    "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\n"
    "ldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\nadd sp, sp, #160\nret\n");
#else
#error "fibers: write cuda_host_switch for this processor"
#endif

namespace cuda_host {

constexpr int WARP = 32, MAX_THREADS = 1024;
constexpr size_t STACK_BYTES = 128 << 10, PAGE = 4096;  // the first page of a stack is a guard

enum State : uint8_t { READY, AT_BARRIER, AT_WARP_OPERATION, ENDED };

struct Index3 { unsigned x, y, z; };

struct Site {  // where in the source an operation stands
    const char* what;
    const char* file;
    int line;
    bool operator==(const Site& o) const { return line == o.line && !strcmp(what, o.what) && !strcmp(file, o.file); }
    std::string text() const { return std::string(what) + " at " + file + ":" + std::to_string(line); }
};

struct Fiber {
    void* stack;          // where it goes on
    State state;
    Index3 thread;
    Site site;            // of the operation it waits at
    uint32_t mask;        // lanes the warp operation names
    uint64_t given;       // its value
    uint64_t taken[WARP]; // everybody's values
    int vote;             // of a block barrier
};

struct Block {
    std::vector<Fiber> fibers;
    void* scheduler = nullptr;  // its stack
    Fiber* self = nullptr;
    Index3 index{}, size{}, grid{};
    int votes = 0;        // of the last block barrier
    void (*run)(const void*) = nullptr;
    const void* args = nullptr;
    std::string fault;
    unsigned schedule = 0;
    std::mt19937 random;
    uint64_t barriers = 0, warp_operations = 0;
};

inline Block block;  // plain, not thread_local: launch() lets one caller in at a time

inline int lane() { return int(block.self - block.fibers.data()) % WARP; }

void leave(State state);

inline void life() {  // of a fiber: one kernel run a block, again and again
    for (;;) {
        block.run(block.args);
        leave(ENDED);
    }
}

// A stack on which the first switch begins life(): the registers that the switch takes from it, then where to return.
inline void prepare(Fiber& fiber, char* top) {
    void** at = reinterpret_cast<void**>(top);  // 16-byte aligned
#if defined(__x86_64__)
    *--at = nullptr;  // life() sees the alignment that a call would have left
    *--at = reinterpret_cast<void*>(life);
    at -= 6;
#else
    at -= 20;
    at[11] = reinterpret_cast<void*>(life);  // x30
#endif
    fiber.stack = at;
}

inline void leave(State state) {
    block.self->state = state;
    cuda_host_switch(&block.self->stack, block.scheduler);
}

inline std::string name(const Fiber& f) {
    auto three = [](Index3 i) { return std::to_string(i.x) + "," + std::to_string(i.y) + "," + std::to_string(i.z); };
    return "thread " + three(f.thread) + " of block " + three(block.index);
}

inline void fault(const std::string& message) {
    if (block.fault.empty()) block.fault = message;
}

// Waits for the whole block; returns how many threads voted. All threads must come, to the same barrier.
inline int meet_block(int vote, Site site) {
    block.self->vote = vote != 0;
    block.self->site = site;
    leave(AT_BARRIER);
    return block.votes;
}

// Waits for the lanes of `mask`; returns what each of them gave.
inline const uint64_t* meet_warp(uint32_t mask, uint64_t value, Site site) {
    Fiber& self = *block.self;
    self.mask = mask;
    self.given = value;
    self.site = site;
    if (!(mask >> lane() & 1u)) fault(name(self) + " is not named in its own mask: " + site.text());
    leave(AT_WARP_OPERATION);
    return self.taken;
}

// Lets go the lanes of warp `first`.. whose partners are all there. True when some lane can run again.
inline bool release_warp(size_t first) {
    auto& fibers = block.fibers;
    const size_t lanes = std::min<size_t>(WARP, fibers.size() - first);
    bool any = false;
    for (size_t l = 0; l < lanes; l++) {
        Fiber& f = fibers[first + l];
        if (f.state != AT_WARP_OPERATION) continue;
        bool complete = true;
        for (size_t k = 0; k < WARP && complete; k++) {
            if (!(f.mask >> k & 1u)) continue;
            if (k >= lanes || fibers[first + k].state == ENDED)
                return fault(name(f) + " names lane " + std::to_string(k) + ", which is absent or has ended: " +
                             f.site.text()), false;
            const Fiber& other = fibers[first + k];
            if (other.state != AT_WARP_OPERATION) complete = false;
            else if (other.mask != f.mask || !(other.site == f.site))
                return fault("lanes of one warp meet at different operations: " + name(f) + " " + f.site.text() +
                             ", " + name(other) + " " + other.site.text()), false;
        }
        if (!complete) continue;
        uint64_t values[WARP] = {};
        for (size_t k = 0; k < lanes; k++) values[k] = f.mask >> k & 1u ? fibers[first + k].given : 0;
        const uint32_t mask = f.mask;
        for (size_t k = 0; k < lanes; k++)
            if (mask >> k & 1u) {
                memcpy(fibers[first + k].taken, values, sizeof values);
                fibers[first + k].state = READY;
            }
        block.warp_operations++;
        any = true;
    }
    return any;
}

// Lets the block past its barrier, or says why nobody will ever run again. False when the block is done.
inline bool release_block() {
    size_t waiting = 0, ended = 0;
    int votes = 0;
    const Fiber *at = nullptr, *elsewhere = nullptr;
    for (const Fiber& f : block.fibers) {
        ended += f.state == ENDED;
        if (f.state != AT_BARRIER) { if (f.state != ENDED || !elsewhere) elsewhere = &f; continue; }
        if (at && !(at->site == f.site))
            return fault("threads wait at different barriers: " + at->site.text() + ", " + f.site.text()), false;
        at = &f;
        waiting++;
        votes += f.vote;
    }
    if (ended == block.fibers.size()) return false;
    if (waiting < block.fibers.size()) {
        const std::string where = elsewhere->state == ENDED ? "has ended" : "waits: " + elsewhere->site.text();
        return fault("deadlock: " + (at ? name(*at) + " waits: " + at->site.text() + "; " : std::string()) +
                     name(*elsewhere) + " " + where), false;
    }
    block.votes = votes;
    for (Fiber& f : block.fibers) f.state = READY;
    block.barriers++;
    return true;
}

inline void order(std::vector<size_t>& list) {
    if (block.schedule == 1) std::reverse(list.begin(), list.end());
    if (block.schedule > 1) std::shuffle(list.begin(), list.end(), block.random);
}

// Runs the lanes of a warp that can, each to its next meeting. True when one could.
inline bool run_warp(size_t first) {
    std::vector<size_t> ready;
    for (size_t i = first; i < std::min(first + WARP, block.fibers.size()); i++)
        if (block.fibers[i].state == READY) ready.push_back(i);
    order(ready);
    for (size_t i : ready) {
        block.self = &block.fibers[i];
        cuda_host_switch(&block.scheduler, block.self->stack);
        if (!block.fault.empty()) return false;
    }
    return !ready.empty();
}

inline void run_block() {
    std::vector<size_t> warps;
    for (size_t first = 0; first < block.fibers.size(); first += WARP) warps.push_back(first);
    for (Fiber& f : block.fibers) f.state = READY;
    order(warps);
    for (;;) {
        bool any = false;
        for (size_t first : warps) {
            const bool ran = run_warp(first);
            const bool freed = block.fault.empty() && release_warp(first);
            if (!block.fault.empty()) return;
            any = ran || freed;
            if (any) break;  // this warp goes on as far as it can; at random, any warp may be next
        }
        if (block.schedule > 1) order(warps);
        if (!any && !release_block()) return;
    }
}

}  // namespace cuda_host
