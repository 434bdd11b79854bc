// What the CPU and the CUDA side of suppression share on the host: argument checks and the type of the arithmetic.
//
// Letters: B images, N boxes, G groups. A row is one group of one image.

#pragma once

#include "ms_deform_attn.h"

namespace querydet {

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
         type == ScalarType::Half;
}

inline void check_suppression(const Tensor& boxes, const Tensor& scores, double threshold) {
  STD_TORCH_CHECK(boxes.dim() == 3 && boxes.size(2) == 4, "boxes_xyxy must be (B, N, 4), but got ", to_string(boxes));
  STD_TORCH_CHECK(scores.dim() == 3 && scores.size(0) == boxes.size(0) && scores.size(2) == boxes.size(1),
                  "scores must be (", boxes.size(0), ", G, ", boxes.size(1), ") for boxes_xyxy ", to_string(boxes),
                  ", but got ", to_string(scores));
  STD_TORCH_CHECK(is_floating(boxes.scalar_type()) && is_floating(scores.scalar_type()),
                  "boxes_xyxy and scores must be Float, Double, BFloat16 or Half, but got ", to_string(boxes), " and ",
                  to_string(scores));
  STD_TORCH_CHECK(boxes.device() == scores.device(), "boxes_xyxy and scores must be on one device, but are on type ",
                  static_cast<int>(boxes.device().type()), " index ", boxes.get_device_index(), " and type ",
                  static_cast<int>(scores.device().type()), " index ", scores.get_device_index());
  STD_TORCH_CHECK(threshold >= 0 && threshold <= 1, "iou_threshold must be in [0, 1], but got ", threshold);
}

// Nothing is rounded on the way: 16 bits are computed in float32, anything beside float64 in float64.
inline ScalarType suppression_type(const Tensor& boxes, const Tensor& scores) {
  const bool wide = boxes.scalar_type() == ScalarType::Double || scores.scalar_type() == ScalarType::Double;
  return wide ? ScalarType::Double : ScalarType::Float;
}

}  // namespace querydet
