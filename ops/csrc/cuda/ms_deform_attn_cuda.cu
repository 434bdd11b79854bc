// ms_deform_attn on CUDA: checks, tensors, registration.

#include <torch/csrc/stable/library.h>

#include "operator.cuh"

namespace querydet::cuda {
namespace {

auto given_samples(const Tensor& locations, const Tensor& weights) {
  return [=](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    return GivenSamples<V, A>{companion<V, A>(locations), companion<V, A>(weights)};
  };
}

Tensor ms_deform_attn(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& sampling_locations,
                      const Tensor& attention_weights) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const Tensor locations = prepare_companion(sampling_locations), weights = prepare_companion(attention_weights);
  return run_forward(prepare_aligned(value, value.scalar_type()), sizes, given_samples(locations, weights));
}

GradientTensors ms_deform_attn_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                        const Tensor& sampling_locations, const Tensor& attention_weights,
                                        const Tensor& grad_output, bool deterministic, std::vector<bool> output_mask) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  check_gradient(grad_output, value, sizes);
  check_mask(output_mask, 3);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const Tensor locations = prepare_companion(sampling_locations), weights = prepare_companion(attention_weights);
  const bool empty = is_empty(sizes);
  const Tensor grad_locations = make_gradient(locations, output_mask[1], empty);
  const Tensor grad_weights = make_gradient(weights, output_mask[2], empty);
  if (empty) return {make_gradient(value, output_mask[0], true), grad_locations, grad_weights};
  const auto gradients = [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    return typename GivenSamples<V, A>::Gradient{companion_gradient<V, A>(grad_locations, output_mask[1]),
                                                 companion_gradient<V, A>(grad_weights, output_mask[2])};
  };
  const Tensor grad_value = run_backward(
      prepare_aligned(value, value.scalar_type()), sizes, given_samples(locations, weights), gradients,
      prepare_aligned(grad_output, value.scalar_type()), deterministic, output_mask[0]);
  return {grad_value, grad_locations, grad_weights};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CUDA, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
}

}  // namespace querydet::cuda
