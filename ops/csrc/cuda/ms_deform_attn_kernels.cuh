// The CUDA kernels of the operator.
//
// A group of kLanes neighbouring threads works on one (image, query, head) item: every lane takes kWidth channels that
// lie next to each other, and then the next kLanes * kWidth ones. Any number of channels, queries, points and images is
// right: what is too much is masked, no size has to divide another. Offsets are 64 bit.
//
// `V` is the type of value and output, `A` the type of all arithmetic (float, or double for double values).
//
// Only threadIdx, blockIdx, blockDim, __shfl_xor_sync and atomicAdd are used, so that tests/layers can compile this
// file for the CPU and run it against the definition where there is no GPU.

#pragma once

#include <cstdint>

#include "../sampling_point.h"

namespace querydet::cuda {

constexpr int kThreads = 256;
constexpr int kLanes = 8;
constexpr int kMaxLevels = 16;
constexpr unsigned kAllLanes = 0xffffffffu;

// Level sizes travel by value with the launch: no kernel reads them from memory, no host waits for them.
struct Levels {
  int32_t height[kMaxLevels], width[kMaxLevels], start[kMaxLevels];
  int32_t count;
};

struct Shape {
  int64_t batch, pixels, heads, channels, queries, points;
  Levels levels;

  QUERYDET_HOST_DEVICE int64_t items() const { return batch * queries * heads; }
  // The first element of an item's plane in a (B, S, M, D) tensor.
  QUERYDET_HOST_DEVICE int64_t plane(int64_t item) const {
    return (item / (queries * heads) * pixels * heads + item % heads) * channels;
  }
  QUERYDET_HOST_DEVICE int64_t row_stride() const { return heads * channels; }
};

// kWidth neighbouring channels, moved by one memory instruction where their size allows it.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T element[kWidth];
};

// sum[i] += weight * row's channel i; a row outside adds nothing and is not read.
template <int kWidth, typename V, typename A>
__device__ __forceinline__ void add_row(const V* plane, int32_t row, int64_t stride, A weight, A (&sum)[kWidth]) {
  if (row == kOutside) return;
  const auto pack = *reinterpret_cast<const Pack<V, kWidth>*>(plane + row * stride);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] += weight * static_cast<A>(pack.element[i]);
}

template <typename V, typename A, int kWidth>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Shape shape, const V* value, const A* locations, const A* weights, V* output) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t item = thread / kLanes;
  if (item >= shape.items()) return;
  const int64_t first_point = item * shape.levels.count * shape.points;
  for (int64_t c = thread % kLanes * kWidth; c < shape.channels; c += kLanes * kWidth) {
    const V* plane = value + shape.plane(item) + c;
    A sum[kWidth] = {};
    int64_t n = first_point;
    for (int level = 0; level < shape.levels.count; ++level) {
      const int32_t width = shape.levels.width[level], height = shape.levels.height[level];
      for (int64_t p = 0; p < shape.points; ++p, ++n) {
        const auto point = locate(locations[2 * n], locations[2 * n + 1], width, height, shape.levels.start[level]);
        const auto weight = bilinear(point.right, point.lower, weights[n]);
        add_row(plane, point.row.upper_left, shape.row_stride(), weight.upper_left, sum);
        add_row(plane, point.row.upper_right, shape.row_stride(), weight.upper_right, sum);
        add_row(plane, point.row.lower_left, shape.row_stride(), weight.lower_left, sum);
        add_row(plane, point.row.lower_right, shape.row_stride(), weight.lower_right, sum);
      }
    }
    Pack<V, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) result.element[i] = static_cast<V>(sum[i]);
    *reinterpret_cast<Pack<V, kWidth>*>(output + item * shape.channels + c) = result;
  }
}

// One corner of a point in the backward: returns the part of <row, gradient> of these channels, and adds
// weight * gradient to the value's gradient (if `grad_plane` is not null).
template <int kWidth, typename V, typename A>
__device__ __forceinline__ A visit_row(
    const V* plane, A* grad_plane, int32_t row, int64_t stride, A weight, const A (&gradient)[kWidth]) {
  if (row == kOutside) return A(0);
  const auto pack = *reinterpret_cast<const Pack<V, kWidth>*>(plane + row * stride);
  A dot = 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) dot += static_cast<A>(pack.element[i]) * gradient[i];
  if (grad_plane != nullptr) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) atomicAdd(grad_plane + row * stride + i, weight * gradient[i]);
  }
  return dot;
}

template <typename A>
__device__ __forceinline__ A sum_over_lanes(A part) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) part += __shfl_xor_sync(kAllLanes, part, distance);
  return part;
}

// All three gradients; a null pointer means that one is not wanted. `grad_value` is zero at the start, and is summed
// with atomics: its last bits depend on the order in which threads arrive.
template <typename V, typename A, int kWidth>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Shape shape, const V* value, const A* locations, const A* weights, const A* grad_output,
                    A* grad_value, A* grad_locations, A* grad_weights) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int lane = static_cast<int>(thread % kLanes);
  const bool active = thread / kLanes < shape.items();
  // Nobody leaves early: the whole warp takes part in every shuffle. Threads too many repeat the last item silently.
  const int64_t item = active ? thread / kLanes : shape.items() - 1;
  const V* plane = value + shape.plane(item);
  A* grad_plane = active && grad_value != nullptr ? grad_value + shape.plane(item) : nullptr;
  int64_t n = item * shape.levels.count * shape.points;
  for (int level = 0; level < shape.levels.count; ++level) {
    const int32_t width = shape.levels.width[level], height = shape.levels.height[level];
    for (int64_t p = 0; p < shape.points; ++p, ++n) {
      const auto point = locate(locations[2 * n], locations[2 * n + 1], width, height, shape.levels.start[level]);
      const auto weight = bilinear(point.right, point.lower, weights[n]);
      Corners<A> dot = {0, 0, 0, 0};
      for (int64_t c = lane * kWidth; c < shape.channels; c += kLanes * kWidth) {
        A gradient[kWidth];
#pragma unroll
        for (int i = 0; i < kWidth; ++i) gradient[i] = grad_output[item * shape.channels + c + i];
        A* target = grad_plane != nullptr ? grad_plane + c : nullptr;
        const int64_t stride = shape.row_stride();
        dot.upper_left += visit_row(plane + c, target, point.row.upper_left, stride, weight.upper_left, gradient);
        dot.upper_right += visit_row(plane + c, target, point.row.upper_right, stride, weight.upper_right, gradient);
        dot.lower_left += visit_row(plane + c, target, point.row.lower_left, stride, weight.lower_left, gradient);
        dot.lower_right += visit_row(plane + c, target, point.row.lower_right, stride, weight.lower_right, gradient);
      }
      dot = {sum_over_lanes(dot.upper_left), sum_over_lanes(dot.upper_right), sum_over_lanes(dot.lower_left),
             sum_over_lanes(dot.lower_right)};
      if (lane == 0 && active) {
        const auto gradient = point_gradient(point.right, point.lower, dot, weights[n], width, height);
        if (grad_locations != nullptr) {
          grad_locations[2 * n] = gradient.x;
          grad_locations[2 * n + 1] = gradient.y;
        }
        if (grad_weights != nullptr) grad_weights[n] = gradient.attention_weight;
      }
    }
  }
}

// The value's gradient without atomics, for torch.use_deterministic_algorithms: one group of kLanes threads adds all
// queries of one (image, level, head) in their order. Slow, but bitwise the same every time.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    ordered_value_gradient_kernel(Shape shape, const A* locations, const A* weights, const A* grad_output,
                                  A* grad_value) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t group = thread / kLanes;
  if (group >= shape.batch * shape.levels.count * shape.heads) return;
  const int64_t head = group % shape.heads, image = group / shape.heads / shape.levels.count;
  const int level = static_cast<int>(group / shape.heads % shape.levels.count);
  const int32_t width = shape.levels.width[level], height = shape.levels.height[level];
  for (int64_t query = 0; query < shape.queries; ++query) {
    const int64_t item = (image * shape.queries + query) * shape.heads + head;
    for (int64_t p = 0; p < shape.points; ++p) {
      const int64_t n = (item * shape.levels.count + level) * shape.points + p;
      const auto point = locate(locations[2 * n], locations[2 * n + 1], width, height, shape.levels.start[level]);
      const auto weight = bilinear(point.right, point.lower, weights[n]);
      const int32_t rows[] = {point.row.upper_left, point.row.upper_right, point.row.lower_left, point.row.lower_right};
      const A parts[] = {weight.upper_left, weight.upper_right, weight.lower_left, weight.lower_right};
      for (int64_t c = thread % kLanes; c < shape.channels; c += kLanes) {
        const A gradient = grad_output[item * shape.channels + c];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (rows[k] != kOutside) grad_value[shape.plane(item) + rows[k] * shape.row_stride() + c] += parts[k] * gradient;
        }
      }
    }
  }
}

}  // namespace querydet::cuda
