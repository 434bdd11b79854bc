// Which of the kernels run in this process.

#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <string>

#include "problem.h"

namespace querydet::cpu {
namespace {

const InstructionSet& choose_instruction_set() {
#if defined(QUERYDET_X86_KERNELS)
  const char* wanted = std::getenv("QUERYDET_CPU");
  const std::string limit = wanted ? wanted : "avx512";
  STD_TORCH_CHECK(limit == "avx512" || limit == "avx2" || limit == "baseline",
                  "QUERYDET_CPU must be baseline, avx2 or avx512, but is ", limit);
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#if defined(QUERYDET_EMULATE_AVX512)
  const bool has_avx512 = true;
#else
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  if (has_avx512 && limit == "avx512") return avx512();
  if (has_avx2 && limit != "baseline") return avx2();
#endif
  return baseline();
}

std::string cpu_instruction_set() { return instruction_set().name; }

}  // namespace

const InstructionSet& instruction_set() {
  static const InstructionSet& chosen = choose_instruction_set();
  return chosen;
}

STABLE_TORCH_LIBRARY_IMPL(querydet, CompositeExplicitAutograd, library) {
  library.impl("cpu_instruction_set", TORCH_BOX(&cpu_instruction_set));
}

}  // namespace querydet::cpu
