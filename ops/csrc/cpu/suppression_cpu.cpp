// Suppression on the CPU: a row (one group of one image) is a task of one thread, so that threads change nothing.

// Overlaps are rounded as torchvision rounds them, also where the processor could multiply and add in one step.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "../overlap.h"
#include "../suppression.h"
#include "problem.h"

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer scores.
constexpr int64_t kScoresPerThread = 1 << 12;

// The boxes of a row that take part, best first; memory is kept from row to row.
template <typename T>
class Participants {
 public:
  void gather(const T* corners, const T* scores, int64_t count) {
    rows_.clear();
    for (int64_t row = 0; row < count; ++row) {
      if (scores[row] > -std::numeric_limits<T>::infinity()) rows_.push_back(row);
    }
    std::stable_sort(rows_.begin(), rows_.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    const size_t size = rows_.size();
    for (auto* numbers : {&x0_, &y0_, &x1_, &y1_, &area_}) numbers->resize(size);
    for (size_t i = 0; i < size; ++i) {
      const Box<T> box = load_box(corners + 4 * rows_[i]);
      x0_[i] = box.x0, y0_[i] = box.y0, x1_[i] = box.x1, y1_[i] = box.y1, area_[i] = box.area;
    }
    dropped_.assign(size, 0);
  }

  void suppress(T threshold, bool* kept) {
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (dropped_[i]) continue;
      kept[rows_[i]] = true;
      drop_later(i, threshold);
    }
  }

 private:
  // Also those that are dropped already: without branches several are tested at a time.
  void drop_later(size_t first, T threshold) {
    const Box<T> box{x0_[first], y0_[first], x1_[first], y1_[first], area_[first]};
    const T *x0 = x0_.data(), *y0 = y0_.data(), *x1 = x1_.data(), *y1 = y1_.data(), *area = area_.data();
    Index<T>* __restrict__ dropped = dropped_.data();
    const size_t size = rows_.size();
    for (size_t i = first + 1; i < size; ++i) {
      dropped[i] |= overlaps(box, {x0[i], y0[i], x1[i], y1[i], area[i]}, threshold);
    }
  }

  std::vector<int64_t> rows_;
  std::vector<T> x0_, y0_, x1_, y1_, area_;
  std::vector<Index<T>> dropped_;  // as wide as T
};

template <typename T>
void suppress_rows(const Tensor& boxes, const Tensor& scores, T threshold, const Tensor& kept) {
  const int64_t count = scores.size(2), groups = scores.size(1), rows = scores.size(0) * groups;
  const T* corners = static_cast<const T*>(boxes.const_data_ptr());
  const T* first_score = static_cast<const T*>(scores.const_data_ptr());
  bool* first_kept = static_cast<bool*>(kept.mutable_data_ptr());
  const int64_t grain = std::max<int64_t>(1, kScoresPerThread / std::max<int64_t>(count, 1));
  torch::stable::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    Participants<T> participants;
    for (int64_t row = begin; row < end; ++row) {
      participants.gather(corners + row / groups * count * 4, first_score + row * count, count);
      participants.suppress(threshold, first_kept + row * count);
    }
  });
}

Tensor suppress(const Tensor& boxes_xyxy, const Tensor& scores, double iou_threshold) {
  check_suppression(boxes_xyxy, scores, iou_threshold);
  const ScalarType type = suppression_type(boxes_xyxy, scores);
  const Tensor boxes = prepare(boxes_xyxy, type), values = prepare(scores, type);
  const Tensor kept = torch::stable::new_zeros(
      values, {values.size(0), values.size(1), values.size(2)}, ScalarType::Bool);
  if (type == ScalarType::Double) {
    suppress_rows<double>(boxes, values, iou_threshold, kept);
  } else {
    suppress_rows<float>(boxes, values, round_threshold<float>(iou_threshold), kept);
  }
  return kept;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) { library.impl("suppress", TORCH_BOX(&suppress)); }

}  // namespace querydet::cpu
