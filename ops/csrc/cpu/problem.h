// What the host hands to the CPU kernels: plain data, since the kernels are compiled for several instruction sets and
// must not share inline functions with the rest of the program (the linker would keep one copy, for any of them).
//
// Letters: B images, S pixels of all levels, M heads, D channels of a head, Q queries, L levels, P points.
//
// A plane is the (S, D) part of a (B, S, M, D) tensor that belongs to one image and head. There its rows are M * D
// apart, so that a plane uses only a part of the cache's sets. Where a plane is read often enough it is first copied
// to contiguous rows of the type of the arithmetic ("packed"); else rows are used where they are ("direct").

#pragma once

#include <cstdint>

namespace querydet::cpu {

struct BFloat16 {
  uint16_t bits;
};

struct Half {
  uint16_t bits;
};

// Lanes of the widest vectors; what is padded is padded to a multiple of them.
constexpr int64_t kMaxLanes = 16;

// Not inline: every file has its own copy.
static constexpr int64_t round_up(int64_t number, int64_t unit) { return (number + unit - 1) / unit * unit; }

// Integers as wide as the arithmetic, so that masks of one serve the other.
template <typename A>
struct IndexOf {
  using type = int32_t;
};
template <>
struct IndexOf<double> {
  using type = int64_t;
};
template <typename A>
using Index = typename IndexOf<A>::type;

// What is the same for the L * P points of every query and head. Each array has `padded_count` entries; the points
// that only pad lie on a level without pixels. Offsets are in elements of a plane.
template <typename A>
struct PointTables {
  const A *width, *height;
  const Index<A>*last_column, *last_line;  // W - 1 and H - 1
  const Index<A>*line_step, *first;        // from one line to the next, and of the level's first pixel
};

// Arrays of `padded_count` entries that a kernel works in, see Points.
constexpr int64_t kPointArrays = 20;

// Where points come from: locations and weights, or (`reference` is not null) references, offsets and logits.
template <typename A>
struct PointSource {
  const A *locations, *weights;           // (B, Q, M, L, P, 2) and (B, Q, M, L, P)
  const A *reference, *offsets, *logits;  // (B, Q, L, 2 or 4), and as above
  int64_t reference_size;                 // 2 or 4
};

// Gradients on the way in and out; one that is not wanted is null.
template <typename A>
struct Gradients {
  const A* output;      // (B, Q, M, D)
  void* value;          // (B, S, M, D): in the type of the value when planes are packed, else of the arithmetic
  A *points, *weights;  // of locations or offsets, and of weights or logits
  A* reference;         // (B, M, Q, L, 2 or 4): a part for every head
};

template <typename A>
struct Problem {
  int64_t batch, pixels, heads, channels, queries, levels, points;
  int64_t count, padded_count;  // L * P
  bool packed;
  int64_t stride;   // elements from one row of a plane to the next: D padded, or M * D
  int64_t outside;  // the offset that stands for all pixels outside: that of row S, or -1 where planes are direct
  PointTables<A> tables;
  PointSource<A> source;
  const int32_t* order;  // (B, Q): the queries of each image in the order in which they are taken; null: as they are
  const void* value;
  void* output;
  Gradients<A> grads;
  int64_t parts;  // into how many pieces each plane is cut, see Kernels
};

// Elements of A that one call of a kernel needs to work in.
template <typename A>
static constexpr int64_t scratch_size(const Problem<A>& problem) {
  const int64_t rows = problem.packed ? problem.pixels + 1 : 1;
  const int64_t row = round_up(problem.packed ? problem.stride : problem.channels, kMaxLanes);
  // values, their gradients, one row of the output's gradient, and the points of two items
  return (2 * rows + 1) * row + 2 * kPointArrays * problem.padded_count;
}

// One call works on the pieces [begin, end) of all B * M * parts pieces of planes, with memory of `scratch_size`.
template <typename A>
using Kernel = void (*)(const Problem<A>& problem, int64_t begin, int64_t end, A* scratch);

template <typename A>
struct Kernels {
  Kernel<A> forward;         // a piece is a range of queries
  Kernel<A> backward;        // everything; a piece is a plane, whose queries are added in the order they are taken in
  Kernel<A> point_backward;  // all but the value's gradient; a piece is a range of queries
  Kernel<A> value_backward;  // the value's gradient; a piece is a range of channels
};

// Solves an assignment problem of (rows, columns) costs, rows <= columns: the column of every row. False: a cost cannot
// be used, being NaN or infinite or, times kAssignmentHeadroom, infinite as a double, which sums of costs might be too.
template <typename T>
using Assign = bool (*)(const T* costs, int64_t rows, int64_t columns, void* memory, int64_t* matched);

constexpr int64_t kCacheLine = 64;
constexpr double kAssignmentHeadroom = 0x1p32;

// Bytes that it needs to work in: 13 arrays by row, two by column, one by both (see Assignment), each filled up.
static constexpr int64_t assignment_memory(int64_t rows, int64_t columns, int64_t element_bytes) {
  const int64_t padded_rows = round_up(rows, kMaxLanes), padded_columns = round_up(columns, kMaxLanes);
  return 13 * padded_rows * 8 + padded_columns * (element_bytes + 1) + rows * padded_rows * element_bytes +
         16 * kCacheLine;
}

// Layer normalisation of x + update, rows of `width` numbers of one type.
template <typename A>
struct AddLayerNorm {
  const void *x, *update;
  void* output;
  const A *weight, *bias;  // padded with zeros to a multiple of kMaxLanes
  A eps;
  int64_t width;
};

// Normalises the rows [begin, end), with memory for one padded row.
template <typename A>
using NormalizeSum = void (*)(const AddLayerNorm<A>& problem, int64_t begin, int64_t end, A* row);

// The kernels of one instruction set: of attention for each type of the value, first packed, then direct; of
// assignment; of normalisation.
struct InstructionSet {
  const char* name;
  int64_t vector_bytes;
  Kernels<float> float32[2], bfloat16[2], float16[2];
  Kernels<double> float64[2];
  Assign<float> assign_float32;
  Assign<double> assign_float64;
  NormalizeSum<float> normalize_float32, normalize_bfloat16, normalize_float16;
  NormalizeSum<double> normalize_float64;
};

// The widest that this processor and the environment variable QUERYDET_CPU (baseline, avx2 or avx512) allow.
const InstructionSet& instruction_set();

const InstructionSet& baseline();
#if defined(__x86_64__) && !defined(QUERYDET_BASELINE_ONLY)
#define QUERYDET_X86_KERNELS
const InstructionSet& avx2();
const InstructionSet& avx512();
#endif

}  // namespace querydet::cpu
