// The arithmetic of the operator on the CPU: one query and head at a time, channels innermost.
//
// This header knows nothing of tensors and threads, so that it can be compiled for several instruction sets. `V` is
// the type in which values are stored, `A` the type of all arithmetic (float, or double for double values).
//
// The loops over points and channels have no branches: a corner outside of its level reads from a row of zeros and
// writes to a row that nobody reads.

#pragma once

#include <cstdint>
#include <vector>

#include "../ms_deform_attn.h"
#include "../sampling_point.h"
#include "vector.h"

namespace querydet::cpu {

constexpr int kCorners = 4;

// The (S, D) plane of one image and head.
template <typename T>
struct Plane {
  T* first;
  int64_t stride;  // from one row to the next
  T* outside;      // D elements in place of every row that is outside

  T* row(int32_t index) const { return index == kOutside ? outside : first + index * stride; }
};

// Everything about the L * P points of one query and head, prepared once and used for all channels.
template <typename A>
class Points {
 public:
  explicit Points(const Sizes& sizes) {
    for (const Level& level : sizes.levels) {
      width_.insert(width_.end(), sizes.points, level.width);
      height_.insert(height_.end(), sizes.points, level.height);
      start_.insert(start_.end(), sizes.points, level.start);
    }
    for (auto* numbers : {&right_, &lower_, &weight_[0], &weight_[1], &weight_[2], &weight_[3]}) {
      numbers->resize(count());
    }
    for (auto& rows : row_) rows.resize(count());
  }

  int64_t count() const { return static_cast<int64_t>(width_.size()); }
  int32_t row(int corner, int64_t n) const { return row_[corner][n]; }
  // Attention weight times bilinear weight.
  A weight(int corner, int64_t n) const { return weight_[corner][n]; }

  PointGradient<A> gradient(int64_t n, const Corners<A>& dot, A weight) const {
    return point_gradient(right_[n], lower_[n], dot, weight, width_[n], height_[n]);
  }

  // `locations` is (L * P, 2), `weights` (L * P).
  void prepare(const A* locations, const A* weights) {
    const int64_t number = count();
    const int32_t *width = width_.data(), *height = height_.data(), *start = start_.data();
    int32_t *row0 = row_[0].data(), *row1 = row_[1].data(), *row2 = row_[2].data(), *row3 = row_[3].data();
    A *weight0 = weight_[0].data(), *weight1 = weight_[1].data();
    A *weight2 = weight_[2].data(), *weight3 = weight_[3].data();
    A *right = right_.data(), *lower = lower_.data();
    for (int64_t n = 0; n < number; ++n) {
      const auto point = locate(locations[2 * n], locations[2 * n + 1], width[n], height[n], start[n]);
      const auto corners = bilinear(point.right, point.lower, weights[n]);
      right[n] = point.right;
      lower[n] = point.lower;
      row0[n] = point.row.upper_left;
      row1[n] = point.row.upper_right;
      row2[n] = point.row.lower_left;
      row3[n] = point.row.lower_right;
      weight0[n] = corners.upper_left;
      weight1[n] = corners.upper_right;
      weight2[n] = corners.lower_left;
      weight3[n] = corners.lower_right;
    }
  }

 private:
  std::vector<int32_t> width_, height_, start_;
  std::vector<A> right_, lower_;
  std::vector<int32_t> row_[kCorners];
  std::vector<A> weight_[kCorners];
};

// output[c] = sum over points and corners, for `Vectors` vectors of channels from `offset` on, in registers.
template <int Vectors, typename V, typename A, typename Output>
inline void sum_vectors(const Points<A>& points, const Plane<const V>& plane, int64_t offset, Output* output) {
  Vector<A> sums[Vectors] = {};
  const int64_t number = points.count();
  for (int64_t n = 0; n < number; ++n) {
    const V* corner0 = plane.row(points.row(0, n)) + offset;
    const V* corner1 = plane.row(points.row(1, n)) + offset;
    const V* corner2 = plane.row(points.row(2, n)) + offset;
    const V* corner3 = plane.row(points.row(3, n)) + offset;
    const A weight0 = points.weight(0, n), weight1 = points.weight(1, n);
    const A weight2 = points.weight(2, n), weight3 = points.weight(3, n);
    for (int i = 0; i < Vectors; ++i) {
      const int64_t c = i * kLanes<A>;
      sums[i] += weight0 * load<A>(corner0 + c) + weight1 * load<A>(corner1 + c) + weight2 * load<A>(corner2 + c) +
                 weight3 * load<A>(corner3 + c);
    }
  }
  for (int i = 0; i < Vectors; ++i) store<A>(sums[i], output + offset + i * kLanes<A>);
}

// The D outputs of one query and head.
template <typename V, typename A, typename Output>
inline void sum_points(const Points<A>& points, const Plane<const V>& plane, int64_t channels, Output* output) {
  constexpr int64_t lanes = kLanes<A>;
  int64_t c = 0;
  // 8 sums, 4 weights and some room fill the 16 registers of the smallest instruction set.
  for (; c + 8 * lanes <= channels; c += 8 * lanes) sum_vectors<8>(points, plane, c, output);
  for (; c + 2 * lanes <= channels; c += 2 * lanes) sum_vectors<2>(points, plane, c, output);
  for (; c + lanes <= channels; c += lanes) sum_vectors<1>(points, plane, c, output);
  for (; c < channels; ++c) {
    A total = 0;
    for (int64_t n = 0; n < points.count(); ++n) {
      for (int k = 0; k < kCorners; ++k) total += points.weight(k, n) * A(plane.row(points.row(k, n))[c]);
    }
    output[c] = static_cast<Output>(total);
  }
}

// <row of each corner of point n, gradient>. All gradients of the point follow from these four.
template <typename V, typename A>
inline Corners<A> dot_corners(const Points<A>& points, int64_t n, const Plane<const V>& plane, const A* gradient,
                              int64_t channels) {
  constexpr int64_t lanes = kLanes<A>;
  const V* corner[kCorners];
  for (int k = 0; k < kCorners; ++k) corner[k] = plane.row(points.row(k, n));
  Vector<A> sums[kCorners] = {};
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) {
    const Vector<A> factor = load<A>(gradient + c);
    for (int k = 0; k < kCorners; ++k) sums[k] += factor * load<A>(corner[k] + c);
  }
  A dot[kCorners];
  for (int k = 0; k < kCorners; ++k) {
    dot[k] = sum<A>(sums[k]);
    for (int64_t rest = c; rest < channels; ++rest) dot[k] += gradient[rest] * A(corner[k][rest]);
  }
  return {dot[0], dot[1], dot[2], dot[3]};
}

// Gradients of the L * P locations and weights of one query and head. Either pointer may be null.
template <typename V, typename A>
inline void point_gradients(const Points<A>& points, const Plane<const V>& plane, const A* weights, const A* gradient,
                            int64_t channels, A* grad_locations, A* grad_weights) {
  const int64_t number = points.count();
  for (int64_t n = 0; n < number; ++n) {
    const Corners<A> dot = dot_corners(points, n, plane, gradient, channels);
    const PointGradient<A> point = points.gradient(n, dot, weights[n]);
    if (grad_locations) {
      grad_locations[2 * n] = point.x;
      grad_locations[2 * n + 1] = point.y;
    }
    if (grad_weights) grad_weights[n] = point.attention_weight;
  }
}

// Adds the value's gradient of one query and head to its plane.
template <typename A>
inline void scatter_points(const Points<A>& points, const Plane<A>& plane, const A* gradient, int64_t channels) {
  constexpr int64_t lanes = kLanes<A>;
  const int64_t number = points.count();
  for (int64_t n = 0; n < number; ++n) {
    for (int k = 0; k < kCorners; ++k) {
      A* row = plane.row(points.row(k, n));
      const A weight = points.weight(k, n);
      int64_t c = 0;
      for (; c + lanes <= channels; c += lanes) {
        store<A>(load<A>(row + c) + weight * load<A>(gradient + c), row + c);
      }
      for (; c < channels; ++c) row[c] += weight * gradient[c];
    }
  }
}

}  // namespace querydet::cpu
