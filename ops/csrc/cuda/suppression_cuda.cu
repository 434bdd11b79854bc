// Suppression on CUDA: checks, tensors, the order of the boxes, registration. Nothing waits for the device.

#include <torch/csrc/stable/library.h>

#include <array>
#include <utility>

#include "../suppression.h"
#include "host.h"
#include "suppression.cuh"

namespace querydet::cuda {
namespace {

// Values and places of the last dimension by falling value, equal ones in their order.
std::pair<Tensor, Tensor> sort_falling(const Tensor& values) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  // self, stable, dim, descending
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{-1}), from(true)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

template <typename T>
void launch(const Tensor& boxes, const Tensor& sorted, const Tensor& order, T threshold, const Tensor& kept) {
  const int64_t rows = kept.size(0) * kept.size(1);
  STD_TORCH_CHECK(rows <= kInt32Limit, "the CUDA kernel needs images times groups below 2^31, but got ", rows);
  suppress_kernel<T><<<static_cast<unsigned>(rows), kSuppressionThreads, 0, current_stream(boxes)>>>(
      const_data<T>(boxes), const_data<T>(sorted), data<int64_t>(order), kept.size(2), kept.size(1), threshold,
      data<bool>(kept));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor suppress(const Tensor& boxes_xyxy, const Tensor& scores, double iou_threshold) {
  check_suppression(boxes_xyxy, scores, iou_threshold);
  const torch::stable::accelerator::DeviceGuard guard(boxes_xyxy.get_device_index());
  const ScalarType type = suppression_type(boxes_xyxy, scores);
  const Tensor boxes = prepare(boxes_xyxy, type), values = prepare(scores, type);
  const Tensor kept = torch::stable::new_zeros(
      values, {values.size(0), values.size(1), values.size(2)}, ScalarType::Bool);
  if (kept.numel() == 0) return kept;
  const auto [sorted, order] = sort_falling(values);
  if (type == ScalarType::Double) {
    launch<double>(boxes, sorted, order, iou_threshold, kept);
  } else {
    launch<float>(boxes, sorted, order, round_threshold<float>(iou_threshold), kept);
  }
  return kept;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CUDA, library) {
  library.impl("suppress", TORCH_BOX(&suppress));
}

}  // namespace querydet::cuda
