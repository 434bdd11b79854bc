// The L * P points of one query and head: which four pixels each touches and how, prepared for many points at a time
// and used for all channels; and on the way back their gradients.
//
// Deformable DETR (arXiv 2010.04159), section 4.1 and appendix A.3: bilinear interpolation with pixel centres at
// integers, and zero outside of the level. Without branches: a corner outside is the plane's row of zeros. A location
// that is NaN, infinite or far away is outside.

#pragma once

#include "vector.h"

namespace querydet::cpu::QUERYDET_INSTRUCTION_SET {

constexpr int kCorners = 4;  // upper left, upper right, lower left, lower right

// How many items ahead memory is asked for.
constexpr int64_t kAhead = 4;

// Inlined by force, as its callers must be: GCC drops calls of functions that do nothing but prefetch.
template <int kWrite, typename T>
__attribute__((always_inline)) inline void prefetch_row(const T* row, int64_t number) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < number; i += line) __builtin_prefetch(row + i, kWrite);
}

template <typename A>
class Points {
 public:
  // `memory` has room for kPointArrays arrays.
  Points(const Problem<A>& problem, A* memory) : problem_(problem) {
    std::memset(memory, 0, kPointArrays * problem.padded_count * sizeof(A));  // also of the points that only pad
    const auto take = [&](int64_t arrays) {
      A* start = memory;
      memory += arrays * problem.padded_count;
      return start;
    };
    for (auto& offsets : offset_) offsets = reinterpret_cast<Index<A>*>(take(1));
    for (auto& weights : weight_) weights = take(1);
    right_ = take(1);
    lower_ = take(1);
    attention_ = take(1);
    center_x_ = take(1);
    center_y_ = take(1);
    extent_x_ = take(1);
    extent_y_ = take(1);
    dots_ = take(kCorners);
  }

  int64_t count() const { return problem_.count; }
  Index<A> offset(int corner, int64_t n) const { return offset_[corner][n]; }
  // Attention weight times bilinear weight.
  A weight(int corner, int64_t n) const { return weight_[corner][n]; }
  // Room for <row of each corner, gradient>: four numbers for each point, one point after the other.
  A* dots() { return dots_; }

  // Asks for what a later item reads and its gradients write. Items of one plane are far apart in memory, too far for
  // the processor to guess what comes next.
  __attribute__((always_inline)) void prefetch(int64_t item) const {
    const PointSource<A>& source = problem_.source;
    const int64_t number = problem_.count, at = item * number;
    const bool fused = source.reference != nullptr;
    prefetch_row<0>((fused ? source.offsets : source.locations) + 2 * at, 2 * number);
    prefetch_row<0>((fused ? source.logits : source.weights) + at, number);
    if (problem_.grads.points) prefetch_row<1>(problem_.grads.points + 2 * at, 2 * number);
    if (problem_.grads.weights) prefetch_row<1>(problem_.grads.weights + at, number);
  }

  // Asks for the rows of the prepared item, of one cache line each.
  template <typename T>
  __attribute__((always_inline)) void prefetch_rows(const T* first) const {
    for (const auto* offsets : offset_) {
      for (int64_t n = 0; n < problem_.count; ++n) __builtin_prefetch(first + (offsets[n] < 0 ? 0 : offsets[n]));
    }
  }

  // `item` is the number of (image, query, head) in this order.
  void prepare(int64_t item) {
    const PointSource<A>& source = problem_.source;
    const bool fused = source.reference != nullptr;
    const A* coordinates = (fused ? source.offsets : source.locations) + item * problem_.count * 2;
    if (fused) {
      spread_reference(item / problem_.heads);
      normalize(source.logits + item * problem_.count);
    } else {
      copy_attention(source.weights + item * problem_.count);
    }
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) {
      const Pair<A> given = load_pairs(coordinates + 2 * n, problem_.count - n);
      place(n, fused ? locate(n, given) : given);
    }
  }

  // Writes the gradients of the item that was prepared last, from the dots. `item` as above; `head_item` is the number
  // of (image, head, query).
  void write_gradients(int64_t item, int64_t head_item) {
    const Gradients<A>& grads = problem_.grads;
    const bool fused = problem_.source.reference != nullptr;
    A* points = grads.points ? grads.points + item * problem_.count * 2 : nullptr;
    A* weights = grads.weights ? grads.weights + item * problem_.count : nullptr;
    Vector<A> total = {};
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) total += differentiate(n, points);
    if (weights) fused ? write_logit_gradients(total, weights) : write_attention_gradients(weights);
    if (grads.reference) {
      write_reference_gradient(item, grads.reference + head_item * problem_.levels * problem_.source.reference_size);
    }
  }

 private:
  static Pair<A> load_pairs(const A* source, int64_t number) {
    constexpr int64_t lanes = kLanes<A>;
    if (number >= lanes) return split<A>(load(source), load(source + lanes));
    A buffer[2 * lanes] = {};
    for (int64_t i = 0; i < 2 * number; ++i) buffer[i] = source[i];
    return split<A>(load(buffer), load(buffer + lanes));
  }

  static void store_pairs(const Vector<A>& x, const Vector<A>& y, A* target, int64_t number) {
    constexpr int64_t lanes = kLanes<A>;
    const Pair<A> pairs = merge<A>(x, y);
    if (number >= lanes) {
      store(pairs.x, target);
      store(pairs.y, target + lanes);
      return;
    }
    A buffer[2 * lanes];
    store(pairs.x, buffer);
    store(pairs.y, buffer + lanes);
    for (int64_t i = 0; i < 2 * number; ++i) target[i] = buffer[i];
  }

  static void store_first(const Vector<A>& vector, A* target, int64_t number) {
    number >= kLanes<A> ? store(vector, target) : store_part<A>(vector, target, number);
  }

  // The same number for the points of a level.
  static void spread(A number, A* target, int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) target[n] = number;
  }

  // One reference for each point: its center, and for a box its extent.
  void spread_reference(int64_t query) {
    const int64_t size = problem_.source.reference_size, points = problem_.points;
    const A* reference = problem_.source.reference + query * problem_.levels * size;
    for (int64_t level = 0, n = 0; level < problem_.levels; ++level, reference += size) {
      const int64_t first = n;
      n += points;
      spread(reference[0], center_x_, first, n);
      spread(reference[1], center_y_, first, n);
      if (size == 2) continue;
      spread(reference[2], extent_x_, first, n);
      spread(reference[3], extent_y_, first, n);
    }
  }

  // Normalised locations from offsets, in the order of rounding of the separate steps: the results are the same.
  Pair<A> locate(int64_t n, const Pair<A>& offset) const {
    const Vector<A> x = load(center_x_ + n), y = load(center_y_ + n);
    if (problem_.source.reference_size == 2) {
      return {x + offset.x / load(problem_.tables.width + n), y + offset.y / load(problem_.tables.height + n)};
    }
    const A points = static_cast<A>(problem_.points);
    return {x + offset.x / points * load(extent_x_ + n) * A(0.5), y + offset.y / points * load(extent_y_ + n) * A(0.5)};
  }

  // The derivative of pixel coordinates by what the source gives: locations, or offsets.
  Pair<A> slope(int64_t n) const {
    const Vector<A> width = load(problem_.tables.width + n), height = load(problem_.tables.height + n);
    if (problem_.source.reference == nullptr) return {width, height};
    if (problem_.source.reference_size == 2) return {broadcast(A(1)), broadcast(A(1))};
    const A part = A(0.5) / static_cast<A>(problem_.points);
    return {width * load(extent_x_ + n) * part, height * load(extent_y_ + n) * part};
  }

  void copy_attention(const A* weights) {
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>)
      store(load_logits(weights + n, problem_.count - n, A(0)), attention_ + n);
  }

  static Vector<A> load_logits(const A* source, int64_t number, A rest) {
    return number >= kLanes<A> ? load(source) : load_part<A>(source, number, rest);
  }

  // The softmax. A NaN among the logits makes all weights NaN.
  void normalize(const A* logits) {
    const A lowest = -__builtin_inf();
    Vector<A> largest = broadcast(lowest);
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) {
      const Vector<A> part = load_logits(logits + n, problem_.count - n, lowest);
      store(part, attention_ + n);
      largest = Largest::of(part, largest);
    }
    largest = fold<Largest, A>(largest);
    Vector<A> sums = {};
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) {
      const Vector<A> part = exp_negative(load(attention_ + n) - largest);
      store(part, attention_ + n);
      sums += part;
    }
    const Vector<A> factor = 1 / fold<Sum, A>(sums);
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) store(load(attention_ + n) * factor, attention_ + n);
  }

  // Corners of kLanes points.
  void place(int64_t n, const Pair<A>& location) {
    const PointTables<A>& tables = problem_.tables;
    const Vector<A> x = location.x * load(tables.width + n) - A(0.5), y = location.y * load(tables.height + n) - A(0.5);
    // NaN is not inside. Only what is inside is converted to an integer: anything else would be undefined.
    const auto inside = (x > A(-1)) & (x < load(tables.width + n)) & (y > A(-1)) & (y < load(tables.height + n));
    const Vector<A> zero = {};
    const Vector<A> column = inside ? x : zero, line = inside ? y : zero;
    Indices<A> left = __builtin_convertvector(column, Indices<A>), upper = __builtin_convertvector(line, Indices<A>);
    left += __builtin_convertvector(left, Vector<A>) > column;  // a mask is -1: the floor, where the cast truncates
    upper += __builtin_convertvector(upper, Vector<A>) > line;
    const Vector<A> right = column - __builtin_convertvector(left, Vector<A>);
    const Vector<A> lower = line - __builtin_convertvector(upper, Vector<A>);

    const auto has_left = inside & (left >= 0), has_right = inside & (left < load(tables.last_column + n));
    const auto has_upper = upper >= 0, has_lower = upper < load(tables.last_line + n);
    const Indices<A> step = load(tables.line_step + n);
    const Indices<A> first = load(tables.first + n) + upper * step + left * Index<A>(problem_.stride);
    const Indices<A> outside = Indices<A>{} + Index<A>(problem_.outside);
    store(has_left & has_upper ? first : outside, offset_[0] + n);
    store(has_right & has_upper ? first + Index<A>(problem_.stride) : outside, offset_[1] + n);
    store(has_left & has_lower ? first + step : outside, offset_[2] + n);
    store(has_right & has_lower ? first + step + Index<A>(problem_.stride) : outside, offset_[3] + n);

    const Vector<A> attention = load(attention_ + n);
    const Vector<A> lower_part = attention * lower, upper_part = attention - lower_part;
    store(upper_part - upper_part * right, weight_[0] + n);
    store(upper_part * right, weight_[1] + n);
    store(lower_part - lower_part * right, weight_[2] + n);
    store(lower_part * right, weight_[3] + n);
    store(right, right_ + n);
    store(lower, lower_ + n);
  }

  // The product rule for kLanes points. Leaves gradients of attention weights, and of pixel coordinates, in the arrays
  // of the dots; returns attention times its gradient.
  Vector<A> differentiate(int64_t n, A* points) {
    constexpr int64_t lanes = kLanes<A>;
    const A* dots = dots_ + kCorners * n;
    const Pair<A> front = split<A>(load(dots), load(dots + lanes)),
                  back = split<A>(load(dots + 2 * lanes), load(dots + 3 * lanes));
    const Pair<A> even = split<A>(front.x, back.x), odd = split<A>(front.y, back.y);
    const Vector<A> upper_left = even.x, upper_right = odd.x, lower_left = even.y, lower_right = odd.y;

    const Vector<A> right = load(right_ + n), lower = load(lower_ + n), attention = load(attention_ + n);
    const Vector<A> upper_slope = upper_right - upper_left, lower_slope = lower_right - lower_left;
    const Vector<A> upper = upper_left + right * upper_slope, below = lower_left + right * lower_slope;
    const Vector<A> x = attention * (upper_slope + lower * (lower_slope - upper_slope));
    const Vector<A> y = attention * (below - upper);
    const Vector<A> own = upper + lower * (below - upper);
    if (points) {
      const Pair<A> scale = slope(n);
      // What is outside has no gradient, even beside a reference that is not a number.
      const Vector<A> zero = {};
      store_pairs(x == 0 ? zero : x * scale.x, y == 0 ? zero : y * scale.y, points + 2 * n, problem_.count - n);
    }
    // The weights are not needed any more.
    store(own, weight_[0] + n);
    store(x, weight_[1] + n);
    store(y, weight_[2] + n);
    return attention * own;
  }

  void write_attention_gradients(A* target) {
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>)
      store_first(load(weight_[0] + n), target + n, problem_.count - n);
  }

  // The Jacobian of the softmax: weight * (gradient - mean gradient under the weights).
  void write_logit_gradients(const Vector<A>& parts, A* target) {
    const Vector<A> mean = fold<Sum, A>(parts);
    for (int64_t n = 0; n < problem_.count; n += kLanes<A>) {
      store_first(load(attention_ + n) * (load(weight_[0] + n) - mean), target + n, problem_.count - n);
    }
  }

  void write_reference_gradient(int64_t item, A* target) {
    const int64_t size = problem_.source.reference_size, points = problem_.points;
    const A* offsets = problem_.source.offsets + item * problem_.count * 2;
    const A part = A(0.5) / A(points);
    for (int64_t level = 0, n = 0; level < problem_.levels; ++level, target += size) {
      const A width = problem_.tables.width[n], height = problem_.tables.height[n];
      A x = 0, y = 0, wide = 0, high = 0;
      for (const int64_t stop = n + points; n < stop; ++n) {
        x += weight_[1][n];
        y += weight_[2][n];
        if (size == 4) {
          // An offset that is not a number is outside, and its gradient zero.
          wide += weight_[1][n] == 0 ? A(0) : weight_[1][n] * offsets[2 * n];
          high += weight_[2][n] == 0 ? A(0) : weight_[2][n] * offsets[2 * n + 1];
        }
      }
      target[0] = x * width;
      target[1] = y * height;
      if (size == 4) {
        target[2] = wide * width * part;
        target[3] = high * height * part;
      }
    }
  }

  const Problem<A>& problem_;
  Index<A>* offset_[kCorners];
  A* weight_[kCorners];
  A *right_, *lower_, *attention_;
  A *center_x_, *center_y_, *extent_x_, *extent_y_;  // fused only
  A* dots_;
};

}  // namespace querydet::cpu::QUERYDET_INSTRUCTION_SET
