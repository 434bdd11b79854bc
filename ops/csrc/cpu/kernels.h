// The loops of the operator for one instruction set: pieces of planes, queries, points, channels innermost.
//
// `V` is the type of the value and the output, `A` the type of all arithmetic (float, or double for double values) and
// `T` the type of the rows that are sampled: A when planes are packed, V when they are direct.

#pragma once

#include "assignment.h"
#include "layer_norm.h"
#include "points.h"

namespace querydet::cpu::QUERYDET_INSTRUCTION_SET {

// The plane of one image and head.
template <typename T, bool kPacked>
struct Plane {
  T* first;
  T* outside;  // stands for every row outside; packed planes have it behind the last row, at the offset `outside`

  template <typename I>
  T* row(I offset) const {
    if constexpr (kPacked) return first + offset;
    return offset < 0 ? outside : first + offset;
  }
};

template <typename A>
inline int64_t plane_offset(const Problem<A>& problem, int64_t plane) {
  const int64_t image = plane / problem.heads, head = plane % problem.heads;
  return (image * problem.pixels * problem.heads + head) * problem.channels;
}

// The number of (image, query, head), in this order.
template <typename A>
inline int64_t item_of(const Problem<A>& problem, int64_t plane, int64_t query) {
  const int64_t image = plane / problem.heads, head = plane % problem.heads;
  return (image * problem.queries + query) * problem.heads + head;
}

// Copies rows of channels to rows that are `stride` apart, and fills them up with zeros.
template <typename A, typename V>
inline void pack_plane(const Problem<A>& problem, const V* source, A* target) {
  const int64_t channels = problem.channels, whole = channels / kLanes<A> * kLanes<A>;
  for (int64_t s = 0; s < problem.pixels; ++s, source += problem.heads * channels, target += problem.stride) {
    for (int64_t c = 0; c < whole; c += kLanes<A>) store(load(source + c), target + c);
    if (whole < channels) store(load_part<A>(source + whole, channels - whole, V{}), target + whole);
  }
  std::memset(target, 0, problem.stride * sizeof(A));  // the row outside
}

// Copies `number` channels of rows back, from `first` on.
template <typename A, typename V>
inline void unpack_plane(const Problem<A>& problem, const A* source, V* target, int64_t first, int64_t number) {
  const int64_t whole = number / kLanes<A> * kLanes<A>;
  for (int64_t s = 0; s < problem.pixels; ++s, source += problem.stride, target += problem.heads * problem.channels) {
    for (int64_t c = first; c < first + whole; c += kLanes<A>) store(load(source + c), target + c);
    if (whole < number) store_part<A>(load(source + first + whole), target + first + whole, number - whole);
  }
}

// The values of one plane after the other, packed or where they are.
template <typename T, typename V, typename A, bool kPacked>
class Values {
 public:
  Values(const Problem<A>& problem, A* memory) : problem_(problem), memory_(memory) {
    if constexpr (!kPacked) std::memset(memory, 0, problem.channels * sizeof(T));
  }

  Plane<const T, kPacked> of(int64_t plane) {
    const V* source = static_cast<const V*>(problem_.value) + plane_offset(problem_, plane);
    if constexpr (kPacked) {
      if (plane != loaded_) pack_plane(problem_, source, memory_);
      loaded_ = plane;
      return {memory_, nullptr};
    } else {
      return {source, reinterpret_cast<const T*>(memory_)};
    }
  }

 private:
  const Problem<A>& problem_;
  A* memory_;
  int64_t loaded_ = -1;
};

// Sums over points and corners of kVectors vectors of channels from `offset` on. Several chains of additions for each
// vector, so that one need not wait for the other.
template <int kVectors, typename T, typename A, bool kPacked>
inline void sum_block(const Points<A>& points, const Plane<const T, kPacked>& plane, int64_t offset, Vector<A>* sums) {
  constexpr int chains = kVectors >= 8 ? 1 : kVectors >= 4 ? 2 : 4;
  Vector<A> parts[chains][kVectors] = {};
  for (int64_t n = 0; n < points.count(); ++n) {
#pragma GCC unroll 4
    for (int k = 0; k < kCorners; ++k) {
      const T* row = plane.row(points.offset(k, n)) + offset;
      const Vector<A> weight = broadcast(points.weight(k, n));
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) parts[k % chains][i] += weight * load(row + i * kLanes<A>);
    }
  }
  for (int i = 0; i < kVectors; ++i) {
    sums[i] = parts[0][i];
    for (int chain = 1; chain < chains; ++chain) sums[i] += parts[chain][i];
  }
}

template <int kVectors, typename T, typename V, typename A, bool kPacked>
inline void write_block(const Problem<A>& problem, const Points<A>& points, const Plane<const T, kPacked>& plane,
                        int64_t offset, V* output) {
  Vector<A> sums[kVectors];
  sum_block<kVectors>(points, plane, offset, sums);
  for (int i = 0; i < kVectors; ++i) {
    const int64_t c = offset + i * kLanes<A>, left = problem.channels - c;
    left >= kLanes<A> ? store(sums[i], output + c) : store_part<A>(sums[i], output + c, left);
  }
}

// The D outputs of one query and head.
template <typename T, typename V, typename A, bool kPacked>
inline void write_output(const Problem<A>& problem, const Points<A>& points, const Plane<const T, kPacked>& plane,
                         V* output) {
  constexpr int64_t lanes = kLanes<A>;
  int64_t c = 0;
  for (; c + 7 * lanes < problem.channels; c += 8 * lanes) write_block<8>(problem, points, plane, c, output);
  for (; c + 3 * lanes < problem.channels; c += 4 * lanes) write_block<4>(problem, points, plane, c, output);
  for (; c + lanes < problem.channels; c += 2 * lanes) write_block<2>(problem, points, plane, c, output);
  for (; c < problem.channels; c += lanes) write_block<1>(problem, points, plane, c, output);
}

// Planes of one image, queries and channels that are worked on together.
struct Block {
  int64_t first_plane, last_plane, first_query, last_query, first_channel, last_channel;
};

// A packed plane is worked on alone. Where planes are direct, all those of an image that were asked for are taken query
// by query: side by side they use all of the cache's sets, and are on the same pages.
template <bool kPacked, typename A>
inline Block next_block(const Problem<A>& problem, int64_t begin, int64_t end) {
  const int64_t plane = begin / problem.parts, next_image = (plane / problem.heads + 1) * problem.heads;
  const bool alone = kPacked || problem.parts > 1;
  return {plane, alone ? plane + 1 : (end < next_image ? end : next_image), 0, problem.queries, 0, problem.channels};
}

template <typename A>
inline void cut_queries(const Problem<A>& problem, int64_t part, Block& block) {
  block.first_query = problem.queries * part / problem.parts;
  block.last_query = problem.queries * (part + 1) / problem.parts;
}

template <typename A>
inline void cut_channels(const Problem<A>& problem, int64_t part, Block& block) {
  const int64_t vectors = (problem.channels + kLanes<A> - 1) / kLanes<A>;
  block.first_channel = vectors * part / problem.parts * kLanes<A>;
  const int64_t last = vectors * (part + 1) / problem.parts * kLanes<A>;
  block.last_channel = last < problem.channels ? last : problem.channels;
}

// The query that is taken as number `i` of a plane's image.
template <typename A>
inline int64_t query_at(const Problem<A>& problem, int64_t plane, int64_t i) {
  return problem.order ? problem.order[plane / problem.heads * problem.queries + i] : i;
}

// An item to ask memory for while number `i` of a plane is worked on.
template <typename A>
inline int64_t later_item(const Problem<A>& problem, const Block& block, int64_t plane, int64_t i) {
  const int64_t together = block.last_plane - block.first_plane, ahead = together < kAhead ? kAhead / together : 1;
  return item_of(problem, plane, i + ahead < block.last_query ? query_at(problem, plane, i + ahead) : problem.queries);
}

// The outputs of one item after the other. Rows of 16 bit that are used where they are take more instructions than the
// processor looks ahead, so that it waits for every item's rows: they are asked for while the item before is summed.
template <typename T, typename V, typename A, bool kPacked>
class Outputs {
 public:
  static constexpr bool kEarly = !kPacked && sizeof(T) < sizeof(A);

  Outputs(const Problem<A>& problem, A* scratch)
      : problem_(problem),
        points_{{problem, scratch}, {problem, scratch + kPointArrays * problem.padded_count}},
        values_(problem, scratch + 2 * kPointArrays * problem.padded_count) {}

  __attribute__((always_inline)) void add(int64_t plane, int64_t query, int64_t later) {
    points_[next_].prefetch(later);
    prefetch_row<1>(output() + later * problem_.channels, problem_.channels);
    const int64_t item = item_of(problem_, plane, query);
    points_[next_].prepare(item);
    if constexpr (kEarly) {
      points_[next_].prefetch_rows(values_.of(plane).first);
      next_ = 1 - next_;
      if (item_ >= 0) write(points_[next_], plane_, item_);
    } else {
      write(points_[next_], plane, item);
    }
    plane_ = plane;
    item_ = item;
  }

  // Writes the item that was added last, if that was put off.
  void flush() {
    if (kEarly && item_ >= 0) write(points_[1 - next_], plane_, item_);
  }

 private:
  V* output() { return static_cast<V*>(problem_.output); }
  void write(const Points<A>& points, int64_t plane, int64_t item) {
    write_output(problem_, points, values_.of(plane), output() + item * problem_.channels);
  }

  const Problem<A>& problem_;
  Points<A> points_[2];
  Values<T, V, A, kPacked> values_;
  int next_ = 0;
  int64_t plane_ = 0, item_ = -1;
};

template <typename T, typename V, typename A, bool kPacked>
void forward(const Problem<A>& problem, int64_t begin, int64_t end, A* scratch) {
  Outputs<T, V, A, kPacked> outputs(problem, scratch);
  for (int64_t piece = begin; piece < end;) {
    Block block = next_block<kPacked>(problem, piece, end);
    cut_queries(problem, piece % problem.parts, block);
    for (int64_t i = block.first_query; i < block.last_query; ++i) {
      const int64_t query = query_at(problem, block.first_plane, i);
      for (int64_t plane = block.first_plane; plane < block.last_plane; ++plane)
        outputs.add(plane, query, later_item(problem, block, plane, i));
    }
    piece += block.last_plane - block.first_plane;
  }
  outputs.flush();
}

template <typename A>
inline void write_dots(Vector<A>* dots, int64_t number, A* target, bool add) {
  for (int64_t i = 0; i < number; i += kLanes<A>) {
    const Vector<A> sums = sum_each<A>(dots + i);
    store(add ? load(target + i) + sums : sums, target + i);
  }
}

// What happens to kVectors vectors of channels of one query and head on the way back: the dot products of every
// corner's row and the gradient are written (or added), and the gradient times the corner's weight is added to the row
// of the value's gradient.
template <int kVectors, bool kDots, bool kScatter, typename T, typename A, bool kPacked>
inline void visit_block(Points<A>& points, const Plane<const T, kPacked>& plane, const Plane<A, kPacked>& target,
                        const A* gradient, int64_t offset, bool add) {
  constexpr int64_t lanes = kLanes<A>, together = lanes / kCorners > 0 ? lanes / kCorners : 1;
  Vector<A> factor[kVectors];
  for (int i = 0; i < kVectors; ++i) factor[i] = load(gradient + offset + i * lanes);
  // Points that only pad are outside: they read zeros and write to a row that nobody reads.
  for (int64_t n = 0; n < points.count(); n += together) {
    Vector<A> dots[together * kCorners];
#pragma GCC unroll 4
    for (int j = 0; j < together; ++j) {
#pragma GCC unroll 4
      for (int k = 0; k < kCorners; ++k) {
        const auto place = points.offset(k, n + j);
        if constexpr (kDots) {
          const T* row = plane.row(place) + offset;
          Vector<A> dot = factor[0] * load(row);
#pragma GCC unroll 8
          for (int i = 1; i < kVectors; ++i) dot += factor[i] * load(row + i * lanes);
          dots[j * kCorners + k] = dot;
        }
        if constexpr (kScatter) {
          A* row = target.row(place) + offset;
          const Vector<A> weight = broadcast(points.weight(k, n + j));
#pragma GCC unroll 8
          for (int i = 0; i < kVectors; ++i) store(load(row + i * lanes) + weight * factor[i], row + i * lanes);
        }
      }
    }
    if constexpr (kDots) write_dots<A>(dots, together * kCorners, points.dots() + n * kCorners, add);
  }
}

// Channel blocks [first, last) of one query and head, as many vectors at once as there are registers for.
template <bool kDots, bool kScatter, typename T, typename A, bool kPacked>
inline void visit(Points<A>& points, const Plane<const T, kPacked>& plane, const Plane<A, kPacked>& target,
                  const A* gradient, int64_t first, int64_t last) {
  constexpr int64_t lanes = kLanes<A>;
  int64_t c = first;
  for (; c + 7 * lanes < last; c += 8 * lanes)
    visit_block<8, kDots, kScatter>(points, plane, target, gradient, c, c > first);
  for (; c + 3 * lanes < last; c += 4 * lanes)
    visit_block<4, kDots, kScatter>(points, plane, target, gradient, c, c > first);
  for (; c + lanes < last; c += 2 * lanes)
    visit_block<2, kDots, kScatter>(points, plane, target, gradient, c, c > first);
  for (; c < last; c += lanes) visit_block<1, kDots, kScatter>(points, plane, target, gradient, c, c > first);
}

// Where the value's gradient of one plane is summed: in packed rows, which are stored in the value's type at the end,
// or where it belongs, in a tensor of zeros of the type of the arithmetic.
template <typename V, typename A, bool kPacked>
class ValueGradient {
 public:
  ValueGradient(const Problem<A>& problem, A* memory) : problem_(problem), memory_(memory) {}

  void start() {
    if constexpr (kPacked) std::memset(memory_, 0, (problem_.pixels + 1) * problem_.stride * sizeof(A));
  }
  Plane<A, kPacked> of(int64_t plane) {
    if constexpr (kPacked) return {memory_, nullptr};
    return {static_cast<A*>(problem_.grads.value) + plane_offset(problem_, plane), memory_};
  }
  void finish(int64_t plane, int64_t first, int64_t last) {
    if constexpr (kPacked) {
      V* target = static_cast<V*>(problem_.grads.value) + plane_offset(problem_, plane);
      unpack_plane(problem_, memory_, target, first, last - first);
    }
  }

 private:
  const Problem<A>& problem_;
  A* memory_;
};

// The gradients of points (kDots) and of the value (kScatter).
template <bool kDots, bool kScatter, typename T, typename V, typename A, bool kPacked>
void backward(const Problem<A>& problem, int64_t begin, int64_t end, A* scratch) {
  const int64_t padded = (problem.channels + kLanes<A> - 1) / kLanes<A> * kLanes<A>;
  Points<A> points(problem, scratch);
  scratch += kPointArrays * problem.padded_count;
  Values<T, V, A, kPacked> values(problem, scratch);
  scratch += kPacked ? (problem.pixels + 1) * problem.stride : padded;
  ValueGradient<V, A, kPacked> gradients(problem, scratch);
  scratch += kPacked ? (problem.pixels + 1) * problem.stride : padded;
  if (padded > problem.channels) std::memset(scratch, 0, padded * sizeof(A));  // for a gradient that is padded

  for (int64_t piece = begin; piece < end;) {
    Block block = next_block<kPacked>(problem, piece, end);
    if (!kScatter) cut_queries(problem, piece % problem.parts, block);
    if (!kDots) cut_channels(problem, piece % problem.parts, block);
    if (kScatter) gradients.start();
    for (int64_t i = block.first_query; i < block.last_query; ++i) {
      const int64_t query = query_at(problem, block.first_plane, i);
      for (int64_t index = block.first_plane; index < block.last_plane; ++index) {
        const auto plane = kDots ? values.of(index) : Plane<const T, kPacked>{};
        const auto target = kScatter ? gradients.of(index) : Plane<A, kPacked>{};
        const int64_t item = item_of(problem, index, query), later = later_item(problem, block, index, i);
        points.prefetch(later);
        prefetch_row<0>(problem.grads.output + later * problem.channels, problem.channels);
        const A* gradient = problem.grads.output + item * problem.channels;
        if (padded > problem.channels) {
          std::memcpy(scratch, gradient, problem.channels * sizeof(A));
          gradient = scratch;
        }
        points.prepare(item);
        visit<kDots, kScatter>(points, plane, target, gradient, block.first_channel, block.last_channel);
        if (kDots) points.write_gradients(item, index * problem.queries + query);
      }
    }
    if (kScatter) gradients.finish(block.first_plane, block.first_channel, block.last_channel);
    piece += block.last_plane - block.first_plane;
  }
}

template <typename V, typename A, bool kPacked>
constexpr Kernels<A> make_kernels() {
  using T = std::conditional_t<kPacked, A, V>;
  return {forward<T, V, A, kPacked>, backward<true, true, T, V, A, kPacked>, backward<true, false, T, V, A, kPacked>,
          backward<false, true, T, V, A, kPacked>};
}

inline constexpr InstructionSet kInstructionSet = {
    QUERYDET_NAME,
    QUERYDET_VECTOR_BYTES,
    {make_kernels<float, float, true>(), make_kernels<float, float, false>()},
    {make_kernels<BFloat16, float, true>(), make_kernels<BFloat16, float, false>()},
    {make_kernels<Half, float, true>(), make_kernels<Half, float, false>()},
    {make_kernels<double, double, true>(), make_kernels<double, double, false>()},
    assign<float>,
    assign<double>,
    add_layer_norm<float, float>,
    add_layer_norm<BFloat16, float>,
    add_layer_norm<Half, float>,
    add_layer_norm<double, double>,
};

}  // namespace querydet::cpu::QUERYDET_INSTRUCTION_SET
