// Layer normalisation of a sum (arXiv 1607.06450, section 3.1), one row after the other, for one instruction set.
//
// A row is summed into memory that stays in the first cache, so that both inputs are read and the result is written
// once. Mean and variance are in the type of the arithmetic, and the variance is of differences from the mean.

#pragma once

#include "vector.h"

namespace querydet::cpu::QUERYDET_INSTRUCTION_SET {

// Sums of as many vectors at once, so that one addition need not wait for the other.
constexpr int64_t kChains = 4;

// Writes x + update, and returns the sum of all.
template <typename V, typename A>
inline A add_row(const V* x, const V* update, int64_t width, A* row) {
  constexpr int64_t lanes = kLanes<A>;
  const int64_t whole = width / lanes * lanes;
  Vector<A> sums[kChains] = {};
  for (int64_t i = 0; i < whole;) {
#pragma GCC unroll 4
    for (int64_t chain = 0; chain < kChains && i < whole; ++chain, i += lanes) {
      const Vector<A> sum = load(x + i) + load(update + i);
      store(sum, row + i);
      sums[chain] += sum;
    }
  }
  if (whole < width) {
    const int64_t rest = width - whole;
    const Vector<A> sum = load_part<A>(x + whole, rest, V{}) + load_part<A>(update + whole, rest, V{});
    store(sum, row + whole);
    sums[0] += sum;
  }
  return fold<Sum, A>((sums[0] + sums[1]) + (sums[2] + sums[3]))[0];
}

template <typename A>
inline A sum_of_squares(const A* row, A mean, int64_t padded) {
  Vector<A> sums[kChains] = {};
  for (int64_t i = 0; i < padded;) {
#pragma GCC unroll 4
    for (int64_t chain = 0; chain < kChains && i < padded; ++chain, i += kLanes<A>) {
      const Vector<A> difference = load(row + i) - mean;
      sums[chain] += difference * difference;
    }
  }
  return fold<Sum, A>((sums[0] + sums[1]) + (sums[2] + sums[3]))[0];
}

template <typename V, typename A>
void add_layer_norm(const AddLayerNorm<A>& problem, int64_t begin, int64_t end, A* row) {
  constexpr int64_t lanes = kLanes<A>;
  const int64_t width = problem.width, whole = width / lanes * lanes, padded = (width + lanes - 1) / lanes * lanes;
  const V *x = static_cast<const V*>(problem.x) + begin * width,
          *update = static_cast<const V*>(problem.update) + begin * width;
  V* output = static_cast<V*>(problem.output) + begin * width;
  for (int64_t i = begin; i < end; ++i, x += width, update += width, output += width) {
    const A mean = add_row<V, A>(x, update, width, row) / static_cast<A>(width);
    for (int64_t c = width; c < padded; ++c) row[c] = mean;  // what only pads does not vary
    const A variance = sum_of_squares(row, mean, padded) / static_cast<A>(width);
    const A factor = A(1) / __builtin_sqrt(variance + problem.eps);
    for (int64_t c = 0; c < padded; c += lanes) {
      const Vector<A> scaled = (load(row + c) - mean) * factor * load(problem.weight + c) + load(problem.bias + c);
      c < whole ? store(scaled, output + c) : store_part<A>(scaled, output + c, width - whole);
    }
  }
}

}  // namespace querydet::cpu::QUERYDET_INSTRUCTION_SET
