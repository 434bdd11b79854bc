// Many linear sum assignment problems at once: tensors, threads, and problems with more rows than columns.
//
// A problem is solved by one thread: the result does not depend on their number.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "problem.h"
#include "scratch.h"

namespace querydet::cpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A thread is not worth its start for fewer costs.
constexpr int64_t kCostsPerThread = 1 << 14;
constexpr int64_t kNone = -1, kUnusable = -2;

struct Task {
  int64_t rows, columns;
  int64_t first_cost, first_row;
};

std::vector<Task> make_tasks(const Tensor& costs, const std::vector<int64_t>& rows, const std::vector<int64_t>& columns) {
  STD_TORCH_CHECK(rows.size() == columns.size(), "rows and columns must have one number per problem, but got ",
                  rows.size(), " and ", columns.size());
  STD_TORCH_CHECK(costs.dim() == 1, "costs must be flat, but have ", costs.dim(), " dimensions");
  std::vector<Task> tasks;
  int64_t first_cost = 0, first_row = 0;
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < rows.size(); ++i) {
    STD_TORCH_CHECK(rows[i] >= 0 && columns[i] >= 0 && rows[i] < limit && columns[i] < limit,
                    "rows and columns must be 0 or greater and below 2^31, but problem ", i, " has ", rows[i], " and ",
                    columns[i]);
    tasks.push_back({rows[i], columns[i], first_cost, first_row});
    const int64_t product = rows[i] * columns[i];  // below 2^62; their sum could overflow
    STD_TORCH_CHECK(first_cost <= std::numeric_limits<int64_t>::max() - product,
                    "rows times columns sum to 2^63 or more, but there are ", costs.numel(), " costs");
    first_cost += product;
    first_row += rows[i];
  }
  STD_TORCH_CHECK(first_cost == costs.numel(), "rows times columns sum to ", first_cost, ", but there are ",
                  costs.numel(), " costs");
  return tasks;
}

template <typename T>
struct AssignOf;
template <>
struct AssignOf<float> {
  static Assign<float> get() { return instruction_set().assign_float32; }
};
template <>
struct AssignOf<double> {
  static Assign<double> get() { return instruction_set().assign_float64; }
};

// More rows than columns: every column gets a row.
template <typename T>
bool assign_transposed(const Task& task, const T* costs, int64_t* matched) {
  std::vector<T> turned(task.rows * task.columns);
  for (int64_t row = 0; row < task.rows; ++row) {
    for (int64_t column = 0; column < task.columns; ++column) {
      turned[column * task.rows + row] = costs[row * task.columns + column];
    }
  }
  Scratch<char> memory(assignment_memory(task.columns, task.rows, sizeof(T)));
  std::vector<int64_t> row_of(task.columns);
  if (!AssignOf<T>::get()(turned.data(), task.columns, task.rows, memory.data(), row_of.data())) return false;
  std::fill(matched, matched + task.rows, kNone);
  for (int64_t column = 0; column < task.columns; ++column) matched[row_of[column]] = column;
  return true;
}

template <typename T>
void solve(const Task& task, const T* all_costs, int64_t* all_matched) {
  const T* costs = all_costs + task.first_cost;
  int64_t* matched = all_matched + task.first_row;
  bool usable = true;
  if (task.rows == 0 || task.columns == 0) {
    std::fill(matched, matched + task.rows, kNone);
  } else if (task.rows > task.columns) {
    usable = assign_transposed(task, costs, matched);
  } else {
    Scratch<char> memory(assignment_memory(task.rows, task.columns, sizeof(T)));
    usable = AssignOf<T>::get()(costs, task.rows, task.columns, memory.data(), matched);
  }
  if (!usable) std::fill(matched, matched + task.rows, kUnusable);
}

template <typename T>
void solve_all(const std::vector<Task>& tasks, const Tensor& costs, const Tensor& matched) {
  const T* first_cost = static_cast<const T*>(costs.const_data_ptr());
  int64_t* first_matched = static_cast<int64_t*>(matched.mutable_data_ptr());
  const int64_t number = static_cast<int64_t>(tasks.size());
  const int64_t grain = kCostsPerThread * number / std::max<int64_t>(costs.numel(), 1);
  torch::stable::parallel_for(0, number, std::max<int64_t>(grain, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) solve(tasks[i], first_cost, first_matched);
  });
}

Tensor linear_sum_assignment(const Tensor& costs, std::vector<int64_t> rows, std::vector<int64_t> columns) {
  const std::vector<Task> tasks = make_tasks(costs, rows, columns);
  const ScalarType type = costs.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "costs must be Float or Double, but are ",
                  torch::headeronly::toString(type));
  const int64_t total = tasks.empty() ? 0 : tasks.back().first_row + tasks.back().rows;
  Tensor matched = torch::stable::new_empty(costs, {total}, ScalarType::Long);
  const Tensor contiguous = torch::stable::contiguous(costs);
  if (type == ScalarType::Float) {
    solve_all<float>(tasks, contiguous, matched);
  } else {
    solve_all<double>(tasks, contiguous, matched);
  }
  return matched;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) {
  library.impl("linear_sum_assignment", TORCH_BOX(&linear_sum_assignment));
}

}  // namespace querydet::cpu
