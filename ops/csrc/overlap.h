// When two boxes overlap too much, for the CPU and for CUDA: one arithmetic, torchvision's, rounded the same everywhere.

#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define QUERYDET_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define QUERYDET_HOST_DEVICE inline
#endif

namespace querydet {

template <typename T>
struct Box {
  T x0, y0, x1, y1, area;
};

// Comparisons with NaN are false: the first argument then, as with std::max and std::min.
template <typename T>
QUERYDET_HOST_DEVICE T larger(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
QUERYDET_HOST_DEVICE T smaller(T a, T b) {
  return b < a ? b : a;
}

// Rounded by itself: nvcc would else make one operation of this product and the sum that it goes into.
QUERYDET_HOST_DEVICE float multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

QUERYDET_HOST_DEVICE double multiply(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

template <typename T>
QUERYDET_HOST_DEVICE Box<T> load_box(const T* corners) {
  const T x0 = corners[0], y0 = corners[1], x1 = corners[2], y1 = corners[3];
  return {x0, y0, x1, y1, multiply(x1 - x0, y1 - y0)};
}

// Of no use where a box is not finite, or both have no area: NaN is not above any threshold.
template <typename T>
QUERYDET_HOST_DEVICE bool overlaps(const Box<T>& box, const Box<T>& other, T threshold) {
  const T width = larger(T(0), smaller(box.x1, other.x1) - larger(box.x0, other.x0));
  const T height = larger(T(0), smaller(box.y1, other.y1) - larger(box.y0, other.y0));
  const T both = multiply(width, height);
  return both / (box.area + other.area - both) > threshold;
}

// The largest number of type T that is not above `threshold`: an overlap of type T is above both or none.
template <typename T>
T round_threshold(double threshold) {
  const T rounded = static_cast<T>(threshold);
  return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, T(-1)) : rounded;
}

}  // namespace querydet
