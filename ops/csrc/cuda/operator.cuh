// Forward and backward on tensors, for every source of samples.

#pragma once

#include "backward.cuh"
#include "forward.cuh"
#include "host.h"

namespace querydet::cuda {

template <typename V, typename A>
Companion<V, A> companion(const Tensor& tensor) {
  return {tensor.const_data_ptr(), sizeof(V) != sizeof(A) && tensor.element_size() == sizeof(V)};
}

template <typename V, typename A>
CompanionGradient<V, A> companion_gradient(const Tensor& tensor, bool wanted) {
  return {wanted ? tensor.mutable_data_ptr() : nullptr, sizeof(V) != sizeof(A) && tensor.element_size() == sizeof(V)};
}

// `value` is prepared; make_source(V, A) gives the source of samples.
template <typename F>
Tensor run_forward(const Tensor& value, const Sizes& sizes, const F& make_source) {
  const std::vector<int64_t> shape = {sizes.batch, sizes.queries, sizes.heads * sizes.channels};
  if (is_empty(sizes)) return torch::stable::new_zeros(value, shape);
  Tensor output = torch::stable::new_empty(value, shape);
  dispatch(value, [&](auto v, auto a, auto layout) {
    using V = decltype(v);
    using A = decltype(a);
    using Lay = decltype(layout);
    const auto source = make_source(v, a);
    const auto kernel = forward_kernel<std::decay_t<decltype(source)>, V, A, Lay::kWidth, Lay::kGroup>;
    Problem problem = make_problem<Lay::kGroup>(sizes);
    for_planes(problem, sizes, kInt32Limit, [&](int64_t, dim3 grid) {
      kernel<<<grid, kThreads, 0, current_stream(value)>>>(
          problem, source, const_data<V>(value), data<V>(output));
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return output;
}

// The gradient of `value`, or nothing if it is not wanted; make_gradients(V, A) says where those of the source go.
// `value` and `grad_output` are prepared, in the same type, and nothing is empty.
template <typename F, typename G>
Tensor run_backward(const Tensor& value, const Sizes& sizes, const F& make_source, const G& make_gradients,
                    const Tensor& grad_output, bool deterministic, bool wants_value) {
  const bool sorted = wants_value && (deterministic || prefers_sorting(sizes));
  const ScalarType type = accumulation_type(value);
  Tensor grad_value = no_gradient(value);
  // Atomics add in the type of the arithmetic: 16 bit would lose what many small parts add up to.
  if (sorted) grad_value = torch::stable::new_empty(value, value.sizes());
  if (wants_value && !sorted) grad_value = torch::stable::new_zeros(value, value.sizes(), type);
  dispatch(value, [&](auto v, auto a, auto layout) {
    using V = decltype(v);
    using A = decltype(a);
    using Lay = decltype(layout);
    const auto source = make_source(v, a);
    const auto gradients = make_gradients(v, a);
    using Source = std::decay_t<decltype(source)>;
    const auto kernel = backward_kernel<Source, V, A, Lay::kWidth, Lay::kGroup, Lay::kManyChannels>;
    Problem problem = make_problem<Lay::kGroup>(sizes);
    for_planes(problem, sizes, sorted ? planes_to_sort(sizes) : kInt32Limit, [&](int64_t planes, dim3 grid) {
      Records<A> records{};
      SampleRecords tensors{value, value, value, 0, 0};
      if (sorted) {
        tensors = make_records(value, problem, planes);
        records = {data<uint32_t>(tensors.keys), data<uint32_t>(tensors.numbers), data<Record<A>>(tensors.records),
                   tensors.cells};
      }
      kernel<<<grid, kThreads, 0, current_stream(value)>>>(
          problem, source, gradients, records, const_data<V>(value), const_data<V>(grad_output),
          wants_value && !sorted ? data<A>(grad_value) : nullptr);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      if (sorted) sum_sorted(problem, planes, tensors, grad_output, grad_value);
    });
  });
  return wants_value ? prepare(grad_value, value.scalar_type()) : grad_value;
}

// The gradient of a companion to write to, or a tensor without elements; zeros where no kernel will run.
inline Tensor make_gradient(const Tensor& like, bool wanted, bool empty) {
  if (!wanted) return no_gradient(like);
  return empty ? torch::stable::new_zeros(like, like.sizes()) : torch::stable::new_empty(like, like.sizes());
}

}  // namespace querydet::cuda
