// Where samples come from, and where their gradients go: the part in which the two operators differ.
//
// A source has `start`, what it must know of the queries whose samples a thread computes; `sample`; and for the backward
// `put`, called once for every sample, and `finish`, called when all samples of the queries were put. A warp computes
// samples in portions of kPortion per group; a thread computes two of a portion, always of the same two queries, and
// kPortion neighbouring threads those of one query. All threads of a warp call together.

#pragma once

#include <cmath>

#include "footprint.cuh"

namespace querydet::cuda {

constexpr int kEntries = 2;  // samples of a portion that a thread computes

template <int kGroup>
struct Portion {
  static constexpr int kSamples = kEntries * kGroup;
  static constexpr int kItems = kWarpSize / kGroup;
};

// A tensor beside `value`, either in the type of value or in that of the arithmetic.
template <typename V, typename A>
struct Companion {
  const void* data;
  bool narrow;  // in the type of value

  __device__ __forceinline__ A load(int64_t index) const {
    return narrow ? static_cast<A>(static_cast<const V*>(data)[index]) : static_cast<const A*>(data)[index];
  }
  template <int kWidth>
  __device__ __forceinline__ Pack<A, kWidth> load_pack(int64_t index) const {
    if (!narrow) return cuda::load_pack<kWidth>(static_cast<const A*>(data) + index);
    const auto source = cuda::load_pack<kWidth>(static_cast<const V*>(data) + index);
    Pack<A, kWidth> pack;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) pack.element[i] = static_cast<A>(source.element[i]);
    return pack;
  }
};

// The gradient of a companion; null where nobody wants it.
template <typename V, typename A>
struct CompanionGradient {
  void* data;
  bool narrow;

  __device__ __forceinline__ bool wanted() const { return data != nullptr; }
  __device__ __forceinline__ void store(int64_t index, A value) const {
    if (narrow) {
      static_cast<V*>(data)[index] = static_cast<V>(value);
    } else {
      static_cast<A*>(data)[index] = value;
    }
  }
  __device__ __forceinline__ void store_pair(int64_t pair, A first, A second) const {
    if (narrow) {
      static_cast<Pack<V, 2>*>(data)[pair] = {static_cast<V>(first), static_cast<V>(second)};
    } else {
      static_cast<Pack<A, 2>*>(data)[pair] = {first, second};
    }
  }
};

// ms_deform_attn: locations in [0, 1] of the level, and weights, as given.
template <typename V, typename A>
struct GivenSamples {
  Companion<V, A> locations, weights;  // (B, Q, M, L, P, 2), (B, Q, M, L, P)

  struct State {};
  struct Gradient {
    CompanionGradient<V, A> locations, weights;
  };

  template <int kGroup>
  __device__ __forceinline__ State start(const Problem&, const Plane&, const int32_t (&)[kEntries], int) const {
    return {};
  }

  __device__ __forceinline__ Sample<A> sample(
      const Problem& problem, const Plane& plane, const State&, int32_t query, int, int32_t index, int32_t number) const {
    const LevelTable& level = problem.level[number];
    const int64_t n = plane.item(problem, query) * problem.samples + index;
    const auto location = locations.template load_pack<2>(2 * n);
    return {location.element[0] * A(level.width) - A(0.5), location.element[1] * A(level.height) - A(0.5),
            weights.load(n)};
  }

  __device__ __forceinline__ void put(const Problem& problem, const Plane& plane, State&, const Gradient& gradients,
                                      int32_t query, int, int32_t index, int32_t number, const Sample<A>&,
                                      const SampleGradient<A>& gradient) const {
    const int64_t n = plane.item(problem, query) * problem.samples + index;
    if (gradients.weights.wanted()) gradients.weights.store(n, gradient.weight);
    if (!gradients.locations.wanted()) return;
    const LevelTable& level = problem.level[number];
    gradients.locations.store_pair(n, gradient.column * A(level.width), gradient.line * A(level.height));
  }

  template <int kGroup>
  __device__ __forceinline__ void finish(
      const Problem&, const Plane&, State&, const Gradient&, const int32_t (&)[kEntries], int) const {}
};

// Sum, or maximum, over the kPortion neighbouring threads that compute one item's samples.
template <int kThreadsOfItem, typename A>
__device__ __forceinline__ A sum_of_item(A part) {
#pragma unroll
  for (int distance = kThreadsOfItem / 2; distance > 0; distance /= 2) {
    part += __shfl_xor_sync(kAllLanes, part, distance);
  }
  return part;
}

template <int kThreadsOfItem, typename A>
__device__ __forceinline__ A maximum_of_item(A part) {
#pragma unroll
  for (int distance = kThreadsOfItem / 2; distance > 0; distance /= 2) {
    const A other = __shfl_xor_sync(kAllLanes, part, distance);
    part = other > part ? other : part;
  }
  return part;
}

// The chain rule where `gradient` is zero because the sample is outside, perhaps because `factor` is not a number.
template <typename A>
__device__ __forceinline__ A scaled(A gradient, A factor) {
  return gradient == A(0) ? A(0) : gradient * factor;
}

// ms_deform_attn_fused: reference + offset, and the softmax of logits over the samples of a query and head.
// Deformable DETR, section 4.1: offsets are pixels around reference points; for reference boxes (its appendix A.3)
// they are P-ths of half the box.
template <typename V, typename A>
struct FusedSamples {
  Companion<V, A> references, offsets, logits;  // (B, Q, L, 2 or 4), (B, Q, M, L, P, 2), (B, Q, M, L, P)
  bool boxes;

  struct State {
    A maximum[kEntries], inverse_sum[kEntries];  // of the softmax
    A weighted[kEntries];                        // sum of weight times the weight's gradient
  };
  struct Gradient {
    CompanionGradient<V, A> offsets, logits;
    A* weights;    // (B, Q, M, L, P): gradients for the softmax's results, wanted with logits; may be logits itself
    A* positions;  // (B, Q, M, L, P, 2) gradients in pixels for reference_gradient_kernel, instead of offsets; or null
  };

  template <int kGroup>
  __device__ __forceinline__ State start(const Problem& problem, const Plane& plane, const int32_t (&queries)[kEntries],
                                         int lane) const {
    using std::exp;
    constexpr int kSamples = Portion<kGroup>::kSamples;
    State state;
#pragma unroll
    for (int entry = 0; entry < kEntries; ++entry) {
      const int64_t first = plane.item(problem, queries[entry]) * problem.samples;
      const int32_t end = queries[entry] >= 0 ? problem.samples : 0;
      A maximum = -INFINITY, sum = 0;
      for (int32_t i = lane % kSamples; i < end; i += kSamples) {
        const A logit = logits.load(first + i);
        maximum = logit > maximum ? logit : maximum;
      }
      maximum = maximum_of_item<kSamples>(maximum);
      for (int32_t i = lane % kSamples; i < end; i += kSamples) sum += exp(logits.load(first + i) - maximum);
      state.maximum[entry] = maximum;
      state.inverse_sum[entry] = A(1) / sum_of_item<kSamples>(sum);
      state.weighted[entry] = 0;
    }
    return state;
  }

  __device__ __forceinline__ A weight_of(const State& state, int entry, int64_t n) const {
    using std::exp;
    return exp(logits.load(n) - state.maximum[entry]) * state.inverse_sum[entry];
  }

  __device__ __forceinline__ Sample<A> sample(const Problem& problem, const Plane& plane, const State& state,
                                              int32_t query, int entry, int32_t index, int32_t number) const {
    const LevelTable& level = problem.level[number];
    const int64_t n = plane.item(problem, query) * problem.samples + index;
    const auto offset = offsets.template load_pack<2>(2 * n);
    const int64_t place = plane.place(problem, query) * problem.levels + number;
    const A weight = weight_of(state, entry, n);
    // Normalised locations first, rounded as the separate steps round them: both ways give the same numbers.
    A x, y;
    if (!boxes) {
      const auto point = references.template load_pack<2>(2 * place);
      x = point.element[0] + offset.element[0] / A(level.width);
      y = point.element[1] + offset.element[1] / A(level.height);
    } else {
      const auto box = references.template load_pack<4>(4 * place);
      const A points = A(problem.points);
      x = box.element[0] + offset.element[0] / points * box.element[2] * A(0.5);
      y = box.element[1] + offset.element[1] / points * box.element[3] * A(0.5);
    }
    return {x * A(level.width) - A(0.5), y * A(level.height) - A(0.5), weight};
  }

  __device__ __forceinline__ void put(const Problem& problem, const Plane& plane, State& state,
                                      const Gradient& gradients, int32_t query, int entry, int32_t index,
                                      int32_t number, const Sample<A>& sample,
                                      const SampleGradient<A>& gradient) const {
    const int64_t n = plane.item(problem, query) * problem.samples + index;
    if (gradients.weights != nullptr) {
      state.weighted[entry] += sample.weight * gradient.weight;
      gradients.weights[n] = gradient.weight;
    }
    if (gradients.positions != nullptr) {
      reinterpret_cast<Pack<A, 2>*>(gradients.positions)[n] = {gradient.column, gradient.line};
    } else if (gradients.offsets.wanted()) {
      A x = gradient.column, y = gradient.line;
      if (boxes) {
        const auto box = references.template load_pack<4>(4 * (plane.place(problem, query) * problem.levels + number));
        const A part = A(0.5) / A(problem.points);
        x = scaled(x, part * box.element[2] * A(problem.level[number].width));
        y = scaled(y, part * box.element[3] * A(problem.level[number].height));
      }
      gradients.offsets.store_pair(n, x, y);
    }
  }

  // The softmax's Jacobian. A thread reads again only what it wrote itself.
  template <int kGroup>
  __device__ __forceinline__ void finish(const Problem& problem, const Plane& plane, State& state,
                                         const Gradient& gradients, const int32_t (&queries)[kEntries],
                                         int lane) const {
    constexpr int kSamples = Portion<kGroup>::kSamples;
    if (gradients.weights == nullptr) return;
#pragma unroll
    for (int entry = 0; entry < kEntries; ++entry) {
      const A total = sum_of_item<kSamples>(state.weighted[entry]);
      const int64_t first = plane.item(problem, queries[entry]) * problem.samples;
      const int32_t end = queries[entry] >= 0 ? problem.samples : 0;
      for (int32_t i = lane % kSamples; i < end; i += kSamples) {
        const A weight = weight_of(state, entry, first + i);
        gradients.logits.store(first + i, weight * (gradients.weights[first + i] - total));
      }
    }
  }
};

// Gradients of references, and of offsets beside them: one thread sums the heads and points of a query and level in
// their order, so that the sum is the same every time. A null pointer means that one is not wanted.
template <typename V, typename A>
__global__ void __launch_bounds__(kThreads)
    reference_gradient_kernel(const __grid_constant__ Problem problem, FusedSamples<V, A> source, int64_t count,
                              const A* positions, CompanionGradient<V, A> references,
                              CompanionGradient<V, A> offsets) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= count) return;
  const int32_t number = static_cast<int32_t>(place % problem.levels);
  const A width = A(problem.level[number].width), height = A(problem.level[number].height);
  const A part = A(0.5) / A(problem.points);
  Pack<A, 4> box{};
  if (source.boxes) box = source.references.template load_pack<4>(4 * place);
  A sum[4] = {};
  for (int32_t head = 0; head < problem.heads; ++head) {
    const int64_t first = ((place / problem.levels * problem.heads + head) * problem.levels + number) * problem.points;
    for (int64_t n = first; n < first + problem.points; ++n) {
      const auto position = load_pack<2>(positions + 2 * n);
      A x = position.element[0], y = position.element[1];
      sum[0] += x * width;
      sum[1] += y * height;
      if (source.boxes) {
        const auto offset = source.offsets.template load_pack<2>(2 * n);
        sum[2] += scaled(x, width * offset.element[0] * part);
        sum[3] += scaled(y, height * offset.element[1] * part);
        x = scaled(x, part * box.element[2] * width);
        y = scaled(y, part * box.element[3] * height);
      }
      if (offsets.wanted()) offsets.store_pair(n, x, y);
    }
  }
  const int size = source.boxes ? 4 : 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < size) references.store(place * size + i, sum[i]);
  }
}

}  // namespace querydet::cuda
