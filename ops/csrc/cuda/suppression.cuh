// Suppression of one row (one group of one image) by one block, without a word from the host.
//
// Boxes come best first and are taken a tile at a time, one by each thread. First every thread tests its box against all
// that were kept of earlier tiles, which takes a barrier for as many boxes as there are threads; then the tile is gone
// through in order, with a barrier for each box that is kept. What is kept is listed over the beginning of the order,
// which has been read by then.
//
// Uses of CUDA only what tests/reference/cuda_on_cpu.h can stand in for.

#pragma once

#include <cmath>
#include <cstdint>

#include "../overlap.h"

namespace querydet::cuda {

constexpr int kSuppressionThreads = 256;

template <typename T>
struct SuppressionShared {
  Box<T> boxes[kSuppressionThreads];  // some that were kept earlier, then those of the tile
  bool left[kSuppressionThreads];     // of the tile
};

// Whether `mine` is left by the boxes kept so far; all threads of the block call together.
template <typename T>
__device__ __forceinline__ bool is_left(bool left, const Box<T>& mine, const T* corners, const int64_t* kept_rows,
                                        int64_t kept_count, T threshold, SuppressionShared<T>& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t first = 0; first < kept_count; first += kSuppressionThreads) {
    const int64_t rest = kept_count - first;
    const int count = rest < kSuppressionThreads ? static_cast<int>(rest) : kSuppressionThreads;
    if (thread < count) shared.boxes[thread] = load_box(corners + 4 * kept_rows[first + thread]);
    __syncthreads();
    for (int i = 0; left && i < count; ++i) left = !overlaps(shared.boxes[i], mine, threshold);
    __syncthreads();
  }
  return left;
}

// boxes (B, N, 4); sorted scores and their rows, both (B * G, N), by falling score; kept (B * G, N), zeros. NaN comes
// before all numbers and takes no part, minus infinity ends the row. `order` is overwritten.
template <typename T>
__global__ void __launch_bounds__(kSuppressionThreads)
    suppress_kernel(const T* boxes, const T* sorted_scores, int64_t* order, int64_t count, int64_t groups, T threshold,
                    bool* kept) {
  __shared__ SuppressionShared<T> shared;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x;
  const T* corners = boxes + row / groups * count * 4;
  const T* scores = sorted_scores + row * count;
  int64_t* rows = order + row * count;
  constexpr T lowest = static_cast<T>(-INFINITY);
  int64_t kept_count = 0;
  for (int64_t tile = 0; tile < count && scores[tile] != lowest; tile += kSuppressionThreads) {
    const int64_t place = tile + thread;
    const bool takes_part = place < count && scores[place] > lowest;
    const int64_t mine = takes_part ? rows[place] : 0;
    const Box<T> box = load_box(corners + 4 * mine);
    const bool left = is_left(takes_part, box, corners, rows, kept_count, threshold, shared);
    shared.boxes[thread] = box;
    shared.left[thread] = left;
    __syncthreads();
    for (int best = 0; best < kSuppressionThreads; ++best) {
      if (!shared.left[best]) continue;  // the same for all threads: what comes later is all that may still change
      if (thread == best) {
        rows[kept_count] = mine;
        kept[row * count + mine] = true;
      } else if (thread > best && shared.left[thread] && overlaps(shared.boxes[best], box, threshold)) {
        shared.left[thread] = false;
      }
      ++kept_count;
      __syncthreads();
    }
    __syncthreads();
  }
}

}  // namespace querydet::cuda
