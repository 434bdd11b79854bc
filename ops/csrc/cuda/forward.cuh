// The forward of both operators.

#pragma once

#include "stage.cuh"

namespace querydet::cuda {

// Blocks that a multiprocessor shall hold at least: 64 registers for each thread, half of them loads in flight.
constexpr int kBlocksForward = 4;

// Computes samples first, first + 1, ... of the warp's queries into `stage`.
template <int kGroup, typename Source, typename A>
__device__ __forceinline__ void stage_portion(
    const Problem& problem, const Plane& plane, const Source& source, const typename Source::State& state,
    const int32_t (&queries)[kEntries], const Lane<kGroup>& lane, int32_t first, Stage<A, kGroup>& stage) {
#pragma unroll
  for (int entry = 0; entry < kEntries; ++entry) {
    const int32_t index = first + lane.entry_sample();
    Corners<int32_t> rows{{-1, -1, -1, -1}};
    Corners<A> weights{{0, 0, 0, 0}};
    bool inside = false;
    if (queries[entry] >= 0 && index < problem.samples) {
      const int32_t number = level_of(problem, index);
      const LevelTable& level = problem.level[number];
      const auto sample = source.sample(problem, plane, state, queries[entry], entry, index, number);
      const auto foot = locate(sample.column, sample.line, level.width, level.height);
      inside = foot.inside;
      if (inside) {
        rows = corner_rows(foot, level);
        weights = corner_weights(foot, sample.weight);
      }
    }
    borrow_rows<kGroup>(inside, lane.lane, rows);
    stage.rows[lane.entry_item(entry)][lane.entry_sample()] = rows;
    stage.weights[lane.entry_item(entry)][lane.entry_sample()] = weights;
  }
}

// Adds `count` staged samples, rounded up to an even number: what is too much weighs nothing.
template <int kWidth, typename V, typename A, int kSamples>
__device__ __forceinline__ void gather(const V* plane, uint32_t row_bytes, int32_t count,
                                       const Corners<int32_t> (&rows)[kSamples], const Corners<A> (&weights)[kSamples],
                                       A (&sum)[kWidth]) {
  constexpr int kTogether = 2;  // eight loads in flight
#pragma unroll 1
  for (int32_t first = 0; first < count; first += kTogether) {
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const Corners<int32_t> row = rows[first + j];
      const Corners<A> weight = weights[first + j];
#pragma unroll
      for (int corner = 0; corner < 4; ++corner) {
        A number[kWidth];
        unpack(load_pack<kWidth>(row_of(plane, row.at[corner], row_bytes)), number);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += weight.at[corner] * number[i];
      }
    }
  }
}

template <typename Source, typename V, typename A, int kWidth, int kGroup>
__global__ void __launch_bounds__(kThreads, kBlocksForward)
    forward_kernel(const __grid_constant__ Problem problem, const __grid_constant__ Source source,
                   const V* __restrict__ value, V* __restrict__ output) {
  __shared__ Stage<A, kGroup> stages[kWarps];
  Stage<A, kGroup>& stage = stages[threadIdx.x / kWarpSize];
  const Lane<kGroup> lane;
  const Plane plane = plane_of_block<kGroup>(problem);
  int32_t queries[kEntries];  // whose samples this thread computes
#pragma unroll
  for (int entry = 0; entry < kEntries; ++entry) {
    queries[entry] = plane.query<kGroup>(problem, lane.slot + lane.entry_item(entry));
  }
  const int32_t query = plane.query<kGroup>(problem, lane.slot + lane.group);  // whose samples it adds
  const auto state = source.template start<kGroup>(problem, plane, queries, lane.lane);
  const V* const base = value + plane_offset(problem, plane);
  const uint32_t row_bytes = row_size<V>(problem);
  for (int32_t first_channel = 0; first_channel < problem.channels; first_channel += kGroup * kWidth) {
    const int32_t channel = first_channel + lane.in_group * kWidth;
    const bool has_channels = query >= 0 && channel < problem.channels;
    A sum[kWidth] = {};
    for (int32_t first = 0; first < problem.samples; first += Stage<A, kGroup>::kSamples) {
      __syncwarp();  // everybody has read the portion before
      stage_portion<kGroup>(problem, plane, source, state, queries, lane, first, stage);
      __syncwarp();
      const int32_t left = problem.samples - first;
      const int32_t count = left < Stage<A, kGroup>::kSamples ? left : Stage<A, kGroup>::kSamples;
      if (has_channels && is_row(stage.rows[lane.group][0].at[0])) {
        gather(base + channel, row_bytes, count, stage.rows[lane.group], stage.weights[lane.group], sum);
      }
    }
    if (!has_channels) continue;
    Pack<V, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) result.element[i] = static_cast<V>(sum[i]);
    *reinterpret_cast<Pack<V, kWidth>*>(output + plane.item(problem, query) * problem.channels + channel) = result;
  }
}

}  // namespace querydet::cuda
