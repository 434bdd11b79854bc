// The CUDA kernels of ops/csrc/cuda as functions of the CPU; cuda_on_cpu.h says what that can show.
//
// -DVALUE=... chooses the type of value: float (by default), double, c10::BFloat16 or c10::Half; torch's headers have to be
// found. What the host side of the operators does is done here in the same order; the device-wide sort is
// std::stable_sort.

#include "cuda_on_cpu.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <numeric>
#include <type_traits>

#include "../../ops/csrc/cuda/backward.cuh"
#include "../../ops/csrc/cuda/forward.cuh"
#include "../../ops/csrc/cuda/sorted.cuh"

using namespace querydet::cuda;

#ifndef VALUE
#define VALUE float
#endif
using V = VALUE;
using A = std::conditional_t<std::is_same_v<V, double>, double, float>;

// One call: everything the kernels get, null where something is not wanted. The layout is that of the Python side.
struct Call {
  // B, S, M, C, Q, P, L; whether queries are taken in tiles, gradients are sorted, references are boxes, and companions
  // are in the type of value; planes of one pass
  int64_t sizes[7], tiled, sorted, boxes, narrow, planes_of_pass;
  const int64_t* levels;  // H, W of each
  const V *value, *grad_output;
  const void *references, *points, *weights;  // locations or offsets; weights or logits
  V *output, *grad_value;
  A* sum_value;  // where atomics add
  void *grad_references, *grad_points, *grad_weights;
  A *softmax, *positions;  // scratch of the fused backward
};

template <int kGroup>
static Problem make_problem(const Call& call) {
  using Block = Tile<kGroup>;
  Problem problem{};
  const int64_t* sizes = call.sizes;
  problem.pixels = static_cast<int32_t>(sizes[1]);
  problem.heads = static_cast<int32_t>(sizes[2]);
  problem.channels = static_cast<int32_t>(sizes[3]);
  problem.queries = static_cast<int32_t>(sizes[4]);
  problem.points = static_cast<int32_t>(sizes[5]);
  problem.levels = static_cast<int32_t>(sizes[6]);
  problem.samples = problem.levels * problem.points;
  problem.inverse_points = 1.0f / static_cast<float>(problem.points);
  problem.tiled = call.tiled;
  int32_t start = 0, tiles = 0;
  for (int32_t i = 0; i < problem.levels; ++i) {
    const int32_t height = static_cast<int32_t>(call.levels[2 * i]), width = static_cast<int32_t>(call.levels[2 * i + 1]);
    problem.level[i] = {height, width, start, problem.cells, tiles};
    start += height * width;
    if (height * width == 0) continue;
    problem.cells += (height + 1) * (width + 1);
    tiles += (height + Block::kHeight - 1) / Block::kHeight * ((width + Block::kWidth - 1) / Block::kWidth);
  }
  problem.tiles = problem.tiled ? tiles : (problem.queries + Block::kQueries - 1) / Block::kQueries;
  return problem;
}

static Companion<V, A> companion(const Call& call, const void* data) {
  return {data, call.narrow && !std::is_same_v<V, A>};
}

static CompanionGradient<V, A> gradient(const Call& call, void* data) {
  return {data, call.narrow && !std::is_same_v<V, A>};
}

static GivenSamples<V, A> make_source(const Call& call, GivenSamples<V, A>*) {
  return {companion(call, call.points), companion(call, call.weights)};
}

static FusedSamples<V, A> make_source(const Call& call, FusedSamples<V, A>*) {
  return {companion(call, call.references), companion(call, call.points), companion(call, call.weights),
          call.boxes != 0};
}

static void make_gradients(const Call& call, GivenSamples<V, A>::Gradient& gradients) {
  gradients = {gradient(call, call.grad_points), gradient(call, call.grad_weights)};
}

static void make_gradients(const Call& call, FusedSamples<V, A>::Gradient& gradients) {
  gradients = {gradient(call, call.grad_points), gradient(call, call.grad_weights), call.softmax, call.positions};
}

template <int kWidth, int kGroup>
static void sum_sorted(const Call& call, const Problem& problem, int64_t planes, std::vector<uint32_t>& keys,
                       std::vector<uint32_t>& numbers, const std::vector<Record<A>>& records) {
  std::stable_sort(numbers.begin(), numbers.end(), [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
  std::vector<uint32_t> sorted_keys;
  for (const uint32_t number : numbers) sorted_keys.push_back(keys[number]);
  const int64_t cells = planes * problem.cells, count = static_cast<int64_t>(keys.size());
  const int64_t runs = (count + kRun - 1) / kRun, part = 2 * problem.channels;
  std::vector<uint32_t> begins(cells + 1);
  // NaN where a column that nobody wrote would be read
  std::vector<A> columns((cells + 1) * part, A(NAN)), leftover(runs * kLeftovers * part, A(NAN));
  const Sorted<A> sorted{sorted_keys.data(), numbers.data(), records.data(), count, static_cast<uint32_t>(cells),
                         begins.data(), columns.data(), leftover.data()};
  const auto blocks = [](int64_t threads) { return (threads + kThreads - 1) / kThreads; };
  emulated::launch(blocks(cells + 1), 1, kThreads, [&] { cell_begin_kernel<A>(sorted); });
  emulated::launch(blocks(runs * kGroup), 1, kThreads,
                   [&] { run_kernel<V, A, kWidth, kGroup>(problem, sorted, call.grad_output); });
  constexpr int kMoved = kWidth == 1 ? 1 : 4;
  emulated::launch(blocks(planes * problem.pixels * (problem.channels / kMoved)), 1, kThreads,
                   [&] { pixel_kernel<V, A, kMoved>(problem, sorted, planes, call.grad_value); });
}

template <typename Source, int kWidth, int kGroup, bool kManyChannels>
static void run(const Call& call) {
  Problem problem = make_problem<kGroup>(call);
  const Source source = make_source(call, static_cast<Source*>(nullptr));
  typename Source::Gradient gradients;
  make_gradients(call, gradients);
  const int64_t all = call.sizes[0] * call.sizes[2];
  for (int64_t first = 0; first < all; first += call.planes_of_pass) {
    const int64_t planes = std::min(call.planes_of_pass, all - first);
    problem.first_plane = static_cast<int32_t>(first);
    emulated::launch(problem.tiles, planes, kThreads, [&] {
      forward_kernel<Source, V, A, kWidth, kGroup>(problem, source, call.value, call.output);
    });
    const int64_t count = call.sorted ? planes * problem.queries * problem.samples : 0;
    std::vector<uint32_t> keys(count), numbers(count);
    std::vector<Record<A>> kept(count);
    Records<A> records{};
    if (call.sorted) {
      records = {keys.data(), numbers.data(), kept.data(), static_cast<uint32_t>(planes * problem.cells)};
    }
    emulated::launch(problem.tiles, planes, kThreads, [&] {
      backward_kernel<Source, V, A, kWidth, kGroup, kManyChannels>(problem, source, gradients, records, call.value,
                                                                   call.grad_output, call.sum_value);
    });
    if (call.sorted) sum_sorted<kWidth, kGroup>(call, problem, planes, keys, numbers, kept);
  }
}

template <typename Source>
static void choose_layout(const Call& call, int64_t wide) {
  const int64_t channels = call.sizes[3];
  if constexpr (sizeof(V) <= 4) {
    constexpr int kWidth = 16 / sizeof(V);
    if (wide && channels <= 16) return run<Source, kWidth, 16 / kWidth, false>(call);
    if (wide && channels <= 32) return run<Source, kWidth, 32 / kWidth, false>(call);
    if (wide) return run<Source, kWidth, 64 / kWidth, true>(call);
  }
  run<Source, 1, 8, true>(call);
}

// `wide` chooses the kernels that move 16 bytes at once.
extern "C" void run_given(const Call* call, int64_t wide) { choose_layout<GivenSamples<V, A>>(*call, wide); }

extern "C" void run_fused(const Call* call, int64_t wide) {
  choose_layout<FusedSamples<V, A>>(*call, wide);
  if (call->grad_references == nullptr) return;
  const Problem problem = make_problem<8>(*call);
  const int64_t count = call->sizes[0] * call->sizes[4] * call->sizes[6];
  const auto source = make_source(*call, static_cast<FusedSamples<V, A>*>(nullptr));
  emulated::launch((count + kThreads - 1) / kThreads, 1, kThreads, [&] {
    reference_gradient_kernel<V, A>(problem, source, count, call->positions, gradient(*call, call->grad_references),
                                    gradient(*call, call->grad_points));
  });
}
