// One sampling location on one level: which four pixels it touches and how. Shared by the CPU and the CUDA kernels.
//
// Deformable DETR (arXiv 2010.04159), section 4.1: bilinear interpolation with pixel centres at integers, and zero
// outside of the level. A location that is NaN, infinite or far away is outside.

#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define QUERYDET_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define QUERYDET_HOST_DEVICE inline
#endif

namespace querydet {

// A corner outside of its level has this row.
constexpr int32_t kOutside = -1;

// Something of each of the four pixels around a point. Fields, not an array: those stay in registers.
template <typename T>
struct Corners {
  T upper_left, upper_right, lower_left, lower_right;
};

template <typename A>
struct SamplingPoint {
  // Rows of the (S, D) plane of one image and head, or kOutside.
  Corners<int32_t> row;
  // How far from the left to the right, and from the upper to the lower corners, in [0, 1).
  A right, lower;
};

// Exact, where int(x + 1) - 1 would be rounded up just below an integer.
template <typename A>
QUERYDET_HOST_DEVICE int32_t floor_of(A x) {
  const int32_t truncated = static_cast<int32_t>(x);
  return truncated - (static_cast<A>(truncated) > x);
}

// 0 <= index < size: a negative index is a large unsigned one.
QUERYDET_HOST_DEVICE bool is_below(int32_t index, int32_t size) {
  return static_cast<uint32_t>(index) < static_cast<uint32_t>(size);
}

// `x` and `y` in [0, 1] of a level of `width` x `height` pixels, whose first pixel is row `start`.
template <typename A>
QUERYDET_HOST_DEVICE SamplingPoint<A> locate(A x, A y, int32_t width, int32_t height, int32_t start) {
  // In pixels. No branch and no short-circuit from here on: whether a point is inside is hard to predict.
  const A column = x * A(width) - A(0.5);
  const A line = y * A(height) - A(0.5);
  // Written so that NaN is outside. Only what is inside is converted to an integer: anything else would be undefined.
  const bool inside = (column > A(-1)) & (column < A(width)) & (line > A(-1)) & (line < A(height));
  const A safe_column = inside ? column : A(0);
  const A safe_line = inside ? line : A(0);
  const int32_t left = floor_of(safe_column), upper = floor_of(safe_line);
  const bool has_left = inside & is_below(left, width), has_right = inside & is_below(left + 1, width);
  const bool has_upper = is_below(upper, height), has_lower = is_below(upper + 1, height);
  const int32_t first = start + upper * width + left;

  SamplingPoint<A> point;
  point.right = safe_column - A(left);
  point.lower = safe_line - A(upper);
  point.row.upper_left = has_left & has_upper ? first : kOutside;
  point.row.upper_right = has_right & has_upper ? first + 1 : kOutside;
  point.row.lower_left = has_left & has_lower ? first + width : kOutside;
  point.row.lower_right = has_right & has_lower ? first + width + 1 : kOutside;
  return point;
}

// The bilinear weights, times `scale`.
template <typename A>
QUERYDET_HOST_DEVICE Corners<A> bilinear(A right, A lower, A scale) {
  const A upper_part = scale * (1 - lower), lower_part = scale * lower;
  return {upper_part * (1 - right), upper_part * right, lower_part * (1 - right), lower_part * right};
}

template <typename A>
struct PointGradient {
  A attention_weight, x, y;
};

// The gradients of one point by the product rule. `dot` is <corner's channels, grad_output>, `weight` the attention
// weight; x and y are for normalised coordinates.
template <typename A>
QUERYDET_HOST_DEVICE PointGradient<A> point_gradient(
    A right, A lower, const Corners<A>& dot, A weight, int32_t width, int32_t height) {
  const A upper_side = dot.upper_right - dot.upper_left, lower_side = dot.lower_right - dot.lower_left;
  const A left_side = dot.lower_left - dot.upper_left, right_side = dot.lower_right - dot.upper_right;
  const Corners<A> part = bilinear(right, lower, A(1));
  PointGradient<A> gradient;
  gradient.attention_weight = part.upper_left * dot.upper_left + part.upper_right * dot.upper_right +
                              part.lower_left * dot.lower_left + part.lower_right * dot.lower_right;
  gradient.x = weight * A(width) * (upper_side + lower * (lower_side - upper_side));
  gradient.y = weight * A(height) * (left_side + right * (right_side - left_side));
  return gradient;
}

}  // namespace querydet
