// Runs the CUDA kernels of ops/csrc/cuda/ms_deform_attn_kernels.cuh on the CPU, one warp of 32 threads at a time.
//
// Stands in for what the kernels use of CUDA: thread and block numbers, warp shuffles (a barrier and a shared array) and
// atomic additions (a lock). It says whether the kernels compute the right numbers and stay inside of their arrays (build
// it with -fsanitize=address to see); it says nothing about speed, memory alignment or races.

#include <pthread.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Index {
  unsigned x;
};
thread_local Index threadIdx, blockIdx;
static const Index blockDim = {256};

static pthread_barrier_t warp_barrier;
static double shuffled[32];
static std::mutex atomic_lock;

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const unsigned lane = threadIdx.x % 32;
  shuffled[lane] = value;
  pthread_barrier_wait(&warp_barrier);
  const T other = static_cast<T>(shuffled[lane ^ mask]);
  pthread_barrier_wait(&warp_barrier);
  return other;
}

template <typename T>
void atomicAdd(T* target, T value) {
  const std::lock_guard<std::mutex> guard(atomic_lock);
  *target += value;
}

#include "../../ops/csrc/cuda/ms_deform_attn_kernels.cuh"

using namespace querydet::cuda;

// Calls `kernel` for every thread that a launch for `groups` groups of lanes would have.
static void launch(int64_t groups, const std::function<void()>& kernel) {
  const unsigned blocks = static_cast<unsigned>((groups * kLanes + kThreads - 1) / kThreads);
  pthread_barrier_init(&warp_barrier, nullptr, 32);
  std::vector<std::thread> warp;
  for (unsigned lane = 0; lane < 32; ++lane) {
    warp.emplace_back([=, &kernel] {
      for (unsigned number = 0; number < blocks * kThreads / 32; ++number) {
        blockIdx.x = number * 32 / kThreads;
        threadIdx.x = number * 32 % kThreads + lane;
        kernel();
        pthread_barrier_wait(&warp_barrier);
      }
    });
  }
  for (auto& thread : warp) thread.join();
  pthread_barrier_destroy(&warp_barrier);
}

static Shape make_shape(const int64_t* sizes, const int64_t* levels) {
  Shape shape{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], {}};
  shape.levels.count = static_cast<int32_t>(sizes[6]);
  int32_t start = 0;
  for (int32_t i = 0; i < shape.levels.count; ++i) {
    shape.levels.height[i] = static_cast<int32_t>(levels[2 * i]);
    shape.levels.width[i] = static_cast<int32_t>(levels[2 * i + 1]);
    shape.levels.start[i] = start;
    start += shape.levels.height[i] * shape.levels.width[i];
  }
  return shape;
}

// `sizes` is B, S, M, D, Q, P, L; `wide` chooses the kernels that move four channels at once.
extern "C" void forward(const int64_t* sizes, const int64_t* levels, int wide, const float* value,
                        const float* locations, const float* weights, float* output) {
  const Shape shape = make_shape(sizes, levels);
  const auto kernel = wide ? forward_kernel<float, float, 4> : forward_kernel<float, float, 1>;
  launch(shape.items(), [&] { kernel(shape, value, locations, weights, output); });
}

extern "C" void backward(const int64_t* sizes, const int64_t* levels, int wide, int ordered, const float* value,
                         const float* locations, const float* weights, const float* grad_output, float* grad_value,
                         float* grad_locations, float* grad_weights) {
  const Shape shape = make_shape(sizes, levels);
  const auto kernel = wide ? backward_kernel<float, float, 4> : backward_kernel<float, float, 1>;
  float* scattered = ordered ? nullptr : grad_value;
  launch(shape.items(), [&] {
    kernel(shape, value, locations, weights, grad_output, scattered, grad_locations, grad_weights);
  });
  if (ordered) {
    launch(shape.batch * shape.heads * shape.levels.count, [&] {
      ordered_value_gradient_kernel<float>(shape, locations, weights, grad_output, grad_value);
    });
  }
}
