// The CUDA kernel of suppression as functions of the CPU; cuda_on_cpu.h says what that can show.

#include "cuda_on_cpu.h"

#include "../../ops/csrc/cuda/suppression.cuh"

using namespace querydet;

template <typename T>
static void run(int64_t batch, int64_t groups, int64_t count, double threshold, const T* boxes, const T* sorted,
                int64_t* order, bool* kept) {
  const T rounded = round_threshold<T>(threshold);
  emulated::launch(batch * groups, 1, cuda::kSuppressionThreads,
                   [&] { cuda::suppress_kernel<T>(boxes, sorted, order, count, groups, rounded, kept); });
}

extern "C" void suppress_float(int64_t batch, int64_t groups, int64_t count, double threshold, const float* boxes,
                               const float* sorted, int64_t* order, bool* kept) {
  run(batch, groups, count, threshold, boxes, sorted, order, kept);
}

extern "C" void suppress_double(int64_t batch, int64_t groups, int64_t count, double threshold, const double* boxes,
                                const double* sorted, int64_t* order, bool* kept) {
  run(batch, groups, count, threshold, boxes, sorted, order, kept);
}
