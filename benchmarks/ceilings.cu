// What a GPU can do at most, for the parts that deformable attention is made of: one JSON object on the output.
//
//     nvcc -O3 -std=c++17 -arch=native benchmarks/ceilings.cu -o /tmp/ceilings && /tmp/ceilings
//
// Copying device memory; reading rows of 128 bytes that lie in the second level cache; adding to such rows, float by float
// and four floats at once, at random rows and at rows like an encoder's (neighbours in order); and sorting as many pairs
// as an encoder has samples. Medians of several runs, timed by events.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include <cub/device/device_radix_sort.cuh>

#define CHECK(call)                                                                                          \
  do {                                                                                                       \
    const cudaError_t error = (call);                                                                        \
    if (error != cudaSuccess) {                                                                              \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error));          \
      std::exit(1);                                                                                          \
    }                                                                                                        \
  } while (0)

constexpr int kThreads = 256, kRepeats = 15;
constexpr int64_t kSamples = 22223 * 8 * 16;  // of DINO's encoder at 800 x 1333, four levels
constexpr uint32_t kRows = 22223 * 8;         // 128 bytes each: its value in float32

__host__ __device__ uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// The row of a sample: anywhere, or near the place that its number has among all rows.
__device__ uint32_t row_of(uint32_t sample, bool ordered) {
  if (!ordered) return mixed(sample) % kRows;
  const uint32_t near = static_cast<uint32_t>(uint64_t{sample} * kRows / kSamples);
  return (near + mixed(sample) % 64) % kRows;
}

__global__ void copy_kernel(const float4* source, float4* target, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) target[i] = source[i];
}

// Eight threads read a row of 128 bytes, eight rows each.
__global__ void read_kernel(const float4* rows, float* sums, bool ordered) {
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  float4 sum{0, 0, 0, 0};
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i) {
    const float4 x = rows[row_of(thread / 8 * 8 + i, ordered) * 8 + thread % 8];
    sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
  }
  if (sum.x + sum.y + sum.z + sum.w == 1e30f) sums[thread] = 0;  // never: keeps the loads
}

__device__ void add_one_by_one(float* target) {
#pragma unroll
  for (int i = 0; i < 4; ++i) atomicAdd(target + i, 1.0f);
}

__device__ void add_four(float* target) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(target), float4{1, 1, 1, 1});
#else
  add_one_by_one(target);
#endif
}

template <bool kFour>
__global__ void add_kernel(float* rows, bool ordered) {
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  if (thread / 8 >= kSamples) return;
  float* target = rows + (row_of(thread / 8, ordered) * 8 + thread % 8) * 4;
  if (kFour) {
    add_four(target);
  } else {
    add_one_by_one(target);
  }
}

// Median microseconds.
double time_of(const std::function<void()>& run) {
  cudaEvent_t start, stop;
  CHECK(cudaEventCreate(&start));
  CHECK(cudaEventCreate(&stop));
  std::vector<float> times;
  for (int i = 0; i < kRepeats + 3; ++i) {
    CHECK(cudaEventRecord(start));
    run();
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(stop));
    CHECK(cudaEventSynchronize(stop));
    float milliseconds = 0;
    CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i >= 3) times.push_back(milliseconds);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2] * 1e3;
}

double time_sort(int bits) {
  std::vector<uint32_t> drawn(kSamples);
  for (int64_t i = 0; i < kSamples; ++i) drawn[i] = mixed(static_cast<uint32_t>(i)) & ((1u << bits) - 1);
  uint32_t* memory[5];
  for (uint32_t*& part : memory) CHECK(cudaMalloc(&part, kSamples * 4));
  CHECK(cudaMemcpy(memory[4], drawn.data(), kSamples * 4, cudaMemcpyHostToDevice));
  size_t bytes = 0;
  void* scratch = nullptr;
  const auto sort = [&] {
    cub::DoubleBuffer<uint32_t> keys(memory[0], memory[1]), numbers(memory[2], memory[3]);
    CHECK(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, numbers, static_cast<int>(kSamples), 0, bits));
  };
  sort();
  CHECK(cudaMalloc(&scratch, bytes));
  const auto copy = [&] { CHECK(cudaMemcpyAsync(memory[0], memory[4], kSamples * 4, cudaMemcpyDeviceToDevice)); };
  const double copied = time_of(copy);
  const double both = time_of([&] {
    copy();
    sort();
  });
  for (uint32_t* part : memory) CHECK(cudaFree(part));
  CHECK(cudaFree(scratch));
  return both - copied;
}

int main() {
  const int64_t large = int64_t{1} << 30;
  float4 *source, *target;
  float* rows;
  CHECK(cudaMalloc(&source, large));
  CHECK(cudaMalloc(&target, large));
  CHECK(cudaMalloc(&rows, kRows * 128));
  CHECK(cudaMemset(source, 1, large));
  CHECK(cudaMemset(rows, 0, kRows * 128));
  const auto blocks = [](int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); };
  const double copied = time_of([&] { copy_kernel<<<blocks(large / 16), kThreads>>>(source, target, large / 16); });
  std::printf("{\"copy_gb_per_s\": %.0f", 2.0 * large / copied * 1e-3);
  for (const bool ordered : {false, true}) {
    const char* name = ordered ? "ordered" : "random";
    const auto* read = reinterpret_cast<const float4*>(rows);
    const double reading = time_of([&] { read_kernel<<<blocks(kSamples * 8), kThreads>>>(read, rows, ordered); });
    const double one = time_of([&] { add_kernel<false><<<blocks(kSamples * 8), kThreads>>>(rows, ordered); });
    const double four = time_of([&] { add_kernel<true><<<blocks(kSamples * 8), kThreads>>>(rows, ordered); });
    std::printf(", \"read_rows_%s_gb_per_s\": %.0f", name, kSamples * 8 * 128.0 / reading * 1e-3);
    std::printf(", \"add_rows_%s_sectors_per_us\": %.0f", name, kSamples * 4 / one);
    std::printf(", \"add_rows_%s_by_four_sectors_per_us\": %.0f", name, kSamples * 4 / four);
  }
  std::printf(", \"sort_18_bits_us\": %.1f, \"sorted_pairs\": %lld}\n", time_sort(18), static_cast<long long>(kSamples));
  return 0;
}
