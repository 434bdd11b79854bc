// What every kernel knows of one call: sizes, levels, and which query a group of threads works on.
//
// Letters: B images, S pixels of all levels, M heads, C channels of a head, Q queries, L levels, P points. A plane is
// one image and head; a sample is one of the L * P points of a query in a plane.
//
// A warp is split into groups of kGroup threads. A group works on one query of one plane, each thread on kWidth
// channels that lie next to each other. All threads of a block work on the same plane, on a tile of queries.
//
// These headers use of CUDA only what tests/reference/cuda_on_cpu.cpp can stand in for.

#pragma once

#include <torch/headeronly/util/BFloat16.h>

#include <cstdint>
#include <cstring>

namespace querydet::cuda {

constexpr int kWarpSize = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kMaxLevels = 16;
constexpr unsigned kAllLanes = 0xffffffffu;

struct LevelTable {
  int32_t height, width;
  int32_t start;       // its first pixel in S
  int32_t first_cell;  // see sorted.cuh
  int32_t first_tile;  // of a plane, where queries are taken in tiles
};

// Travels by value with the launch: no kernel reads sizes from memory, no host waits for them.
struct Problem {
  int32_t pixels, heads, channels, queries, levels, points;  // S, M, C, Q, L, P
  int32_t samples;                                           // L * P
  int32_t cells;                                             // of a plane, see sorted.cuh
  int32_t tiles;                                             // blocks of a plane
  bool tiled;                                                // whether queries are the pixels of the levels
  int32_t first_plane;                                       // of this launch
  float inverse_points;                                      // 1 / P
  LevelTable level[kMaxLevels];
};

// (n + 0.5) / P is 0.5 / P away from every integer: right for all n below 2^20, which the host checks.
__device__ __forceinline__ int32_t level_of(const Problem& problem, int32_t sample) {
  return static_cast<int32_t>((static_cast<float>(sample) + 0.5f) * problem.inverse_points);
}

// Queries of one block. Where they are the pixels of the levels, a block takes a tile of kWidth x kHeight neighbours:
// they read neighbouring pixels, most of which are then in the cache of the multiprocessor.
template <int kGroup>
struct Tile {
  static constexpr int kQueries = kThreads / kGroup;
  static constexpr int kWidth = kGroup == 2 ? 16 : (kGroup <= 8 ? 8 : 4);
  static constexpr int kHeight = kQueries / kWidth;
};

// A block's plane and tile.
struct Plane {
  int32_t local;  // among the planes of this launch
  int32_t index, image, head;
  int32_t first_query;          // in slot 0 of the tile
  int32_t columns, lines, step;  // of the tile that are in the level; queries from one line to the next

  // The query in a slot of the tile, or -1 where the tile reaches beyond the queries.
  template <int kGroup>
  __device__ __forceinline__ int32_t query(const Problem& problem, int32_t slot) const {
    const int32_t x = slot % Tile<kGroup>::kWidth, y = slot / Tile<kGroup>::kWidth;
    const int32_t query = first_query + y * step + x;
    return (x < columns) & (y < lines) & (query < problem.queries) ? query : -1;
  }
  // A query's place in (B, Q), and this plane's in (B, Q, M).
  __device__ __forceinline__ int64_t place(const Problem& problem, int32_t query) const {
    return int64_t{image} * problem.queries + query;
  }
  __device__ __forceinline__ int64_t item(const Problem& problem, int32_t query) const {
    return place(problem, query) * problem.heads + head;
  }
};

template <int kGroup>
__device__ __forceinline__ Plane plane_of_block(const Problem& problem) {
  using Shape = Tile<kGroup>;
  Plane plane;
  const int32_t tile = static_cast<int32_t>(blockIdx.x);
  plane.local = static_cast<int32_t>(blockIdx.y);
  plane.index = problem.first_plane + plane.local;
  plane.image = static_cast<int32_t>(static_cast<uint32_t>(plane.index) / static_cast<uint32_t>(problem.heads));
  plane.head = plane.index - plane.image * problem.heads;
  if (!problem.tiled) {
    plane.first_query = tile * Shape::kQueries;
    plane.columns = plane.step = Shape::kWidth;
    plane.lines = Shape::kHeight;
    return plane;
  }
  int32_t number = 0;
  while (number + 1 < problem.levels && tile >= problem.level[number + 1].first_tile) ++number;
  const LevelTable& level = problem.level[number];
  const uint32_t columns = static_cast<uint32_t>(level.width + Shape::kWidth - 1) / Shape::kWidth;
  const uint32_t index = static_cast<uint32_t>(tile - level.first_tile);
  const int32_t y = static_cast<int32_t>(index / columns) * Shape::kHeight;
  const int32_t x = static_cast<int32_t>(index % columns) * Shape::kWidth;
  plane.first_query = level.start + y * level.width + x;
  plane.columns = level.width - x;
  plane.lines = level.height - y;
  plane.step = level.width;
  return plane;
}

// A plane's first element in (B, S, M, C), and the bytes from one of its rows to the next (the host checks that they are
// below 2^32).
__device__ __forceinline__ int64_t plane_offset(const Problem& problem, const Plane& plane) {
  return (int64_t{plane.image} * problem.pixels * problem.heads + plane.head) * problem.channels;
}

template <typename T>
__device__ __forceinline__ uint32_t row_size(const Problem& problem) {
  return static_cast<uint32_t>(problem.heads) * static_cast<uint32_t>(problem.channels) * uint32_t{sizeof(T)};
}

// kWidth neighbouring elements, moved by one memory instruction where their size allows it.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T element[kWidth];
};

template <int kWidth, typename T>
__device__ __forceinline__ Pack<T, kWidth> load_pack(const T* source) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(source);
}

// In the type of the arithmetic.
template <typename A, typename T, int kWidth>
__device__ __forceinline__ void unpack(const Pack<T, kWidth>& pack, A (&number)[kWidth]) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) number[i] = static_cast<A>(pack.element[i]);
}

// bfloat16 is the upper half of a float: one instruction for each, where element by element it is two.
template <int kWidth>
__device__ __forceinline__ void unpack(const Pack<c10::BFloat16, kWidth>& pack, float (&number)[kWidth]) {
  if constexpr (kWidth % 2 == 0) {
    uint32_t words[kWidth / 2];
    memcpy(words, &pack, sizeof(words));
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) {
      const uint32_t halves[2] = {words[i] << 16, words[i] & 0xffff0000u};
      memcpy(&number[2 * i], halves, sizeof(halves));
    }
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) number[i] = static_cast<float>(pack.element[i]);
  }
}

// `row` rows further on: one 32 x 32 bit multiplication with a 64 bit sum, right for planes of any size. Pointers stay
// pointers: what had been an integer would be read without knowing that it is global memory.
template <typename T>
__device__ __forceinline__ const T* row_of(const T* plane, int32_t row, uint32_t row_bytes) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(plane) +
                                    static_cast<uint64_t>(static_cast<uint32_t>(row)) * row_bytes);
}

template <typename T>
__device__ __forceinline__ T* row_of(T* plane, int32_t row, uint32_t row_bytes) {
  return reinterpret_cast<T*>(reinterpret_cast<char*>(plane) +
                              static_cast<uint64_t>(static_cast<uint32_t>(row)) * row_bytes);
}

}  // namespace querydet::cuda
