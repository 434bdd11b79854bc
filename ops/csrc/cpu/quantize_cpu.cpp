// Numbers to 8-bit codes on the CPU, in one pass: what every product of an 8-bit detector reads.

#include <torch/csrc/stable/library.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "../ms_deform_attn.h"
#include "problem.h"

#if defined(__x86_64__) && !defined(QUERYDET_BASELINE_ONLY)
#define QUERYDET_QUANTIZE_AVX512
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own avx512fintrin.h
#endif
#include <immintrin.h>
#endif

namespace querydet::cpu {
namespace {

// A thread is not worth its start for fewer numbers.
constexpr int64_t kNumbersPerThread = 1 << 15;

struct Grid {
  float steps;       // in a unit: 1 / scale
  float zero_point;  // the code of 0
};

inline float load_number(const float* source) { return *source; }

inline float load_number(const BFloat16* source) {
  const uint32_t bits = static_cast<uint32_t>(source->bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

// To the nearest code, ties to even; NaN becomes 0.
inline uint8_t code_of(float number, const Grid& grid) {
  const float code = std::nearbyintf(number * grid.steps) + grid.zero_point;
  if (!(code > 0.f)) return 0;
  return code < 255.f ? static_cast<uint8_t>(code) : uint8_t{255};
}

template <typename T>
void quantize_part(const T* values, const T* others, int64_t number, const Grid& grid, uint8_t* codes) {
  for (int64_t i = 0; i < number; ++i) {
    const float sum = others ? load_number(values + i) + load_number(others + i) : load_number(values + i);
    codes[i] = code_of(sum, grid);
  }
}

#if defined(QUERYDET_QUANTIZE_AVX512)
#define QUERYDET_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
constexpr int64_t kWidth = 16;

QUERYDET_TARGET inline __m512 load_vector(const float* source) { return _mm512_loadu_ps(source); }

QUERYDET_TARGET inline __m512 load_vector(const BFloat16* source) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

template <typename T>
QUERYDET_TARGET void quantize_vectors(const T* values, const T* others, int64_t number, const Grid& grid,
                                      uint8_t* codes) {
  const __m512 steps = _mm512_set1_ps(grid.steps), zero_point = _mm512_set1_ps(grid.zero_point);
  const __m512 least = _mm512_setzero_ps(), most = _mm512_set1_ps(255.f);
  const int64_t whole = number / kWidth * kWidth;
  for (int64_t i = 0; i < whole; i += kWidth) {
    __m512 numbers = load_vector(values + i);
    if (others) numbers = _mm512_add_ps(numbers, load_vector(others + i));
    const __m512 rounded =
        _mm512_roundscale_ps(_mm512_mul_ps(numbers, steps), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    // the second operand is returned for NaN
    const __m512 code = _mm512_min_ps(_mm512_max_ps(_mm512_add_ps(rounded, zero_point), least), most);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(code)));
  }
  quantize_part(values + whole, others ? others + whole : nullptr, number - whole, grid, codes + whole);
}
#endif

template <typename T>
void quantize_all(const Tensor& values, const Tensor* others, const Grid& grid, const Tensor& codes) {
  auto* part = &quantize_part<T>;
#if defined(QUERYDET_QUANTIZE_AVX512)
  if (instruction_set().vector_bytes == 64) part = &quantize_vectors<T>;
#endif
  const T* first = static_cast<const T*>(values.const_data_ptr());
  const T* second = others ? static_cast<const T*>(others->const_data_ptr()) : nullptr;
  uint8_t* result = static_cast<uint8_t*>(codes.mutable_data_ptr());
  torch::stable::parallel_for(0, values.numel(), kNumbersPerThread, [&](int64_t begin, int64_t end) {
    part(first + begin, second ? second + begin : nullptr, end - begin, grid, result + begin);
  });
}

Tensor quantize(const Tensor& values, std::optional<Tensor> others, double scale, int64_t zero_point) {
  const ScalarType type = values.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::BFloat16,
                  "values must be Float or BFloat16, but is ", to_string(values));
  STD_TORCH_CHECK(scale > 0 && zero_point >= 0 && zero_point <= 255,
                  "scale must be positive and zero_point within 0 and 255, but they are ", scale, " and ", zero_point);
  if (others) {
    bool fits = others->dim() == values.dim();
    for (int64_t i = 0; fits && i < values.dim(); ++i) fits = others->size(i) == values.size(i);
    STD_TORCH_CHECK(fits, "others must have the shape of values, but they are ", to_string(*others), " and ",
                    to_string(values));
  }
  const Tensor whole = prepare(values, type);
  const Grid grid{static_cast<float>(1 / scale), static_cast<float>(zero_point)};
  const Tensor codes = torch::stable::new_empty(whole, whole.sizes(), ScalarType::Byte);
  std::optional<Tensor> added;
  if (others) added = prepare(*others, type);
  if (type == ScalarType::Float) {
    quantize_all<float>(whole, added ? &*added : nullptr, grid, codes);
  } else {
    quantize_all<BFloat16>(whole, added ? &*added : nullptr, grid, codes);
  }
  return codes;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(querydet, CPU, library) { library.impl("quantize", TORCH_BOX(&quantize)); }

}  // namespace querydet::cpu
