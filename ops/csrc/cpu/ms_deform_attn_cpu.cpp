// The operators on the CPU: tensors, threads, and which kernels run.
//
// Backward gives every plane (one image and head) to one thread, which adds its queries in their order; with more
// threads than planes, every range of a plane's channels. No two threads write to the same place, each number is summed
// in the same order, and the result is bitwise the same for every number of threads.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "../ms_deform_attn.h"
#include "problem.h"
#include "query_order.h"
#include "scratch.h"

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer multiplications.
constexpr int64_t kWorkPerThread = 1 << 15;
// Packing costs as much as reading every row this often where it is, on average.
constexpr int64_t kReadsWorthPackingForward = 4;
constexpr int64_t kReadsWorthPackingBackward = 8;
constexpr int64_t kCorners = 4;

// The arrays behind PointTables, `padded` entries each.
template <typename A>
struct TableMemory {
  std::vector<A> width, height;
  std::vector<Index<A>> last_column, last_line, line_step, first;

  TableMemory(const Sizes& sizes, int64_t stride, int64_t padded) {
    for (const Level& level : sizes.levels) {
      for (int64_t p = 0; p < sizes.points; ++p) {
        width.push_back(static_cast<A>(level.width));
        height.push_back(static_cast<A>(level.height));
        last_column.push_back(level.width - 1);
        last_line.push_back(level.height - 1);
        line_step.push_back(static_cast<Index<A>>(level.width * stride));
        first.push_back(static_cast<Index<A>>(level.start * stride));
      }
    }
    for (auto* numbers : {&width, &height}) numbers->resize(padded, A(0));
    for (auto* numbers : {&last_column, &last_line}) numbers->resize(padded, -1);
    for (auto* numbers : {&line_step, &first}) numbers->resize(padded, 0);
  }

  PointTables<A> tables() const {
    return {width.data(), height.data(), last_column.data(), last_line.data(), line_step.data(), first.data()};
  }
};

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
const T* const_data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename V>
struct KernelsOf;
template <>
struct KernelsOf<float> {
  static const Kernels<float>& get(bool packed) { return instruction_set().float32[!packed]; }
};
template <>
struct KernelsOf<BFloat16> {
  static const Kernels<float>& get(bool packed) { return instruction_set().bfloat16[!packed]; }
};
template <>
struct KernelsOf<Half> {
  static const Kernels<float>& get(bool packed) { return instruction_set().float16[!packed]; }
};
template <>
struct KernelsOf<double> {
  static const Kernels<double>& get(bool packed) { return instruction_set().float64[!packed]; }
};

// Calls function(V, A) with the types of `value` and of its arithmetic.
template <typename F>
void dispatch(const Tensor& value, const F& function) {
  switch (value.scalar_type()) {
    case ScalarType::Float:
      return function(float{}, float{});
    case ScalarType::Double:
      return function(double{}, double{});
    case ScalarType::BFloat16:
      return function(BFloat16{}, float{});
    case ScalarType::Half:
      return function(Half{}, float{});
    default:
      STD_TORCH_CHECK(false, "value must be Float, Double, BFloat16 or Half, but got ", to_string(value));
  }
}

// Whether planes are packed: where rows are read often, do not consist of whole vectors, or offsets need more bits.
bool choose_packing(const Sizes& sizes, int64_t element_bytes, int64_t reads_worth_it) {
  const int64_t lanes = instruction_set().vector_bytes / element_bytes;
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  const int64_t padded = round_up(sizes.channels, lanes);
  STD_TORCH_CHECK((sizes.pixels + 1) * padded <= limit,
                  "one head of one image must have less than 2^31 numbers, but has ", sizes.pixels, " pixels of ",
                  sizes.channels, " channels");
  return sizes.queries * sizes.points_of_query() * kCorners > reads_worth_it * sizes.pixels ||
         sizes.channels % lanes != 0 || sizes.pixels * sizes.heads * sizes.channels > limit;
}

// A problem without its tensors.
template <typename A>
Problem<A> make_problem(const Sizes& sizes, bool packed) {
  Problem<A> problem{};
  problem.batch = sizes.batch;
  problem.pixels = sizes.pixels;
  problem.heads = sizes.heads;
  problem.channels = sizes.channels;
  problem.queries = sizes.queries;
  problem.levels = static_cast<int64_t>(sizes.levels.size());
  problem.points = sizes.points;
  problem.count = sizes.points_of_query();
  problem.padded_count = round_up(problem.count, kMaxLanes);
  problem.packed = packed;
  const int64_t lanes = instruction_set().vector_bytes / static_cast<int64_t>(sizeof(A));
  problem.stride = packed ? round_up(sizes.channels, lanes) : sizes.heads * sizes.channels;
  problem.outside = packed ? sizes.pixels * problem.stride : -1;
  problem.parts = 1;
  return problem;
}

// Planes that are direct are too large for the cache, and are read little: then it matters who reads after whom.
template <typename A>
std::vector<int32_t> choose_order(const Sizes& sizes, const Problem<A>& problem) {
  if (problem.packed || problem.count == 0) return {};
  return order_queries(sizes, problem.source);
}

// Runs a kernel on all pieces of all planes.
template <typename A>
void run(Kernel<A> kernel, const Problem<A>& problem, int64_t grain) {
  torch::stable::parallel_for(0, problem.batch * problem.heads * problem.parts, grain, [&](int64_t begin, int64_t end) {
    Scratch<A> scratch(scratch_size(problem));
    kernel(problem, begin, end, scratch.data());
  });
}

// Into how many pieces each plane must be cut for every thread to have one.
int64_t parts_for_threads(const Sizes& sizes) {
  const int64_t planes = sizes.batch * sizes.heads;
  return (static_cast<int64_t>(torch::stable::get_num_threads()) + planes - 1) / planes;
}

// Everything about one call but the sizes: contiguous tensors in the type of the arithmetic.
struct Inputs {
  Tensor value;                // in its own type
  std::vector<Tensor> points;  // locations and weights; or references, offsets and logits

  template <typename A>
  PointSource<A> source() const {
    if (points.size() == 2) return {const_data<A>(points[0]), const_data<A>(points[1]), nullptr, nullptr, nullptr, 0};
    return {nullptr,          nullptr, const_data<A>(points[0]), const_data<A>(points[1]), const_data<A>(points[2]),
            points[0].size(3)};
  }
};

Inputs prepare_inputs(const Tensor& value, std::initializer_list<Tensor> points) {
  Inputs inputs{prepare(value, value.scalar_type()), {}};
  for (const Tensor& tensor : points) inputs.points.push_back(prepare(tensor, accumulation_type(value)));
  return inputs;
}

Tensor forward(const Sizes& sizes, const Inputs& inputs) {
  const Tensor& value = inputs.value;
  Tensor output = torch::stable::new_empty(value, {sizes.batch, sizes.queries, sizes.heads * sizes.channels});
  if (output.numel() == 0) return output;
  dispatch(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    const bool packed = choose_packing(sizes, sizeof(A), kReadsWorthPackingForward);
    Problem<A> problem = make_problem<A>(sizes, packed);
    const TableMemory<A> tables(sizes, problem.stride, problem.padded_count);
    problem.tables = tables.tables();
    problem.source = inputs.source<A>();
    const std::vector<int32_t> order = choose_order(sizes, problem);
    problem.order = order.empty() ? nullptr : order.data();
    problem.value = value.const_data_ptr();
    problem.output = output.mutable_data_ptr();
    problem.parts = std::min(sizes.queries, parts_for_threads(sizes));
    const int64_t work = sizes.queries / problem.parts * problem.count * kCorners * sizes.channels;
    run(KernelsOf<V>::get(packed).forward, problem, std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(work, 1)));
  });
  return output;
}

// The gradients that are wanted; the others have no elements.
struct GradientTensorsOf {
  Tensor value, reference, points, weights;
};

template <typename V, typename A>
void run_backward(const Sizes& sizes, Problem<A>& problem) {
  const Kernels<A>& kernels = KernelsOf<V>::get(problem.packed);
  const bool of_value = problem.grads.value != nullptr;
  const bool of_points = problem.grads.points || problem.grads.weights || problem.grads.reference;
  const int64_t parts = parts_for_threads(sizes);
  if (of_value && of_points && parts == 1) return run(kernels.backward, problem, 1);
  if (of_points) {
    problem.parts = std::min(sizes.queries, parts);
    run(kernels.point_backward, problem, 1);
  }
  if (of_value) {
    problem.parts = std::min(round_up(sizes.channels, kMaxLanes) / kMaxLanes, parts);
    run(kernels.value_backward, problem, 1);
  }
}

// `mask`: which of value, reference, points and weights are wanted.
GradientTensorsOf backward(const Sizes& sizes, const Inputs& inputs, const Tensor& grad_output,
                           const std::vector<bool>& mask) {
  const Tensor& value = inputs.value;
  const ScalarType type = accumulation_type(value);
  const Tensor gradient = prepare(grad_output, type);
  const bool fused = inputs.points.size() == 3;
  const Tensor &points = inputs.points[fused], &weights = inputs.points[fused + 1];
  GradientTensorsOf grads{no_gradient(value), no_gradient(points), no_gradient(points), no_gradient(weights)};
  const bool nothing = weights.numel() == 0 || sizes.channels == 0;  // no kernel runs, which would write every number
  const auto gradient_like = [&](const Tensor& tensor) {
    return nothing ? torch::stable::new_zeros(tensor, tensor.sizes()) : torch::stable::empty_like(tensor);
  };
  if (mask[2]) grads.points = gradient_like(points);
  if (mask[3]) grads.weights = gradient_like(weights);
  if (mask[1]) {
    const Tensor& reference = inputs.points[0];
    grads.reference = torch::stable::new_zeros(
        reference,
        {sizes.batch, sizes.heads, sizes.queries, static_cast<int64_t>(sizes.levels.size()), reference.size(3)});
  }
  dispatch(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    const bool packed = choose_packing(sizes, sizeof(A), kReadsWorthPackingBackward);
    // Sums that cannot be in the gradient itself are in planes, one after the other, rather than in another tensor.
    const bool sums_packed = packed || sizeof(V) < sizeof(A);
    if (mask[0]) {
      grads.value = sums_packed && !nothing ? torch::stable::empty_like(value)
                                            : torch::stable::new_zeros(value, value.sizes(), type);
    }
    if (nothing) return;
    const auto run_with = [&](bool in_planes, bool of_value, bool of_points) {
      Problem<A> problem = make_problem<A>(sizes, in_planes);
      const TableMemory<A> tables(sizes, problem.stride, problem.padded_count);
      problem.tables = tables.tables();
      problem.source = inputs.source<A>();
      const std::vector<int32_t> order = choose_order(sizes, problem);
      problem.order = order.empty() ? nullptr : order.data();
      problem.value = value.const_data_ptr();
      problem.grads = {const_data<A>(gradient), of_value ? grads.value.mutable_data_ptr() : nullptr,
                       of_points && mask[2] ? data<A>(grads.points) : nullptr,
                       of_points && mask[3] ? data<A>(grads.weights) : nullptr,
                       of_points && mask[1] ? data<A>(grads.reference) : nullptr};
      run_backward<V>(sizes, problem);
    };
    if (packed == sums_packed) return run_with(packed, mask[0], true);
    run_with(packed, false, true);
    run_with(sums_packed, mask[0], false);
  });
  return grads;
}

Tensor ms_deform_attn(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& sampling_locations,
                      const Tensor& attention_weights) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  return forward(sizes, prepare_inputs(value, {sampling_locations, attention_weights}));
}

// `deterministic` changes nothing: this backward always is.
GradientTensors ms_deform_attn_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                        const Tensor& sampling_locations, const Tensor& attention_weights,
                                        const Tensor& grad_output, bool /*deterministic*/,
                                        std::vector<bool> output_mask) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  check_gradient(grad_output, value, sizes);
  check_mask(output_mask, 3);
  const Inputs inputs = prepare_inputs(value, {sampling_locations, attention_weights});
  const GradientTensorsOf grads =
      backward(sizes, inputs, grad_output, {output_mask[0], false, output_mask[1], output_mask[2]});
  return {prepare(grads.value, value.scalar_type()), prepare(grads.points, sampling_locations.scalar_type()),
          prepare(grads.weights, attention_weights.scalar_type())};
}

Tensor ms_deform_attn_fused(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& reference_points,
                            const Tensor& sampling_offsets, const Tensor& attention_logits) {
  const Sizes sizes =
      check_fused_arguments(value, spatial_shapes, reference_points, sampling_offsets, attention_logits);
  return forward(sizes, prepare_inputs(value, {reference_points, sampling_offsets, attention_logits}));
}

FusedGradientTensors ms_deform_attn_fused_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                                   const Tensor& reference_points, const Tensor& sampling_offsets,
                                                   const Tensor& attention_logits, const Tensor& grad_output,
                                                   bool /*deterministic*/, std::vector<bool> output_mask) {
  const Sizes sizes =
      check_fused_arguments(value, spatial_shapes, reference_points, sampling_offsets, attention_logits);
  check_gradient(grad_output, value, sizes);
  check_mask(output_mask, 4);
  const Inputs inputs = prepare_inputs(value, {reference_points, sampling_offsets, attention_logits});
  const GradientTensorsOf grads = backward(sizes, inputs, grad_output, output_mask);
  // The parts of the heads, in their order.
  const Tensor reference =
      output_mask[1] ? torch::stable::sum(grads.reference, std::vector<int64_t>{1}) : grads.reference;
  return {prepare(grads.value, value.scalar_type()), prepare(reference, reference_points.scalar_type()),
          prepare(grads.points, sampling_offsets.scalar_type()),
          prepare(grads.weights, attention_logits.scalar_type())};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
  library.impl("ms_deform_attn_fused", TORCH_BOX(&ms_deform_attn_fused));
  library.impl("ms_deform_attn_fused_backward", TORCH_BOX(&ms_deform_attn_fused_backward));
}

}  // namespace querydet::cpu
