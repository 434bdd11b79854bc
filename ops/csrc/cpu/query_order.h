// The order in which the queries of an image are taken: those that sample the same part of it one after the other, so
// that what one has brought to the cache serves the next. Decoders sort their queries by score, which is no order here.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../ms_deform_attn.h"
#include "problem.h"

namespace querydet::cpu {

constexpr int64_t kTilePixels = 8;
constexpr int64_t kMaxTiles = 64;  // along one side

// The tile of a normalised coordinate; what is outside belongs to the tile at the border, and NaN to the first.
template <typename A>
int64_t tile_of(A coordinate, int64_t tiles) {
  const A scaled = coordinate * static_cast<A>(tiles);
  return scaled > 0 ? static_cast<int64_t>(std::min(scaled, static_cast<A>(tiles - 1))) : 0;
}

inline int64_t count_tiles(int64_t size) { return std::clamp<int64_t>(size / kTilePixels, 1, kMaxTiles); }

// (B, Q): the queries of each image, ordered by the tile of the largest level in which each has its first point (or its
// reference); within a tile as they come.
template <typename A>
std::vector<int32_t> order_queries(const Sizes& sizes, const PointSource<A>& source) {
  int64_t rows = 1, columns = 1;
  for (const Level& level : sizes.levels) {
    rows = std::max(rows, count_tiles(level.height));
    columns = std::max(columns, count_tiles(level.width));
  }
  const int64_t levels = static_cast<int64_t>(sizes.levels.size());
  const A* first = source.reference ? source.reference : source.locations;
  const int64_t step =
      source.reference ? levels * source.reference_size : sizes.heads * sizes.points_of_query() * 2;

  std::vector<int32_t> order(sizes.batch * sizes.queries), tiles(sizes.queries);
  for (int64_t image = 0; image < sizes.batch; ++image, first += sizes.queries * step) {
    std::vector<int32_t> starts(rows * columns + 1, 0);
    for (int64_t query = 0; query < sizes.queries; ++query) {
      const A* center = first + query * step;
      tiles[query] = static_cast<int32_t>(tile_of(center[1], rows) * columns + tile_of(center[0], columns));
      ++starts[tiles[query] + 1];
    }
    for (int64_t tile = 0; tile < rows * columns; ++tile) starts[tile + 1] += starts[tile];
    int32_t* ordered = order.data() + image * sizes.queries;
    for (int64_t query = 0; query < sizes.queries; ++query) {
      ordered[starts[tiles[query]]++] = static_cast<int32_t>(query);
    }
  }
  return order;
}

}  // namespace querydet::cpu
