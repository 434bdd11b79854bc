// The operator on CUDA: checks, memory, launches. The kernels are in ms_deform_attn_kernels.cuh.

#include <cuda_runtime.h>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <limits>

#include "../ms_deform_attn.h"
#include "ms_deform_attn_kernels.cuh"

namespace querydet::cuda {
namespace {

constexpr int kChannelsPerLane = 4;

Shape make_shape(const Sizes& sizes) {
  STD_TORCH_CHECK(sizes.levels.size() <= kMaxLevels, "the CUDA kernels take at most ", kMaxLevels,
                  " levels, but got ", sizes.levels.size());
  Shape shape{sizes.batch, sizes.pixels, sizes.heads, sizes.channels, sizes.queries, sizes.points, {}};
  shape.levels.count = static_cast<int32_t>(sizes.levels.size());
  for (size_t i = 0; i < sizes.levels.size(); ++i) {
    shape.levels.height[i] = sizes.levels[i].height;
    shape.levels.width[i] = sizes.levels[i].width;
    shape.levels.start[i] = sizes.levels[i].start;
  }
  return shape;
}

unsigned blocks_for(int64_t groups) {
  const int64_t blocks = (groups * kLanes + kThreads - 1) / kThreads;
  STD_TORCH_CHECK(blocks <= std::numeric_limits<int32_t>::max(), "too many queries for one launch: ", groups,
                  " queries times heads times images");
  return static_cast<unsigned>(blocks);
}

cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

bool is_aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
const T* const_data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
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

Tensor ms_deform_attn(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor& sampling_locations,
                      const Tensor& attention_weights) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const ScalarType type = accumulation_type(value);
  const Tensor source = prepare(value, value.scalar_type());
  const Tensor locations = prepare(sampling_locations, type), weights = prepare(attention_weights, type);
  Tensor output = torch::stable::new_empty(value, {sizes.batch, sizes.queries, sizes.heads * sizes.channels});
  if (output.numel() == 0) return output;
  const Shape shape = make_shape(sizes);
  dispatch(value, [&](auto v, auto a) {
    using V = decltype(v);
    using A = decltype(a);
    const bool wide = sizes.channels % kChannelsPerLane == 0 &&
                      is_aligned(source.const_data_ptr(), sizeof(Pack<V, kChannelsPerLane>));
    const auto kernel = wide ? forward_kernel<V, A, kChannelsPerLane> : forward_kernel<V, A, 1>;
    kernel<<<blocks_for(shape.items()), kThreads, 0, current_stream(value)>>>(
        shape, const_data<V>(source), const_data<A>(locations), const_data<A>(weights), data<V>(output));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return output;
}

GradientTensors ms_deform_attn_backward(const Tensor& value, std::vector<int64_t> spatial_shapes,
                                        const Tensor& sampling_locations, const Tensor& attention_weights,
                                        const Tensor& grad_output, bool deterministic, std::vector<bool> output_mask) {
  const Sizes sizes = check_arguments(value, spatial_shapes, sampling_locations, attention_weights);
  check_gradient(grad_output, value, sizes);
  const torch::stable::accelerator::DeviceGuard guard(value.get_device_index());
  const ScalarType type = accumulation_type(value);
  const Tensor source = prepare(value, value.scalar_type()), gradient = prepare(grad_output, type);
  const Tensor locations = prepare(sampling_locations, type), weights = prepare(attention_weights, type);
  // Summed in the type of the arithmetic: 16 bit atomics would lose what many small parts add up to.
  Tensor grad_value =
      output_mask[0] ? torch::stable::new_zeros(value, value.sizes(), type) : no_gradient(value);
  Tensor grad_locations = output_mask[1] ? torch::stable::empty_like(locations) : no_gradient(locations);
  Tensor grad_weights = output_mask[2] ? torch::stable::empty_like(weights) : no_gradient(weights);
  const Shape shape = make_shape(sizes);
  if (weights.numel() > 0) {
    dispatch(value, [&](auto v, auto a) {
      using V = decltype(v);
      using A = decltype(a);
      const bool wide = sizes.channels % kChannelsPerLane == 0 &&
                        is_aligned(source.const_data_ptr(), sizeof(Pack<V, kChannelsPerLane>));
      const auto kernel = wide ? backward_kernel<V, A, kChannelsPerLane> : backward_kernel<V, A, 1>;
      const bool ordered = deterministic && output_mask[0];
      kernel<<<blocks_for(shape.items()), kThreads, 0, current_stream(value)>>>(
          shape, const_data<V>(source), const_data<A>(locations), const_data<A>(weights), const_data<A>(gradient),
          output_mask[0] && !ordered ? data<A>(grad_value) : nullptr,
          output_mask[1] ? data<A>(grad_locations) : nullptr, output_mask[2] ? data<A>(grad_weights) : nullptr);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      if (ordered) {
        const unsigned blocks = blocks_for(sizes.batch * sizes.heads * shape.levels.count);
        ordered_value_gradient_kernel<A><<<blocks, kThreads, 0, current_stream(value)>>>(
            shape, const_data<A>(locations), const_data<A>(weights), const_data<A>(gradient), data<A>(grad_value));
        STD_CUDA_KERNEL_LAUNCH_CHECK();
      }
    });
  }
  return {prepare(grad_value, value.scalar_type()), prepare(grad_locations, sampling_locations.scalar_type()),
          prepare(grad_weights, attention_weights.scalar_type())};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CUDA, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
}

}  // namespace querydet::cuda
