// ms_deform_attn_fused on CUDA: checks, tensors, registration.

#include <torch/csrc/stable/library.h>

#include "operator.cuh"

namespace querydet::cuda {
namespace {

struct Inputs {
  Tensor references, offsets, logits;

  template <typename V, typename A>
  FusedSamples<V, A> source() const {
    return {companion<V, A>(references), companion<V, A>(offsets), companion<V, A>(logits), references.size(3) == 4};
  }
};

Inputs prepare_inputs(const Tensor& reference_points, const Tensor& sampling_offsets, const Tensor& attention_logits) {
  return {prepare_companion(reference_points), prepare_companion(sampling_offsets),
          prepare_companion(attention_logits)};
}

// The gradients beside that of value, and what kernels need to compute them.
struct Gradients {
  Tensor references, offsets, logits;
  Tensor weights;    // for the softmax's results, in the type of the arithmetic
  Tensor positions;  // in pixels; only where references want a gradient
};

Gradients make_gradients(const Tensor& value, const Inputs& inputs, const std::vector<bool>& mask, bool empty) {
  const ScalarType type = accumulation_type(value);
  Gradients gradients{make_gradient(inputs.references, mask[1], empty), make_gradient(inputs.offsets, mask[2], empty),
                      make_gradient(inputs.logits, mask[3], empty), value, value};
  gradients.weights = gradients.logits;
  if (mask[3] && inputs.logits.scalar_type() != type) {
    gradients.weights = torch::stable::new_empty(value, inputs.logits.sizes(), type);
  }
  if (mask[1]) gradients.positions = torch::stable::new_empty(value, inputs.offsets.sizes(), type);
  return gradients;
}

// Sums the references' gradient over heads and points.
void sum_references(const Tensor& value, const Sizes& sizes, const Inputs& inputs, const Gradients& gradients,
                    bool wants_offsets) {
  const int64_t count = sizes.batch * sizes.queries * static_cast<int64_t>(sizes.levels.size());
  const Problem problem = make_problem<8>(sizes);
  dispatch_type(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    reference_gradient_kernel<V, A><<<blocks_for(count), kThreads, 0, current_stream(value)>>>(
        problem, inputs.source<V, A>(), count, const_data<A>(gradients.positions),
        companion_gradient<V, A>(gradients.references, true),
        companion_gradient<V, A>(gradients.offsets, wants_offsets));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

Tensor ms_deform_attn_fused(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& reference_points,
                            const Tensor& sampling_offsets, const Tensor& attention_logits) {
  const Sizes sizes =
      check_fused_arguments(value, spatial_shapes, reference_points, sampling_offsets, attention_logits);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const Inputs inputs = prepare_inputs(reference_points, sampling_offsets, attention_logits);
  return run_forward(prepare_aligned(value, value.scalar_type()), sizes,
                     [&](auto v, auto a) { return inputs.source<decltype(v), decltype(a)>(); });
}

FusedGradientTensors ms_deform_attn_fused_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                                   const Tensor& reference_points, const Tensor& sampling_offsets,
                                                   const Tensor& attention_logits, const Tensor& grad_output,
                                                   bool deterministic, std::vector<bool> output_mask) {
  const Sizes sizes =
      check_fused_arguments(value, spatial_shapes, reference_points, sampling_offsets, attention_logits);
  check_gradient(grad_output, value, sizes);
  check_mask(output_mask, 4);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const Inputs inputs = prepare_inputs(reference_points, sampling_offsets, attention_logits);
  const bool empty = is_empty(sizes);
  const Gradients gradients = make_gradients(value, inputs, output_mask, empty);
  if (empty) {
    return {make_gradient(value, output_mask[0], true), gradients.references, gradients.offsets, gradients.logits};
  }
  const auto make_source = [&](auto v, auto a) { return inputs.source<decltype(v), decltype(a)>(); };
  const auto make_targets = [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    return typename FusedSamples<V, A>::Gradient{
        companion_gradient<V, A>(gradients.offsets, output_mask[2]),
        companion_gradient<V, A>(gradients.logits, output_mask[3]),
        output_mask[3] ? data<A>(gradients.weights) : nullptr,
        output_mask[1] ? data<A>(gradients.positions) : nullptr};
  };
  const Tensor grad_value =
      run_backward(prepare_aligned(value, value.scalar_type()), sizes, make_source, make_targets,
                   prepare_aligned(grad_output, value.scalar_type()), deterministic, output_mask[0]);
  if (output_mask[1]) sum_references(value, sizes, inputs, gradients, output_mask[2]);
  return {grad_value, gradients.references, gradients.offsets, gradients.logits};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CUDA, library) {
  library.impl("ms_deform_attn_fused", TORCH_BOX(&ms_deform_attn_fused));
  library.impl("ms_deform_attn_fused_backward", TORCH_BOX(&ms_deform_attn_fused_backward));
}

}  // namespace querydet::cuda
