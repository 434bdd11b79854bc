// What the boxes add to the costs of matching, on the CPU: every pair of a query and an object in one pass.
//
// Rows (one object of one set) are shared out to threads; a number does not depend on how.

// Rounded as PyTorch rounds the definition, also where the processor could multiply and add in one step.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../ms_deform_attn.h"
#include "scratch.h"

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer pairs.
constexpr int64_t kPairsPerThread = 1 << 15;

struct Weights {
  double l1, giou, eps;
};

// The boxes of a set side by side: (cx, cy, w, h), the corners (x0, y0, x1, y1) and the area, each of all queries.
constexpr int64_t kFields = 9;

template <typename T>
void load_boxes(const T* boxes, int64_t queries, T* fields) {
  for (int64_t i = 0; i < queries; ++i) {
    const T cx = boxes[4 * i], cy = boxes[4 * i + 1], w = boxes[4 * i + 2], h = boxes[4 * i + 3];
    const T x0 = cx - w * T(0.5), y0 = cy - h * T(0.5), x1 = cx + w * T(0.5), y1 = cy + h * T(0.5);
    const T values[kFields] = {cx, cy, w, h, x0, y0, x1, y1, (x1 - x0) * (y1 - y0)};
    for (int64_t field = 0; field < kFields; ++field) fields[field * queries + i] = values[field];
  }
}

template <typename T>
void add_row(const T* fields, int64_t queries, const T* object, const Weights& weights, const T* given, T* cost) {
  T own[kFields];
  load_boxes(object, 1, own);
  const T *cx = fields, *cy = cx + queries, *w = cy + queries, *h = w + queries, *x0 = h + queries, *y0 = x0 + queries,
          *x1 = y0 + queries, *y1 = x1 + queries, *area = y1 + queries;
  const T l1 = static_cast<T>(weights.l1), giou = static_cast<T>(weights.giou), eps = static_cast<T>(weights.eps);
  for (int64_t i = 0; i < queries; ++i) {
    const T distance = std::abs(h[i] - own[3]) + (std::abs(w[i] - own[2]) + (std::abs(cy[i] - own[1]) + std::abs(cx[i] - own[0])));
    const T width = std::max(std::min(x1[i], own[6]) - std::max(x0[i], own[4]), T(0));
    const T height = std::max(std::min(y1[i], own[7]) - std::max(y0[i], own[5]), T(0));
    const T hull_width = std::max(std::max(x1[i], own[6]) - std::min(x0[i], own[4]), T(0));
    const T hull_height = std::max(std::max(y1[i], own[7]) - std::min(y0[i], own[5]), T(0));
    const T intersection = width * height, hull = hull_width * hull_height;
    const T both = (area[i] + own[8]) - intersection;
    const T overlap = (hull - both) / (hull + eps) - intersection / (both + eps);
    cost[i] = (given[i] + distance * l1) + overlap * giou;
  }
}

template <typename T>
void add_all(const Tensor& class_cost, const Tensor& boxes, const Tensor& gt_boxes, const Weights& weights,
             const Tensor& cost) {
  const int64_t sets = cost.size(0), objects = cost.size(1), queries = cost.size(2);
  const T* given = static_cast<const T*>(class_cost.const_data_ptr());
  const T* query_boxes = static_cast<const T*>(boxes.const_data_ptr());
  const T* object_boxes = static_cast<const T*>(gt_boxes.const_data_ptr());
  T* result = static_cast<T*>(cost.mutable_data_ptr());
  Scratch<T> fields(std::max<int64_t>(1, sets * kFields * queries));
  for (int64_t set = 0; set < sets; ++set) {
    load_boxes(query_boxes + set * queries * 4, queries, fields.data() + set * kFields * queries);
  }
  const int64_t grain = std::max<int64_t>(1, kPairsPerThread / std::max<int64_t>(queries, 1));
  torch::stable::parallel_for(0, sets * objects, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      add_row(fields.data() + row / objects * kFields * queries, queries, object_boxes + row % objects * 4, weights,
              given + row * queries, result + row * queries);
    }
  });
}

Tensor matching_cost(const Tensor& class_cost, const Tensor& boxes, const Tensor& gt_boxes, double l1_weight,
                     double giou_weight, double giou_eps) {
  const bool fits = class_cost.dim() == 3 && boxes.dim() == 3 && gt_boxes.dim() == 2 && boxes.size(2) == 4 &&
                    gt_boxes.size(1) == 4 && boxes.size(0) == class_cost.size(0) &&
                    boxes.size(1) == class_cost.size(2) && gt_boxes.size(0) == class_cost.size(1);
  STD_TORCH_CHECK(fits, "class_cost must be (n, T, Q), boxes (n, Q, 4) and gt_boxes (T, 4), but got ",
                  to_string(class_cost), ", ", to_string(boxes), " and ", to_string(gt_boxes));
  const ScalarType type = class_cost.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "class_cost must be Float or Double, but is ",
                  to_string(class_cost));
  const Tensor given = prepare(class_cost, type), queries = prepare(boxes, type), objects = prepare(gt_boxes, type);
  const Tensor cost = torch::stable::empty_like(given);
  const Weights weights{l1_weight, giou_weight, giou_eps};
  if (type == ScalarType::Float) {
    add_all<float>(given, queries, objects, weights, cost);
  } else {
    add_all<double>(given, queries, objects, weights, cost);
  }
  return cost;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) { library.impl("matching_cost", TORCH_BOX(&matching_cost)); }

}  // namespace querydet::cpu
