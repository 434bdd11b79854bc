// Layer normalisation of a sum on the CPU: tensors and threads. Every row belongs to one thread.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>

#include "../ms_deform_attn.h"
#include "problem.h"
#include "scratch.h"

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer numbers.
constexpr int64_t kNumbersPerThread = 1 << 14;

void check(const Tensor& x, const Tensor& update, const Tensor& weight, const Tensor& bias) {
  STD_TORCH_CHECK(x.dim() > 0, "x must have a last dimension to normalise, but got ", to_string(x));
  bool same = x.dim() == update.dim() && x.scalar_type() == update.scalar_type();
  for (int64_t i = 0; same && i < x.dim(); ++i) same = x.size(i) == update.size(i);
  STD_TORCH_CHECK(same, "update must have the shape and dtype of x, but got ", to_string(update), " for ",
                  to_string(x));
  const int64_t width = x.size(x.dim() - 1);
  for (const Tensor* each : {&weight, &bias}) {
    STD_TORCH_CHECK(each->dim() == 1 && each->size(0) == width, "weight and bias must be (", width, "), but got ",
                    to_string(*each));
    check_companion("weight and bias", *each, x);
  }
}

// A copy in the arithmetic's type, padded with zeros.
template <typename A>
void pad(const Tensor& tensor, const Tensor& x, A* target, int64_t padded) {
  const Tensor numbers = prepare(tensor, accumulation_type(x));
  const int64_t bytes = numbers.numel() * static_cast<int64_t>(sizeof(A));
  std::memset(target, 0, padded * sizeof(A));
  std::memcpy(target, numbers.const_data_ptr(), bytes);
}

template <typename A>
void run(NormalizeSum<A> kernel, const Tensor& x, const Tensor& update, const Tensor& weight, const Tensor& bias,
         double eps, const Tensor& output) {
  const int64_t width = x.size(x.dim() - 1), rows = x.numel() / width, padded = round_up(width, kMaxLanes);
  Scratch<A> parameters(2 * padded);
  pad(weight, x, parameters.data(), padded);
  pad(bias, x, parameters.data() + padded, padded);
  const AddLayerNorm<A> problem{x.const_data_ptr(),  update.const_data_ptr(),       output.mutable_data_ptr(),
                                parameters.data(),   parameters.data() + padded,    static_cast<A>(eps),
                                width};
  torch::stable::parallel_for(0, rows, std::max<int64_t>(1, kNumbersPerThread / width),
                              [&](int64_t begin, int64_t end) {
                                Scratch<A> row(padded);
                                kernel(problem, begin, end, row.data());
                              });
}

Tensor add_layer_norm(const Tensor& x, const Tensor& update, const Tensor& weight, const Tensor& bias, double eps) {
  check(x, update, weight, bias);
  const Tensor first = prepare(x, x.scalar_type()), second = prepare(update, x.scalar_type());
  Tensor output = torch::stable::empty_like(first);
  if (output.numel() == 0) return output;
  const InstructionSet& kernels = instruction_set();
  switch (x.scalar_type()) {
    case ScalarType::Float:
      run(kernels.normalize_float32, first, second, weight, bias, eps, output);
      break;
    case ScalarType::BFloat16:
      run(kernels.normalize_bfloat16, first, second, weight, bias, eps, output);
      break;
    case ScalarType::Half:
      run(kernels.normalize_float16, first, second, weight, bias, eps, output);
      break;
    case ScalarType::Double:
      run(kernels.normalize_float64, first, second, weight, bias, eps, output);
      break;
    default:
      STD_TORCH_CHECK(false, "x must be Float, Double, BFloat16 or Half, but got ", to_string(x));
  }
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) { library.impl("add_layer_norm", TORCH_BOX(&add_layer_norm)); }

}  // namespace querydet::cpu
