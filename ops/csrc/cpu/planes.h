// Where the CPU kernels read values from and write the values' gradients to.
//
// A plane is the (S, D) part of a (B, S, M, D) tensor that belongs to one image and head. There its rows are M * D
// apart, so that a plane uses only a part of the cache's sets. Where a plane is read often enough it is first copied
// to contiguous rows of the type of the arithmetic ("packed"); else rows are used where they are ("direct").
//
// `V` is the type in which values are stored, `A` the type of all arithmetic.

#pragma once

#include <algorithm>
#include <new>
#include <vector>

#include "../ms_deform_attn.h"
#include "ms_deform_attn_kernel.h"

namespace querydet::cpu {

// Corners that are read per row of a plane, on average. Packing costs about as much as one read of every row.
inline bool worth_packing(const Sizes& sizes) {
  return sizes.queries * sizes.points_of_query() * kCorners > sizes.pixels;
}

// The contiguous arguments of one call, and where one plane, or one query and head, lies in them.
template <typename V, typename A>
struct Arguments {
  Sizes sizes;
  const V* value;
  const A* locations;
  const A* weights;

  int64_t planes() const { return sizes.batch * sizes.heads; }
  int64_t plane_offset(int64_t plane) const {
    const int64_t image = plane / sizes.heads, head = plane % sizes.heads;
    return (image * sizes.pixels * sizes.heads + head) * sizes.channels;
  }
  int64_t row_stride() const { return sizes.heads * sizes.channels; }
  // The number of (image, query, head), in this order.
  int64_t item(int64_t plane, int64_t query) const {
    const int64_t image = plane / sizes.heads, head = plane % sizes.heads;
    return (image * sizes.queries + query) * sizes.heads + head;
  }
};

// Uninitialised memory on a cache line's border.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size) : data_(static_cast<T*>(::operator new(size * sizeof(T), kAlignment))) {}
  ~Scratch() { ::operator delete(data_, kAlignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

// Values in contiguous rows; the row behind the last one is the zeros that stand for everything outside.
template <typename V, typename A>
class PackedValues {
 public:
  explicit PackedValues(const Arguments<V, A>& arguments)
      : arguments_(arguments), memory_((arguments.sizes.pixels + 1) * arguments.sizes.channels) {}

  Plane<const A> load(int64_t plane) {
    const int64_t pixels = arguments_.sizes.pixels, channels = arguments_.sizes.channels;
    A* packed = memory_.data();
    if (plane != loaded_) {
      const V* source = arguments_.value + arguments_.plane_offset(plane);
      for (int64_t s = 0; s < pixels; ++s, source += arguments_.row_stride()) {
        for (int64_t c = 0; c < channels; ++c) packed[s * channels + c] = A(source[c]);
      }
      std::fill_n(packed + pixels * channels, channels, A(0));
      loaded_ = plane;
    }
    return {packed, channels, packed + pixels * channels};
  }

 private:
  const Arguments<V, A>& arguments_;
  Scratch<A> memory_;
  int64_t loaded_ = -1;
};

template <typename V, typename A>
class DirectValues {
 public:
  explicit DirectValues(const Arguments<V, A>& arguments)
      : arguments_(arguments), zeros_(arguments.sizes.channels, V(0)) {}

  Plane<const V> load(int64_t plane) {
    return {arguments_.value + arguments_.plane_offset(plane), arguments_.row_stride(), zeros_.data()};
  }

 private:
  const Arguments<V, A>& arguments_;
  std::vector<V> zeros_;
};

// Sums gradients in contiguous rows, then stores them in the type of the value. The row behind the last one takes
// what belongs outside, and is not stored.
template <typename V, typename A>
class PackedGradients {
 public:
  using Element = V;

  PackedGradients(const Arguments<V, A>& arguments, V* grad_value)
      : arguments_(arguments),
        grad_value_(grad_value),
        size_((arguments.sizes.pixels + 1) * arguments.sizes.channels),
        memory_(grad_value ? size_ : 0) {}

  Plane<A> start(int64_t) {
    const int64_t channels = arguments_.sizes.channels;
    std::fill_n(memory_.data(), size_, A(0));
    return {memory_.data(), channels, memory_.data() + size_ - channels};
  }
  void finish(int64_t plane) {
    const int64_t channels = arguments_.sizes.channels;
    const A* packed = memory_.data();
    V* target = grad_value_ + arguments_.plane_offset(plane);
    for (int64_t s = 0; s < arguments_.sizes.pixels; ++s, target += arguments_.row_stride()) {
      for (int64_t c = 0; c < channels; ++c) target[c] = static_cast<V>(packed[s * channels + c]);
    }
  }

 private:
  const Arguments<V, A>& arguments_;
  V* grad_value_;
  int64_t size_;
  Scratch<A> memory_;
};

// Sums gradients where they belong, in a tensor of zeros of the type of the arithmetic.
template <typename V, typename A>
class DirectGradients {
 public:
  using Element = A;

  DirectGradients(const Arguments<V, A>& arguments, A* grad_value)
      : arguments_(arguments), grad_value_(grad_value), never_read_(arguments.sizes.channels) {}

  Plane<A> start(int64_t plane) {
    return {grad_value_ + arguments_.plane_offset(plane), arguments_.row_stride(), never_read_.data()};
  }
  void finish(int64_t) {}

 private:
  const Arguments<V, A>& arguments_;
  A* grad_value_;
  std::vector<A> never_read_;
};

}  // namespace querydet::cpu
