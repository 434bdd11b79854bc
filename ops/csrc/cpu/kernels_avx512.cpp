// The CPU kernels for AVX-512 (F, BW, DQ, VL). With QUERYDET_EMULATE_AVX512 the same source, vectors of 512 bit, is
// compiled for any x86-64, slowly: to test it where there is no such processor.

#if defined(__x86_64__) && !defined(QUERYDET_BASELINE_ONLY)

#if defined(QUERYDET_EMULATE_AVX512)
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own avx512fintrin.h
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#endif

#define QUERYDET_INSTRUCTION_SET avx512_kernels
#define QUERYDET_NAME "avx512"
#define QUERYDET_VECTOR_BYTES 64
#if !defined(QUERYDET_EMULATE_AVX512)
#define QUERYDET_HAS_AVX512
#endif

#include "kernels.h"

namespace querydet::cpu {

const InstructionSet& avx512() { return avx512_kernels::kInstructionSet; }

}  // namespace querydet::cpu

#if defined(__clang__) && !defined(QUERYDET_EMULATE_AVX512)
#pragma clang attribute pop
#endif

#endif
