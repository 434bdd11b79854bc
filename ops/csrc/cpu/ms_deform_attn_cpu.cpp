// The operator on the CPU: which thread does what, and the tensors around it.
//
// Backward gives every plane (one image and head) to one thread, which adds its queries in their order. No two threads
// write to the same place, and the result is bitwise the same for every number of threads. It therefore uses at most
// B * M threads.

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>

#include "planes.h"

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer multiplications.
constexpr int64_t kWorkPerThread = 1 << 15;

template <typename Values, typename V, typename A>
void forward(const Arguments<V, A>& arguments, V* output) {
  const Sizes& sizes = arguments.sizes;
  const int64_t planes = arguments.planes();
  const int64_t threads = torch::stable::get_num_threads();
  // The queries of one plane are shared by several threads where there are more threads than planes.
  const int64_t parts = std::min(sizes.queries, (threads + planes - 1) / planes);
  const int64_t work = sizes.queries / parts * sizes.points_of_query() * kCorners * sizes.channels;
  const int64_t grain = std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(work, 1));
  torch::stable::parallel_for(0, planes * parts, grain, [&](int64_t begin, int64_t end) {
    Points<A> points(sizes);
    Values values(arguments);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = i / parts, part = i % parts;
      const auto plane = values.load(index);
      const int64_t stop = sizes.queries * (part + 1) / parts;
      for (int64_t query = sizes.queries * part / parts; query < stop; ++query) {
        const int64_t item = arguments.item(index, query), first = item * points.count();
        points.prepare(arguments.locations + first * 2, arguments.weights + first);
        sum_points(points, plane, sizes.channels, output + item * sizes.channels);
      }
    }
  });
}

// Gradients on the way in and out; one that is not wanted is null.
template <typename A, typename Element>
struct GradientPointers {
  const A* output;
  Element* value;
  A* locations;
  A* weights;
};

template <typename Values, typename Gradients, typename V, typename A>
void backward(const Arguments<V, A>& arguments, const GradientPointers<A, typename Gradients::Element>& grads) {
  const Sizes& sizes = arguments.sizes;
  torch::stable::parallel_for(0, arguments.planes(), 1, [&](int64_t begin, int64_t end) {
    Points<A> points(sizes);
    Values values(arguments);
    Gradients gradients(arguments, grads.value);
    for (int64_t index = begin; index < end; ++index) {
      const auto plane = values.load(index);
      const Plane<A> target = grads.value ? gradients.start(index) : Plane<A>{};
      for (int64_t query = 0; query < sizes.queries; ++query) {
        const int64_t item = arguments.item(index, query), first = item * points.count();
        const A* gradient = grads.output + item * sizes.channels;
        const A* weights = arguments.weights + first;
        points.prepare(arguments.locations + first * 2, weights);
        if (grads.locations || grads.weights) {
          point_gradients(points, plane, weights, gradient, sizes.channels,
                          grads.locations ? grads.locations + first * 2 : nullptr,
                          grads.weights ? grads.weights + first : nullptr);
        }
        if (grads.value) scatter_points(points, target, gradient, sizes.channels);
      }
      if (grads.value) gradients.finish(index);
    }
  });
}

// Calls function(V, A) with the types of `value` and of its arithmetic.
template <typename F>
void dispatch(const Tensor& value, const F& function) {
  switch (value.scalar_type()) {
    case ScalarType::Float: return function(float{}, float{});
    case ScalarType::Double: return function(double{}, double{});
    case ScalarType::BFloat16: return function(c10::BFloat16{}, float{});
    case ScalarType::Half: return function(c10::Half{}, float{});
    default: STD_TORCH_CHECK(false, "value must be Float, Double, BFloat16 or Half, but got ", to_string(value));
  }
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
const T* const_data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

Tensor ms_deform_attn(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& sampling_locations,
                      const Tensor& attention_weights) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  const ScalarType type = accumulation_type(value);
  const Tensor source = prepare(value, value.scalar_type());
  const Tensor locations = prepare(sampling_locations, type), weights = prepare(attention_weights, type);
  Tensor output = torch::stable::new_empty(value, {sizes.batch, sizes.queries, sizes.heads * sizes.channels});
  if (output.numel() == 0) return output;
  dispatch(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    const Arguments<V, A> arguments{sizes, const_data<V>(source), const_data<A>(locations), const_data<A>(weights)};
    worth_packing(sizes) ? forward<PackedValues<V, A>>(arguments, data<V>(output))
                         : forward<DirectValues<V, A>>(arguments, data<V>(output));
  });
  return output;
}

// `deterministic` changes nothing: this backward always is.
GradientTensors ms_deform_attn_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                        const Tensor& sampling_locations, const Tensor& attention_weights,
                                        const Tensor& grad_output, bool /*deterministic*/,
                                        std::vector<bool> output_mask) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  check_gradient(grad_output, value, sizes);
  const ScalarType type = accumulation_type(value);
  const Tensor source = prepare(value, value.scalar_type()), gradient = prepare(grad_output, type);
  const Tensor locations = prepare(sampling_locations, type), weights = prepare(attention_weights, type);
  Tensor grad_value = no_gradient(value);
  Tensor grad_locations = output_mask[1] ? torch::stable::empty_like(locations) : no_gradient(locations);
  Tensor grad_weights = output_mask[2] ? torch::stable::empty_like(weights) : no_gradient(weights);
  dispatch(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    const Arguments<V, A> arguments{sizes, const_data<V>(source), const_data<A>(locations), const_data<A>(weights)};
    const auto run = [&](auto& call, auto element) {
      using Element = decltype(element);
      const GradientPointers<A, Element> grads{const_data<A>(gradient),
                                               output_mask[0] ? data<Element>(grad_value) : nullptr,
                                               output_mask[1] ? data<A>(grad_locations) : nullptr,
                                               output_mask[2] ? data<A>(grad_weights) : nullptr};
      call(arguments, grads);
    };
    if (worth_packing(sizes)) {
      if (output_mask[0]) grad_value = torch::stable::empty_like(source);
      run(backward<PackedValues<V, A>, PackedGradients<V, A>, V, A>, V{});
    } else {
      if (output_mask[0]) grad_value = torch::stable::new_zeros(value, value.sizes(), type);
      run(backward<DirectValues<V, A>, DirectGradients<V, A>, V, A>, A{});
    }
  });
  return {prepare(grad_value, value.scalar_type()), prepare(grad_locations, sampling_locations.scalar_type()),
          prepare(grad_weights, attention_weights.scalar_type())};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
}

}  // namespace querydet::cpu
