// Host side of the CUDA kernels: tensors as the kernels want them, types and layouts, and how planes are launched.

#pragma once

#include <cuda_runtime.h>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <limits>

#include "../ms_deform_attn.h"
#include "problem.cuh"

namespace querydet::cuda {

constexpr int64_t kInt32Limit = std::numeric_limits<int32_t>::max();

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
const T* const_data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

// Contiguous, in `type`, and where 16 bytes can be read at once.
inline Tensor prepare_aligned(const Tensor& tensor, ScalarType type) {
  const Tensor prepared = prepare(tensor, type);
  return reinterpret_cast<uintptr_t>(prepared.const_data_ptr()) % 16 == 0 ? prepared : torch::stable::clone(prepared);
}

// A tensor beside value keeps its type: kernels read both.
inline Tensor prepare_companion(const Tensor& tensor) { return prepare_aligned(tensor, tensor.scalar_type()); }

inline unsigned blocks_for(int64_t threads) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  STD_TORCH_CHECK(blocks <= kInt32Limit, "too many threads for one launch: ", threads);
  return static_cast<unsigned>(blocks);
}

// How many threads a query has in a plane, and how many channels each of them moves at once.
template <int kWidth_, int kGroup_, bool kManyChannels_>
struct Layout {
  static constexpr int kWidth = kWidth_, kGroup = kGroup_;
  static constexpr bool kManyChannels = kManyChannels_;  // more channels than the group moves at once
};

// Calls function(layout): 16 bytes for each thread where heads can be cut like that, else one channel.
template <typename V, typename F>
void dispatch_layout(int64_t channels, const F& function) {
  if constexpr (sizeof(V) <= 4) {
    constexpr int kWidth = 16 / sizeof(V);
    if (channels % kWidth == 0) {
      if (channels <= 16) return function(Layout<kWidth, 16 / kWidth, false>{});
      if (channels <= 32) return function(Layout<kWidth, 32 / kWidth, false>{});
      return function(Layout<kWidth, 64 / kWidth, true>{});
    }
  }
  function(Layout<1, 8, true>{});
}

// Calls function(V, A) with the types of `value` and of its arithmetic.
template <typename F>
void dispatch_type(const Tensor& value, const F& function) {
  switch (value.scalar_type()) {
    case ScalarType::Float: return function(float{}, float{});
    case ScalarType::Double: return function(double{}, double{});
    case ScalarType::BFloat16: return function(c10::BFloat16{}, float{});
    case ScalarType::Half: return function(c10::Half{}, float{});
    default: STD_TORCH_CHECK(false, "value must be Float, Double, BFloat16 or Half, but got ", to_string(value));
  }
}

// Calls function(V, A, layout).
template <typename F>
void dispatch(const Tensor& value, const F& function) {
  dispatch_type(value, [&](auto v, auto a) {
    dispatch_layout<decltype(v)>(value.size(3), [&](auto layout) { function(v, a, layout); });
  });
}

inline int32_t checked(const char* what, int64_t size, int64_t limit = kInt32Limit) {
  STD_TORCH_CHECK(size < limit, "the CUDA kernels need ", what, " below ", limit, ", but got ", size);
  return static_cast<int32_t>(size);
}

inline bool is_empty(const Sizes& sizes) {
  return sizes.batch * sizes.pixels * sizes.heads * sizes.channels * sizes.queries * sizes.points_of_query() == 0;
}

// For kernels whose blocks have kThreads / kGroup queries; all sizes greater than 0.
template <int kGroup>
Problem make_problem(const Sizes& sizes) {
  using Block = Tile<kGroup>;
  Problem problem{};
  problem.pixels = checked("pixels", sizes.pixels);
  problem.heads = checked("heads", sizes.heads);
  problem.channels = checked("channels", sizes.channels);
  checked("bytes of all heads of a pixel", sizes.heads * sizes.channels * 8, int64_t{1} << 32);
  problem.queries = checked("queries", sizes.queries);
  problem.levels = checked("levels", static_cast<int64_t>(sizes.levels.size()), kMaxLevels + 1);
  problem.points = checked("points", sizes.points);
  problem.samples = checked("levels times points", sizes.points_of_query(), 1 << 20);
  problem.inverse_points = 1.0f / static_cast<float>(sizes.points);
  // Only an order: also right where as many queries as pixels are something else.
  problem.tiled = sizes.queries == sizes.pixels;
  int64_t cells = 0, tiles = 0;
  for (int32_t i = 0; i < problem.levels; ++i) {
    const Level& level = sizes.levels[i];
    problem.level[i] = {level.height, level.width, level.start, checked("cells", cells), checked("tiles", tiles)};
    if (level.height == 0 || level.width == 0) continue;
    cells += (int64_t{1} + level.height) * (int64_t{1} + level.width);
    tiles += ((level.height + Block::kHeight - int64_t{1}) / Block::kHeight) *
             ((level.width + Block::kWidth - int64_t{1}) / Block::kWidth);
  }
  problem.cells = checked("cells", cells);
  if (!problem.tiled) tiles = (sizes.queries + Block::kQueries - 1) / Block::kQueries;
  problem.tiles = checked("tiles", tiles);
  return problem;
}

// Calls function(number of planes, grid) with problem.first_plane set, for as many planes at a time as a launch may have.
template <typename F>
void for_planes(Problem& problem, const Sizes& sizes, int64_t at_most, const F& function) {
  constexpr int64_t kMostLines = 65535;  // of a grid
  const int64_t most = std::min(at_most, kMostLines), planes = checked("images times heads", sizes.batch * sizes.heads);
  for (int64_t first = 0; first < planes; first += most) {
    const int64_t count = std::min(most, planes - first);
    problem.first_plane = static_cast<int32_t>(first);
    function(count, dim3(static_cast<unsigned>(problem.tiles), static_cast<unsigned>(count)));
  }
}

// Samples of all planes of a launch, sorted to sum the value's gradient; see sorted.cuh.
struct SampleRecords {
  Tensor keys, numbers, records;
  int64_t count;
  uint32_t cells;
};

SampleRecords make_records(const Tensor& value, const Problem& problem, int64_t planes);

// Writes the gradient of the launch's planes into grad_value, which is like value.
void sum_sorted(const Problem& problem, int64_t planes, const SampleRecords& records, const Tensor& grad_output,
                const Tensor& grad_value);

// How many planes can be sorted together, and whether that is expected to be faster than atomics.
int64_t planes_to_sort(const Sizes& sizes);
bool prefers_sorting(const Sizes& sizes);

}  // namespace querydet::cuda
