// The four pixels that one sample touches: which, how much, and the gradients of the sample's position and weight.
//
// Deformable DETR (arXiv 2010.04159), section 4.1: bilinear interpolation with pixel centres at integers, and zero
// outside of the level. A sample that is NaN, infinite or far away is outside.

#pragma once

#include "problem.cuh"

namespace querydet::cuda {

// A sample in pixels of its level.
template <typename A>
struct Sample {
  A column, line, weight;
};

// Something of the four corners, in this order.
enum Corner { kUpperLeft, kUpperRight, kLowerLeft, kLowerRight };

template <typename A>
struct alignas(16) Corners {
  A at[4];
};

template <typename A>
struct Footprint {
  bool inside;                 // the sample touches its level
  bool left, right;            // the columns that are in the level
  bool upper, lower;           // and the lines
  int32_t column, line;        // of the upper left corner, from -1
  A to_right, to_lower;        // in [0, 1)
};

// No branch: whether a sample is inside is hard to predict.
template <typename A>
__device__ __forceinline__ Footprint<A> locate(A column, A line, int32_t width, int32_t height) {
  Footprint<A> foot;
  // Written so that NaN is outside. Only what is inside is converted to an integer: anything else would be undefined.
  foot.inside = (column > A(-1)) & (column < A(width)) & (line > A(-1)) & (line < A(height)) & (width > 0) & (height > 0);
  const A safe_column = foot.inside ? column : A(0), safe_line = foot.inside ? line : A(0);
  const int32_t truncated_column = static_cast<int32_t>(safe_column), truncated_line = static_cast<int32_t>(safe_line);
  foot.column = truncated_column - (A(truncated_column) > safe_column);
  foot.line = truncated_line - (A(truncated_line) > safe_line);
  foot.to_right = safe_column - A(foot.column);
  foot.to_lower = safe_line - A(foot.line);
  foot.left = foot.column >= 0;
  foot.right = foot.column + 1 < width;
  foot.upper = foot.line >= 0;
  foot.lower = foot.line + 1 < height;
  return foot;
}

// Rows of the corners in the plane. A corner outside of the level is replaced by one of the same sample that is not:
// there is always one, its weight there is zero, and what is not sampled does not leak, be it NaN.
template <typename A>
__device__ __forceinline__ Corners<int32_t> corner_rows(const Footprint<A>& foot, const LevelTable& level) {
  const int32_t left = foot.left ? foot.column : 0, right = foot.right ? foot.column + 1 : level.width - 1;
  const int32_t upper = level.start + (foot.upper ? foot.line : 0) * level.width;
  const int32_t lower = level.start + (foot.lower ? foot.line + 1 : level.height - 1) * level.width;
  return {{upper + left, upper + right, lower + left, lower + right}};
}

// Bilinear weights times `scale`; zero for corners outside of the level.
template <typename A>
__device__ __forceinline__ Corners<A> corner_weights(const Footprint<A>& foot, A scale) {
  const A left = foot.left ? 1 - foot.to_right : A(0), right = foot.right ? foot.to_right : A(0);
  const A upper = foot.upper ? scale * (1 - foot.to_lower) : A(0), lower = foot.lower ? scale * foot.to_lower : A(0);
  return {{upper * left, upper * right, lower * left, lower * right}};
}

// Gradients of one sample: for its weight, and for its position in pixels.
template <typename A>
struct SampleGradient {
  A weight, column, line;
};

// By the product rule. `dot` holds <corner's channels, grad_output>; those of corners outside are not looked at.
template <typename A>
__device__ __forceinline__ SampleGradient<A> sample_gradient(
    const Footprint<A>& foot, const Corners<A>& dot, A weight) {
  const A upper_left = foot.left & foot.upper ? dot.at[kUpperLeft] : A(0);
  const A upper_right = foot.right & foot.upper ? dot.at[kUpperRight] : A(0);
  const A lower_left = foot.left & foot.lower ? dot.at[kLowerLeft] : A(0);
  const A lower_right = foot.right & foot.lower ? dot.at[kLowerRight] : A(0);
  const A upper_side = upper_right - upper_left, lower_side = lower_right - lower_left;
  const A upper = upper_left + foot.to_right * upper_side, lower = lower_left + foot.to_right * lower_side;
  SampleGradient<A> gradient{0, 0, 0};
  if (foot.inside) {
    gradient.weight = upper + foot.to_lower * (lower - upper);
    gradient.column = weight * (upper_side + foot.to_lower * (lower_side - upper_side));
    gradient.line = weight * (lower - upper);
  }
  return gradient;
}

}  // namespace querydet::cuda
