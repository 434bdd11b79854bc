// The backward of both operators: gradients of samples, and of the value either by atomics or by records for sorted.cuh.

#pragma once

#include "stage.cuh"

namespace querydet::cuda {

// Samples whose dot products are summed over a group's threads together: four for every sample, one for every thread.
template <int kGroup>
constexpr int kBatch = kGroup > 4 ? kGroup / 4 : 1;

// What the backward shares within a warp, beyond what the forward does.
template <typename A, int kGroup>
struct BackwardStage : Stage<A, kGroup> {
  using Stage<A, kGroup>::kItems;
  using Stage<A, kGroup>::kSamples;
  Corners<A> dots[kItems][kSamples + 1];
};

// A sample as the sorted value gradient needs it.
template <typename A>
struct alignas(16) Record {
  A to_right, to_lower, weight;
  int32_t query;
};

// Where records go: one per sample, those of a plane together. Samples outside have the greatest key.
template <typename A>
struct Records {
  uint32_t* keys;  // null: no records are wanted
  uint32_t* numbers;
  Record<A>* records;
  uint32_t outside;
};

// Adds four neighbours in memory: in one instruction from sm_90 on.
__device__ __forceinline__ void add_four(float* target, float first, float second, float third, float fourth) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(target), float4{first, second, third, fourth});
#else
  atomicAdd(target, first);
  atomicAdd(target + 1, second);
  atomicAdd(target + 2, third);
  atomicAdd(target + 3, fourth);
#endif
}

// Adds weight * gradient to the value's gradient.
template <int kWidth, typename A>
__device__ __forceinline__ void add_pack(A* target, A weight, const A (&gradient)[kWidth]) {
  if constexpr (sizeof(A) == sizeof(float) && kWidth % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      add_four(target + i, weight * gradient[i], weight * gradient[i + 1], weight * gradient[i + 2],
               weight * gradient[i + 3]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) atomicAdd(target + i, weight * gradient[i]);
  }
}

// Sums kCount numbers over the kGroup threads of each group: thread t of a group gets the sums of numbers
// t * kCount / kGroup and following. Each step halves what a thread holds: kCount - 1 shuffles, not kCount log(kGroup).
template <int kGroup, int kCount, typename A>
__device__ __forceinline__ void sum_and_distribute(A (&number)[kCount], int in_group) {
  int held = kCount;
#pragma unroll
  for (int distance = kGroup / 2; distance > 0; distance /= 2) {
    held /= 2;
    const bool upper = (in_group & distance) != 0;
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      if (i >= held) break;
      const A given = upper ? number[i] : number[i + held];
      const A kept = upper ? number[i + held] : number[i];
      number[i] = kept + __shfl_xor_sync(kAllLanes, given, distance);
    }
  }
}

// What one thread needs for its channels of one item.
template <typename V, typename A>
struct Channels {
  const V* value;        // of the plane, at its first channel
  const V* grad_output;  // of the item, at its first channel
  A* grad_value;         // like value; null where nothing is added
  int32_t count;         // of the head; 0 for a group without an item
  uint32_t value_row, grad_row;  // bytes
};

// One batch of samples: the parts of the dot products with this thread's channels, and additions to the value's gradient.
template <int kWidth, int kGroup, typename V, typename A, int kRow>
__device__ __forceinline__ void visit_batch(const Channels<V, A>& channels, int32_t channel,
                                            const Corners<int32_t> (&rows)[kRow], const Corners<A> (&weights)[kRow],
                                            int32_t first, const A (&gradient)[kWidth], A (&dot)[4 * kBatch<kGroup>]) {
#pragma unroll
  for (int j = 0; j < kBatch<kGroup>; ++j) {
    const Corners<int32_t> row = rows[first + j];
    Pack<V, kWidth> pack[4];
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      pack[corner] = load_pack<kWidth>(row_of(channels.value + channel, row.at[corner], channels.value_row));
    }
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      A number[kWidth];
      unpack(pack[corner], number);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) dot[4 * j + corner] += number[i] * gradient[i];
    }
    if (channels.grad_value == nullptr) continue;
    const Corners<A> weight = weights[first + j];
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      if (weight.at[corner] == A(0)) continue;  // outside corners and samples too
      add_pack<kWidth>(row_of(channels.grad_value + channel, row.at[corner], channels.grad_row), weight.at[corner],
                       gradient);
    }
  }
}

template <int kWidth, typename V, typename A>
__device__ __forceinline__ void load_gradient(const Channels<V, A>& channels, int32_t channel, A (&gradient)[kWidth]) {
  Pack<V, kWidth> pack{};
  if (channel < channels.count) pack = load_pack<kWidth>(channels.grad_output + channel);
  unpack(pack, gradient);
}

// All samples of a portion: dot products into `stage.dots`.
template <int kWidth, int kGroup, bool kManyChannels, typename V, typename A>
__device__ __forceinline__ void visit_portion(const Channels<V, A>& channels, const Lane<kGroup>& lane, int32_t count,
                                              const A (&gradient)[kWidth], BackwardStage<A, kGroup>& stage) {
  constexpr int kDots = 4 * kBatch<kGroup>, kKept = kDots / kGroup;
  const auto& rows = stage.rows[lane.group];
  const auto& weights = stage.weights[lane.group];
#pragma unroll 1
  for (int32_t first = 0; first < count; first += kBatch<kGroup>) {
    A dot[kDots] = {};
    int32_t channel = lane.in_group * kWidth;
    if (channel < channels.count) {
      visit_batch<kWidth, kGroup>(channels, channel, rows, weights, first, gradient, dot);
    }
    if constexpr (kManyChannels) {
      for (channel += kGroup * kWidth; channel < channels.count; channel += kGroup * kWidth) {
        A more[kWidth];
        load_gradient<kWidth>(channels, channel, more);
        visit_batch<kWidth, kGroup>(channels, channel, rows, weights, first, more, dot);
      }
    }
    sum_and_distribute<kGroup>(dot, lane.in_group);
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const int number = lane.in_group * kKept + i;
      stage.dots[lane.group][first + number / 4].at[number % 4] = dot[i];
    }
  }
}

// Computes one sample of the portion into `stage`; what the thread keeps of it is returned.
template <typename A>
struct Kept {
  Footprint<A> foot;
  Sample<A> sample;
  int32_t number;  // of the level; -1: no sample
};

template <int kGroup, typename Source, typename A>
__device__ __forceinline__ Kept<A> stage_sample(const Problem& problem, const Source& source,
                                                const typename Source::State& state, int32_t query, int entry,
                                                int32_t index, const Plane& plane, const Records<A>& records,
                                                Corners<int32_t>& rows, Corners<A>& weights) {
  Kept<A> kept{};
  kept.number = -1;
  // Samples outside read pixel 0, which is there: their dot products are not looked at.
  rows = {{0, 0, 0, 0}};
  weights = {{0, 0, 0, 0}};
  if (query < 0 || index >= problem.samples) return kept;
  kept.number = level_of(problem, index);
  const LevelTable& level = problem.level[kept.number];
  kept.sample = source.sample(problem, plane, state, query, entry, index, kept.number);
  kept.foot = locate(kept.sample.column, kept.sample.line, level.width, level.height);
  if (kept.foot.inside) {
    rows = corner_rows(kept.foot, level);
    weights = corner_weights(kept.foot, kept.sample.weight);
  }
  if (records.keys != nullptr) {
    const int64_t n = (int64_t{plane.local} * problem.queries + query) * problem.samples + index;
    const int32_t cell = level.first_cell + (kept.foot.line + 1) * (level.width + 1) + kept.foot.column + 1;
    records.keys[n] = kept.foot.inside ? static_cast<uint32_t>(plane.local) * static_cast<uint32_t>(problem.cells) + static_cast<uint32_t>(cell) : records.outside;
    records.numbers[n] = static_cast<uint32_t>(n);
    records.records[n] = {kept.foot.to_right, kept.foot.to_lower, kept.sample.weight, query};
  }
  return kept;
}

template <typename Source, typename V, typename A, int kWidth, int kGroup, bool kManyChannels>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ Problem problem, const __grid_constant__ Source source,
                    const __grid_constant__ typename Source::Gradient gradients, const Records<A> records,
                    const V* __restrict__ value, const V* __restrict__ grad_output, A* grad_value) {
  using Shared = BackwardStage<A, kGroup>;
  __shared__ Shared stages[kWarps];
  Shared& stage = stages[threadIdx.x / kWarpSize];
  const Lane<kGroup> lane;
  const Plane plane = plane_of_block<kGroup>(problem);
  int32_t queries[kEntries];
#pragma unroll
  for (int entry = 0; entry < kEntries; ++entry) {
    queries[entry] = plane.query<kGroup>(problem, lane.slot + lane.entry_item(entry));
  }
  const int32_t query = plane.query<kGroup>(problem, lane.slot + lane.group);
  auto state = source.template start<kGroup>(problem, plane, queries, lane.lane);
  const int64_t offset = plane_offset(problem, plane);
  Channels<V, A> channels{value + offset, grad_output + plane.item(problem, query) * problem.channels, nullptr,
                          query >= 0 ? problem.channels : 0, row_size<V>(problem), row_size<A>(problem)};
  if (grad_value != nullptr) channels.grad_value = grad_value + offset;
  A gradient[kWidth];
  load_gradient<kWidth>(channels, lane.in_group * kWidth, gradient);
  for (int32_t first = 0; first < problem.samples; first += Shared::kSamples) {
    Kept<A> kept[kEntries];
    const int32_t index = first + lane.entry_sample();
    __syncwarp();  // everybody has read the portion before
#pragma unroll
    for (int entry = 0; entry < kEntries; ++entry) {
      kept[entry] = stage_sample<kGroup>(problem, source, state, queries[entry], entry, index, plane, records,
                                         stage.rows[lane.entry_item(entry)][lane.entry_sample()],
                                         stage.weights[lane.entry_item(entry)][lane.entry_sample()]);
    }
    __syncwarp();
    const int32_t left = problem.samples - first;
    visit_portion<kWidth, kGroup, kManyChannels>(channels, lane, left < Shared::kSamples ? left : Shared::kSamples,
                                                 gradient, stage);
    __syncwarp();
#pragma unroll
    for (int entry = 0; entry < kEntries; ++entry) {
      if (kept[entry].number < 0) continue;
      const auto part = sample_gradient(
          kept[entry].foot, stage.dots[lane.entry_item(entry)][lane.entry_sample()], kept[entry].sample.weight);
      source.put(problem, plane, state, gradients, queries[entry], entry, index, kept[entry].number, kept[entry].sample,
                 part);
    }
  }
  source.template finish<kGroup>(problem, plane, state, gradients, queries, lane.lane);
}

}  // namespace querydet::cuda
