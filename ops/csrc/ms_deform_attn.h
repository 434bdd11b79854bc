// What the CPU and the CUDA side of the operator share on the host: sizes, argument checks, the tensors they prepare.
//
// Letters: B images, S pixels of all levels, M heads, D channels of a head, Q queries, L levels, P points.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace querydet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Level {
  int32_t height, width;
  int32_t start;  // the first of its rows in S
};

// Sizes of one call. Everything that is multiplied up to an offset is 64 bit.
struct Sizes {
  int64_t batch, pixels, heads, channels, queries, points;  // B, S, M, D, Q, P
  std::vector<Level> levels;

  int64_t points_of_query() const { return static_cast<int64_t>(levels.size()) * points; }  // L * P
};

inline std::string to_string(const Tensor& tensor) {
  std::ostringstream text;
  text << torch::headeronly::toString(tensor.scalar_type()) << " (";
  const auto sizes = tensor.sizes();
  for (size_t i = 0; i < sizes.size(); ++i) text << (i ? ", " : "") << sizes[i];
  text << ")";
  return text.str();
}

// float32, and float64 for a float64 value: the type of coordinates, weights and sums.
inline ScalarType accumulation_type(const Tensor& value) {
  return value.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline std::vector<Level> make_levels(const std::vector<int64_t>& spatial_shapes) {
  STD_TORCH_CHECK(spatial_shapes.size() % 2 == 0,
                  "spatial_shapes must hold H and W of every level, but got ", spatial_shapes.size(), " numbers");
  std::vector<Level> levels;
  int64_t start = 0;
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < spatial_shapes.size(); i += 2) {
    const int64_t height = spatial_shapes[i], width = spatial_shapes[i + 1];
    STD_TORCH_CHECK(height >= 0 && width >= 0 && height <= limit && width <= limit,
                    "spatial_shapes must be 0 or greater and below 2^31, but level ", i / 2, " is (", height, ", ",
                    width, ")");
    levels.push_back({static_cast<int32_t>(height), static_cast<int32_t>(width), static_cast<int32_t>(start)});
    start += height * width;
    STD_TORCH_CHECK(start < limit, "the levels must have less than 2^31 pixels together, but have ", start);
  }
  return levels;
}

inline void check_companion(const char* name, const Tensor& tensor, const Tensor& value) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == value.scalar_type() || type == accumulation_type(value), name, " must be of the dtype of ",
                  "value or Float (Double for Double), but got ", to_string(tensor), " for value ", to_string(value));
  STD_TORCH_CHECK(tensor.device() == value.device(), name, " must be on the device of value, but is on type ",
                  static_cast<int>(tensor.device().type()), " index ", tensor.get_device_index(),
                  " and value on type ", static_cast<int>(value.device().type()), " index ",
                  value.get_device_index());
}

// Checks `value` and fills everything but queries and points.
inline Sizes check_value(const Tensor& value, const std::vector<int64_t>& spatial_shapes) {
  STD_TORCH_CHECK(value.dim() == 4, "value must be (B, S, M, D), but got ", to_string(value));
  Sizes sizes{value.size(0), value.size(1), value.size(2), value.size(3), 0, 0, make_levels(spatial_shapes)};
  int64_t expected = 0;
  for (const Level& level : sizes.levels) expected += static_cast<int64_t>(level.height) * level.width;
  STD_TORCH_CHECK(sizes.pixels == expected, "value has ", sizes.pixels, " pixels, but spatial_shapes sum to ",
                  expected);
  return sizes;
}

// Checks (B, Q, M, L, P, 2) locations or offsets and the weights or logits that go with them; fills queries and points.
inline void check_points(const char* name, const Tensor& points, const char* companion, const Tensor& weights,
                         const Tensor& value, Sizes& sizes) {
  STD_TORCH_CHECK(points.dim() == 6 && points.size(5) == 2, name, " must be (B, Q, M, L, P, 2), but got ",
                  to_string(points));
  STD_TORCH_CHECK(points.size(0) == sizes.batch && points.size(2) == sizes.heads &&
                      points.size(3) == static_cast<int64_t>(sizes.levels.size()),
                  name, " ", to_string(points), " does not fit value ", to_string(value), " and ",
                  sizes.levels.size(), " levels");
  bool same = weights.dim() == 5;
  for (int64_t i = 0; same && i < 5; ++i) same = weights.size(i) == points.size(i);
  STD_TORCH_CHECK(same, companion, " ", to_string(weights), " must have the shape of ", name, " ", to_string(points),
                  " without its last dimension");
  check_companion(name, points, value);
  check_companion(companion, weights, value);
  sizes.queries = points.size(1);
  sizes.points = points.size(4);
}

// Checks all arguments of the forward and collects their sizes.
inline Sizes check_arguments(const Tensor& value, const std::vector<int64_t>& spatial_shapes,
                             const Tensor& sampling_locations, const Tensor& attention_weights) {
  Sizes sizes = check_value(value, spatial_shapes);
  check_points("sampling_locations", sampling_locations, "attention_weights", attention_weights, value, sizes);
  return sizes;
}

// The same for the fused operator.
inline Sizes check_fused_arguments(const Tensor& value, const std::vector<int64_t>& spatial_shapes,
                                   const Tensor& reference_points, const Tensor& sampling_offsets,
                                   const Tensor& attention_logits) {
  Sizes sizes = check_value(value, spatial_shapes);
  check_points("sampling_offsets", sampling_offsets, "attention_logits", attention_logits, value, sizes);
  const Tensor& reference = reference_points;
  STD_TORCH_CHECK(reference.dim() == 4 && reference.size(0) == sizes.batch && reference.size(1) == sizes.queries &&
                      reference.size(2) == static_cast<int64_t>(sizes.levels.size()) &&
                      (reference.size(3) == 2 || reference.size(3) == 4),
                  "reference_points must be (", sizes.batch, ", ", sizes.queries, ", ", sizes.levels.size(),
                  ", 2 or 4), but got ", to_string(reference));
  check_companion("reference_points", reference, value);
  return sizes;
}

inline void check_gradient(const Tensor& grad_output, const Tensor& value, const Sizes& sizes) {
  STD_TORCH_CHECK(grad_output.dim() == 3 && grad_output.size(0) == sizes.batch &&
                      grad_output.size(1) == sizes.queries && grad_output.size(2) == sizes.heads * sizes.channels,
                  "grad_output must be (", sizes.batch, ", ", sizes.queries, ", ", sizes.heads * sizes.channels,
                  "), but got ", to_string(grad_output));
  check_companion("grad_output", grad_output, value);
}

// A schema such as bool[3] does not hold a caller to three.
inline void check_mask(const std::vector<bool>& output_mask, size_t gradients) {
  STD_TORCH_CHECK(output_mask.size() == gradients, "output_mask must have ", gradients, " entries, but has ",
                  output_mask.size());
}

// `tensor`, contiguous and in `type`; itself if it is that already.
inline Tensor prepare(const Tensor& tensor, ScalarType type) {
  return torch::stable::contiguous(tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type));
}

// Gradients that nobody asked for are returned as tensors without elements.
inline Tensor no_gradient(const Tensor& like) { return torch::stable::new_empty(like, {0}); }

using GradientTensors = std::tuple<Tensor, Tensor, Tensor>;
using FusedGradientTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;

}  // namespace querydet
