// The value's gradient by sorting: the device-wide sort of CUB, which comes with the CUDA toolkit, and kernels around it.

#include <cub/device/device_radix_sort.cuh>

#include "host.h"
#include "sorted.cuh"

namespace querydet::cuda {
namespace {

// Bounds the memory of one pass: about 40 bytes a sample.
constexpr int64_t kSamplesOfPass = int64_t{1} << 24;

int64_t count_cells(const Sizes& sizes) {
  int64_t cells = 0;
  for (const Level& level : sizes.levels) {
    if (level.height > 0 && level.width > 0) cells += (int64_t{1} + level.height) * (int64_t{1} + level.width);
  }
  return std::max<int64_t>(cells, 1);
}

int bits_of(uint32_t number) {
  int bits = 0;
  for (; number > 0; number >>= 1) ++bits;
  return bits;
}

struct Order {
  const uint32_t *keys, *numbers;
};

// Sorts by key; equal keys stay in their order. The results are in one of each pair of tensors.
Order sort(const SampleRecords& samples, const Tensor& spare_keys,
                                     const Tensor& spare_numbers, cudaStream_t stream) {
  cub::DoubleBuffer<uint32_t> keys(data<uint32_t>(samples.keys), data<uint32_t>(spare_keys));
  cub::DoubleBuffer<uint32_t> numbers(data<uint32_t>(samples.numbers), data<uint32_t>(spare_numbers));
  const auto run = [&](void* memory, size_t& bytes) {
    STD_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(memory, bytes, keys, numbers, static_cast<int>(samples.count), 0,
                                                   bits_of(samples.cells), stream));
  };
  size_t bytes = 0;
  run(nullptr, bytes);
  const Tensor memory = torch::stable::new_empty(samples.keys, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  run(memory.mutable_data_ptr(), bytes);
  return {keys.Current(), numbers.Current()};
}

}  // namespace

int64_t planes_to_sort(const Sizes& sizes) {
  const int64_t samples = sizes.queries * sizes.points_of_query(), cells = count_cells(sizes);
  STD_TORCH_CHECK(samples < kInt32Limit, "the deterministic backward needs less than 2^31 samples of one image and ",
                  "head, but got ", samples);
  return std::max<int64_t>(1, std::min(kSamplesOfPass / samples, kInt32Limit / cells));
}

// Atomics cost by the sample, sorting by the sample and by the cell, and several more launches. A rule from counted
// memory traffic (see ops/README.md), not yet from measurements.
bool prefers_sorting(const Sizes& sizes) {
  const int64_t samples = sizes.queries * sizes.points_of_query();
  const int64_t all = sizes.batch * sizes.heads * samples;
  return samples < kInt32Limit && samples >= 4 * count_cells(sizes) && all >= (1 << 17);
}

SampleRecords make_records(const Tensor& value, const Problem& problem, int64_t planes) {
  const int64_t count = planes * problem.queries * problem.samples;
  const int64_t size = value.scalar_type() == ScalarType::Double ? sizeof(Record<double>) : sizeof(Record<float>);
  return {torch::stable::new_empty(value, {count}, ScalarType::Int),
          torch::stable::new_empty(value, {count}, ScalarType::Int),
          torch::stable::new_empty(value, {count * size}, ScalarType::Byte), count,
          static_cast<uint32_t>(planes * problem.cells)};
}

void sum_sorted(const Problem& problem, int64_t planes, const SampleRecords& samples, const Tensor& grad_output,
                const Tensor& grad_value) {
  const cudaStream_t stream = current_stream(grad_value);
  const ScalarType type = accumulation_type(grad_value);
  const Tensor spare_keys = torch::stable::empty_like(samples.keys);
  const Tensor spare_numbers = torch::stable::empty_like(samples.numbers);
  const Order order = sort(samples, spare_keys, spare_numbers, stream);
  const int64_t cells = samples.cells, channels = problem.channels;
  const int64_t runs = (samples.count + kRun - 1) / kRun;
  const Tensor begins = torch::stable::new_empty(grad_value, {cells + 1}, ScalarType::Int);
  const Tensor columns = torch::stable::new_empty(grad_value, {cells + 1, 2, channels}, type);
  const Tensor leftover = torch::stable::new_empty(grad_value, {runs, kLeftovers, 2, channels}, type);
  dispatch(grad_value, [&](auto v, auto a, auto layout) {
    using V = decltype(v);
    using A = decltype(a);
    using Lay = decltype(layout);
    const Sorted<A> sorted{order.keys, order.numbers, const_data<Record<A>>(samples.records), samples.count, samples.cells,
                           data<uint32_t>(begins), data<A>(columns), data<A>(leftover)};
    cell_begin_kernel<A><<<blocks_for(cells + 1), kThreads, 0, stream>>>(sorted);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    run_kernel<V, A, Lay::kWidth, Lay::kGroup><<<blocks_for(runs * Lay::kGroup), kThreads, 0, stream>>>(
        problem, sorted, const_data<V>(grad_output));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    constexpr int kWidth = Lay::kWidth == 1 ? 1 : 4;
    pixel_kernel<V, A, kWidth><<<blocks_for(planes * problem.pixels * (channels / kWidth)), kThreads, 0, stream>>>(
        problem, sorted, planes, data<V>(grad_value));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

}  // namespace querydet::cuda
