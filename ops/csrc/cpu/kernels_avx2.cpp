// The CPU kernels for AVX2 with FMA.

#if defined(__x86_64__) && !defined(QUERYDET_BASELINE_ONLY)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,bmi2")
#endif

#define QUERYDET_INSTRUCTION_SET avx2_kernels
#define QUERYDET_NAME "avx2"
#define QUERYDET_VECTOR_BYTES 32
#define QUERYDET_HAS_AVX2

#include "kernels.h"

namespace querydet::cpu {

const InstructionSet& avx2() { return avx2_kernels::kInstructionSet; }

}  // namespace querydet::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
