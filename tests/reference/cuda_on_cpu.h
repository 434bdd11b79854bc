// Runs CUDA kernels on the CPU: what they use of CUDA, and a scheduler that stands in for one multiprocessor.
//
// Every thread of a block is a fiber with a stack of its own (ucontext). A fiber runs until it needs its warp: at
// __syncwarp, a shuffle or a ballot it waits until all 32 threads of the warp have come, at __syncthreads until all of
// the block have. In between, the order in which the threads of a block run is drawn anew at each turn, so that a missing
// barrier gives wrong numbers sooner or later. A thread that waits for one that has returned, and threads that meet in
// different calls, stop the program.
// Shared memory is one static object of the kernel: blocks run one after the other. It is what the last block left.
//
// Says whether kernels compute the right numbers, stay inside of their arrays (build with -fsanitize=address) and agree
// on when they meet. It says nothing about speed, alignment in memory or the order of memory operations on a GPU.

#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBER_SANITIZED 1
#else
#define FIBER_SANITIZED 0
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __restrict__

struct float4 {
  float x, y, z, w;
};

namespace emulated {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 64 * 1024;

struct Index {
  unsigned x, y;
};

enum class Meeting { kNone, kBarrier, kShuffle, kBallot, kBlock };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStack);
  bool returned = true;
  Meeting waits_in = Meeting::kNone;
  uint64_t given = 0;  // what it brings to a meeting
  void* fake_stack = nullptr;
};

inline void fail(const char* message) {
  std::fprintf(stderr, "cuda_on_cpu: %s\n", message);
  std::abort();
}

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  const std::function<void()>* kernel = nullptr;
  unsigned running = 0;
  std::vector<uint64_t> exchanged;  // of the running thread's warp, when it was complete
  std::minstd_rand random{1};
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_size = 0;
};

inline Block& block() {
  static Block one;
  return one;
}

inline void leave_scheduler(Fiber& fiber, void** fake) {
#if FIBER_SANITIZED
  __sanitizer_start_switch_fiber(fake, fiber.stack.data(), fiber.stack.size());
#endif
}

inline void enter_fiber(Fiber& fiber) {
#if FIBER_SANITIZED
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &block().scheduler_stack, &block().scheduler_stack_size);
#endif
}

// Gives the processor back; `last` when the thread will not run again.
inline void leave_fiber(Fiber& fiber, bool last) {
#if FIBER_SANITIZED
  __sanitizer_start_switch_fiber(last ? nullptr : &fiber.fake_stack, block().scheduler_stack,
                                 block().scheduler_stack_size);
#endif
  swapcontext(&fiber.context, &block().scheduler);
}

inline void run_fiber() {
  Fiber& fiber = block().fibers[block().running];
  enter_fiber(fiber);
  (*block().kernel)();
  fiber.returned = true;
  leave_fiber(fiber, true);
}

// Waits for the warp; gives what all its threads brought.
inline const std::vector<uint64_t>& meet(Meeting kind, unsigned mask, uint64_t given) {
  if (mask != 0xffffffffu) fail("only whole warps can meet");
  Fiber& fiber = block().fibers[block().running];
  fiber.waits_in = kind;
  fiber.given = given;
  leave_fiber(fiber, false);
  enter_fiber(fiber);
  return block().exchanged;
}

// Lets every thread of a warp that waits go on, if all of them do. They run in a random order up to the next meeting.
inline void run_warp(unsigned warp) {
  Block& b = block();
  Fiber* fibers = &b.fibers[warp * kWarp];
  std::vector<uint64_t> exchanged(kWarp);
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (fibers[lane].returned != fibers[0].returned) fail("a thread has returned while others of its warp wait for it");
    if (fibers[lane].waits_in != fibers[0].waits_in) fail("threads of a warp meet in different calls");
    exchanged[lane] = fibers[lane].given;
  }
  unsigned order[kWarp];
  for (unsigned lane = 0; lane < kWarp; ++lane) order[lane] = lane;
  for (unsigned lane = kWarp - 1; lane > 0; --lane) std::swap(order[lane], order[b.random() % (lane + 1)]);
  for (const unsigned lane : order) {
    b.running = warp * kWarp + lane;
    b.exchanged = exchanged;
    void* fake = nullptr;
    leave_scheduler(fibers[lane], &fake);
    swapcontext(&b.scheduler, &fibers[lane].context);
#if FIBER_SANITIZED
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }
}

// Runs all warps to their ends, one drawn at a time. A warp at the block's barrier rests until all the others are there.
inline void run_block(unsigned count) {
  Block& b = block();
  std::vector<unsigned> ready, resting;
  for (unsigned warp = 0; warp < count; ++warp) ready.push_back(warp);
  while (!ready.empty()) {
    const size_t place = b.random() % ready.size();
    const unsigned warp = ready[place];
    run_warp(warp);
    const Fiber* fibers = &b.fibers[warp * kWarp];
    bool returned = true, rests = true;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      returned &= fibers[lane].returned;
      rests &= !fibers[lane].returned && fibers[lane].waits_in == Meeting::kBlock;
    }
    if (!returned && !rests) continue;
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(place));
    if (rests) resting.push_back(warp);
    if (!ready.empty() || resting.empty()) continue;
    if (resting.size() < count) fail("a warp has returned while others of its block wait for it");
    ready.swap(resting);
  }
}

}  // namespace emulated


static emulated::Index emulated_block;
#define threadIdx (emulated::Index{emulated::block().running, 0})
#define blockIdx emulated_block

namespace emulated {

// Runs `kernel` for every thread of columns x lines blocks.
inline void launch(int64_t columns, int64_t lines, unsigned threads, const std::function<void()>& kernel) {
  Block& b = block();
  b.fibers.resize(threads);
  b.kernel = &kernel;
  for (int64_t number = 0; number < columns * lines; ++number) {
    emulated_block = {static_cast<unsigned>(number % columns), static_cast<unsigned>(number / columns)};
    for (Fiber& fiber : b.fibers) {
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = nullptr;
      fiber.returned = false;
      fiber.waits_in = Meeting::kNone;
      makecontext(&fiber.context, run_fiber, 0);
    }
    run_block(threads / kWarp);
  }
}

template <typename T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulated

inline void __syncwarp() { emulated::meet(emulated::Meeting::kBarrier, 0xffffffffu, 0); }

inline void __syncthreads() { emulated::meet(emulated::Meeting::kBlock, 0xffffffffu, 0); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulated::from_bits<T>(emulated::meet(emulated::Meeting::kShuffle, mask, emulated::to_bits(value))[source % 32]);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  const unsigned lane = threadIdx.x % emulated::kWarp;
  return __shfl_sync(mask, value, static_cast<int>(lane ^ static_cast<unsigned>(distance)));
}

inline unsigned __ballot_sync(unsigned mask, bool yes) {
  const auto& votes = emulated::meet(emulated::Meeting::kBallot, mask, yes);
  unsigned result = 0;
  for (unsigned lane = 0; lane < emulated::kWarp; ++lane) result |= static_cast<unsigned>(votes[lane]) << lane;
  return result;
}

inline int __ffs(int bits) { return __builtin_ffs(bits); }

// Threads run one at a time.
template <typename T>
void atomicAdd(T* target, T value) {
  *target += value;
}
