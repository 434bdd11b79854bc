// The value's gradient without atomics: samples sorted by where they are, each pixel summed in a fixed order.
//
// A sample's cell is the square between the four pixel centres around it: level by level (height + 1) * (width + 1)
// cells, row by row, the first of a row left of the level. A sample touches two columns: its cell's left side, which has
// the number of the cell, and its right side, which has the number of the next one. Of a column, `upper` is the pixel at
// its upper end and `lower` that at its lower end: a pixel's gradient is the upper sum of one column plus the lower sum
// of the column above. Columns left and right of a level, and rows above and below it, are summed but never read, so
// nothing here asks whether a corner is in the level.
//
// Samples come sorted by (plane, cell), in each cell in their order. They are taken in runs of kRun, one group of threads
// each, however they are spread. A run writes a column's sum into `columns` when it has the column's first sample, else
// into its own two places in `leftover`: only the first two columns of a run can have begun in an earlier one. At the end
// each pixel adds what it finds, in the order of runs. No race, no atomics, the same bits every time.

#pragma once

#include "backward.cuh"

namespace querydet::cuda {

constexpr int kBlocksRun = 2;  // that a multiprocessor shall hold at least
constexpr int kRun = 64;
constexpr int kLeftovers = 2;  // columns of a run that can have begun before it

template <typename A>
struct Sorted {
  const uint32_t* keys;  // (count), ascending; `cells` for samples outside
  const uint32_t* numbers;
  const Record<A>* records;  // by number
  int64_t count;
  uint32_t cells;         // of all planes of this launch
  uint32_t* begins;       // (cells + 1): the first sample in this cell or behind it
  A *columns, *leftover;  // (cells + 1, 2, C) and (runs, kLeftovers, 2, C); upper, lower
};

// begins[cell] by binary search.
template <typename A>
__global__ void __launch_bounds__(kThreads) cell_begin_kernel(const __grid_constant__ Sorted<A> sorted) {
  const int64_t cell = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (cell > static_cast<int64_t>(sorted.cells)) return;
  int64_t low = 0, high = sorted.count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sorted.keys[middle] < static_cast<uint64_t>(cell)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  sorted.begins[cell] = static_cast<uint32_t>(low);
}

// What one thread sums of a run: its channels of the left and the right column of the present cell.
template <typename A, int kWidth>
struct Columns {
  A left[2][kWidth], right[2][kWidth];  // upper, lower

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) left[0][i] = left[1][i] = right[0][i] = right[1][i] = 0;
  }
  // The right column becomes the left one of the next cell.
  __device__ __forceinline__ void shift() {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      left[0][i] = right[0][i];
      left[1][i] = right[1][i];
      right[0][i] = right[1][i] = 0;
    }
  }
  template <typename V>
  __device__ __forceinline__ void add(const Corners<A>& weight, const Pack<V, kWidth>& gradient) {
    A number[kWidth];
    unpack(gradient, number);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      left[0][i] += weight.at[kUpperLeft] * number[i];
      right[0][i] += weight.at[kUpperRight] * number[i];
      left[1][i] += weight.at[kLowerLeft] * number[i];
      right[1][i] += weight.at[kLowerRight] * number[i];
    }
  }
};

// A run's place in the results.
template <typename A>
struct Run {
  int64_t number;
  int64_t before;   // cell of the last sample of the run before, or -1 (less than any column minus one: -2)
  uint32_t first;   // cell of the run's first sample

  template <int kWidth>
  __device__ __forceinline__ void write(const Sorted<A>& sorted, int32_t all_channels, int32_t channel, uint32_t column,
                                        const A (&sum)[2][kWidth]) const {
    // the column's samples are in cells column - 1 and column; keys ascend
    const bool begun_before = before >= static_cast<int64_t>(column) - 1;
    A* target = begun_before ? sorted.leftover + (number * kLeftovers + (column - first)) * 2 * all_channels
                             : sorted.columns + static_cast<int64_t>(column) * 2 * all_channels;
#pragma unroll
    for (int end = 0; end < 2; ++end) {
      Pack<A, kWidth> pack;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) pack.element[i] = sum[end][i];
      *reinterpret_cast<Pack<A, kWidth>*>(target + end * all_channels + channel) = pack;
    }
  }
};

// A run's samples in shared memory.
template <typename A, int kGroup>
struct RunStage {
  static constexpr int kSamples = Portion<kGroup>::kSamples;
  static constexpr int kRuns = Portion<kGroup>::kItems;
  Corners<A> weights[kRuns][kSamples + 1];
  uint32_t keys[kRuns][kSamples + 1];
  int64_t offsets[kRuns][kSamples + 1];  // of the query's and head's channels in grad_output
};

// Stages samples first, first + 1, ... of the warp's runs. Samples outside, and those behind the last, get key `cells`.
template <typename A, int kGroup>
__device__ __forceinline__ void stage_run(const Problem& problem, const Sorted<A>& sorted, const Lane<kGroup>& lane,
                                          int64_t first_run, int32_t first, RunStage<A, kGroup>& stage) {
#pragma unroll
  for (int entry = 0; entry < kEntries; ++entry) {
    const int run = lane.entry_item(entry), sample = lane.entry_sample();
    const int64_t place = (first_run + run) * kRun + first + sample;
    const uint32_t key = place < sorted.count ? sorted.keys[place] : sorted.cells;
    stage.keys[run][sample] = key;
    Corners<A> weights{{0, 0, 0, 0}};
    int64_t offset = 0;
    if (key < sorted.cells) {
      const Record<A> record = sorted.records[sorted.numbers[place]];
      const A upper = record.weight * (1 - record.to_lower), lower = record.weight * record.to_lower;
      weights = {{upper * (1 - record.to_right), upper * record.to_right, lower * (1 - record.to_right),
                  lower * record.to_right}};
      const int64_t plane = problem.first_plane + key / static_cast<uint32_t>(problem.cells);
      offset = ((plane / problem.heads * problem.queries + record.query) * problem.heads + plane % problem.heads) *
               problem.channels;
    }
    stage.weights[run][sample] = weights;
    stage.offsets[run][sample] = offset;
  }
}

// Sums columns of runs; one group of threads for each run, one turn for kGroup * kWidth channels.
template <typename V, typename A, int kWidth, int kGroup>
__global__ void __launch_bounds__(kThreads, kBlocksRun)
    run_kernel(const __grid_constant__ Problem problem, const __grid_constant__ Sorted<A> sorted,
               const V* __restrict__ grad_output) {
  using Shared = RunStage<A, kGroup>;
  __shared__ Shared stages[kWarps];
  Shared& stage = stages[threadIdx.x / kWarpSize];
  const Lane<kGroup> lane;
  const int64_t first_run = static_cast<int64_t>(blockIdx.x) * kWarps * Shared::kRuns + lane.slot;
  Run<A> run{first_run + lane.group, -2, 0};
  if (run.number > 0 && run.number * kRun <= sorted.count) run.before = sorted.keys[run.number * kRun - 1];
  if (run.number * kRun < sorted.count) run.first = sorted.keys[run.number * kRun];
  for (int32_t first_channel = 0; first_channel < problem.channels; first_channel += kGroup * kWidth) {
    const int32_t channel = first_channel + lane.in_group * kWidth;
    const bool has_channels = channel < problem.channels;
    Columns<A, kWidth> sums;
    sums.clear();
    uint32_t cell = run.first;
    bool any = false;
    for (int32_t first = 0; first < kRun; first += Shared::kSamples) {
      __syncwarp();
      stage_run(problem, sorted, lane, first_run, first, stage);
      __syncwarp();
      if (!has_channels) continue;
#pragma unroll 4
      for (int j = 0; j < Shared::kSamples; ++j) {
        const auto gradient = load_pack<kWidth>(grad_output + stage.offsets[lane.group][j] + channel);
        const uint32_t key = stage.keys[lane.group][j];
        if (key == sorted.cells) continue;  // only others like it follow
        any = true;
        if (key != cell) {
          run.write(sorted, problem.channels, channel, cell, sums.left);
          if (key != cell + 1) {
            run.write(sorted, problem.channels, channel, cell + 1, sums.right);
            sums.clear();
          } else {
            sums.shift();
          }
          cell = key;
        }
        sums.add(stage.weights[lane.group][j], gradient);
      }
    }
    if (any) {
      run.write(sorted, problem.channels, channel, cell, sums.left);
      run.write(sorted, problem.channels, channel, cell + 1, sums.right);
    }
  }
}

// Adds one end of a column.
template <int kWidth, typename A>
__device__ __forceinline__ void add_column(const Sorted<A>& sorted, int32_t all_channels, int32_t channel, int end,
                                           uint32_t column, A (&sum)[kWidth]) {
  const uint32_t begin = sorted.begins[column - 1], stop = sorted.begins[column + 1];
  if (begin >= stop) return;
  auto pack = load_pack<kWidth>(sorted.columns + (static_cast<int64_t>(column) * 2 + end) * all_channels + channel);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] += pack.element[i];
#pragma unroll 4
  for (int64_t run = begin / kRun + 1; run <= (stop - 1) / kRun; ++run) {
    const int64_t place = run * kLeftovers + (column - sorted.keys[run * kRun]);
    pack = load_pack<kWidth>(sorted.leftover + (place * 2 + end) * all_channels + channel);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += pack.element[i];
  }
}

// The gradient of every pixel of the launch's planes; a thread has kWidth channels of one.
template <typename V, typename A, int kWidth>
__global__ void __launch_bounds__(kThreads)
    pixel_kernel(const __grid_constant__ Problem problem, const __grid_constant__ Sorted<A> sorted, int64_t planes,
                 V* __restrict__ grad_value) {
  const int32_t packs = problem.channels / kWidth;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t place = thread / packs, local = place / problem.pixels;
  if (local >= planes) return;
  const int32_t pixel = static_cast<int32_t>(place % problem.pixels);
  const int32_t channel = static_cast<int32_t>(thread % packs) * kWidth;
  // Levels without pixels begin where the next one does, and are passed over.
  int32_t number = 0;
  while (number + 1 < problem.levels && pixel >= problem.level[number + 1].start) ++number;
  const LevelTable& level = problem.level[number];
  const int32_t y = (pixel - level.start) / level.width, x = (pixel - level.start) % level.width;
  const int32_t above = level.first_cell + y * (level.width + 1) + x + 1;
  const uint32_t first = static_cast<uint32_t>(local * problem.cells);
  A sum[kWidth] = {}, lower[kWidth] = {};
  add_column<kWidth>(sorted, problem.channels, channel, 0, first + above + level.width + 1, sum);
  add_column<kWidth>(sorted, problem.channels, channel, 1, first + above, lower);
  const int64_t plane = problem.first_plane + local;
  const int64_t row = plane / problem.heads * problem.pixels + pixel;
  Pack<V, kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) result.element[i] = static_cast<V>(sum[i] + lower[i]);
  *reinterpret_cast<Pack<V, kWidth>*>(grad_value + (row * problem.heads + plane % problem.heads) * problem.channels +
                                      channel) = result;
}

}  // namespace querydet::cuda
